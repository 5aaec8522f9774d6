// What changed in the range, the tables and indexes by size, and all settings of one instance.
import { useState } from "preact/hooks";
import { sql } from "../api";
import { number, parseTime, stamp } from "../format";
import { t } from "../language";
import { Await, Empty, Panel, Table } from "../parts";
import { objectChanges, objectsOf, type ObjectRow } from "../queries";
import { momentOf, useData, useShared } from "../shell_state";

const OBJECTS_SHOWN = 50;

/** The newest row of each object that was not removed. Rows come newest first. */
export function present(rows: readonly ObjectRow[]): ObjectRow[] {
  const seen = new Set<string>();
  return rows.filter((r) => {
    const key = [r.kind, r.database, r.schema, r.parent, r.name].join("\u0001");
    if (seen.has(key)) return false;
    seen.add(key);
    return r.change !== "removed";
  });
}

export function Settings(props: { instance: string }) {
  const { instance } = props;
  const { range } = useShared();
  const moment = momentOf(range);
  const changes = useData(`changes|${instance}`, moment, (signal) => sql<ObjectRow>(objectChanges(instance, range), signal));
  const settings = useData(`settings|${instance}`, moment, async (signal) => present(await sql<ObjectRow>(objectsOf(instance, ["setting"], range.toMs), signal)));
  const sized = useData(`sized|${instance}`, moment, async (signal) => present(await sql<ObjectRow>(objectsOf(instance, ["table", "index"], range.toMs), signal)));
  const [search, setSearch] = useState("");
  return (
    <>
      <Panel title={t("changes")}>
        <Await of={changes}>{(rows) => (rows.length === 0 ? <Empty>{t("changes_none")}</Empty> : <Changes rows={rows.map((r) => ({ ts_ms: parseTime(r.ts) ?? 0, kind: r.kind ?? "", name: r.name ?? "", change: r.change ?? "", previous: r.previous, value: r.value }))} />)}</Await>
      </Panel>
      <Await of={sized}>
        {(rows) =>
          rows.length > 0 && (
            <Panel title={`${t("tables")} · ${t("indexes")}`}>
              <Table
                caption={t("tables")}
                rows={[...rows].sort((a, b) => (b.size_bytes ?? 0) - (a.size_bytes ?? 0)).slice(0, OBJECTS_SHOWN)}
                rowKey={(r, at) => `${r.name}${at}`}
                columns={[
                  { title: t("name"), wide: true, cell: (r) => <code>{[r.schema, r.name].filter(Boolean).join(".")}</code> },
                  { title: t("kind"), cell: (r) => `${r.kind}${r.kind === "index" && r.parent !== null ? ` · ${r.parent}` : ""}` },
                  { title: t("database"), cell: (r) => r.database ?? "–" },
                  { title: t("rows"), number: true, cell: (r) => number(r.rows) },
                  { title: t("size"), number: true, cell: (r) => number(r.size_bytes, "bytes") },
                ]}
              />
            </Panel>
          )
        }
      </Await>
      <Panel
        title={t("settings_title")}
        aside={
          <label>
            <span class="sr">{t("search")}</span>
            <input type="search" placeholder={t("search")} value={search} onInput={(e) => setSearch(e.currentTarget.value)} />
          </label>
        }
      >
        <Await of={settings}>
          {(rows) => {
            const needle = search.toLowerCase();
            const shown = rows.filter((r) => needle === "" || (r.name ?? "").toLowerCase().includes(needle)).sort((a, b) => (a.name ?? "").localeCompare(b.name ?? ""));
            if (rows.length === 0) return <Empty>{t("settings_none")}</Empty>;
            return (
              <dl class="settings">
                {shown.map((r) => (
                  <div>
                    <dt>{r.name}</dt>
                    <dd>{r.value === null || r.value === "" ? "–" : r.value}</dd>
                  </div>
                ))}
              </dl>
            );
          }}
        </Await>
      </Panel>
    </>
  );
}

export interface ShownChange {
  ts_ms: number;
  kind: string;
  name: string;
  change: string;
  previous: string | null;
  value: string | null;
}

export function Changes(props: { rows: ShownChange[] }) {
  return (
    <Table
      caption={t("changes")}
      rows={props.rows}
      rowKey={(_r, at) => String(at)}
      columns={[
        { title: t("time"), cell: (r) => <time dateTime={new Date(r.ts_ms).toISOString()}>{stamp(r.ts_ms)}</time> },
        { title: t("kind"), cell: (r) => r.kind },
        { title: t("name"), cell: (r) => <code>{r.name}</code> },
        { title: t("change"), cell: (r) => <span class={`tag ${r.change === "removed" ? "warning" : ""}`}>{r.change}</span> },
        {
          title: t("before_after"),
          wide: true,
          cell: (r) => (
            <span class="diff">
              {r.previous !== null && <del>{r.previous}</del>}
              {r.value !== null && r.change !== "removed" && <ins>{r.value}</ins>}
            </span>
          ),
        },
      ]}
    />
  );
}
