// Log lines of one instance: counted over the range, filtered by level, class and text.
import { useEffect, useState } from "preact/hooks";
import { sql } from "../api";
import { Chart, type Series } from "../chart";
import { clock, parseTime, stamp } from "../format";
import { t } from "../language";
import { Await, Choices, Empty, Link, Panel } from "../parts";
import { logClasses, logCounts, logLines, type LogCountRow, type LogFilter, type LogRow } from "../queries";
import { grid, stepSeconds } from "../range";
import { momentOf, useData, useShared } from "../shell_state";

const LINES_STEP = 100;
const LINES_MAX = 2000;
const BARS_MAX = 80;
const TYPING_PAUSE_MS = 300;

/** Levels by how bad they are; choosing one shows it and all worse ones. */
const LEVELS = ["panic", "fatal", "error", "warning", "notice", "info", "debug"] as const;
const CHOICES = ["all", "warning", "error", "fatal"] as const;

const TONES: Record<string, NonNullable<Series["tone"]>> = { panic: "plan", fatal: "plan", error: "critical", warning: "warning", notice: "notice", info: "muted" };

export function levelsFrom(least: string): string[] {
  const at = LEVELS.indexOf(least as (typeof LEVELS)[number]);
  return at < 0 ? [] : LEVELS.slice(0, at + 1);
}

/** Counts per level over a grid; no line is zero. */
export function countSeries(rows: readonly LogCountRow[], times: readonly number[]): Series[] {
  const names = [...new Set(rows.map((r) => r.level ?? ""))].sort((a, b) => rank(a) - rank(b));
  return names.map((name) => {
    const at = new Map(rows.filter((r) => (r.level ?? "") === name).map((r) => [Math.round((parseTime(r.bucket) ?? 0) / 1000), r.n]));
    return { name: name === "" ? t("other") : name, values: times.map((s) => at.get(s) ?? 0), tone: TONES[name] ?? "muted" };
  });
}

function rank(level: string): number {
  const at = LEVELS.indexOf(level as (typeof LEVELS)[number]);
  return at < 0 ? LEVELS.length : at;
}

export function Logs(props: { instance: string }) {
  const { instance } = props;
  const { range, query, setQuery } = useShared();
  const step = stepSeconds(range, BARS_MAX);
  const least = query.get("level") ?? "all";
  const filter: LogFilter = { levels: least === "all" ? [] : levelsFrom(least), class: query.get("class") ?? "", search: query.get("search") ?? "" };
  const subject = `${instance}|${least}|${filter.class}|${filter.search}`;
  const [shown, setShown] = useState(LINES_STEP);
  const [typed, setTyped] = useState(filter.search);
  useEffect(() => {
    if (typed === filter.search) return;
    const timer = setTimeout(() => setQuery({ search: typed }, true), TYPING_PAUSE_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  const lines = useData(`logs|${subject}`, `${momentOf(range)}|${shown}`, (signal) => sql<LogRow>(logLines(instance, range, filter, shown), signal));
  const counts = useData(`log-counts|${subject}`, momentOf(range), async (signal) => {
    const rows = await sql<LogCountRow>(logCounts(instance, range, filter, step), signal);
    const times = grid(range, step);
    return { times, series: countSeries(rows, times) };
  });
  const classes = useData(`classes|${instance}`, momentOf(range), (signal) => sql<{ class: string; n: number }>(logClasses(instance, range), signal));
  return (
    <>
      <div class="filters">
        <Choices label={t("level")} of={CHOICES.map((key) => ({ key, title: key === "all" ? t("all_levels") : `≥ ${key}` }))} chosen={(CHOICES.find((c) => c === least) ?? "all") as string} choose={(key) => setQuery({ level: key === "all" ? null : key }, true)} />
        <label>
          <span class="sr">{t("class")}</span>
          <select value={filter.class} onChange={(e) => setQuery({ class: e.currentTarget.value }, true)}>
            <option value="">{t("all_classes")}</option>
            {filter.class !== "" && !(classes.data ?? []).some((c) => c.class === filter.class) && <option value={filter.class}>{filter.class}</option>}
            {(classes.data ?? []).map((c) => (
              <option value={c.class}>
                {c.class} ({c.n})
              </option>
            ))}
          </select>
        </label>
        <label class="grow">
          <span class="sr">{t("search")}</span>
          <input type="search" placeholder={t("search")} value={typed} onInput={(e) => setTyped(e.currentTarget.value)} />
        </label>
      </div>
      <Panel title={t("logs_by_level")} class="chart-panel">
        <Await of={counts}>
          {(c) => (c.series.length === 0 ? <Empty>{t("logs_none")}</Empty> : <Chart title={t("logs_by_level")} unit="count" times={c.times} series={c.series} bars height={120} />)}
        </Await>
      </Panel>
      <Panel title={t("log_lines")}>
        <Await of={lines}>
          {(rows) =>
            rows.length === 0 ? (
              <Empty>{t("logs_none")}</Empty>
            ) : (
              <>
                <LogLines
                lines={rows.map((r) => ({ ts_ms: parseTime(r.ts) ?? 0, level: r.level ?? "", class: r.class, body: r.body ?? "", code: r.code, pid: r.pid, fingerprint: r.fingerprint }))}
                instance={instance}
                />
                {rows.length === shown && shown < LINES_MAX && (
                  <button type="button" class="plain" onClick={() => setShown(Math.min(LINES_MAX, shown * 3))}>
                    {t("show_more")}
                  </button>
                )}
                {rows.length === LINES_MAX && <p class="empty">{t("rows_truncated", { n: rows.length })}</p>}
              </>
            )
          }
        </Await>
      </Panel>
    </>
  );
}

export interface ShownLine {
  ts_ms: number;
  level: string;
  class: string | null;
  body: string;
  code: string | null;
  pid: number | null;
  fingerprint?: string | null;
}

export function LogLines(props: { lines: ShownLine[]; instance: string | null}) {
  return (
    <ol class="log">
        {props.lines.map((l) => (
          <li class={`l-${l.level}`}>
            <time dateTime={new Date(l.ts_ms).toISOString()} title={stamp(l.ts_ms)}>
              {clock(l.ts_ms)}
            </time>
            <span class="lvl">{l.level}</span>
            <span class="cls">{l.class ?? ""}</span>
            <span class="body">
              {l.body}
              {l.fingerprint && props.instance !== null && (
                <>
                  {" "}
                  <Link to={{ page: "statement", instance: props.instance, fingerprint: l.fingerprint }}>{t("statement_open")}</Link>
                </>
              )}
            </span>
          </li>
        ))}
      </ol>
  );
}
