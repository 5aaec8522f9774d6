// One alert: what it says, who has it, its likely cause and what to do, every step it went through, whom it was told, and the
// evidence frozen with it.
import { useState } from "preact/hooks";
import { Acknowledged, AcknowledgeForm } from "../acknowledge";
import { alert as askAlert, type Alert } from "../api";
import { AlertFlags } from "../alert_marks";
import { Timeline, WhyPanel } from "../alert_story";
import type { Mark } from "../chart";
import { Diagnosis, EvidenceView } from "../evidence_view";
import { guessUnit } from "../forecast";
import { number, shortStamp, stamp } from "../format";
import { gradeOfName } from "../grade";
import { annotation, lasting, t } from "../language";
import { Await, Empty, gradeOf, LevelBadge, Link, Panel } from "../parts";
import { momentOf, useData, useShared } from "../shell_state";
import { matchersOf, matchersText } from "../silence";
import { levelHistory, stateReason } from "../steps";
import { stateWord } from "./alerts";
import { Runbook } from "./rules";

export function AlertPage(props: { id: string }) {
  const { range } = useShared();
  const loaded = useData(`alert|${props.id}`, momentOf(range), (signal) => askAlert(props.id, signal));
  if (loaded.data === undefined && loaded.error?.kind === "not_found") return <Empty>{t("alert_gone")}</Empty>;
  return <Await of={loaded}>{(a) => <One alert={a} changed={loaded.retry} />}</Await>;
}

function One(props: { alert: Alert; changed: () => void }) {
  const a = props.alert;
  const grade = gradeOf(a);
  const instance = a.evidence?.instance ?? a.labels["instance"] ?? null;
  const marks: Mark[] = a.fired_at_ms === null ? [] : [{ atMs: a.fired_at_ms, grade: grade === "none" ? "notice" : grade, text: a.rule }];
  const runbook = annotation(a.annotations, "runbook");
  return (
    <>
      <Head alert={a} changed={props.changed} />
      {a.evidence && <Diagnosis evidence={a.evidence} forecastUnit={guessUnit(a.evidence.series[0]?.query ?? "")} />}
      {runbook !== "" && (
        <details class="panel runbook-panel" open={(a.evidence?.findings ?? []).length === 0}>
          <summary>{t("runbook")}</summary>
          <Runbook text={runbook} />
        </details>
      )}
      <div class="columns">
        <Panel title={t("timeline")}>
          <Timeline steps={a.timeline ?? []} />
        </Panel>
        <div class="stack">
          <WhyPanel id={a.id} />
          <Panel title={t("labels")}>
            <Pairs of={a.labels} />
            <details>
              <summary>{t("annotations")}</summary>
              <Pairs of={a.annotations} />
            </details>
          </Panel>
        </div>
      </div>
      {a.evidence ? <EvidenceView evidence={a.evidence} instance={instance} marks={marks} /> : <Empty>{t("evidence_none")}</Empty>}
    </>
  );
}

function Head(props: { alert: Alert; changed: () => void }) {
  const a = props.alert;
  const { nowMs } = useShared();
  const [taking, setTaking] = useState(false);
  const grade = gradeOf(a);
  const since = a.fired_at_ms ?? a.active_at_ms;
  const why = stateReason(a.timeline ?? []);
  const levels = levelHistory(a.timeline ?? []);
  const lasted = since === null ? null : lasting(Math.max(0, Math.round(((a.resolved_at_ms ?? nowMs) - since) / 1000) * 1000));
  const facts: [string, string | null][] = [
    [t("state"), why === null ? stateWord(a.state) : `${stateWord(a.state)} — ${why}`],
    [t("value"), a.value === null ? null : number(a.value)],
    [t("fired"), since === null ? null : stamp(since)],
    [t("resolved"), a.resolved_at_ms === null ? null : stamp(a.resolved_at_ms)],
    [t("lasted"), lasted],
    [t("rule"), a.group],
  ];
  const lives = a.acknowledged !== undefined && a.state === "firing";
  return (
    <div class={`page-head alert-head ${a.state === "resolved" ? "" : grade}`}>
      <p class="crumbs">
        <Link to={{ page: "alerts" }}>{t("alerts")}</Link>
        {a.labels["instance"] !== undefined && (
          <>
            {" "}
            › <Link to={{ page: "database", instance: a.labels["instance"] }}>{a.labels["instance"]}</Link>
          </>
        )}
      </p>
      <div class="title-line">
        <h1>
          <LevelBadge grade={grade} quiet={a.state !== "firing"} /> {a.rule}
        </h1>
        {lives && (
          <div class="actions">
            {!a.acknowledged && (
              <button type="button" class="primary" aria-expanded={taking} onClick={() => setTaking(!taking)}>
                {t("acknowledge")}
              </button>
            )}
            <Link to={{ page: "silences" }} extra={{ new: matchersText(matchersOf(a.labels)) }} class="secondary">
              {t("silence_verb")}
            </Link>
          </div>
        )}
      </div>
      <p class="lead">{annotation(a.annotations, "summary")}</p>
      {annotation(a.annotations, "description") !== "" && <p>{annotation(a.annotations, "description")}</p>}
      <dl class="facts">
        {facts
          .filter(([, v]) => v !== null && v !== "")
          .map(([name, v]) => (
            <div>
              <dt>{name}</dt>
              <dd>{v}</dd>
            </div>
          ))}
      </dl>
      {levels.length > 1 && (
        <ol class="level-history" aria-label={t("level_history")}>
          {levels.map((l, i) => (
            <li>
              <LevelBadge grade={gradeOfName(l.level)} quiet={i < levels.length - 1 || a.state !== "firing"} /> <time class="muted">{shortStamp(l.sinceMs, nowMs)}</time>
            </li>
          ))}
        </ol>
      )}
      <AlertFlags alert={a} />
      <Acknowledged alert={a} changed={props.changed} />
      {taking && !a.acknowledged && (
        <AcknowledgeForm
          id={a.id}
          cancel={() => setTaking(false)}
          done={() => {
            setTaking(false);
            props.changed();
          }}
        />
      )}
    </div>
  );
}

function Pairs(props: { of: Record<string, string> }) {
  return (
    <dl class="pairs">
      {Object.entries(props.of).map(([name, value]) => (
        <div>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
