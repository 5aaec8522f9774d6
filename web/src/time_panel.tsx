// One chart of a list of panels: asks its queries over the shared range and draws them, or says that there is nothing.
import { useEffect } from "preact/hooks";
import { range as askRange, type Line } from "./api";
import { Chart, type Mark, type Series, type Stretch } from "./chart";
import { currentLang, t } from "./language";
import { Await, Link, Panel } from "./parts";
import { fillQuery, lineName, type Ask, type PanelSpec } from "./panels";
import { grid, rateWindow } from "./range";
import { momentOf, useData, useShared } from "./shell_state";

const LINES_MAX = 12;

/** The title of a panel in the language in use. */
export function panelTitle(spec: PanelSpec): string {
  return spec.title[currentLang() === "zh" ? 1 : 0];
}

/** Lines of an ask: those of the first of its queries that answers. */
async function linesOf(ask: Ask, fill: (query: string) => string, one: (query: string) => Promise<Line[]>): Promise<{ query: string | null; series: Series[] }> {
  for (const query of ask.queries) {
    const lines = await one(fill(query));
    if (lines.some((l) => l.values.some((v) => v !== null))) {
      const moving = lines.filter((l) => l.values.some((v) => v !== null && v !== 0));
      // Of many lines only those that ever leave zero are worth their colour.
      const series = (moving.length > 0 ? moving : lines).map((l) => ({ name: lineName(ask.name, l.labels), values: l.values, ...(ask.limit ? { limit: true } : {}) }));
      return { query: ask.limit ? null : fill(query), series };
    }
  }
  return { query: null, series: [] };
}

/** Line names are unique, so that the second of two equal ones (two spellings of one thing) is left out. */
function distinct(series: Series[]): Series[] {
  const seen = new Set<string>();
  return series.filter((s) => !seen.has(s.name) && seen.add(s.name)).slice(0, LINES_MAX);
}

export function TimePanel(props: {
  spec: PanelSpec;
  instance: string;
  host: string;
  marks: Mark[];
  gaps: Stretch[];
  /** Told whether there is anything to draw; a panel without data hides itself. */
  found: (key: string, any: boolean) => void;
}) {
  const { range, step } = useShared();
  const { spec, instance, host, found } = props;
  const loaded = useData(`${spec.key}|${instance}|${host}`, momentOf(range), async (signal) => {
    const fill = (query: string) => fillQuery(query, instance, host, rateWindow(step));
    const parts = await Promise.all(spec.asks.map((a) => linesOf(a, fill, (query) => askRange(query, range, step, signal))));
    return { times: grid(range, step), series: distinct(parts.flatMap((p) => p.series)), query: parts.find((p) => p.query !== null)?.query ?? null };
  });
  const any = loaded.data === undefined ? null : loaded.data.series.some((s) => !s.limit);
  useEffect(() => {
    if (any !== null) found(spec.key, any);
  }, [any]);
  if (any === false) return null;
  const query = loaded.data?.query ?? null;
  return (
    <Panel title={panelTitle(spec)} class="chart-panel" aside={query !== null && <ForecastLink query={query} spec={spec} />}>
      <Await of={loaded}>
        {(data) => <Chart title={panelTitle(spec)} unit={spec.unit} times={data.times} series={data.series} stack={spec.stack} marks={props.marks} gaps={props.gaps} />}
      </Await>
    </Panel>
  );
}

/** Leads to the future of a panel's first series; shares are asked when they come near all. */
function ForecastLink(props: { query: string; spec: PanelSpec }) {
  const { key, unit } = props.spec;
  const limit: Record<string, string> = key === "filesystems" ? { crosses: "above 0.9" } : {};
  return (
    <Link to={{ page: "forecast" }} extra={{ q: props.query, unit, ...limit }} class="quiet-link" label={`${t("forecast")}: ${panelTitle(props.spec)}`}>
      {t("forecast")}
    </Link>
  );
}
