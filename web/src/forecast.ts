// A forecast as the server gives it, laid out for a chart and said in words. Pure.
import type { LabelSet } from "./api";
import type { Mark, Series } from "./chart";
import { number, type Unit } from "./format";
import { lasting, t } from "./language";

export interface ForecastSeries {
  labels: LabelSet;
  /** Milliseconds and value. */
  history: [number, number | null][];
  /** Milliseconds, middle, lower and upper end of the interval. */
  forecast: [number, number, number, number][];
  model: string;
  /** Mean absolute scaled error of the back-test: 1 is the naive guess. */
  mase: number | null;
  mase_baseline?: number | null;
  /** Share of what came that lay within the interval, in the back-test. */
  coverage: number | null;
  confidence: number;
  origins?: number;
  threshold: number | null;
  crosses?: "above" | "below" | null;
  reaches_at_ms: number | null;
  reaches_from_ms: number | null;
  reaches_to_ms: number | null;
}

export interface ForecastDrawing {
  /** Seconds, ascending. */
  times: number[];
  series: Series[];
  marks: Mark[];
}

/** The last moment of the past, where the forecast begins. */
export function originOf(f: ForecastSeries): number | null {
  return f.history[f.history.length - 1]?.[0] ?? f.forecast[0]?.[0] ?? null;
}

/** Past, band, middle and limit on one grid; the band grows out of the last value that was seen. */
export function drawing(f: ForecastSeries): ForecastDrawing {
  const past = new Map(f.history);
  const future = new Map(f.forecast.map(([ms, mid, low, high]) => [ms, { mid, low, high }]));
  const origin = originOf(f);
  const last = origin === null ? null : (past.get(origin) ?? null);
  if (origin !== null && last !== null && !future.has(origin)) future.set(origin, { mid: last, low: last, high: last });
  const stamps = [...new Set([...past.keys(), ...future.keys()])].sort((a, b) => a - b);
  const share = number(f.confidence, "ratio");
  const series: Series[] = [
    { name: t("forecast_history"), values: stamps.map((ms) => past.get(ms) ?? null) },
    { name: t("forecast_high", { share }), values: stamps.map((ms) => future.get(ms)?.high ?? null), edge: "high", tone: "line2" },
    { name: t("forecast_low", { share }), values: stamps.map((ms) => future.get(ms)?.low ?? null), edge: "low", tone: "line2" },
    { name: t("forecast"), values: stamps.map((ms) => future.get(ms)?.mid ?? null), dashed: true, tone: "line2" },
  ];
  if (f.threshold !== null) series.push({ name: t("forecast_limit"), values: stamps.map(() => f.threshold), limit: true });
  const marks: Mark[] = [];
  if (origin !== null) marks.push({ atMs: origin, grade: "notice", text: t("current") });
  if (f.reaches_at_ms !== null) marks.push({ atMs: f.reaches_at_ms, grade: "critical", text: t("forecast_limit") });
  return { times: stamps.map((ms) => ms / 1000), series, marks };
}

/** To the minute, and to the second when little is left. */
function inWholeUnits(ms: number): number {
  const unit = ms < 600_000 ? 1000 : 60_000;
  return Math.max(unit, Math.round(ms / unit) * unit);
}

/** "reaches 90 in 2 d 4 h (80 %: 1 d 20 h – 3 d)"; null when no limit was asked about. */
export function reachText(f: ForecastSeries, unit: Unit): string | null {
  const origin = originOf(f);
  if (f.threshold === null || origin === null) return null;
  const limit = number(f.threshold, unit);
  const until = (ms: number) => lasting(inWholeUnits(ms - origin));
  const end = f.forecast[f.forecast.length - 1]?.[0] ?? origin;
  const share = number(f.confidence, "ratio");
  const from = f.reaches_from_ms === null ? t("forecast_now") : until(f.reaches_from_ms);
  const to = f.reaches_to_ms === null ? t("forecast_later") : until(f.reaches_to_ms);
  if (f.reaches_at_ms !== null) return t("forecast_reaches", { limit, in: until(f.reaches_at_ms), share, from, to });
  if (f.reaches_from_ms !== null) return t("forecast_may_reach", { limit, from, share });
  return t("forecast_reaches_not", { limit, in: until(end) });
}

/** Model and what its back-test found. */
export function testText(f: ForecastSeries): string {
  const parts = [t("forecast_model", { model: f.model })];
  if (f.mase !== null) {
    const baseline = f.mase_baseline ?? null;
    parts.push(baseline === null ? t("forecast_error", { mase: number(f.mase) }) : t("forecast_error_against", { mase: number(f.mase), baseline: number(baseline) }));
  }
  if (f.coverage !== null) parts.push(t("forecast_coverage", { coverage: number(f.coverage, "ratio"), share: number(f.confidence, "ratio") }));
  if (f.origins !== undefined) parts.push(t("forecast_origins", { n: f.origins }));
  return parts.join(" · ");
}

/** The unit that a query's values most likely have, by the name of its metric; an unsure one is a plain number. */
export function guessUnit(query: string): Unit {
  if (/^\s*100\s*\*|_percent\b/.test(query)) return "percent";
  if (/_ratio\b/.test(query)) return "ratio";
  if (/\/|\b(count|rate|irate|increase|delta)\s*(by\s*\([^)]*\)\s*)?\(/.test(query)) return "count";
  if (/_bytes\b/.test(query)) return "bytes";
  if (/_seconds\b/.test(query)) return "seconds";
  return "count";
}
