// Sessions: what they wait for over the range, and at one moment each of them and who blocks whom.
import { sql } from "../api";
import { blockers, blockingTrees } from "../blocking";
import { BlockingTrees, nodeOf } from "../blocking_view";
import { Chart, type Series } from "../chart";
import { clock, duration, parseTime, stamp } from "../format";
import { t } from "../language";
import { Await, Empty, Link, Panel, Sql, Table } from "../parts";
import { sessionsAt, sessionWaits, type SessionRow, type WaitRow } from "../queries";
import { grid, type Range } from "../range";
import { momentOf, useData, useShared } from "../shell_state";

const RECENT_MS = 180_000;

/** Mean number of sessions per wait class and bucket; a bucket without a reading is a hole. */
export function waitSeries(rows: readonly WaitRow[], times: readonly number[]): Series[] {
  const readings = new Map<number, number>();
  const at = (r: WaitRow) => Math.round((parseTime(r.bucket) ?? 0) / 1000);
  for (const r of rows) readings.set(at(r), Math.max(readings.get(at(r)) ?? 0, r.readings));
  const names = [...new Set(rows.map((r) => r.wait_class ?? ""))].sort();
  return names.map((name) => {
    const mean = new Map(rows.filter((r) => (r.wait_class ?? "") === name).map((r) => [at(r), r.sessions / (readings.get(at(r)) || 1)]));
    return { name: name === "" ? t("wait_cpu") : name, values: times.map((s) => (readings.has(s) ? (mean.get(s) ?? 0) : null)) };
  });
}

export function Sessions(props: { instance: string }) {
  const { instance } = props;
  const { range, step, query, setQuery } = useShared();
  const picked = Number(query.get("at") ?? NaN);
  const window: Range = Number.isFinite(picked) && picked > 0 ? { fromMs: picked - RECENT_MS, toMs: picked } : { fromMs: Math.max(range.fromMs, range.toMs - RECENT_MS), toMs: range.toMs };
  const sessions = useData(`sessions|${instance}|${query.get("at") ?? ""}`, momentOf(window), (signal) => sql<SessionRow>(sessionsAt(instance, window), signal));
  const waits = useData(`waits|${instance}`, momentOf(range), async (signal) => {
    const rows = await sql<WaitRow>(sessionWaits(instance, range, step), signal);
    const times = grid(range, step);
    return { times, series: waitSeries(rows, times) };
  });
  return (
    <>
      <Panel title={t("sessions_by_wait")} aside={<span class="muted">{t("sessions_pick")}</span>} class="chart-panel">
        <Await of={waits}>
          {(w) =>
            w.series.length === 0 ? (
              <Empty>{t("sessions_none")}</Empty>
            ) : (
              <Chart
                title={t("sessions_by_wait")}
                unit="count"
                times={w.times}
                series={w.series}
                stack
                marks={Number.isFinite(picked) ? [{ atMs: picked, grade: "plan", text: "" }] : []}
                pick={(atMs) => setQuery({ at: String(atMs) }, true)}
              />
            )
          }
        </Await>
      </Panel>
      <Await of={sessions}>
        {(rows) => {
          const first = rows[0];
          const trees = blockingTrees(rows);
          const time = first === undefined ? null : parseTime(first.ts);
          return (
            <>
              <Panel title={t("blocking_tree")} aside={time === null ? undefined : <span class="muted">{t("at_time", { time: stamp(time) })}</span>}>
                {trees.length === 0 ? <Empty>{t("blocking_none")}</Empty> : <BlockingTrees trees={trees.map(nodeOf)} instance={instance} />}
              </Panel>
              <Panel
                title={time === null ? t("sessions") : t("sessions_then", { time: clock(time) })}
                aside={
                  query.has("at") ? (
                    <button type="button" class="plain" onClick={() => setQuery({ at: null }, true)}>
                      {t("current")}
                    </button>
                  ) : undefined
                }
              >
                {rows.length === 0 ? <Empty>{t("sessions_none")}</Empty> : <SessionTable rows={rows} instance={instance} />}
              </Panel>
            </>
          );
        }}
      </Await>
    </>
  );
}

export function SessionTable(props: { rows: SessionRow[]; instance: string | null }) {
  const { instance } = props;
  return (
    <Table
      caption={t("sessions")}
      rows={props.rows}
      rowKey={(r, at) => `${r.pid}-${at}`}
      columns={[
        { title: t("pid"), number: true, cell: (r) => r.pid },
        {
          title: t("user"),
          cell: (r) => (
            <>
              {[r.user, r.database].filter((x) => x !== null && x !== "").join(" · ") || (r.backend ?? "–")}
              <span class="muted under">{[r.application, r.client].filter((x) => x !== null && x !== "").join(" · ")}</span>
            </>
          ),
        },
        { title: t("state"), cell: (r) => <span class={/in transaction/.test(r.state ?? "") ? "tag warning" : "tag"}>{r.state ?? r.backend ?? "–"}</span> },
        {
          title: t("wait"),
          cell: (r) => {
            const by = blockers(r.blocked_by);
            return (
              <>
                {[r.wait_class, r.wait].filter((x) => x !== null && x !== "").join(": ") || "–"}
                {by.length > 0 && <span class="tag critical">{t("blocked_by_n", { pid: by.join(", ") })}</span>}
                {r.lock_object !== null && <span class="muted under">{[r.lock_mode, r.lock_object].filter(Boolean).join(" ")}</span>}
              </>
            );
          },
        },
        { title: t("query"), number: true, cell: (r) => (r.query_ms === null ? "–" : duration(r.query_ms)) },
        { title: t("transaction"), number: true, cell: (r) => (r.transaction_ms === null ? "–" : duration(r.transaction_ms)) },
        {
          title: t("statement"),
          wide: true,
          class: "statement",
          cell: (r) =>
            r.text === null ? (
              "–"
            ) : r.fingerprint !== null && instance !== null ? (
              <Link to={{ page: "statement", instance, fingerprint: r.fingerprint }} title={r.text}>
                <Sql text={r.text} />
              </Link>
            ) : (
              <Sql text={r.text} />
            ),
        },
      ]}
    />
  );
}
