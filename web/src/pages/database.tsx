// One instance: its head, and the tabs of charts, statements, sessions, logs and settings.
import { useState } from "preact/hooks";
import { alerts, instances, instant, sql, type Instance } from "../api";
import type { Mark, Stretch } from "../chart";
import { promText } from "../escape";
import { duration, grouped, parseTime, stamp } from "../format";
import { annotation, t } from "../language";
import { Await, Choices, Empty, gradeOf, LevelBadge, Link, Panel, Trouble } from "../parts";
import { HOST, panelsOf, type PanelSpec } from "../panels";
import { gapsOf, type GapRow } from "../queries";
import { momentOf, useData, useShared } from "../shell_state";
import { TimePanel, panelTitle } from "../time_panel";
import type { Word } from "../words";
import { Logs } from "./logs";
import { Findings } from "./overview";
import { Sessions } from "./sessions";
import { Settings } from "./settings";
import { Statements } from "./statements";

const TABS = ["charts", "statements", "sessions", "logs", "settings"] as const satisfies readonly Word[];
type Tab = (typeof TABS)[number];

/** Alerts of an instance as marks on its charts. */
export function useMarks(instance: string): Mark[] {
  const { range } = useShared();
  const loaded = useData(`marks|${instance}`, momentOf(range), (signal) => alerts("all", 500, signal));
  return (loaded.data ?? [])
    .filter((a) => a.labels["instance"] === instance && a.fired_at_ms !== null)
    .map((a) => {
      const grade = gradeOf(a);
      return { atMs: a.fired_at_ms ?? 0, grade: grade === "none" ? "notice" : grade, text: a.rule };
    });
}

export function DatabasePage(props: { instance: string }) {
  const { range, query, setQuery } = useShared();
  const watched = useData("instances", momentOf(range), instances);
  const wanted = query.get("tab");
  return (
    <Await of={watched}>
      {(list) => {
        const found = list.find((i) => i.instance === props.instance);
        if (found === undefined) return <Empty>{t("instance_unknown", { name: props.instance })}</Empty>;
        const tabs: readonly Tab[] = found.engine === "host" ? ["charts", "logs"] : TABS;
        const tab = tabs.find((x) => x === wanted) ?? "charts";
        return (
          <>
            <Head of={found} />
            <Choices label={t("database")} of={tabs.map((key) => ({ key, title: t(key) }))} chosen={tab} choose={(key) => setQuery({ tab: key === "charts" ? null : key })} />
            {tab === "charts" && <Charts key={found.instance} of={found} />}
            {tab === "statements" && (
              <Panel>
                <Statements instance={found.instance} limit={100} />
              </Panel>
            )}
            {tab === "sessions" && <Sessions instance={found.instance} />}
            {tab === "logs" && <Logs instance={found.instance} />}
            {tab === "settings" && <Settings instance={found.instance} />}
          </>
        );
      }}
    </Await>
  );
}

function Head(props: { of: Instance }) {
  const i = props.of;
  const { range, nowMs } = useShared();
  const open = useData(`open|${i.instance}`, momentOf(range), async (signal) => (await alerts("firing", 500, signal)).filter((a) => a.labels["instance"] === i.instance));
  const facts: [string, string | null][] = [
    [t("engine"), `${i.engine} ${i.version ?? ""}`.trim()],
    [t("role"), i.role],
    [t("cluster"), i.cluster],
    [t("address"), i.address],
    [t("last_seen"), i.last_seen_ms === null ? null : t("since_ago", { time: duration(Math.max(0, Math.round((nowMs - i.last_seen_ms) / 1000) * 1000)) })],
  ];
  const state = i.up === true ? "ok" : i.up === false ? "unreachable" : "unknown";
  return (
    <div class="page-head">
      <h1>
        <span class={`state ${state}`}>
          <span class="sr">{t(state)}</span>
        </span>
        {i.instance}
      </h1>
      <dl class="facts">
        {facts
          .filter(([, value]) => value !== null && value !== "")
          .map(([name, value]) => (
            <div>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
      </dl>
      {i.error !== null && <p class="bad">{i.error}</p>}
      {(open.data ?? []).length > 0 && (
        <ul class="alert-lines">
          {(open.data ?? []).slice(0, 5).map((a) => (
            <li key={a.id}>
              <LevelBadge grade={gradeOf(a)} />
              <Link to={{ page: "alert", id: a.id }}>{a.rule}</Link>
              <span class="grow">{annotation(a.annotations, "summary")}</span>
            </li>
          ))}
        </ul>
      )}
      {i.findings.length > 0 && <Findings list={[i]} />}
    </div>
  );
}

/** The host an instance runs on: what the collector says, else the only host there is. */
async function hostOf(instance: Instance, atMs: number, signal: AbortSignal): Promise<string> {
  if (instance.engine === "host") return instance.instance;
  if (instance.host) return instance.host;
  const named = await instant(`tidewatch_target_info{instance=${promText(instance.instance)}}`, atMs, signal);
  const host = named[0]?.labels["host"];
  if (host !== undefined && host !== "") return host;
  const hosts = (await instances(signal)).filter((i) => i.engine === "host");
  return hosts.length === 1 ? hosts[0]!.instance : "";
}

function Charts(props: { of: Instance }) {
  const { range, nowMs } = useShared();
  const { instance, engine } = props.of;
  const marks = useMarks(instance);
  const host = useData(`host|${instance}`, momentOf(range), (signal) => hostOf(props.of, nowMs, signal));
  const gaps = useData(`gaps|${instance}`, momentOf(range), (signal) => sql<GapRow>(gapsOf(instance, range), signal));
  const lost: Stretch[] = (gaps.data ?? []).flatMap((g) => {
    const fromMs = parseTime(g.from_ts);
    const toMs = parseTime(g.to_ts);
    return fromMs === null || toMs === null || (g.class !== null && g.class !== "samples") ? [] : [{ fromMs, toMs }];
  });
  const [found, setFound] = useState<Record<string, boolean>>({});
  const own = engine === "host" ? [] : panelsOf(engine);
  const report = (group: string) => (key: string, any: boolean) => setFound((was) => (was[group + key] === any ? was : { ...was, [group + key]: any }));
  const grid = (group: string, specs: readonly PanelSpec[]) => {
    const empty = specs.filter((s) => found[group + s.key] === false);
    return (
      <>
        <div class="chart-grid">
          {specs.map((spec) => (
            <TimePanel key={spec.key} spec={spec} instance={instance} host={host.data ?? ""} marks={marks} gaps={lost} found={report(group)} />
          ))}
        </div>
        {empty.length > 0 && (
          <p class="empty">
            {t("no_data_for")} {empty.map(panelTitle).join(", ")}
          </p>
        )}
      </>
    );
  };
  return (
    <>
      {[host, gaps].flatMap((of, at) => (of.error ? [<Trouble key={at} error={of.error} retry={of.retry} />] : []))}
      {own.length > 0 && grid("db", own)}
      {engine !== "host" && (
        <Panel title={t("top_statements")}>
          <Statements instance={instance} limit={8} />
        </Panel>
      )}
      {host.data !== undefined && host.data !== "" && (
        <>
          <h2 class="section">
            {t("host")}{" "}
            {engine !== "host" && (
              <Link to={{ page: "database", instance: host.data }} class="quiet">
                {host.data}
              </Link>
            )}
          </h2>
          {grid("host", HOST)}
        </>
      )}
      {(gaps.data ?? []).length > 0 && (
        <Panel title={t("gaps")}>
          <ul class="lines">
            {(gaps.data ?? []).map((g) => (
              <li>
                <span class="muted">
                  {stamp(parseTime(g.from_ts) ?? 0)} – {stamp(parseTime(g.to_ts) ?? 0)}
                </span>{" "}
                <span class="tag">{g.class}</span> {g.reason} {g.rows !== null && t("gap_rows", { rows: grouped(g.rows) })} {g.detail}
              </li>
            ))}
          </ul>
        </Panel>
      )}
    </>
  );
}
