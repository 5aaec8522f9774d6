// The first page: what is watched, its state and key numbers, what is missing, and which alerts are open.
import { alerts, instances, instant, range as askRange, type Alert, type Instance, type Line, type Point } from "../api";
import { duration, number, shortStamp } from "../format";
import { annotation, t } from "../language";
import { Await, Empty, gradeOf, LevelBadge, Link, Panel, ShareBar, Sparkline, Table, Trouble, type ColumnOf } from "../parts";
import { rateWindow, stepSeconds, type Range } from "../range";
import { momentOf, useData, useShared } from "../shell_state";

const OPEN_ALERTS_SHOWN = 6;
const SPARK_POINTS = 40;

/** Key numbers by instance: each the first of its queries that answers for that instance. */
const NUMBERS = {
  qps: [
    "sum by (instance) (rate(pg_stat_database_xact_commit[$w]) + rate(pg_stat_database_xact_rollback[$w]))",
    "sum by (instance) (rate(pg_stat_database_xact_commit_total[$w]) + rate(pg_stat_database_xact_rollback_total[$w]))",
    "sum by (instance) (rate(mysql_global_status_questions[$w]))",
  ],
  connections: ["sum by (instance) (pg_stat_activity_count)", "sum by (instance) (pg_stat_database_numbackends)", "sum by (instance) (mysql_global_status_threads_connected)"],
  connections_max: ["max by (instance) (last_over_time(pg_settings_max_connections[15m]))", "max by (instance) (last_over_time(mysql_global_variables_max_connections[15m]))"],
  active: [`sum by (instance) (pg_stat_activity_count{state="active"})`, "sum by (instance) (mysql_global_status_threads_running)"],
  blocked: [
    "max by (instance) (pg_sessions_waiting_for_lock)",
    "max by (instance) (pg_locks_waiting)",
    "max by (instance) (mysql_innodb_transactions_waiting)",
    "max by (instance) (mysql_global_status_innodb_row_lock_current_waits)",
  ],
  lag: [
    "max by (instance) (replica_lag_seconds)",
    "max by (instance) (pg_replication_lag_seconds)",
    "max by (instance) (mysql_slave_status_seconds_behind_master)",
    "max by (instance) (mysql_slave_status_seconds_behind_source)",
  ],
  cpu: [`1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$w]))`],
  memory: ["1 - sum by (instance) (node_memory_MemAvailable_bytes) / sum by (instance) (node_memory_MemTotal_bytes)"],
  load: ["max by (instance) (node_load1)"],
  cpus: [`count by (instance) (node_cpu_seconds_total{mode="idle"})`],
  disk: [`max by (instance) (1 - node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|overlay|squashfs"} / node_filesystem_size_bytes{fstype!~"tmpfs|ramfs|overlay|squashfs"})`],
  network: [`sum by (instance) (rate(node_network_receive_bytes_total{device!="lo"}[$w]) + rate(node_network_transmit_bytes_total{device!="lo"}[$w]))`],
} as const;
type NumberName = keyof typeof NUMBERS;
type Numbers = Record<NumberName, Map<string, number>>;

function byInstance(points: Point[], into: Map<string, number>): void {
  for (const p of points) {
    const name = p.labels["instance"];
    if (name !== undefined && !into.has(name) && Number.isFinite(p.value)) into.set(name, p.value);
  }
}

async function numbersAt(atMs: number, window: string, signal: AbortSignal): Promise<Numbers> {
  const names = Object.keys(NUMBERS) as NumberName[];
  const found = await Promise.all(
    names.map(async (name) => {
      const values = new Map<string, number>();
      for (const points of await Promise.all(NUMBERS[name].map((q) => instant(q.replaceAll("$w", window), atMs, signal)))) byInstance(points, values);
      return [name, values] as const;
    }),
  );
  return Object.fromEntries(found) as Numbers;
}

async function trends(queries: readonly string[], range: Range, signal: AbortSignal): Promise<Map<string, (number | null)[]>> {
  const step = stepSeconds(range, SPARK_POINTS);
  const found = new Map<string, (number | null)[]>();
  const answers = await Promise.all(queries.map((q) => askRange(q.replaceAll("$w", rateWindow(step)), range, step, signal)));
  answers.flat().forEach((line: Line) => {
    const name = line.labels["instance"];
    if (name !== undefined && !found.has(name)) found.set(name, line.values);
  });
  return found;
}

export function Overview() {
  const { range, step, nowMs } = useShared();
  const moment = momentOf(range);
  const watched = useData("instances", moment, instances);
  const open = useData("open-alerts", moment, async (signal) => {
    const found = await Promise.all([alerts("firing", 200, signal), alerts("pending", 200, signal)]);
    return found.flat();
  });
  const numbers = useData("numbers", moment, (signal) => numbersAt(nowMs, rateWindow(step), signal));
  const qps = useData("qps", moment, (signal) => trends(NUMBERS.qps, range, signal));
  const cpu = useData("cpu", moment, (signal) => trends(NUMBERS.cpu, range, signal));
  const value = (name: NumberName, instance: string) => numbers.data?.[name].get(instance) ?? null;
  return (
    <>
      <h1 class="sr">{t("overview")}</h1>
      <Panel title={t("open_alerts")} aside={<Link to={{ page: "alerts" }}>{t("show_all")}</Link>}>
        <Await of={open}>{(list) => <OpenAlerts list={list} nowMs={nowMs} />}</Await>
      </Panel>
      {[numbers, qps, cpu].flatMap((of, at) => (of.error ? [<Trouble key={at} error={of.error} retry={of.retry} />] : []))}
      <Await of={watched}>
        {(list) => {
          const databases = list.filter((i) => DATABASES.includes(i.engine));
          const hosts = list.filter((i) => i.engine === "host");
          const others = list.filter((i) => i.engine !== "host" && !DATABASES.includes(i.engine));
          const troubled = list.filter((i) => i.findings.length > 0 || i.error !== null);
          if (list.length === 0) return <Empty>{t("instances_none")}</Empty>;
          return (
            <>
              {databases.length > 0 && (
                <Panel title={t("databases")} aside={<UpCount list={databases} />}>
                  <Table
                    caption={t("databases")}
                    rows={databases}
                    rowKey={(i) => i.instance}
                    columns={[
                      ...identity(nowMs),
                      {
                        title: t("qps"),
                        number: true,
                        class: "with-spark",
                        cell: (i) => (
                          <>
                            <Sparkline values={qps.data?.get(i.instance) ?? []} label={t("qps")} />
                            {number(value("qps", i.instance), "per_second")}
                          </>
                        ),
                      },
                      {
                        title: t("connections"),
                        number: true,
                        cell: (i) => {
                          const used = value("connections", i.instance);
                          const most = value("connections_max", i.instance);
                          const share = used !== null && most !== null && most > 0 ? used / most : null;
                          return (
                            <ShareBar share={share} high={share !== null && share > 0.8}>
                              {number(used)}
                              {most !== null && <span class="muted"> / {number(most)}</span>}
                            </ShareBar>
                          );
                        },
                      },
                      { title: t("active"), number: true, cell: (i) => number(value("active", i.instance)) },
                      {
                        title: t("blocked"),
                        number: true,
                        cell: (i) => {
                          const n = value("blocked", i.instance);
                          return <span class={n !== null && n > 0 ? "bad" : ""}>{number(n)}</span>;
                        },
                      },
                      { title: t("lag"), number: true, cell: (i) => number(value("lag", i.instance), "seconds") },
                      ...closing(nowMs),
                    ]}
                  />
                </Panel>
              )}
              {hosts.length > 0 && (
                <Panel title={t("hosts")} aside={<UpCount list={hosts} />}>
                  <Table
                    caption={t("hosts")}
                    rows={hosts}
                    rowKey={(i) => i.instance}
                    columns={[
                      ...identity(nowMs),
                      {
                        title: t("cpu"),
                        number: true,
                        class: "with-spark",
                        cell: (i) => (
                          <>
                            <Sparkline values={cpu.data?.get(i.instance) ?? []} label={t("cpu")} />
                            {number(value("cpu", i.instance), "ratio")}
                          </>
                        ),
                      },
                      { title: t("memory"), number: true, cell: (i) => <Ratio of={value("memory", i.instance)} /> },
                      {
                        title: t("load"),
                        number: true,
                        cell: (i) => (
                          <>
                            {number(value("load", i.instance))}
                            <span class="muted"> / {number(value("cpus", i.instance))}</span>
                          </>
                        ),
                      },
                      { title: t("disk"), number: true, cell: (i) => <Ratio of={value("disk", i.instance)} /> },
                      { title: t("network"), number: true, cell: (i) => number(value("network", i.instance), "bytes_per_second") },
                      ...closing(nowMs),
                    ]}
                  />
                </Panel>
              )}
              {others.length > 0 && (
                <Panel title="Tidewatch" aside={<UpCount list={others} />}>
                  <Table caption="Tidewatch" rows={others} rowKey={(i) => i.instance} columns={[...identity(nowMs), ...closing(nowMs)]} />
                </Panel>
              )}
              {troubled.length > 0 && (
                <Panel title={t("findings")}>
                  <Findings list={troubled} />
                </Panel>
              )}
            </>
          );
        }}
      </Await>
    </>
  );
}

function Ratio(props: { of: number | null }) {
  return (
    <ShareBar share={props.of} high={props.of !== null && props.of > 0.9}>
      {number(props.of, "ratio")}
    </ShareBar>
  );
}

function UpCount(props: { list: Instance[] }) {
  const down = props.list.filter((i) => i.up === false).length;
  return (
    <span class="muted">
      {props.list.length - down} / {props.list.length} {t("ok")}
    </span>
  );
}

/** Engines that are databases; the server itself is listed apart. */
const DATABASES = ["postgresql", "mysql", "mariadb"];
const ENGINES: Record<string, string> = { postgresql: "PostgreSQL", mysql: "MySQL", mariadb: "MariaDB", host: "", tidewatch: "Tidewatch" };

function identity(nowMs: number): ColumnOf<Instance>[] {
  return [
    {
      title: t("instance"),
      wide: true,
      class: "identity",
      cell: (i) => {
        const state = i.up === true ? "ok" : i.up === false ? "unreachable" : "unknown";
        return (
          <>
            <span class={`state ${state}`} title={i.error ?? t(state)}>
              <span class="sr">{t(state)}</span>
            </span>
            {i.engine === "host" || DATABASES.includes(i.engine) ? <Link to={{ page: "database", instance: i.instance }}>{i.instance}</Link> : <b>{i.instance}</b>}
            {state === "unreachable" && (
              <span class="tag critical">
                {t("unreachable")} {i.last_seen_ms !== null && t("forever", { time: shortStamp(i.last_seen_ms, nowMs) })}
              </span>
            )}
            <span class="muted under">{[`${ENGINES[i.engine] ?? i.engine} ${i.version ?? ""}`.trim(), i.role, i.cluster, i.address].filter((x) => x !== null && x !== "").join(" · ")}</span>
          </>
        );
      },
    },
  ];
}

function closing(nowMs: number): ColumnOf<Instance>[] {
  return [
    { title: t("last_seen"), number: true, cell: (i) => (i.last_seen_ms === null ? "–" : t("since_ago", { time: duration(Math.max(0, Math.round((nowMs - i.last_seen_ms) / 1000) * 1000)) })) },
    {
      title: t("alerts"),
      class: "alert-counts",
      cell: (i) => {
        const levels = (["critical", "warning", "notice"] as const).filter((l) => (i.alerts[l] ?? 0) > 0);
        if (levels.length === 0) return <span class="muted">–</span>;
        return levels.map((l) => (
          <Link to={{ page: "alerts" }} extra={{ instance: i.instance }} class={`level ${l}`} label={`${i.alerts[l]} ${t(l)}`}>
            {i.alerts[l]}
          </Link>
        ));
      },
    },
  ];
}

function OpenAlerts(props: { list: Alert[]; nowMs: number }) {
  const firing = props.list.filter((a) => a.state === "firing");
  if (props.list.length === 0) return <Empty>{t("no_alerts")}</Empty>;
  const order = ["critical", "warning", "notice", "none"];
  const sorted = [...firing].sort((a, b) => order.indexOf(gradeOf(a)) - order.indexOf(gradeOf(b)) || (b.fired_at_ms ?? 0) - (a.fired_at_ms ?? 0));
  const counts = (["critical", "warning", "notice", "none"] as const).map((g) => [g, firing.filter((a) => gradeOf(a) === g).length] as const);
  return (
    <>
      <p class="counts">
        {counts
          .filter(([grade, n]) => n > 0 || grade === "critical" || grade === "warning")
          .map(([grade, n]) => (
            <span>
              <b>{n}</b> <LevelBadge grade={grade} quiet={n === 0} />
            </span>
          ))}
        <span class="muted">
          {props.list.length - firing.length} {t("pending")}
        </span>
      </p>
      <ul class="alert-lines">
        {sorted.slice(0, OPEN_ALERTS_SHOWN).map((a) => (
          <li key={a.id}>
            <LevelBadge grade={gradeOf(a)} />
            <Link to={{ page: "alert", id: a.id }}>{a.rule}</Link>
            <span class="instance">{a.labels["instance"] ?? ""}</span>
            <span class="grow">{annotation(a.annotations, "summary")}</span>
            <span class="muted">{a.fired_at_ms !== null && shortStamp(a.fired_at_ms, props.nowMs)}</span>
          </li>
        ))}
      </ul>
    </>
  );
}

export function Findings(props: { list: Pick<Instance, "instance" | "findings" | "error">[] }) {
  return (
    <ul class="findings">
      {props.list.flatMap((i) => [
        ...(i.error !== null && i.findings.length === 0
          ? [
              <li>
                <b>{i.instance}</b> {i.error}
              </li>,
            ]
          : []),
        ...i.findings.map((f) => (
          <li>
            <b>{i.instance}</b> <span class="tag">{f.name}</span> {f.text}
            {f.grant !== null && f.grant !== "" && (
              <div class="grant">
                {t("findings_grant")} <code>{f.grant}</code>
              </div>
            )}
          </li>
        )),
      ])}
    </ul>
  );
}
