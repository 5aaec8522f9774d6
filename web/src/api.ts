// The public HTTP API, as the pages use it: Prometheus' answers, SQL, instances and alerts. Errors come out in words.
import type { Range } from "./range";
import { grid } from "./range";
import type { ForecastSeries } from "./forecast";

/** What the server said instead of an answer. */
export class ApiError extends Error {
  constructor(
    readonly kind: string,
    message: string,
  ) {
    super(message);
  }
}

interface Answer<T> {
  status: "success" | "error";
  data?: T;
  errorType?: string;
  error?: string;
  warnings?: string[];
}

export async function ask<T>(path: string, query: Record<string, string>, signal?: AbortSignal): Promise<T> {
  const body = new URLSearchParams(query);
  const short = body.toString().length < 1500;
  const url = short && body.size !== 0 ? `${path}?${body}` : path;
  let response: Response;
  try {
    response = await fetch(url, short ? { signal: signal ?? null } : { method: "POST", body, signal: signal ?? null });
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new ApiError("unreachable", String(cause instanceof Error ? cause.message : cause));
  }
  return dataOf<T>(path, response);
}

/** Sends a JSON body, or asks for a change without one. */
export async function tell<T>(method: "POST" | "DELETE", path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const response = await sent(method, path, body, signal);
  return dataOf<T>(path, response);
}

/** A request with a JSON body; an error only when the server can't be reached. */
export async function sent(method: "GET" | "POST" | "DELETE", path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  try {
    const content = body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
    return await fetch(path, { method, signal: signal ?? null, ...content });
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new ApiError("unreachable", String(cause instanceof Error ? cause.message : cause));
  }
}

async function dataOf<T>(path: string, response: Response): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = (await response.json()) as Answer<T>;
  } catch {
    throw new ApiError(response.status === 404 || response.status === 405 ? "not_found" : "bad_answer", `${path}: HTTP ${response.status}`);
  }
  if (answer.status !== "success" || answer.data === undefined) {
    throw new ApiError(answer.errorType ?? "unknown", answer.error ?? `HTTP ${response.status}`);
  }
  return answer.data;
}

export type LabelSet = Record<string, string>;
/** One series on a grid of times: seconds, and a value or null where nothing was known. */
export interface Line {
  labels: LabelSet;
  values: (number | null)[];
}
/** One value of an instant query. */
export interface Point {
  labels: LabelSet;
  value: number;
}

interface Vector {
  resultType: "vector" | "scalar" | "string" | "matrix";
  result: unknown;
}

/** A PromQL value as a number; `NaN`, `+Inf` and `-Inf` included. */
export function promNumber(text: string): number {
  if (text === "+Inf" || text === "Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  return Number(text);
}

/** An instant query. A scalar is one point without labels. */
export async function instant(query: string, atMs: number, signal?: AbortSignal): Promise<Point[]> {
  const data = await ask<Vector>("/api/v1/query", { query, time: (atMs / 1000).toFixed(3) }, signal);
  if (data.resultType === "scalar") {
    return [{ labels: {}, value: promNumber((data.result as [number, string])[1]) }];
  }
  if (data.resultType !== "vector") throw new ApiError("bad_data", `expected a vector, got a ${data.resultType}`);
  return (data.result as { metric: LabelSet; value?: [number, string] }[]).flatMap((r) =>
    // a native histogram is no number: histogram_quantile() and its like make numbers of it
    r.value === undefined ? [] : [{ labels: r.metric, value: promNumber(r.value[1]) }],
  );
}

/** Puts pairs of (seconds, text) on a grid; what is missing, stale or not finite is null, so that a chart shows the gap. */
export function onGrid(times: readonly number[], pairs: readonly [number, string][]): (number | null)[] {
  const known = new Map(pairs.map(([t, v]) => [Math.round(t * 1000), promNumber(v)]));
  return times.map((t) => {
    const value = known.get(Math.round(t * 1000));
    return value === undefined || !Number.isFinite(value) ? null : value;
  });
}

/** A range query on the grid of its step. */
export async function range(query: string, over: Range, step: number, signal?: AbortSignal): Promise<Line[]> {
  const times = grid(over, step);
  if (times.length === 0) return [];
  const data = await ask<Vector>(
    "/api/v1/query_range",
    { query, start: String(times[0]), end: String(times[times.length - 1]), step: String(step) },
    signal,
  );
  return (data.result as { metric: LabelSet; values?: [number, string][] }[]).flatMap((r) =>
    r.values === undefined ? [] : [{ labels: r.metric, values: onGrid(times, r.values) }],
  );
}

/** A cell of an SQL answer. */
export type Cell = string | number | boolean | null;
export interface Rows {
  columns: { name: string; type: string }[];
  rows: Cell[][];
  truncated: boolean;
}

/** An SQL query, rows as arrays. */
export async function sqlRows(q: string, signal?: AbortSignal): Promise<Rows> {
  return ask<Rows>("/api/v1/sql", { q }, signal);
}

/** An SQL query, rows as objects of their columns' names. */
export async function sql<T>(q: string, signal?: AbortSignal): Promise<T[]> {
  return objects<T>(await sqlRows(q, signal));
}

/** Rows of an answer as objects. */
export function objects<T>(answer: Rows): T[] {
  return answer.rows.map((row) => Object.fromEntries(answer.columns.map((c, i) => [c.name, row[i] ?? null])) as T);
}

export type Level = "critical" | "warning" | "notice";

export interface Finding {
  name: string;
  text: string;
  grant: string | null;
}
export interface Instance {
  instance: string;
  engine: string;
  version: string | null;
  role: string | null;
  cluster: string | null;
  address: string | null;
  host?: string | null;
  up: boolean | null;
  last_seen_ms: number | null;
  error: string | null;
  findings: Finding[];
  alerts: Record<Level, number>;
}

export function instances(signal?: AbortSignal): Promise<Instance[]> {
  return ask<Instance[]>("/api/v1/instances", {}, signal);
}

export interface Alert {
  id: string;
  fingerprint: string;
  rule: string;
  group: string | null;
  state: string;
  level: string | null;
  labels: LabelSet;
  annotations: LabelSet;
  value: number | null;
  active_at_ms: number | null;
  fired_at_ms: number | null;
  resolved_at_ms: number | null;
  /** The rule can't be evaluated at present: the state is the last one known. */
  blind?: boolean;
  flapping?: boolean;
  /** Absent: the alert has ended, and nobody can take it over any more. */
  acknowledged?: { at_ms: number; by: string; comment: string } | null;
  /** Ids of silences. */
  silenced_by?: string[];
  /** Fingerprints of the alerts that make telling it needless. */
  inhibited_by?: string[];
  timeline?: Step[];
  evidence?: Evidence | null;
}
export interface Step {
  ts_ms: number;
  event: string;
  level: string | null;
  value: number | null;
  reason: string | null;
  receiver: string | null;
  detail: unknown;
}
export interface EvidenceStatement {
  fingerprint: string;
  database: string | null;
  user: string | null;
  text: string | null;
  calls: number | null;
  total_ms: number | null;
  mean_ms: number | null;
  rows: number | null;
  blocks_read: number | null;
  before: { calls: number; mean_ms: number } | null;
  change_ratio: number | null;
  plan: {
    plan_fingerprint: string;
    previous_plan_fingerprint: string | null;
    summary: string | null;
    plan: unknown;
    ts_ms: number;
    changed: boolean;
  } | null;
}
export interface BlockingNode {
  pid: number;
  user: string | null;
  application: string | null;
  state: string | null;
  transaction_ms: number | null;
  query_ms: number | null;
  wait: string | null;
  text: string | null;
  fingerprint: string | null;
  blocked: BlockingNode[];
}
/** What a diagnosis tree concluded, in both languages. */
export interface Verdict {
  verdict: string;
  title: string;
  title_zh: string;
  reasons: string[];
  reasons_zh: string[];
  advice: string;
  advice_zh: string;
}
export interface Evidence {
  collected_at_ms: number;
  window: { from_ms: number; to_ms: number };
  instance: string | null;
  series: { title: string; query: string; result: { labels: LabelSet; values: [number, number | null][] }[] }[];
  statements: EvidenceStatement[];
  sessions: Record<string, Cell>[];
  blocking: BlockingNode[];
  logs: { ts_ms: number; level: string | null; class: string | null; body: string | null; code: string | null; pid: number | null }[];
  changes: { ts_ms: number; kind: string | null; name: string | null; change: string | null; previous: string | null; value: string | null }[];
  findings: Verdict[];
  forecast?: { series: ForecastSeries[] } | null;
  errors: unknown[];
}

/** What an operator may ask about an alert that lives. */
export function acknowledge(id: string, by: string, comment: string): Promise<unknown> {
  return tell("POST", `/api/v1/alert/${encodeURIComponent(id)}/acknowledge`, { by, comment });
}

export function unacknowledge(id: string): Promise<unknown> {
  return tell("DELETE", `/api/v1/alert/${encodeURIComponent(id)}/acknowledge`);
}

/** Why each receiver was, or was not, told. */
export interface Why {
  answer: string;
  answer_zh: string;
  receivers: { receiver: string; told: boolean; reason: string; reason_zh?: string; at_ms: number | null }[];
}

export function why(id: string, signal?: AbortSignal): Promise<Why> {
  return ask<Why>(`/api/v1/alert/${encodeURIComponent(id)}/why`, {}, signal);
}

export interface Foreseen {
  series: ForecastSeries[];
  /** Series of which nothing can be said, and why. */
  refused?: { labels: LabelSet; reason: string }[];
}

/** Forecasts of the series of a query; `crosses` is a text like `above 90`, or empty. */
export function forecast(query: string, atMs: number, horizon: string, crosses: string, confidence: number, signal?: AbortSignal): Promise<Foreseen> {
  const limit: Record<string, string> = crosses === "" ? {} : { crosses };
  return ask<Foreseen>("/api/v1/forecast", { query, time: (atMs / 1000).toFixed(3), horizon, confidence: String(confidence), ...limit }, signal);
}

export interface RuleShown {
  name: string;
  type: "alerting" | "recording";
  state?: string;
  query: string;
  duration?: number;
  labels?: LabelSet;
  annotations?: LabelSet;
  alerts?: unknown[];
  health: string;
  lastError?: string;
  blind?: { cause: string; selector: string | null; since: string } | null;
  evaluationTime: number;
  lastEvaluation: string;
}
export interface RuleGroup {
  name: string;
  file: string;
  interval: number;
  lastEvaluation: string;
  evaluationTime: number;
  rules: RuleShown[];
}

export async function rules(signal?: AbortSignal): Promise<RuleGroup[]> {
  return (await ask<{ groups: RuleGroup[] }>("/api/v1/rules", {}, signal)).groups;
}

export function alerts(state: string, limit: number, signal?: AbortSignal): Promise<Alert[]> {
  return ask<Alert[]>("/api/v1/alert", { state, limit: String(limit) }, signal);
}

export function alert(id: string, signal?: AbortSignal): Promise<Alert> {
  return ask<Alert>(`/api/v1/alert/${encodeURIComponent(id)}`, {}, signal);
}

export function buildinfo(signal?: AbortSignal): Promise<Record<string, string>> {
  return ask<Record<string, string>>("/api/v1/status/buildinfo", {}, signal);
}
