// The statements that cost the most in the range: sortable, with each one's share of the load and its course.
import { sql } from "../api";
import { grouped, number, parseTime } from "../format";
import { t } from "../language";
import { Await, Empty, Link, ShareBar, Sparkline, Sql, Table, type ColumnOf } from "../parts";
import { STATEMENT_ORDERS, statementLoads, statementTexts, topStatements, type LoadRow, type StatementOrder, type StatementRow, type TextRow } from "../queries";
import { grid, stepSeconds } from "../range";
import { momentOf, useData, useShared } from "../shell_state";

const SPARK_POINTS = 48;
const LEAST_STEP_S = 60;

interface Shown extends StatementRow {
  text: string | null;
  course: (number | null)[];
}

export function Statements(props: { instance: string; limit: number }) {
  const { instance, limit } = props;
  const { range, query, setQuery } = useShared();
  const order = STATEMENT_ORDERS.find((o) => o === query.get("sort")) ?? "total_ms";
  const loaded = useData(`statements|${instance}|${order}|${limit}`, momentOf(range), async (signal): Promise<Shown[]> => {
    const rows = await sql<StatementRow>(topStatements(instance, range, order, limit), signal);
    const fingerprints = [...new Set(rows.map((r) => r.fingerprint))];
    if (fingerprints.length === 0) return [];
    const step = Math.max(LEAST_STEP_S, stepSeconds(range, SPARK_POINTS));
    const [texts, loads] = await Promise.all([
      sql<TextRow>(statementTexts(instance, fingerprints), signal),
      sql<LoadRow>(statementLoads(instance, range, step, fingerprints), signal),
    ]);
    const text = new Map(texts.map((r) => [r.fingerprint, r.text]));
    const times = grid(range, step);
    const at = new Map(loads.map((l) => [`${l.fingerprint} ${Math.round((parseTime(l.bucket) ?? 0) / 1000)}`, l.total_ms]));
    return rows.map((r) => ({ ...r, text: text.get(r.fingerprint) ?? null, course: times.map((s) => at.get(`${r.fingerprint} ${s}`) ?? 0) }));
  });
  const sort = (key: StatementOrder) => ({ key, by: order, set: (k: string) => setQuery({ sort: k === "total_ms" ? null : k }, true) });
  const columns: ColumnOf<Shown>[] = [
    {
      title: t("statement"),
      wide: true,
      class: "statement",
      cell: (r) => (
        <>
          <Link to={{ page: "statement", instance, fingerprint: r.fingerprint }} title={r.text ?? r.fingerprint}>
            {r.text === null ? <code>{r.fingerprint}</code> : <Sql text={r.text} />}
          </Link>
          <span class="muted under">{[r.database, r.user].filter((x) => x !== null && x !== "").join(" · ")}</span>
        </>
      ),
    },
    {
      title: t("share"),
      class: "load-share",
      cell: (r) => {
        const share = r.all_ms !== null && r.all_ms > 0 ? r.total_ms / r.all_ms : null;
        return <ShareBar share={share}>{number(share, "ratio")}</ShareBar>;
      },
    },
    {
      title: t("history"),
      minor: true,
      cell: (r) => <Sparkline values={r.course} label={t("history")} />,
    },
    { title: t("total"), number: true, sort: sort("total_ms"), cell: (r) => number(r.total_ms, "ms") },
    { title: t("mean"), number: true, sort: sort("mean_ms"), cell: (r) => number(r.mean_ms, "ms") },
    { title: t("calls"), number: true, sort: sort("calls"), cell: (r) => grouped(r.calls) },
    { title: t("rows"), number: true, sort: sort("rows"), cell: (r) => number(r.rows) },
    { title: t("blocks_read"), number: true, sort: sort("blocks"), minor: true, cell: (r) => number(r.blocks) },
  ];
  return (
    <Await of={loaded}>
      {(rows) => (rows.length === 0 ? <Empty>{t("no_statements")}</Empty> : <Table caption={t("statements")} columns={columns} rows={rows} rowKey={(r) => `${r.fingerprint}|${r.database}|${r.user}`} />)}
    </Await>
  );
}
