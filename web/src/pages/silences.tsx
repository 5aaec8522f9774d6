// Silences: in force, to come, and past; the form for a new one, filled from an alert when one is named.
import { useChange } from "../acknowledge";
import { stamp } from "../format";
import { lasting, t } from "../language";
import { Await, Choices, Empty, Panel, Table, Trouble } from "../parts";
import { momentOf, useData, useShared } from "../shell_state";
import { expireSilence, matchersText, operatorOf, ordered, readMatchers, resting, silences, type Silence } from "../silence";
import { SilenceForm } from "../silence_form";
import type { Word } from "../words";

const SHOWN_MAX = 200;
const STATES = ["active", "pending", "expired"] as const;

export function SilencesPage() {
  const { range, query, setQuery } = useShared();
  const loaded = useData("silences", momentOf(range), (signal) => silences(signal));
  const state = STATES.find((s) => s === query.get("state")) ?? null;
  const wanted = query.get("new");
  const id = query.get("id");
  if (loaded.data === undefined && loaded.error?.kind === "not_found") {
    return (
      <>
        <h1>{t("silences")}</h1>
        <Empty>{t("silences_unknown")}</Empty>
      </>
    );
  }
  const made = (silence: string) => {
    setQuery({ new: null, id: silence, state: null });
    loaded.retry();
  };
  return (
    <>
      <div class="title-line">
        <h1>{t("silences")}</h1>
        {wanted === null && (
          <button type="button" class="primary" onClick={() => setQuery({ new: " " })}>
            {t("silence_new")}
          </button>
        )}
      </div>
      {wanted !== null && (
        <Panel title={t("silence_new")}>
          <SilenceForm key={wanted} matchers={readMatchers(wanted) ?? []} made={made} cancel={() => setQuery({ new: null })} />
        </Panel>
      )}
      <Await of={loaded}>
        {(all) => {
          const list = ordered(all).filter((s) => (state === null || s.status.state === state) && (id === null || s.id === id));
          const count = (of: Silence["status"]["state"]) => all.filter((s) => s.status.state === of).length;
          return (
            <Panel>
              <div class="filters">
                <Choices
                  label={t("state")}
                  of={[{ key: "all", title: t("all") }, ...STATES.map((key) => ({ key, title: `${t(`silence_${key}` as Word)} ${count(key)}` }))]}
                  chosen={state ?? "all"}
                  choose={(key) => setQuery({ state: key === "all" ? null : key })}
                />
                {id !== null && (
                  <button type="button" class="plain" onClick={() => setQuery({ id: null })} aria-label={t("show_all")}>
                    {id.slice(0, 8)} ×
                  </button>
                )}
              </div>
              {list.length === 0 ? <Empty>{t("silences_none")}</Empty> : <List of={list.slice(0, SHOWN_MAX)} changed={loaded.retry} />}
              {list.length > SHOWN_MAX && <p class="muted">{t("rows_truncated", { n: SHOWN_MAX })}</p>}
            </Panel>
          );
        }}
      </Await>
    </>
  );
}

function List(props: { of: Silence[]; changed: () => void }) {
  const { setQuery } = useShared();
  const change = useChange(props.changed);
  const now = Date.now();
  return (
    <>
      {change.error && <Trouble error={change.error} />}
      <Table
        caption={t("silences")}
        rows={props.of}
        rowKey={(s) => s.id}
        rowClass={(s) => (s.status.state === "expired" ? "past" : "")}
        columns={[
          { title: t("state"), class: "tight", cell: (s) => <State of={s} /> },
          {
            title: t("matchers"),
            wide: true,
            cell: (s) => (
              <>
                {s.matchers.map((m) => (
                  <code class="tag">
                    {m.name}
                    {operatorOf(m)}
                    {JSON.stringify(m.value)}
                  </code>
                ))}
                {s.recurrence && (
                  <span class="under muted">
                    {(s.recurrence.weekdays ?? []).map((d) => t(`day_${d}`)).join(" ") || t("weekly_every_day")} {s.recurrence.from} – {s.recurrence.to}
                  </span>
                )}
              </>
            ),
          },
          { title: t("comment"), cell: (s) => s.comment || "–" },
          { title: t("author"), cell: (s) => s.createdBy || "–" },
          {
            title: t("silence_ends"),
            number: true,
            cell: (s) => (
              <>
                {stamp(Date.parse(s.endsAt))}
                <span class="under muted">
                  {s.status.state === "pending" && !resting(s, now)
                    ? t("begins_in", { time: rough(Date.parse(s.startsAt) - now) })
                    : s.status.state !== "expired"
                      ? t("ends_in", { time: rough(Date.parse(s.endsAt) - now) })
                      : t("since_ago", { time: rough(now - Date.parse(s.endsAt)) })}
                </span>
              </>
            ),
          },
          {
            title: t("action"),
            number: true,
            cell: (s) =>
              s.status.state === "expired" ? (
                <button type="button" class="plain" onClick={() => setQuery({ new: matchersText(s.matchers), id: null })}>
                  {t("silence_again")}
                </button>
              ) : (
                <button type="button" class="plain" disabled={change.busy} onClick={() => change.run(() => expireSilence(s.id))}>
                  {t("expire")}
                </button>
              ),
          },
        ]}
      />
    </>
  );
}

function State(props: { of: Silence }) {
  const s = props.of;
  const rests = resting(s, Date.now());
  return <span class={`tag ${s.status.state === "active" && !rests ? "good" : ""}`}>{rests ? t("silence_rests") : t(`silence_${s.status.state}` as Word)}</span>;
}

/** A duration to the second, never negative. */
function rough(ms: number): string {
  return lasting(Math.max(0, Math.round(ms / 1000) * 1000));
}
