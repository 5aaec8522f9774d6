// Numbers, sizes, durations and times as people read them. Pure: the language is an argument.

export type Unit = "count" | "per_second" | "bytes" | "bytes_per_second" | "seconds" | "ms" | "ratio" | "percent";

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const COUNTS = ["", "k", "M", "G", "T"];

function digits(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 100 || Number.isInteger(value)) return value.toFixed(0);
  if (size >= 10) return trim(value.toFixed(1));
  if (size >= 0.01) return trim(value.toFixed(2));
  return trim(value.toPrecision(2));
}

function trim(text: string): string {
  return text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text;
}

function scaled(value: number, base: number, names: readonly string[]): [number, string] {
  let at = 0;
  let rest = value;
  while (Math.abs(rest) >= base && at < names.length - 1) {
    rest /= base;
    at += 1;
  }
  return [rest, names[at]!];
}

/** A duration of milliseconds: `840 µs`, `12.5 ms`, `3.2 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`. */
export function duration(ms: number): string {
  const size = Math.abs(ms);
  if (size === 0) return "0 ms";
  if (size < 1) return `${digits(ms * 1000)} µs`;
  if (size < 1000) return `${digits(ms)} ms`;
  if (size < 60_000) return `${digits(ms / 1000)} s`;
  const parts: [number, string][] = [
    [86_400_000, "d"],
    [3_600_000, "h"],
    [60_000, "min"],
    [1000, "s"],
  ];
  let rest = Math.round(size / 1000) * 1000;
  const words: string[] = [];
  for (const [length, name] of parts) {
    const n = Math.floor(rest / length);
    rest -= n * length;
    if (n > 0) words.push(`${n} ${name}`);
    else if (words.length > 0) break;
    if (words.length === 2) break;
  }
  return (ms < 0 ? "−" : "") + words.join(" ");
}

/** A value in its unit; null and NaN are a dash. */
export function number(value: number | null | undefined, unit: Unit = "count"): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  switch (unit) {
    case "bytes":
    case "bytes_per_second": {
      const [n, name] = scaled(value, 1024, BYTES);
      return `${digits(n)} ${name}${unit === "bytes" ? "" : "/s"}`;
    }
    case "seconds":
      return duration(value * 1000);
    case "ms":
      return duration(value);
    case "ratio":
      return percent(value * 100);
    case "percent":
      return percent(value);
    default: {
      const [n, name] = scaled(value, 1000, COUNTS);
      const text = name === "" ? digits(n) : `${digits(n)} ${name}`;
      return unit === "per_second" ? `${text}/s` : text;
    }
  }
}

function percent(value: number): string {
  return `${Math.abs(value) >= 99 && Math.abs(value) < 100 ? trim(value.toFixed(2)) : digits(Math.round(value * 100) / 100)} %`;
}

/** A whole number with thin groups: `12 480`. */
export function grouped(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return Math.round(value).toString().replace(/\B(?=(\d{3})+(?!\d))/g, "\u2009");
}

function two(n: number): string {
  return String(n).padStart(2, "0");
}

/** Local time of day: `14:03:22`. */
export function clock(ms: number): string {
  const d = new Date(ms);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** Local date and time: `2026-03-04 14:03:22`. */
export function stamp(ms: number): string {
  const d = new Date(ms);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${clock(ms)}`;
}

/** Time of day if it is the day of `nowMs`, else with its date. */
export function shortStamp(ms: number, nowMs: number): string {
  return new Date(ms).toDateString() === new Date(nowMs).toDateString() ? clock(ms) : stamp(ms);
}

/** Milliseconds of an RFC 3339 text or a number; null when it is neither. */
export function parseTime(value: unknown): number | null {
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (typeof value !== "string" || value === "") return null;
  const zoned = /([zZ]|[+-]\d\d:?\d\d)$/.test(value) ? value : `${value}Z`;
  const ms = Date.parse(zoned.replace(" ", "T"));
  return Number.isNaN(ms) ? null : ms;
}
