// What happened to an alert: the ledger as sentences, and for each receiver why it was, or was not, told.
import type { ComponentChildren } from "preact";
import { why as askWhy, type Step } from "./api";
import { number, shortStamp, stamp } from "./format";
import { said, t } from "./language";
import { Await, Empty, Panel } from "./parts";
import { momentOf, useData, useShared } from "./shell_state";
import { detailOf, folded, sayings, sentence, type Saying } from "./steps";

export function Timeline(props: { steps: Step[] }) {
  const all = sayings(props.steps);
  if (all.length === 0) return <Empty>{t("no_data")}</Empty>;
  const { head, middle, tail } = folded(all);
  return (
    <div class="ledger">
      <Sayings of={head} />
      {middle.length > 0 && (
        <details>
          <summary>{t("steps_between", { n: middle.reduce((sum, s) => sum + s.times, 0) })}</summary>
          <Sayings of={middle} />
        </details>
      )}
      {tail.length > 0 && <Sayings of={tail} />}
    </div>
  );
}

function Sayings(props: { of: Saying[] }) {
  const { nowMs } = useShared();
  return (
    <ol class="timeline">
      {props.of.map(({ first, last, times }) => (
        <li class={`step-${first.event}`}>
          <time dateTime={new Date(first.ts_ms).toISOString()} title={stamp(first.ts_ms)}>
            {shortStamp(first.ts_ms, nowMs)}
          </time>
          <span title={detailOf(first, "key") === "" ? undefined : `key ${detailOf(first, "key")}`}>
            <b>{sentence(first)}</b>
            {first.value !== null && <span class="muted"> · {t("value")} {number(last.value)}</span>}
            {times > 1 && <span class="muted"> · {t("step_times", { n: times, time: shortStamp(last.ts_ms, nowMs) })}</span>}
          </span>
        </li>
      ))}
    </ol>
  );
}

/** "Why was (not) I told?", one line a receiver. A server without the answer shows nothing. */
export function WhyPanel(props: { id: string }) {
  const { range, nowMs } = useShared();
  const loaded = useData(`why|${props.id}`, momentOf(range), (signal) => askWhy(props.id, signal));
  if (loaded.data === undefined && loaded.error?.kind === "not_found") return null;
  return (
    <Panel title={t("why_title")} class="why">
      <Await of={loaded}>
        {(w) => (
          <>
            {w.receivers.length === 0 && <p class="lead">{withTimes(said(w.answer, w.answer_zh), nowMs)}</p>}
            <ul class="why-list">
              {w.receivers.map((r) => (
                <li class={r.told ? "told" : "not-told"}>
                  <b>{r.receiver}</b>
                  <Told told={r.told}>{r.told ? t("told") : t("not_told")}</Told>
                  <span class="grow">{withTimes(said(r.reason, r.reason_zh ?? ""), nowMs)}</span>
                  {r.at_ms !== null && <time class="muted">{shortStamp(r.at_ms, nowMs)}</time>}
                </li>
              ))}
            </ul>
          </>
        )}
      </Await>
    </Panel>
  );
}

/** The server's times, which are in UTC, as the pages show times. */
function withTimes(text: string, nowMs: number): string {
  return text.replace(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, (iso) => shortStamp(Date.parse(iso), nowMs));
}

function Told(props: { told: boolean; children: ComponentChildren }) {
  return (
    <span class={`tag ${props.told ? "good" : "warning"}`}>
      <span aria-hidden="true">{props.told ? "✓" : "✕"}</span> {props.children}
    </span>
  );
}
