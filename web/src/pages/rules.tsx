// Rules as they run: health, whether they see, when they were evaluated last and will be next, and what to do when they fire.
import { rules, type RuleGroup, type RuleShown } from "../api";
import { parseTime, shortStamp } from "../format";
import { gradeOfName } from "../grade";
import { annotation, lasting, t } from "../language";
import { Await, Empty, LevelBadge, Link, Panel } from "../parts";
import { runbookSteps, templateOutline } from "../rule_text";
import { momentOf, useData, useShared } from "../shell_state";

const GROUPS_MAX = 100;

export function RulesPage() {
  const { range, query, setQuery } = useShared();
  const loaded = useData("rules", momentOf(range), (signal) => rules(signal));
  const text = query.get("search") ?? "";
  return (
    <>
      <h1>{t("rules")}</h1>
      <div class="filters">
        <label class="grow">
          <span class="sr">{t("search")}</span>
          <input type="search" placeholder={t("search")} value={text} onInput={(e) => setQuery({ search: e.currentTarget.value }, true)} />
        </label>
      </div>
      <Await of={loaded}>
        {(groups) => {
          const found = groups.map((g) => ({ ...g, rules: g.rules.filter((r) => fits(r, g, text)) })).filter((g) => g.rules.length > 0);
          if (found.length === 0) return <Empty>{t("rules_none")}</Empty>;
          return (
            <>
              <Summary of={groups} />
              {found.slice(0, GROUPS_MAX).map((g) => (
                <Group key={`${g.file};${g.name}`} of={g} open={text !== ""} />
              ))}
              {found.length > GROUPS_MAX && <p class="muted">{t("rows_truncated", { n: GROUPS_MAX })}</p>}
            </>
          );
        }}
      </Await>
    </>
  );
}

function fits(rule: RuleShown, group: RuleGroup, text: string): boolean {
  const hay = `${group.name} ${rule.name} ${rule.query} ${rule.health} ${rule.state ?? ""} ${rule.blind ? "blind" : ""}`.toLowerCase();
  return text.toLowerCase().split(/\s+/).every((w) => hay.includes(w));
}

function Summary(props: { of: RuleGroup[] }) {
  const all = props.of.flatMap((g) => g.rules);
  const count = (holds: (r: RuleShown) => boolean) => all.filter(holds).length;
  const facts: [string, number][] = [
    [t("rules"), all.length],
    [t("firing"), count((r) => r.state === "firing")],
    [t("pending"), count((r) => r.state === "pending")],
    [t("mark_blind"), count((r) => Boolean(r.blind))],
    [t("error"), count((r) => r.health === "err")],
  ];
  return (
    <p class="counts">
      {facts.map(([name, n]) => (
        <span>
          <b>{n}</b> <span class="muted">{name}</span>
        </span>
      ))}
    </p>
  );
}

function Group(props: { of: RuleGroup; open: boolean }) {
  const { nowMs } = useShared();
  const g = props.of;
  const last = parseTime(g.lastEvaluation);
  const ran = last !== null && last > 0;
  return (
    <Panel
      title={
        <>
          {g.name} <span class="muted id">{g.file}</span>
        </>
      }
      aside={
        <span class="muted">
          {t("rule_every", { time: lasting(g.interval * 1000) })}
          {ran && ` · ${t("rule_last", { time: shortStamp(last, nowMs), took: lasting(g.evaluationTime * 1000) })} · ${t("rule_next", { time: shortStamp(last + g.interval * 1000, nowMs) })}`}
        </span>
      }
    >
      <ul class="rules">
        {g.rules.map((r) => (
          <li>
            <Rule of={r} open={props.open && g.rules.length === 1} />
          </li>
        ))}
      </ul>
    </Panel>
  );
}

function Rule(props: { of: RuleShown; open: boolean }) {
  const r = props.of;
  const texts = r.annotations ?? {};
  const runbook = annotation(texts, "runbook");
  const number = (r.alerts ?? []).length;
  return (
    <details open={props.open}>
      <summary>
        <b>{r.name}</b> <Health of={r} />
        {r.labels?.["severity"] !== undefined && !r.labels["severity"].includes("{{") && <LevelBadge grade={gradeOfName(r.labels["severity"])} quiet={r.state !== "firing"} />}
        {number > 0 && (
          <Link to={{ page: "alerts" }} extra={{ state: "all", search: `alertname=${r.name}` }} class="strong">
            {t("rule_alerts", { n: number })}
          </Link>
        )}
        <span class="muted grow clip">{templateOutline(annotation(texts, "summary"))}</span>
      </summary>
      <pre class="rule-query">{r.query}</pre>
      {r.lastError !== undefined && <p class="bad">{r.lastError}</p>}
      {r.blind && (
        <p>
          <span class="tag warning">{t("mark_blind")}</span> {r.blind.cause} {r.blind.selector !== null && <code>{r.blind.selector}</code>}
        </p>
      )}
      {(r.duration ?? 0) > 0 && <p class="muted">{t("rule_for", { time: lasting((r.duration ?? 0) * 1000) })}</p>}
      {annotation(texts, "description") !== "" && <p>{templateOutline(annotation(texts, "description"))}</p>}
      {runbook !== "" && (
        <>
          <h3>{t("runbook")}</h3>
          <Runbook text={runbook} />
        </>
      )}
      {r.type === "alerting" && (
        <p>
          <Link to={{ page: "silences" }} extra={{ new: `alertname=${JSON.stringify(r.name)}` }}>{t("silence_verb")}</Link>
        </p>
      )}
    </details>
  );
}

function Health(props: { of: RuleShown }) {
  const r = props.of;
  if (r.health === "err") return <span class="tag critical">{t("error")}</span>;
  if (r.blind) return <span class="tag warning">{t("mark_blind")}</span>;
  if (r.state === "firing") return <span class="tag critical">{t("firing")}</span>;
  if (r.state === "pending") return <span class="tag warning">{t("pending")}</span>;
  return <span class={`tag ${r.health === "ok" ? "good" : ""}`}>{r.health === "ok" ? t("health_ok") : t("unknown")}</span>;
}

/** A runbook's text; "1. … 2. …" in one line becomes a list. */
export function Runbook(props: { text: string }) {
  const steps = runbookSteps(props.text);
  if (steps.length < 2) return <p class="runbook">{props.text}</p>;
  return (
    <ol class="runbook">
      {steps.map((s) => (
        <li>{s}</li>
      ))}
    </ol>
  );
}
