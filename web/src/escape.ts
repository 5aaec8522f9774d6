// The only place where text becomes part of a query: literals and identifiers of SQL, values of PromQL matchers,
// segments of our own paths. Everything that came from outside passes through one of these.

/** An SQL text literal. Standard quoting: a quote is doubled, a backslash means itself; NUL can't be in a text. */
export function sqlText(value: string): string {
  return `'${value.replace(/\u0000/g, "").replace(/'/g, "''")}'`;
}

/** An SQL whole number; anything else is an error, never text in the query. */
export function sqlInt(value: number): string {
  if (!Number.isSafeInteger(value)) throw new Error(`not a whole number: ${value}`);
  return String(value);
}

/** A timestamp literal of milliseconds since 1970 (UTC). */
export function sqlTime(ms: number): string {
  if (!Number.isFinite(ms)) throw new Error(`not a time: ${ms}`);
  return `TIMESTAMP '${new Date(Math.round(ms)).toISOString()}'`;
}

/** An SQL list of text literals, for `IN`; never empty, as `IN ()` is an error: then it matches nothing. */
export function sqlList(values: readonly string[]): string {
  return values.length === 0 ? "(NULL)" : `(${values.map(sqlText).join(", ")})`;
}

/** A PromQL string in double quotes. */
export function promText(value: string): string {
  const escaped = value.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n").replace(/\r/g, "\\r").replace(/\t/g, "\\t");
  return `"${escaped}"`;
}

/** One segment of a path. */
export function pathSegment(value: string): string {
  return encodeURIComponent(value);
}
