// One statement: its text, its course, its plans and when they changed, slow executions caught, and where it runs.
import { useState } from "preact/hooks";
import { sql } from "../api";
import { Chart, type Mark } from "../chart";
import { grouped, number, parseTime, shortStamp, stamp } from "../format";
import { t } from "../language";
import { Await, Copy, Empty, Link, Panel, Sql, Table } from "../parts";
import { Plan } from "../plan_view";
import {
  statementHistory,
  statementPlaces,
  statementPlans,
  statementSamples,
  statementTexts,
  type HistoryRow,
  type PlanRow,
  type SampleRow,
  type TextRow,
  type WhereRow,
} from "../queries";
import { grid } from "../range";
import { momentOf, useData, useShared } from "../shell_state";
import { layout } from "../sql_text";

const LEAST_STEP_S = 60;

/** Columns over the grid: null where the statement did not run (its mean is then unknown, its rate is zero). */
export function courses(rows: readonly HistoryRow[], times: readonly number[], stepS: number) {
  const at = new Map(rows.map((r) => [Math.round((parseTime(r.bucket) ?? 0) / 1000), r]));
  const per = (f: (r: HistoryRow) => number | null) => times.map((s) => {
    const row = at.get(s);
    return row === undefined || row.calls <= 0 ? null : f(row);
  });
  return {
    calls: times.map((s) => (at.get(s)?.calls ?? 0) / stepS),
    mean: per((r) => r.total_ms / r.calls),
    rows: per((r) => (r.rows === null ? null : r.rows / r.calls)),
    examined: per((r) => (r.rows_examined === null ? null : r.rows_examined / r.calls)),
    hit: per((r) => (r.blocks_hit === null ? null : r.blocks_hit / r.calls)),
    read: per((r) => (r.blocks_read === null ? null : r.blocks_read / r.calls)),
  };
}

export function StatementPage(props: { instance: string; fingerprint: string }) {
  const { instance, fingerprint } = props;
  const { range, step: charted } = useShared();
  const moment = momentOf(range);
  const subject = `${instance}|${fingerprint}`;
  const step = Math.max(LEAST_STEP_S, charted);
  const text = useData(`text|${subject}`, moment, async (signal) => (await sql<TextRow>(statementTexts(instance, [fingerprint]), signal))[0] ?? null);
  const history = useData(`history|${subject}`, moment, async (signal) => {
    const rows = await sql<HistoryRow>(statementHistory(instance, fingerprint, range, step), signal);
    const times = grid(range, step);
    return { times, any: rows.length > 0, ...courses(rows, times, step) };
  });
  const plans = useData(`plans|${subject}`, moment, (signal) => sql<PlanRow>(statementPlans(instance, fingerprint), signal));
  const places = useData(`places|${fingerprint}`, moment, (signal) => sql<WhereRow>(statementPlaces(fingerprint, range), signal));
  const samples = useData(`samples|${subject}`, moment, (signal) => sql<SampleRow>(statementSamples(instance, fingerprint, range), signal));
  const marks: Mark[] = (plans.data ?? []).flatMap((p) => {
    const atMs = parseTime(p.ts);
    return atMs === null || p.previous_plan_fingerprint === null ? [] : [{ atMs, grade: "plan" as const, text: t("plan_change") }];
  });
  const here = (places.data ?? []).filter((p) => p.instance === instance);
  const total = here.reduce((sum, p) => sum + p.total_ms, 0);
  const calls = here.reduce((sum, p) => sum + p.calls, 0);
  return (
    <>
      <div class="page-head">
        <p class="crumbs">
          <Link to={{ page: "database", instance }}>{instance}</Link> ›{" "}
          <Link to={{ page: "database", instance }} extra={{ tab: "statements" }}>
            {t("statements")}
          </Link>
        </p>
        <h1>
          {t("statement")} <code class="id">{fingerprint}</code>
        </h1>
        <dl class="facts">
          <div>
            <dt>{t("calls")}</dt>
            <dd>{places.data === undefined ? "–" : grouped(calls)}</dd>
          </div>
          <div>
            <dt>{t("mean")}</dt>
            <dd>{number(calls > 0 ? total / calls : null, "ms")}</dd>
          </div>
          <div>
            <dt>{t("total")}</dt>
            <dd>{number(places.data === undefined ? null : total, "ms")}</dd>
          </div>
        </dl>
      </div>
      <Panel title={t("text")} aside={text.data && <Copy text={text.data.text} />}>
        <Await of={text}>
          {(row) =>
            row === null ? (
              <Empty>{t("not_stored")}</Empty>
            ) : (
              <>
                <pre class="statement-text">
                  <Sql text={layout(row.text)} />
                </pre>
                {row.truncated === true && <p class="muted">{t("truncated")}</p>}
                <TableNames json={row.tables} />
              </>
            )
          }
        </Await>
      </Panel>
      <Await of={history}>
        {(h) =>
          h.any ? (
            <div class="chart-grid four">
              <Panel title={t("mean_ms")} class="chart-panel" aside={marks.length > 0 && <span class="key-plan">{t("plan_change")}</span>}>
                <Chart title={t("mean_ms")} unit="ms" times={h.times} series={[{ name: t("mean"), values: h.mean }]} marks={marks} />
              </Panel>
              <Panel title={t("calls_per_s")} class="chart-panel">
                <Chart title={t("calls_per_s")} unit="per_second" times={h.times} series={[{ name: t("calls"), values: h.calls }]} marks={marks} />
              </Panel>
              <Panel title={t("rows_per_call")} class="chart-panel">
                <Chart
                  title={t("rows_per_call")}
                  unit="count"
                  times={h.times}
                  series={[{ name: t("rows"), values: h.rows }, ...(h.examined.some((v) => v !== null) ? [{ name: "examined", values: h.examined }] : [])]}
                  marks={marks}
                />
              </Panel>
              {h.read.some((v) => v !== null) && (
                <Panel title={t("blocks_per_call")} class="chart-panel">
                  <Chart
                    title={t("blocks_per_call")}
                    unit="count"
                    times={h.times}
                    series={[
                      { name: t("blocks_hit"), values: h.hit },
                      { name: t("blocks_read"), values: h.read },
                    ]}
                    marks={marks}
                  />
                </Panel>
              )}
            </div>
          ) : (
            <Empty>{t("no_data")}</Empty>
          )
        }
      </Await>
      <Panel title={t("plans")} id="plans">
        <Await of={plans}>{(rows) => (rows.length === 0 ? <Empty>{t("no_plan")}</Empty> : <Plans rows={rows} />)}</Await>
      </Panel>
      <Panel title={t("where")}>
        <Await of={places}>
          {(rows) =>
            rows.length === 0 ? (
              <Empty>{t("no_data")}</Empty>
            ) : (
              <Table
                caption={t("where")}
                rows={rows}
                rowKey={(r) => `${r.instance}|${r.database}|${r.user}`}
                columns={[
                  { title: t("instance"), wide: true, cell: (r) => <Link to={{ page: "statement", instance: r.instance, fingerprint }}>{r.instance}</Link> },
                  { title: t("database"), cell: (r) => r.database ?? "–" },
                  { title: t("user"), cell: (r) => r.user ?? "–" },
                  { title: t("calls"), number: true, cell: (r) => grouped(r.calls) },
                  { title: t("mean"), number: true, cell: (r) => number(r.mean_ms, "ms") },
                  { title: t("max_ms"), number: true, cell: (r) => number(r.max_ms, "ms") },
                  { title: t("total"), number: true, cell: (r) => number(r.total_ms, "ms") },
                ]}
              />
            )
          }
        </Await>
      </Panel>
      <Panel title={t("executions")}>
        <Await of={samples}>
          {(rows) =>
            rows.length === 0 ? (
              <Empty>{t("executions_none")}</Empty>
            ) : (
              <Table
                caption={t("executions")}
                rows={rows}
                rowKey={(_r, at) => String(at)}
                columns={[
                  { title: t("time"), cell: (r) => shortStamp(parseTime(r.ts) ?? 0, range.toMs) },
                  { title: t("duration"), number: true, cell: (r) => number(r.duration_ms, "ms") },
                  { title: t("lock"), number: true, cell: (r) => number(r.lock_ms, "ms") },
                  { title: t("rows"), number: true, cell: (r) => number(r.rows) },
                  { title: t("user"), cell: (r) => [r.user, r.application, r.client].filter((x) => x !== null && x !== "").join(" · ") || "–" },
                  { title: t("pid"), number: true, cell: (r) => r.pid ?? "–" },
                  { title: t("source"), cell: (r) => r.source ?? "–" },
                ]}
              />
            )
          }
        </Await>
      </Panel>
    </>
  );
}

function TableNames(props: { json: string | null }) {
  let names: unknown;
  try {
    names = JSON.parse(props.json ?? "[]");
  } catch {
    names = [];
  }
  if (!Array.isArray(names) || names.length === 0) return null;
  return (
    <p class="muted">
      {t("tables")}:{" "}
      {names.map((n) => (
        <code class="tag">{String(n)}</code>
      ))}
    </p>
  );
}

function Plans(props: { rows: PlanRow[] }) {
  const { nowMs } = useShared();
  const [chosen, choose] = useState(0);
  const [compare, setCompare] = useState(true);
  const row = props.rows[chosen] ?? props.rows[0]!;
  const before = row.previous_plan_fingerprint === null ? undefined : props.rows.find((r, at) => at > chosen && r.plan_fingerprint === row.previous_plan_fingerprint);
  return (
    <div class="plans">
      <ol class="plan-list">
        {props.rows.map((r, at) => (
          <li key={r.ts + r.plan_fingerprint}>
            <button type="button" aria-pressed={r === row} onClick={() => choose(at)}>
              <span class="muted">{shortStamp(parseTime(r.ts) ?? 0, nowMs)}</span>{" "}
              <span class={r.previous_plan_fingerprint === null ? "tag" : "tag warning"}>{r.previous_plan_fingerprint === null ? t("plan_first") : t("plan_changed")}</span>
              <span class="under">{r.summary ?? r.plan_fingerprint}</span>
            </button>
          </li>
        ))}
      </ol>
      <div class="grow">
        {before !== undefined && (
          <label class="check">
            <input type="checkbox" checked={compare} onChange={(e) => setCompare(e.currentTarget.checked)} /> {t("plans_compare")}
          </label>
        )}
        <div class={before !== undefined && compare ? "two-plans" : ""}>
          {before !== undefined && compare && (
            <div class="one-plan">
              <h3>
                {t("plan_before")} <span class="muted">{stamp(parseTime(before.ts) ?? 0)}</span>
              </h3>
              <Plan plan={before.plan} />
            </div>
          )}
          <div class="one-plan">
            <h3>
              {t("plan")} <span class="muted">{[stamp(parseTime(row.ts) ?? 0), row.plan_kind, row.database].filter((x) => x !== null && x !== "").join(" · ")}</span>
            </h3>
            <Plan plan={row.plan} />
          </div>
        </div>
      </div>
    </div>
  );
}
