// The public HTTP API, as the pages use it: Prometheus' answers, SQL, instances and alerts. Errors come out in words.
import type { Range } from "./range";
import { grid } from "./range";

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

async function ask<T>(path: string, query: Record<string, string>, signal?: AbortSignal): Promise<T> {
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
  let answer: Answer<T>;
  try {
    answer = (await response.json()) as Answer<T>;
  } catch {
    throw new ApiError("bad_answer", `${path}: HTTP ${response.status}`);
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
  return (data.result as { metric: LabelSet; value: [number, string] }[]).map((r) => ({
    labels: r.metric,
    value: promNumber(r.value[1]),
  }));
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
  return (data.result as { metric: LabelSet; values: [number, string][] }[]).map((r) => ({
    labels: r.metric,
    values: onGrid(times, r.values),
  }));
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
  errors: unknown[];
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
