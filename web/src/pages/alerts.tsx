// Alerts: how many of each level, filtered by state, level, instance and text, in groups; who has taken them over.
import { alerts, type Alert } from "../api";
import { countsByLevel, GRADES, groupedAlerts, instancesOf, latestFirst, passing, worstFirst, type Grouping } from "../alert_list";
import { AlertMarks } from "../alert_marks";
import { number, stamp } from "../format";
import { annotation, lasting, t } from "../language";
import { Await, Choices, Empty, gradeOf, LevelBadge, Link, Panel, Table, type Grade } from "../parts";
import { momentOf, useData, useShared } from "../shell_state";
import { matchersOf, matchersText } from "../silence";
import type { Word } from "../words";

const STATES = ["firing", "pending", "resolved", "all"] as const satisfies readonly Word[];
const GROUPINGS = ["none", "rule", "instance"] as const satisfies readonly Grouping[];
const ALERTS_ASKED = 500;
const ROWS_SHOWN = 200;

export function AlertsPage() {
  const { range, query, setQuery } = useShared();
  const state = STATES.find((s) => s === query.get("state")) ?? "firing";
  const level = GRADES.find((g) => g === query.get("level")) ?? null;
  const instance = query.get("instance");
  const text = query.get("search") ?? "";
  const by = GROUPINGS.find((g) => g === query.get("by")) ?? "none";
  const loaded = useData(`alerts|${state}`, momentOf(range), (signal) => alerts(state, ALERTS_ASKED, signal));
  const all = loaded.data ?? [];
  const counts = countsByLevel(passing(all, { level: null, instance, text }));
  const instances = [...new Set([...instancesOf(all), ...(instance === null ? [] : [instance])])].sort();
  const levels: { key: Grade | "all"; title: string }[] = [
    { key: "all", title: t("all") },
    ...GRADES.filter((g) => g !== "none" || counts.none > 0).map((key) => ({ key, title: `${key === "none" ? t("alert") : t(key)} ${counts[key]}` })),
  ];
  return (
    <>
      <h1>{t("alerts")}</h1>
      <div class="filters">
        <Choices label={t("state")} of={STATES.map((key) => ({ key, title: t(key) }))} chosen={state} choose={(key) => setQuery({ state: key === "firing" ? null : key })} />
        <Choices label={t("level")} of={levels} chosen={level ?? "all"} choose={(key) => setQuery({ level: key === "all" ? null : key })} />
        <label class="select">
          <span class="sr">{t("instance")}</span>
          <select value={instance ?? ""} onChange={(e) => setQuery({ instance: e.currentTarget.value })}>
            <option value="">{t("all_instances")}</option>
            {instances.map((i) => (
              <option value={i}>{i}</option>
            ))}
          </select>
        </label>
        <label class="select">
          <span class="muted">{t("group_by")}</span>{" "}
          <select value={by} onChange={(e) => setQuery({ by: e.currentTarget.value === "none" ? null : e.currentTarget.value })}>
            {GROUPINGS.map((g) => (
              <option value={g}>{t(`group_${g}` as Word)}</option>
            ))}
          </select>
        </label>
        <label class="grow">
          <span class="sr">{t("search")}</span>
          <input type="search" placeholder={t("search_alerts")} value={text} onInput={(e) => setQuery({ search: e.currentTarget.value }, true)} />
        </label>
      </div>
      <Await of={loaded}>
        {(list) => {
          const passed = passing(list, { level, instance, text });
          const rows = state === "firing" ? worstFirst(passed) : latestFirst(passed);
          if (rows.length === 0) {
            return (
              <Panel>
                <Empty>{list.length > 0 ? t("no_alerts_filter") : state === "firing" ? t("no_alerts") : t("no_alerts_state")}</Empty>
              </Panel>
            );
          }
          return (
            <div onKeyDown={walkRows}>
              {groupedAlerts(rows.slice(0, ROWS_SHOWN), by).map((g) => (
                <Group key={g.key} title={by === "none" ? null : g.key} alerts={g.alerts} />
              ))}
              {(rows.length > ROWS_SHOWN || list.length === ALERTS_ASKED) && <p class="muted">{t("rows_truncated", { n: Math.min(rows.length, ROWS_SHOWN) })}</p>}
            </div>
          );
        }}
      </Await>
    </>
  );
}

/** Up and down move between the alerts of the list; Enter opens, as on any link. */
function walkRows(event: KeyboardEvent): void {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  if (!(event.currentTarget instanceof HTMLElement) || !(event.target instanceof HTMLElement)) return;
  const links = [...event.currentTarget.querySelectorAll<HTMLElement>("a.alert-link")];
  const at = links.indexOf(event.target);
  const next = links[at + (event.key === "ArrowDown" ? 1 : -1)];
  if (at < 0 || next === undefined) return;
  event.preventDefault();
  next.focus();
}

function Group(props: { title: string | null; alerts: Alert[] }) {
  if (props.title === null) {
    return (
      <Panel>
        <Rows of={props.alerts} />
      </Panel>
    );
  }
  const counts = countsByLevel(props.alerts);
  return (
    <details class="panel alert-group" open>
      <summary>
        <b>{props.title || "–"}</b>
        {GRADES.filter((g) => counts[g] > 0).map((g) => (
          <span>
            <LevelBadge grade={g} /> {counts[g]}
          </span>
        ))}
      </summary>
      <Rows of={props.alerts} />
    </details>
  );
}

function Rows(props: { of: Alert[] }) {
  const { nowMs } = useShared();
  return (
    <Table
      caption={t("alerts")}
      rows={props.of}
      rowKey={(a) => a.id}
      rowClass={(a) => (a.acknowledged || (a.silenced_by ?? []).length > 0 ? "handled" : "")}
      columns={[
        { title: t("level"), class: "tight", cell: (a) => <LevelBadge grade={gradeOf(a)} quiet={a.state !== "firing"} /> },
        {
          title: t("alert"),
          wide: true,
          cell: (a) => (
            <>
              <Link to={{ page: "alert", id: a.id }} class="strong alert-link">
                {a.rule}
              </Link>{" "}
              <AlertMarks alert={a} />
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
                <span class="muted under">{lasting(Math.max(0, Math.round((end - since) / 1000) * 1000))}</span>
              </>
            );
          },
        },
        {
          title: t("action"),
          minor: true,
          cell: (a) =>
            a.silenced_by !== undefined && (
              <Link to={{ page: "silences" }} extra={{ new: matchersText(matchersOf(a.labels)) }} label={`${t("silence_verb")}: ${a.rule}`}>
                {t("silence_verb")}
              </Link>
            ),
        },
      ]}
    />
  );
}

/** The state of an alert in words; a state we don't know stands as the server said it. */
export function stateWord(state: string): string {
  return state === "firing" || state === "pending" || state === "resolved" ? t(state) : state;
}
