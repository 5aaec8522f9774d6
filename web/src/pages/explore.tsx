// Questions of one's own: PromQL as a graph or a table, SQL as a table. The question stands in the address.
import { useState } from "preact/hooks";
import { instant, range as askRange, sqlRows, type Cell } from "../api";
import { Chart } from "../chart";
import { stamp } from "../format";
import { t } from "../language";
import { Await, Choices, Empty, Link, Panel } from "../parts";
import { grid } from "../range";
import { momentOf, useData, useShared } from "../shell_state";

const TABLES = ["statement_stats", "statement_samples", "statements", "plans", "activity", "logs", "objects", "gaps", "alert_events", "metrics"];
const LINES_MAX = 20;
const ROWS_SHOWN = 500;

type Mode = "promql" | "sql";

/** A series as PromQL writes it. */
export function seriesName(labels: Record<string, string>): string {
  const { __name__: name = "", ...rest } = labels;
  const pairs = Object.entries(rest).map(([k, v]) => `${k}=${JSON.stringify(v)}`);
  return pairs.length === 0 ? name || "{}" : `${name}{${pairs.join(", ")}}`;
}

export function Explore() {
  const { query, setQuery } = useShared();
  const asked = query.get("q") ?? query.get("g0.expr") ?? "";
  const mode: Mode = query.get("lang") === "sql" ? "sql" : "promql";
  const view = query.get("view") === "table" ? "table" : "graph";
  const [typed, setTyped] = useState(asked);
  const [runs, setRuns] = useState(0);
  const run = () => {
    setRuns(runs + 1);
    setQuery({ q: typed, "g0.expr": null });
  };
  return (
    <>
      <h1>{t("explore")}</h1>
      <form
        class="ask"
        onSubmit={(e) => {
          e.preventDefault();
          run();
        }}
      >
        <div class="filters">
          <Choices
            label={t("language")}
            of={[
              { key: "promql", title: "PromQL" },
              { key: "sql", title: "SQL" },
            ]}
            chosen={mode}
            choose={(key) => setQuery({ lang: key === "sql" ? "sql" : null, q: null, "g0.expr": null })}
          />
          {mode === "promql" && (
            <Choices
              label={t("graph")}
              of={[
                { key: "graph", title: t("graph") },
                { key: "table", title: t("table") },
              ]}
              chosen={view}
              choose={(key) => setQuery({ view: key === "table" ? "table" : null }, true)}
            />
          )}
        </div>
        <label>
          <span class="sr">{t("query")}</span>
          <textarea
            rows={mode === "sql" ? 5 : 2}
            spellcheck={false}
            placeholder={mode === "sql" ? `${t("query_hint_sql")}: ${TABLES.join(", ")}` : t("query_hint_promql")}
            value={typed}
            onInput={(e) => setTyped(e.currentTarget.value)}
            onKeyDown={(e) => {
              if (e.key === "Enter" && (e.metaKey || e.ctrlKey || (mode === "promql" && !e.shiftKey))) {
                e.preventDefault();
                run();
              }
            }}
          />
        </label>
        <div class="filters">
          <button type="submit" class="primary">
            {t("go")}
          </button>
          {mode === "promql" && typed.trim() !== "" && (
            <Link to={{ page: "forecast" }} extra={{ q: typed.trim() }} class="secondary">
              {t("forecast")}
            </Link>
          )}
        </div>
        {mode === "sql" && (
          <p class="muted tables">
            {TABLES.map((name) => (
              <button type="button" class="plain" onClick={() => setTyped(`SELECT * FROM ${name} ORDER BY ts DESC LIMIT 50`)}>
                {name}
              </button>
            ))}
          </p>
        )}
      </form>
      {asked !== "" && mode === "promql" && view === "graph" && <Graph query={asked} />}
      {asked !== "" && mode === "promql" && view === "table" && <Values query={asked} />}
      {asked !== "" && mode === "sql" && <Answer query={asked} runs={runs} />}
    </>
  );
}

function Graph(props: { query: string }) {
  const { range, step } = useShared();
  const loaded = useData(`graph|${props.query}`, momentOf(range), async (signal) => ({ times: grid(range, step), lines: await askRange(props.query, range, step, signal) }));
  return (
    <Panel class="chart-panel">
      <Await of={loaded}>
        {(d) =>
          d.lines.length === 0 ? (
            <Empty>{t("no_data")}</Empty>
          ) : (
            <>
              <Chart title={props.query} unit="count" height={320} times={d.times} series={d.lines.slice(0, LINES_MAX).map((l) => ({ name: seriesName(l.labels), values: l.values }))} />
              {d.lines.length > LINES_MAX && <p class="muted">{t("series_more", { n: d.lines.length, shown: LINES_MAX })}</p>}
            </>
          )
        }
      </Await>
    </Panel>
  );
}

function Values(props: { query: string }) {
  const { nowMs } = useShared();
  const loaded = useData(`values|${props.query}`, nowMs, (signal) => instant(props.query, nowMs, signal));
  return (
    <Panel aside={<span class="muted">{t("at_time", { time: stamp(nowMs) })}</span>}>
      <Await of={loaded}>
        {(points) =>
          points.length === 0 ? (
            <Empty>{t("no_data")}</Empty>
          ) : (
            <Grid columns={["", t("value")]} rows={points.map((p) => [seriesName(p.labels), p.value])} total={points.length} />
          )
        }
      </Await>
    </Panel>
  );
}

/** An SQL answer. It is asked again only by its button, as it may be a large question. */
function Answer(props: { query: string; runs: number }) {
  const loaded = useData(`sql|${props.query}`, props.runs, (signal) => sqlRows(props.query, signal));
  return (
    <Panel>
      <Await of={loaded}>{(a) => (a.rows.length === 0 ? <Empty>{t("no_data")}</Empty> : <Grid columns={a.columns.map((c) => c.name)} rows={a.rows} total={a.truncated ? Infinity : a.rows.length} />)}</Await>
    </Panel>
  );
}

function Grid(props: { columns: string[]; rows: Cell[][]; total: number }) {
  const shown = props.rows.slice(0, ROWS_SHOWN);
  return (
    <>
      <div class="table-wrap">
        <table class="raw">
          <thead>
            <tr>
              {props.columns.map((c) => (
                <th scope="col">{c}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((row) => (
              <tr>
                {row.map((cell) => (
                  <td class={typeof cell === "number" ? "num" : ""} title={String(cell ?? "")}>
                    {cell === null ? <span class="muted">null</span> : String(cell)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="muted">{props.total > shown.length ? t("rows_truncated", { n: shown.length }) : t("rows_shown", { n: shown.length })}</p>
    </>
  );
}
