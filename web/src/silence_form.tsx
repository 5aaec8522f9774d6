// A new silence: whom it is about, until when, why; and, while it is written, what it would mute.
import { useEffect, useState } from "preact/hooks";
import { operatorName, rememberOperator, useChange } from "./acknowledge";
import { stamp } from "./format";
import { annotation, t } from "./language";
import { gradeOf, LevelBadge, Link, Trouble } from "./parts";
import { useData, useShared } from "./shell_state";
import { endOf, ENDS, makeSilence, OPERATORS, operatorOf, preview, usable, WEEKDAYS, withOperator, type End, type Matcher, type Operator, type Weekday } from "./silence";
import type { Word } from "./words";

const PREVIEW_DELAY_MS = 300;
const MATCHERS_MAX = 20;
const LISTED_MAX = 50;
const EMPTY: Matcher = { name: "", value: "", isRegex: false, isEqual: true };

export function SilenceForm(props: { matchers: Matcher[]; made: (id: string) => void; cancel: () => void }) {
  const [matchers, setMatchers] = useState<Matcher[]>(props.matchers.length === 0 ? [EMPTY] : props.matchers);
  const [end, setEnd] = useState<End>("1h");
  const [custom, setCustom] = useState(() => stamp(Date.now() + 24 * 3_600_000).slice(0, 16).replace(" ", "T"));
  const [by, setBy] = useState(operatorName);
  const [comment, setComment] = useState("");
  const [weekly, setWeekly] = useState(false);
  const [days, setDays] = useState<Weekday[]>(["sat", "sun"]);
  const [from, setFrom] = useState("22:00");
  const [to, setTo] = useState("06:00");
  const change = useChange(() => undefined);
  const good = usable(matchers);
  const endsAtMs = end === "custom" ? Date.parse(custom) : endOf(end, Date.now());
  const ready = good !== null && by.trim() !== "" && comment.trim() !== "" && endsAtMs > Date.now() && (!weekly || (from !== "" && to !== ""));
  const put = (at: number, m: Matcher) => setMatchers(matchers.map((old, i) => (i === at ? m : old)));
  const save = () => {
    if (!ready || good === null) return;
    rememberOperator(by.trim());
    const zone = -new Date().getTimezoneOffset();
    const recurrence = weekly ? { recurrence: { weekdays: days, from, to, time_zone_offset_minutes: zone } } : {};
    const wish = { matchers: good, startsAt: new Date().toISOString(), endsAt: new Date(endsAtMs).toISOString(), createdBy: by.trim(), comment: comment.trim(), ...recurrence };
    change.run(async () => props.made((await makeSilence(wish)).silenceID));
  };
  return (
    <form
      class="silence-form"
      onSubmit={(e) => {
        e.preventDefault();
        save();
      }}
    >
      <fieldset>
        <legend>{t("matchers")}</legend>
        {matchers.map((m, at) => (
          <div class="matcher">
            <input aria-label={t("label_name")} placeholder={t("label_name")} value={m.name} maxLength={200} onInput={(e) => put(at, { ...m, name: e.currentTarget.value })} />
            <select aria-label={t("operator")} value={operatorOf(m)} onChange={(e) => put(at, withOperator(m, e.currentTarget.value as Operator))}>
              {OPERATORS.map((o) => (
                <option value={o}>{o}</option>
              ))}
            </select>
            <input aria-label={t("value")} placeholder={t("value")} class="grow" value={m.value} maxLength={1000} onInput={(e) => put(at, { ...m, value: e.currentTarget.value })} />
            <button type="button" class="icon" aria-label={t("matcher_remove", { name: m.name })} title={t("matcher_remove", { name: m.name })} disabled={matchers.length === 1} onClick={() => setMatchers(matchers.filter((_, i) => i !== at))}>
              ×
            </button>
          </div>
        ))}
        {matchers.length < MATCHERS_MAX && (
          <button type="button" class="plain" onClick={() => setMatchers([...matchers, EMPTY])}>
            + {t("matcher_add")}
          </button>
        )}
      </fieldset>
      <Preview matchers={good} />
      <fieldset class="ends">
        <legend>{t("silence_ends")}</legend>
        <div class="choices" role="group" aria-label={t("silence_ends")}>
          {ENDS.map((key) => (
            <button type="button" aria-pressed={end === key} onClick={() => setEnd(key)}>
              {t(`end_${key}` as Word)}
            </button>
          ))}
        </div>
        {end === "custom" ? <input type="datetime-local" aria-label={t("silence_ends")} value={custom} onInput={(e) => setCustom(e.currentTarget.value)} /> : <span class="muted">{stamp(endsAtMs)}</span>}
        <label class="check">
          <input type="checkbox" checked={weekly} onChange={(e) => setWeekly(e.currentTarget.checked)} /> {t("weekly")}
        </label>
        {weekly && (
          <div class="weekly">
            <div class="choices" role="group" aria-label={t("weekdays")}>
              {WEEKDAYS.map((day) => (
                <button type="button" aria-pressed={days.includes(day)} onClick={() => setDays(WEEKDAYS.filter((d) => days.includes(d) !== (d === day)))}>
                  {t(`day_${day}`)}
                </button>
              ))}
            </div>
            <label>
              {t("from")} <input type="time" required value={from} onInput={(e) => setFrom(e.currentTarget.value)} />
            </label>
            <label>
              {t("to")} <input type="time" required value={to} onInput={(e) => setTo(e.currentTarget.value)} />
            </label>
            <span class="muted">{days.length === 0 ? t("weekly_every_day") : t("weekly_hint")}</span>
          </div>
        )}
      </fieldset>
      <div class="operate">
        <label>
          {t("your_name")}
          <input name="by" required autocomplete="name" maxLength={100} value={by} onInput={(e) => setBy(e.currentTarget.value)} />
        </label>
        <label class="grow">
          {t("comment")}
          <input name="comment" required maxLength={500} value={comment} onInput={(e) => setComment(e.currentTarget.value)} />
        </label>
        <button type="submit" class="primary" disabled={!ready || change.busy}>
          {t("silence_make")}
        </button>
        <button type="button" class="plain" onClick={props.cancel}>
          {t("cancel")}
        </button>
      </div>
      {change.error && <Trouble error={change.error} />}
    </form>
  );
}

/** What a silence would mute, asked anew a moment after its matchers change. */
function Preview(props: { matchers: Matcher[] | null }) {
  const { refresh } = useShared();
  const key = props.matchers === null ? null : JSON.stringify(props.matchers);
  const [asked, setAsked] = useState(key);
  useEffect(() => {
    const timer = setTimeout(() => setAsked(key), PREVIEW_DELAY_MS);
    return () => clearTimeout(timer);
  }, [key, refresh]);
  const loaded = useData(asked === null ? null : "silence-preview", asked ?? "", (signal) => preview(JSON.parse(asked ?? "[]") as Matcher[], signal));
  if (key === null) return <p class="preview muted">{t("preview_needs")}</p>;
  if (loaded.error !== undefined) return <Trouble error={loaded.error} retry={loaded.retry} />;
  if (loaded.data === undefined) {
    return (
      <p class="preview muted" role="status">
        {t("loading")}
      </p>
    );
  }
  const { count, alerts } = loaded.data;
  return (
    <div class={`preview ${loaded.loading || asked !== key ? "stale" : ""}`} data-preview={count}>
      <p role="status">
        <b>{count === 0 ? t("preview_none") : t("preview_count", { n: count })}</b>
      </p>
      <ul class="lines">
        {alerts.slice(0, LISTED_MAX).map((a) => (
          <li>
            <LevelBadge grade={gradeOf(a)} quiet={a.state !== "firing"} /> <Link to={{ page: "alert", id: a.id }}>{a.rule}</Link> <span class="muted">{a.labels["instance"]} · {annotation(a.annotations, "summary")}</span>
          </li>
        ))}
      </ul>
      {alerts.length > LISTED_MAX && <p class="muted">{t("show_rest", { n: count - LISTED_MAX })}</p>}
    </div>
  );
}
