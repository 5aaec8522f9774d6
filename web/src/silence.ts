// Silences as the pages handle them: matchers as text and back, when one ends, and how it comes back every week. Pure.
import { ApiError, sent, tell, type Alert, type LabelSet } from "./api";

export interface Matcher {
  name: string;
  value: string;
  isRegex: boolean;
  isEqual: boolean;
}
export const WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;
export type Weekday = (typeof WEEKDAYS)[number];
export interface Recurrence {
  weekdays: Weekday[];
  /** `22:00`; not after `to`: over midnight. */
  from: string;
  to: string;
  time_zone_offset_minutes: number;
}
export interface SilenceWish {
  matchers: Matcher[];
  startsAt: string;
  endsAt: string;
  createdBy: string;
  comment: string;
  recurrence?: Recurrence;
}
export interface Silence extends SilenceWish {
  id: string;
  status: { state: "active" | "pending" | "expired" };
}

export const OPERATORS = ["=", "!=", "=~", "!~"] as const;
export type Operator = (typeof OPERATORS)[number];

export function operatorOf(m: Pick<Matcher, "isRegex" | "isEqual">): Operator {
  return m.isRegex ? (m.isEqual ? "=~" : "!~") : m.isEqual ? "=" : "!=";
}

export function withOperator(m: Matcher, operator: Operator): Matcher {
  return { ...m, isRegex: operator.endsWith("~"), isEqual: !operator.startsWith("!") };
}

/** `alertname="X", instance=~"a|b"`. */
export function matchersText(matchers: readonly Matcher[]): string {
  return matchers.map((m) => `${m.name}${operatorOf(m)}${JSON.stringify(m.value)}`).join(", ");
}

const ONE = /^\s*([a-zA-Z_][a-zA-Z0-9_.]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*")\s*(?:,|$)/;

/** Reads what `matchersText` wrote; null when it is something else. */
export function readMatchers(text: string): Matcher[] | null {
  const out: Matcher[] = [];
  let rest = text;
  while (rest.trim() !== "") {
    const found = ONE.exec(rest);
    if (found === null) return null;
    let value: unknown;
    try {
      value = JSON.parse(found[3]!);
    } catch {
      return null;
    }
    out.push(withOperator({ name: found[1]!, value: String(value), isRegex: false, isEqual: true }, found[2] as Operator));
    rest = rest.slice(found[0].length);
  }
  return out;
}

/** Labels that change while an alert lives must not be in its silence. */
const MOVING_LABELS = new Set(["severity", "level"]);

/** Matchers that fit this alert and its like: its labels, equal, but for its level; the rule's name first. */
export function matchersOf(labels: LabelSet): Matcher[] {
  const names = Object.keys(labels).filter((n) => !MOVING_LABELS.has(n) && labels[n] !== "");
  names.sort((a, b) => Number(b === "alertname") - Number(a === "alertname") || a.localeCompare(b));
  return names.map((name) => ({ name, value: labels[name]!, isRegex: false, isEqual: true }));
}

/** What can be said to the server: named, and at least one that does not fit everything. */
export function usable(matchers: readonly Matcher[]): Matcher[] | null {
  const named = matchers.filter((m) => m.name.trim() !== "").map((m) => ({ ...m, name: m.name.trim() }));
  const narrows = named.some((m) => (m.isEqual ? m.value !== "" && !(m.isRegex && /^\.\*$/.test(m.value)) : m.value === ""));
  return narrows ? named : null;
}

export const ENDS = ["1h", "4h", "morning", "custom"] as const;
export type End = (typeof ENDS)[number];

/** When a silence ends that begins now; `custom` has a time of its own. */
export function endOf(end: Exclude<End, "custom">, nowMs: number): number {
  if (end === "1h") return nowMs + 3_600_000;
  if (end === "4h") return nowMs + 4 * 3_600_000;
  const next = new Date(nowMs);
  next.setDate(next.getDate() + 1);
  next.setHours(9, 0, 0, 0);
  return next.getTime();
}

/** Of a silence that comes back every week: it has begun, and now is none of its hours. */
export function resting(s: Silence, nowMs: number): boolean {
  return s.recurrence !== undefined && s.recurrence !== null && s.status.state === "pending" && Date.parse(s.startsAt) <= nowMs;
}

/** Active first, then those to come, then the past; soonest end first, the past by latest end. */
export function ordered(list: readonly Silence[]): Silence[] {
  const rank = { active: 0, pending: 1, expired: 2 };
  const end = (s: Silence) => Date.parse(s.endsAt) * (s.status.state === "expired" ? -1 : 1);
  return [...list].sort((a, b) => rank[a.status.state] - rank[b.status.state] || end(a) - end(b));
}

async function v2<T>(method: "GET" | "POST" | "DELETE", path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const response = await sent(method, path, body, signal);
  const text = await response.text();
  let answer: unknown = null;
  try {
    answer = text === "" ? null : JSON.parse(text);
  } catch {
    answer = text;
  }
  if (response.ok) return answer as T;
  const words = typeof answer === "string" ? answer : ((answer as { error?: string } | null)?.error ?? `HTTP ${response.status}`);
  throw new ApiError(response.status === 404 ? "not_found" : "refused", words);
}

export function silences(signal?: AbortSignal): Promise<Silence[]> {
  return v2<Silence[]>("GET", "/api/v2/silences", undefined, signal);
}

export function makeSilence(wish: SilenceWish): Promise<{ silenceID: string }> {
  return v2("POST", "/api/v2/silences", wish);
}

export function expireSilence(id: string): Promise<unknown> {
  return v2("DELETE", `/api/v2/silence/${encodeURIComponent(id)}`);
}

/** The alerts that a silence with these matchers would be about now. */
export function preview(matchers: readonly Matcher[], signal?: AbortSignal): Promise<{ count: number; alerts: Alert[] }> {
  return tell("POST", "/api/v1/silences/preview", { matchers }, signal);
}
