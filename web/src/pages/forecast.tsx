// The future of any query: what its series will be, how sure that is, and when they reach a limit.
import { useState } from "preact/hooks";
import { forecast as askForecast } from "../api";
import { guessUnit } from "../forecast";
import { ForecastChart } from "../forecast_view";
import type { Unit } from "../format";
import { t } from "../language";
import { Await, Choices, Empty, Link, Panel } from "../parts";
import { useData, useShared } from "../shell_state";
import { seriesName } from "./explore";

const HORIZONS = ["15m", "1h", "6h", "1d", "7d", "30d"] as const;
const CONFIDENCES = ["0.8", "0.9", "0.95"] as const;
const UNITS: readonly Unit[] = ["count", "per_second", "bytes", "bytes_per_second", "seconds", "ms", "ratio", "percent"];
const SHOWN_MAX = 12;

export function ForecastPage() {
  const { query, setQuery } = useShared();
  const asked = query.get("q") ?? "";
  const horizon = HORIZONS.find((h) => h === query.get("horizon")) ?? "6h";
  const confidence = CONFIDENCES.find((c) => c === query.get("confidence")) ?? "0.8";
  const crosses = query.get("crosses") ?? "";
  const given = /^(above|below) (.+)$/.exec(crosses);
  const [typed, setTyped] = useState(asked);
  const [side, setSide] = useState(given?.[1] ?? "above");
  const [limit, setLimit] = useState(given?.[2] ?? "");
  const unit = UNITS.find((u) => u === query.get("unit")) ?? guessUnit(asked);
  const number = Number(limit);
  const limitOk = limit.trim() === "" || Number.isFinite(number);
  return (
    <>
      <p class="crumbs">
        <Link to={{ page: "explore" }} extra={asked === "" ? {} : { q: asked }}>
          {t("explore")}
        </Link>{" "}
        › {t("forecast")}
      </p>
      <h1>{t("forecast")}</h1>
      <form
        class="ask"
        onSubmit={(e) => {
          e.preventDefault();
          if (limitOk) setQuery({ q: typed.trim(), crosses: limit.trim() === "" ? null : `${side} ${limit.trim()}` });
        }}
      >
        <label>
          <span class="sr">{t("query")}</span>
          <textarea rows={2} spellcheck={false} placeholder={t("query_hint_promql")} value={typed} onInput={(e) => setTyped(e.currentTarget.value)} />
        </label>
        <div class="filters">
          <Choices label={t("horizon")} of={HORIZONS.map((key) => ({ key, title: key }))} chosen={horizon} choose={(key) => setQuery({ horizon: key })} />
          <Choices label={t("confidence")} of={CONFIDENCES.map((key) => ({ key, title: `${Number(key) * 100} %` }))} chosen={confidence} choose={(key) => setQuery({ confidence: key === "0.8" ? null : key })} />
          <span class="limit">
            <label>
              {t("forecast_limit")}{" "}
              <select value={side} onChange={(e) => setSide(e.currentTarget.value)}>
                <option value="above">{t("above")}</option>
                <option value="below">{t("below")}</option>
              </select>
            </label>{" "}
            <input aria-label={t("forecast_limit")} inputMode="decimal" size={8} value={limit} aria-invalid={!limitOk} onInput={(e) => setLimit(e.currentTarget.value)} />
          </span>
          <button type="submit" class="primary" disabled={typed.trim() === "" || !limitOk}>
            {t("go")}
          </button>
        </div>
      </form>
      {asked === "" ? <Empty>{t("forecast_ask")}</Empty> : <Answer query={asked} horizon={horizon} confidence={Number(confidence)} crosses={crosses} unit={unit} />}
    </>
  );
}

function Answer(props: { query: string; horizon: string; confidence: number; crosses: string; unit: Unit }) {
  const { nowMs } = useShared();
  const { query, horizon, confidence, crosses } = props;
  // A forecast is costly beside a query: it is made anew once a minute.
  const loaded = useData(`forecast|${query}|${horizon}|${confidence}|${crosses}`, Math.floor(nowMs / 60_000), (signal) => askForecast(query, nowMs, horizon, crosses, confidence, signal));
  if (loaded.data === undefined && loaded.error?.kind === "not_found") return <Empty>{t("forecast_unknown")}</Empty>;
  return (
    <Await of={loaded}>
      {(d) => (
        <>
          {d.series.length === 0 && (d.refused ?? []).length === 0 && <Empty>{t("no_data")}</Empty>}
          {d.series.slice(0, SHOWN_MAX).map((f) => (
            <Panel title={<code>{seriesName(f.labels)}</code>} class="chart-panel">
              <ForecastChart of={f} unit={props.unit} title={seriesName(f.labels)} height={260} />
            </Panel>
          ))}
          {d.series.length > SHOWN_MAX && <p class="muted">{t("series_more", { n: d.series.length, shown: SHOWN_MAX })}</p>}
          {(d.refused ?? []).length > 0 && (
            <Panel title={t("forecast_refused")}>
              <ul class="lines">
                {(d.refused ?? []).slice(0, SHOWN_MAX).map((r) => (
                  <li>
                    <code>{seriesName(r.labels)}</code> <span class="muted">{r.reason}</span>
                  </li>
                ))}
              </ul>
            </Panel>
          )}
        </>
      )}
    </Await>
  );
}
