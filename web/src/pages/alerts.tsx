// Alerts by state: level, since when, where, and what they say.
import { alerts } from "../api";
import { duration, number, stamp } from "../format";
import { annotation, t } from "../language";
import { Await, Choices, Empty, gradeOf, LevelBadge, Link, Panel, Table } from "../parts";
import { momentOf, useData, useShared } from "../shell_state";
import type { Word } from "../words";

const STATES = ["firing", "pending", "resolved", "all"] as const satisfies readonly Word[];
const ALERTS_SHOWN = 500;
const ORDER = ["critical", "warning", "notice", "none"];

export function AlertsPage() {
  const { range, query, setQuery, nowMs } = useShared();
  const state = STATES.find((s) => s === query.get("state")) ?? "firing";
  const only = query.get("instance");
  const loaded = useData(`alerts|${state}`, momentOf(range), (signal) => alerts(state, ALERTS_SHOWN, signal));
  return (
    <>
      <h1>{t("alerts")}</h1>
      <div class="filters">
        <Choices label={t("state")} of={STATES.map((key) => ({ key, title: t(key) }))} chosen={state} choose={(key) => setQuery({ state: key === "firing" ? null : key })} />
        {only !== null && (
          <button type="button" class="plain" onClick={() => setQuery({ instance: null })} aria-label={t("show_all")}>
            {only} ×
          </button>
        )}
      </div>
      <Panel>
        <Await of={loaded}>
          {(list) => {
            const rows = list.filter((a) => only === null || a.labels["instance"] === only);
            rows.sort(
              state === "firing"
                ? (a, b) => ORDER.indexOf(gradeOf(a)) - ORDER.indexOf(gradeOf(b)) || (b.fired_at_ms ?? 0) - (a.fired_at_ms ?? 0)
                : (a, b) => (b.fired_at_ms ?? b.active_at_ms ?? 0) - (a.fired_at_ms ?? a.active_at_ms ?? 0),
            );
            if (rows.length === 0) return <Empty>{state === "firing" ? t("no_alerts") : t("no_alerts_state")}</Empty>;
            return (
              <Table
                caption={t("alerts")}
                rows={rows}
                rowKey={(a) => a.id}
                columns={[
                  { title: t("level"), class: "tight", cell: (a) => <LevelBadge grade={gradeOf(a)} quiet={a.state !== "firing"} /> },
                  {
                    title: t("alert"),
                    wide: true,
                    cell: (a) => (
                      <>
                        <Link to={{ page: "alert", id: a.id }} class="strong">
                          {a.rule}
                        </Link>
                        <span class="under">{annotation(a.annotations, "summary")}</span>
                      </>
                    ),
                  },
                  { title: t("instance"), cell: (a) => (a.labels["instance"] ? <Link to={{ page: "database", instance: a.labels["instance"] }}>{a.labels["instance"]}</Link> : "–") },
                  { title: t("state"), cell: (a) => stateWord(a.state) },
                  { title: t("value"), number: true, cell: (a) => number(a.value) },
                  {
                    title: t("since"),
                    number: true,
                    cell: (a) => {
                      const since = a.fired_at_ms ?? a.active_at_ms;
                      if (since === null) return "–";
                      const end = a.resolved_at_ms ?? nowMs;
                      return (
                        <>
                          {stamp(since)}
                          <span class="muted under">{duration(Math.max(0, Math.round((end - since) / 1000) * 1000))}</span>
                        </>
                      );
                    },
                  },
                ]}
              />
            );
          }}
        </Await>
      </Panel>
    </>
  );
}

/** The state of an alert in words; a state we don't know stands as the server said it. */
export function stateWord(state: string): string {
  return state === "firing" || state === "pending" || state === "resolved" ? t(state) : state;
}
