// What was true when an alert fired: its likely cause, forecast, blockers, statements, series, changes, log lines, sessions.
import type { Cell, Evidence, EvidenceStatement, Verdict } from "./api";
import { BlockingTrees } from "./blocking_view";
import { Chart, type Mark } from "./chart";
import { ForecastChart } from "./forecast_view";
import { grouped, number, stamp, type Unit } from "./format";
import { currentLang, said, t } from "./language";
import { LogLines } from "./pages/logs";
import { SessionTable } from "./pages/sessions";
import { Changes } from "./pages/settings";
import { lineName } from "./panels";
import { Empty, Link, Panel, Sql } from "./parts";
import { Plan } from "./plan_view";
import type { SessionRow } from "./queries";
import { seriesTitle } from "./rule_text";

const LINES_MAX = 10;

/** What an alert means: its likely cause and what to do, other causes that fit, and what is foreseen. */
export function Diagnosis(props: { evidence: Evidence; forecastUnit: Unit }) {
  const e = props.evidence;
  return (
    <>
      {e.findings.slice(0, 1).map((f) => (
        <Panel title={t("cause")} class="verdict">
          <VerdictText of={f} />
        </Panel>
      ))}
      {e.findings.length > 1 && (
        <details class="panel other-causes">
          <summary>{t("other_causes", { n: e.findings.length - 1 })}</summary>
          {e.findings.slice(1).map((f) => (
            <details>
              <summary>{said(f.title, f.title_zh) || f.verdict}</summary>
              <VerdictText of={f} bare />
            </details>
          ))}
        </details>
      )}
      {(e.forecast?.series ?? []).map((f) => (
        <Panel title={t("forecast")} class="chart-panel">
          <ForecastChart of={f} unit={props.forecastUnit} title={t("forecast")} />
        </Panel>
      ))}
    </>
  );
}

/** What was read when the alert fired, what names a culprit first. */
export function EvidenceView(props: { evidence: Evidence; instance: string | null; marks: Mark[] }) {
  const { evidence: e, instance, marks } = props;
  return (
    <>
      <p class="evidence-line muted">
        {t("evidence")} {t("evidence_at", { time: stamp(e.collected_at_ms) })} · {t("window")} {stamp(e.window.from_ms)} – {stamp(e.window.to_ms)}
      </p>
      {e.blocking.length > 0 && (
        <Panel title={t("blocking_tree")}>
          <BlockingTrees trees={e.blocking} instance={instance} />
        </Panel>
      )}
      {e.statements.length > 0 && (
        <Panel title={t("top_statements")}>
          <ul class="evidence-statements">
            {e.statements.map((s) => (
              <Statement of={s} instance={instance} />
            ))}
          </ul>
        </Panel>
      )}
      {e.series.length > 0 && (
        <>
          <h2 class="section">{t("series_around")}</h2>
          <div class="chart-grid">
            {e.series.map((s) => (
              <SeriesChart of={s} marks={marks} />
            ))}
          </div>
        </>
      )}
      {e.changes.length > 0 && (
        <Panel title={t("changes")}>
          <Changes rows={e.changes.map((c) => ({ ...c, kind: c.kind ?? "", name: c.name ?? "", change: c.change ?? "" }))} />
        </Panel>
      )}
      {e.logs.length > 0 && (
        <Panel title={t("log_lines")}>
          <LogLines lines={e.logs.map((l) => ({ ...l, level: l.level ?? "", body: l.body ?? "" }))} instance={instance} />
        </Panel>
      )}
      {e.sessions.length > 0 && (
        <Panel title={t("sessions")}>
          <SessionTable rows={e.sessions.map(sessionOf)} instance={instance} />
        </Panel>
      )}
      {e.errors.length > 0 && (
        <Panel title={t("evidence_errors")}>
          <ul class="lines">
            {e.errors.map((x) => (
              <li>{typeof x === "string" ? x : JSON.stringify(x)}</li>
            ))}
          </ul>
        </Panel>
      )}
    </>
  );
}

function VerdictText(props: { of: Verdict; bare?: boolean }) {
  const f = props.of;
  const reasons = said(f.reasons, f.reasons_zh);
  const advice = said(f.advice, f.advice_zh);
  return (
    <div class="verdict-text">
      {!props.bare && <p class="lead">{said(f.title, f.title_zh) || f.verdict}</p>}
      {reasons.length > 0 && (
        <>
          <h3>{t("reasons")}</h3>
          <ul>
            {reasons.map((r) => (
              <li>{r}</li>
            ))}
          </ul>
        </>
      )}
      {advice !== "" && (
        <>
          <h3>{t("advice")}</h3>
          <p class="advice">{advice}</p>
        </>
      )}
    </div>
  );
}

/** A session of evidence with every column a table row needs; `blocked_by` may come as a list or as its text. */
function sessionOf(row: Record<string, Cell>): SessionRow {
  const by = row["blocked_by"] as unknown;
  const full: Record<string, unknown> = {};
  for (const name of ["database", "user", "application", "client", "backend", "state", "wait_class", "wait", "fingerprint", "text", "query_ms", "transaction_ms", "lock_mode", "lock_object"]) {
    full[name] = row[name] ?? null;
  }
  return { ...full, pid: Number(row["pid"] ?? 0), blocked_by: Array.isArray(by) ? JSON.stringify(by) : (by ?? null) } as SessionRow;
}

function Statement(props: { of: EvidenceStatement; instance: string | null }) {
  const s = props.of;
  const text = s.text === null ? <code>{s.fingerprint}</code> : <Sql text={s.text} />;
  const slower = s.change_ratio !== null && s.change_ratio >= 1.5;
  return (
    <li>
      <div class="statement">
        {props.instance === null ? (
          text
        ) : (
          <Link to={{ page: "statement", instance: props.instance, fingerprint: s.fingerprint }} title={t("statement_open")} class="statement-link">
            {text}
          </Link>
        )}
      </div>
      <dl class="facts">
        <div>
          <dt>{t("calls")}</dt>
          <dd>
            {s.before !== null && <span class="muted">{grouped(s.before.calls)} → </span>}
            {grouped(s.calls)}
          </dd>
        </div>
        <div>
          <dt>{t("mean")}</dt>
          <dd class={slower ? "bad" : ""}>
            {s.before !== null && <span class="muted">{number(s.before.mean_ms, "ms")} → </span>}
            {number(s.mean_ms, "ms")}
            {s.change_ratio !== null && Math.abs(s.change_ratio - 1) >= 0.05 && <b> ×{number(s.change_ratio)}</b>}
          </dd>
        </div>
        <div>
          <dt>{t("total")}</dt>
          <dd>{number(s.total_ms, "ms")}</dd>
        </div>
        <div>
          <dt>{t("rows")}</dt>
          <dd>{number(s.rows)}</dd>
        </div>
        {s.blocks_read !== null && (
          <div>
            <dt>{t("blocks_read")}</dt>
            <dd>{number(s.blocks_read)}</dd>
          </div>
        )}
        <div>
          <dt>{t("database")}</dt>
          <dd>{[s.database, s.user].filter((x) => x !== null && x !== "").join(" · ") || "–"}</dd>
        </div>
      </dl>
      {s.plan !== null && (
        <details open={s.plan.changed}>
          <summary>
            {t("plan")} {s.plan.changed && <span class="tag warning">{t("plan_changed")}</span>} <span class="muted">{s.plan.summary}</span>
          </summary>
          {s.plan.plan !== null && <Plan plan={s.plan.plan} />}
        </details>
      )}
    </li>
  );
}

/** A series of evidence: its own times, as they were stored. */
function SeriesChart(props: { of: Evidence["series"][number]; marks: Mark[] }) {
  const s = props.of;
  const times = [...new Set(s.result.flatMap((r) => r.values.map(([ms]) => ms)))].sort((a, b) => a - b);
  const labels = [...new Set(s.result.flatMap((r) => Object.keys(r.labels)))].filter((name) => name !== "__name__" && new Set(s.result.map((r) => r.labels[name])).size > 1);
  const series = s.result.slice(0, LINES_MAX).map((r) => {
    const known = new Map(r.values);
    const pattern = labels.length > 0 ? labels.map((l) => `{${l}}`).join(" ") : "{__name__}";
    const name = lineName(pattern, r.labels);
    return { name: name === "–" ? t("value") : name, values: times.map((ms) => known.get(ms) ?? null) };
  });
  const title = seriesTitle(s.title, currentLang()) || s.query;
  return (
    <Panel title={<span title={s.query}>{title}</span>} class="chart-panel">
      {times.length === 0 ? (
        <Empty>{t("no_data")}</Empty>
      ) : (
        <Chart title={title} unit="count" times={times.map((ms) => ms / 1000)} series={series} marks={props.marks} />
      )}
      {s.result.length > LINES_MAX && <p class="muted">{t("series_more", { n: s.result.length, shown: LINES_MAX })}</p>}
    </Panel>
  );
}
