// Every SQL question that the pages ask, in one place. All values go through escape.ts.
import { sqlInt, sqlList, sqlText, sqlTime } from "./escape";
import type { Range } from "./range";

function during(range: Range): string {
  return `ts >= ${sqlTime(range.fromMs)} AND ts <= ${sqlTime(range.toMs)}`;
}

function bucket(stepS: number): string {
  return `date_bin(INTERVAL '${sqlInt(stepS)} seconds', ts, TIMESTAMP '1970-01-01T00:00:00Z')`;
}

/** Columns the statement list may be sorted by. */
export const STATEMENT_ORDERS = ["total_ms", "mean_ms", "calls", "rows", "blocks"] as const;
export type StatementOrder = (typeof STATEMENT_ORDERS)[number];

export interface StatementRow {
  fingerprint: string;
  database: string | null;
  user: string | null;
  calls: number;
  total_ms: number;
  mean_ms: number | null;
  rows: number | null;
  blocks: number | null;
  rows_examined: number | null;
  all_ms: number | null;
}

/** Statements of one instance in a range, with the time of all of them (`all_ms`) for shares. */
export function topStatements(instance: string, range: Range, order: StatementOrder, limit: number): string {
  return `SELECT s.*, sum(s.total_ms) OVER () AS all_ms FROM (
  SELECT fingerprint, "database", "user", sum(calls) AS calls, sum(total_ms) AS total_ms,
    sum(total_ms) / nullif(sum(calls), 0) AS mean_ms, sum("rows") AS "rows",
    sum(coalesce(blocks_read, 0) + coalesce(blocks_hit, 0)) AS blocks, sum(rows_examined) AS rows_examined
  FROM statement_stats WHERE instance = ${sqlText(instance)} AND ${during(range)}
  GROUP BY fingerprint, "database", "user") s
ORDER BY s.${order} DESC NULLS LAST LIMIT ${sqlInt(limit)}`;
}

export interface TextRow {
  fingerprint: string;
  text: string;
  truncated: boolean | null;
  command: string | null;
  tables: string | null;
}

/** The texts of fingerprints; they were first seen at any time, so the range does not matter. */
export function statementTexts(instance: string, fingerprints: readonly string[]): string {
  return `SELECT fingerprint, max(text) AS text, bool_or(truncated) AS truncated, max(command) AS command, max(tables) AS tables
FROM statements WHERE instance = ${sqlText(instance)} AND fingerprint IN ${sqlList(fingerprints)} GROUP BY fingerprint`;
}

export interface LoadRow {
  fingerprint: string;
  bucket: string;
  total_ms: number;
}

/** Time spent per fingerprint and bucket, for the small charts of the list. */
export function statementLoads(instance: string, range: Range, stepS: number, fingerprints: readonly string[]): string {
  return `SELECT fingerprint, ${bucket(stepS)} AS bucket, sum(total_ms) AS total_ms FROM statement_stats
WHERE instance = ${sqlText(instance)} AND ${during(range)} AND fingerprint IN ${sqlList(fingerprints)}
GROUP BY fingerprint, ${bucket(stepS)}`;
}

export interface HistoryRow {
  bucket: string;
  calls: number;
  total_ms: number;
  rows: number | null;
  rows_examined: number | null;
  blocks_hit: number | null;
  blocks_read: number | null;
  interval_ms: number | null;
}

/** One statement through time. */
export function statementHistory(instance: string, fingerprint: string, range: Range, stepS: number): string {
  return `SELECT ${bucket(stepS)} AS bucket, sum(calls) AS calls, sum(total_ms) AS total_ms, sum("rows") AS "rows",
  sum(rows_examined) AS rows_examined, sum(blocks_hit) AS blocks_hit, sum(blocks_read) AS blocks_read, max(interval_ms) AS interval_ms
FROM statement_stats WHERE instance = ${sqlText(instance)} AND fingerprint = ${sqlText(fingerprint)} AND ${during(range)}
GROUP BY ${bucket(stepS)} ORDER BY 1`;
}

export interface WhereRow {
  instance: string;
  database: string | null;
  user: string | null;
  calls: number;
  total_ms: number;
  mean_ms: number | null;
  max_ms: number | null;
  quality: string | null;
}

/** On which instances, in which databases and by whom a statement ran. */
export function statementPlaces(fingerprint: string, range: Range): string {
  return `SELECT instance, "database", "user", sum(calls) AS calls, sum(total_ms) AS total_ms,
  sum(total_ms) / nullif(sum(calls), 0) AS mean_ms, max(max_ms) AS max_ms, max(quality) AS quality
FROM statement_stats WHERE fingerprint = ${sqlText(fingerprint)} AND ${during(range)}
GROUP BY instance, "database", "user" ORDER BY total_ms DESC LIMIT 50`;
}

export interface PlanRow {
  ts: string;
  database: string | null;
  plan_fingerprint: string;
  previous_plan_fingerprint: string | null;
  plan_kind: string | null;
  total_cost: number | null;
  summary: string | null;
  plan: string | null;
}

/** The plans of a statement, newest first; not bound to the range, as a plan is stored once per change. */
export function statementPlans(instance: string, fingerprint: string): string {
  return `SELECT ts, "database", plan_fingerprint, previous_plan_fingerprint, plan_kind, total_cost, summary, plan
FROM plans WHERE instance = ${sqlText(instance)} AND fingerprint = ${sqlText(fingerprint)} ORDER BY ts DESC LIMIT 40`;
}

export interface SampleRow {
  ts: string;
  user: string | null;
  application: string | null;
  client: string | null;
  pid: number | null;
  duration_ms: number | null;
  lock_ms: number | null;
  rows: number | null;
  source: string | null;
  text: string | null;
}

/** The longest single executions caught. */
export function statementSamples(instance: string, fingerprint: string, range: Range): string {
  return `SELECT ts, "user", application, client, pid, duration_ms, lock_ms, "rows", source, text FROM statement_samples
WHERE instance = ${sqlText(instance)} AND fingerprint = ${sqlText(fingerprint)} AND ${during(range)}
ORDER BY duration_ms DESC LIMIT 50`;
}

export interface SessionRow {
  ts: string;
  pid: number;
  database: string | null;
  user: string | null;
  application: string | null;
  client: string | null;
  backend: string | null;
  state: string | null;
  wait_class: string | null;
  wait: string | null;
  fingerprint: string | null;
  text: string | null;
  query_ms: number | null;
  transaction_ms: number | null;
  state_ms: number | null;
  blocked_by: string | null;
  root_blocker: number | null;
  blocking: number | null;
  lock_mode: string | null;
  lock_object: string | null;
}

/** The sessions of the last reading in a range. */
export function sessionsAt(instance: string, range: Range): string {
  const where = `instance = ${sqlText(instance)} AND ${during(range)}`;
  return `SELECT ts, pid, "database", "user", application, client, backend, state, wait_class, wait, fingerprint, text, query_ms,
  transaction_ms, state_ms, blocked_by, root_blocker, blocking, lock_mode, lock_object
FROM activity WHERE ${where} AND ts = (SELECT max(ts) FROM activity WHERE ${where})
ORDER BY blocking DESC NULLS LAST, transaction_ms DESC NULLS LAST LIMIT 500`;
}

export interface WaitRow {
  bucket: string;
  wait_class: string | null;
  sessions: number;
  readings: number;
}

/** Busy sessions by what they wait for; divide `sessions` by the bucket's most `readings`. */
export function sessionWaits(instance: string, range: Range, stepS: number): string {
  return `SELECT ${bucket(stepS)} AS bucket, wait_class, count(*) AS sessions, count(DISTINCT ts) AS readings FROM activity
WHERE instance = ${sqlText(instance)} AND ${during(range)} AND state <> 'idle'
GROUP BY ${bucket(stepS)}, wait_class ORDER BY 1`;
}

export interface LogFilter {
  levels: readonly string[];
  class: string;
  search: string;
}
export interface LogRow {
  ts: string;
  level: string | null;
  class: string | null;
  body: string | null;
  code: string | null;
  pid: number | null;
  database: string | null;
  user: string | null;
  fingerprint: string | null;
  stream: string | null;
}

function logWhere(instance: string, range: Range, filter: LogFilter): string {
  const parts = [`instance = ${sqlText(instance)}`, during(range)];
  if (filter.levels.length > 0) parts.push(`level IN ${sqlList(filter.levels)}`);
  if (filter.class !== "") parts.push(`class = ${sqlText(filter.class)}`);
  if (filter.search !== "") parts.push(`strpos(lower(body), ${sqlText(filter.search.toLowerCase())}) > 0`);
  return parts.join(" AND ");
}

/** Log lines, newest first. */
export function logLines(instance: string, range: Range, filter: LogFilter, limit: number): string {
  return `SELECT ts, level, class, body, code, pid, "database", "user", fingerprint, stream FROM logs
WHERE ${logWhere(instance, range, filter)} ORDER BY ts DESC LIMIT ${sqlInt(limit)}`;
}

export interface LogCountRow {
  bucket: string;
  level: string | null;
  n: number;
}

/** Log lines per bucket and level. */
export function logCounts(instance: string, range: Range, filter: LogFilter, stepS: number): string {
  return `SELECT ${bucket(stepS)} AS bucket, level, count(*) AS n FROM logs WHERE ${logWhere(instance, range, filter)}
GROUP BY ${bucket(stepS)}, level ORDER BY 1`;
}

/** The classes that occur in a range. */
export function logClasses(instance: string, range: Range): string {
  return `SELECT class, count(*) AS n FROM logs WHERE instance = ${sqlText(instance)} AND ${during(range)} AND class IS NOT NULL
GROUP BY class ORDER BY 2 DESC LIMIT 100`;
}

export interface ObjectRow {
  ts: string;
  kind: string | null;
  database: string | null;
  schema: string | null;
  name: string | null;
  parent: string | null;
  change: string | null;
  value: string | null;
  previous: string | null;
  rows: number | null;
  size_bytes: number | null;
  attributes: string | null;
}

const OBJECT_COLUMNS = `ts, kind, "database", "schema", name, parent, "change", "value", previous, "rows", size_bytes, attributes`;

/** What is known of objects of some kinds up to a moment, newest first: the first row of each name is its present state. */
export function objectsOf(instance: string, kinds: readonly string[], toMs: number): string {
  return `SELECT ${OBJECT_COLUMNS} FROM objects WHERE instance = ${sqlText(instance)} AND kind IN ${sqlList(kinds)} AND ts <= ${sqlTime(toMs)}
ORDER BY ts DESC LIMIT 5000`;
}

/** What was added, changed or removed in a range. */
export function objectChanges(instance: string, range: Range): string {
  return `SELECT ${OBJECT_COLUMNS} FROM objects WHERE instance = ${sqlText(instance)} AND ${during(range)}
AND "change" IN ('added', 'changed', 'removed') ORDER BY ts DESC LIMIT 300`;
}

export interface GapRow {
  from_ts: string | null;
  to_ts: string | null;
  class: string | null;
  rows: number | null;
  reason: string | null;
  detail: string | null;
}

/** What was lost in a range. */
export function gapsOf(instance: string, range: Range): string {
  return `SELECT from_ts, to_ts, class, "rows", reason, detail FROM gaps WHERE instance = ${sqlText(instance)}
AND to_ts >= ${sqlTime(range.fromMs)} AND from_ts <= ${sqlTime(range.toMs)} ORDER BY from_ts LIMIT 200`;
}
