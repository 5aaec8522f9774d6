// A forecast drawn: what was, what will be within which band, the limit, and how good the model was at it so far.
import { Chart } from "./chart";
import { stamp, type Unit } from "./format";
import { drawing, originOf, reachText, testText, type ForecastSeries } from "./forecast";
import { t } from "./language";
import { Empty } from "./parts";

export function ForecastChart(props: { of: ForecastSeries; unit: Unit; title: string; height?: number }) {
  const f = props.of;
  const drawn = drawing(f);
  if (drawn.times.length < 2) return <Empty>{t("no_data")}</Empty>;
  const origin = originOf(f);
  const reach = reachText(f, props.unit);
  return (
    <div class="forecast" data-forecast={f.model}>
      {reach !== null && (
        <p class={`lead reach ${f.reaches_at_ms !== null ? "will" : ""}`}>
          {reach}
          {f.reaches_at_ms !== null && <span class="muted"> · {stamp(f.reaches_at_ms)}</span>}
        </p>
      )}
      <Chart title={props.title} unit={props.unit} height={props.height ?? 230} times={drawn.times} series={drawn.series} marks={drawn.marks} still near />
      <p class="muted under">
        {testText(f)}
        {origin !== null && ` · ${t("forecast_from", { time: stamp(origin) })}`}
      </p>
    </div>
  );
}
