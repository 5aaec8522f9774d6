// The time range that all pages share: how it stands in the address, and which step and window a chart asks for.

/** A range as chosen: relative to now, or fixed. */
export type Choice = { kind: "last"; name: string } | { kind: "fixed"; fromMs: number; toMs: number };

/** A range as asked: both ends in milliseconds. */
export interface Range {
  fromMs: number;
  toMs: number;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** The offered ranges, shortest first. */
export const LAST: readonly { name: string; ms: number }[] = [
  { name: "15m", ms: 15 * MINUTE_MS },
  { name: "1h", ms: HOUR_MS },
  { name: "6h", ms: 6 * HOUR_MS },
  { name: "24h", ms: 24 * HOUR_MS },
  { name: "7d", ms: 7 * 24 * HOUR_MS },
];

export const DEFAULT_CHOICE: Choice = { kind: "last", name: "1h" };

/** The choice in an address; what can't be read is the default. */
export function readChoice(query: URLSearchParams): Choice {
  const from = Number(query.get("from") ?? NaN);
  const to = Number(query.get("to") ?? NaN);
  if (Number.isSafeInteger(from) && Number.isSafeInteger(to) && from > 0 && from < to) {
    return { kind: "fixed", fromMs: from, toMs: to };
  }
  const name = query.get("range");
  return LAST.some((l) => l.name === name) ? { kind: "last", name: name as string } : DEFAULT_CHOICE;
}

/** Writes a choice into an address, removing what it replaces; the default leaves no trace. */
export function writeChoice(query: URLSearchParams, choice: Choice): void {
  for (const key of ["from", "to", "range"]) query.delete(key);
  if (choice.kind === "fixed") {
    query.set("from", String(choice.fromMs));
    query.set("to", String(choice.toMs));
  } else if (choice.name !== (DEFAULT_CHOICE as { name: string }).name) {
    query.set("range", choice.name);
  }
}

/** The ends of a choice at a moment. */
export function resolve(choice: Choice, nowMs: number): Range {
  if (choice.kind === "fixed") return { fromMs: choice.fromMs, toMs: choice.toMs };
  const last = LAST.find((l) => l.name === choice.name) ?? LAST[1]!;
  return { fromMs: nowMs - last.ms, toMs: nowMs };
}

const STEPS_S = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];

/** The smallest round step that answers with at most `pointsMax` points, in seconds. */
export function stepSeconds(range: Range, pointsMax = 240): number {
  const least = (range.toMs - range.fromMs) / 1000 / pointsMax;
  return STEPS_S.find((s) => s >= least) ?? Math.ceil(least / 86400) * 86400;
}

/** The window of `rate()` for a step: never less than a minute (six readings at 10 s), never with holes between steps. */
export function rateWindow(step: number): string {
  return `${Math.max(60, step)}s`;
}

/** The moments of a range query: multiples of the step, so that a refresh does not shift them. */
export function grid(range: Range, step: number): number[] {
  const first = Math.ceil(range.fromMs / 1000 / step) * step;
  const times: number[] = [];
  for (let t = first; t * 1000 <= range.toMs; t += step) times.push(t);
  return times;
}
