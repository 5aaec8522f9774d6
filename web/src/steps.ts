// The ledger of an alert, read aloud: each row a sentence, equal ones in a row drawn together. Pure.
import type { Step } from "./api";
import { t } from "./language";
import { WORDS, type Word } from "./words";

/** Steps in a row that say the same of the same receiver. */
export interface Saying {
  first: Step;
  last: Step;
  times: number;
}

/** Draws steps together that follow each other and say the same; the ledger's order is kept. */
export function sayings(steps: readonly Step[]): Saying[] {
  const out: Saying[] = [];
  for (const step of steps) {
    const before = out[out.length - 1];
    if (before !== undefined && sameKind(before.last, step)) {
      before.last = step;
      before.times += 1;
    } else out.push({ first: step, last: step, times: 1 });
  }
  return out;
}

function sameKind(a: Step, b: Step): boolean {
  return a.event === b.event && a.receiver === b.receiver && a.reason === b.reason && a.level === b.level && a.event !== "sent";
}

const SHOWN_FIRST = 4;
const SHOWN_LAST = 10;

/** A long list as its beginning, what is folded away, and its end. */
export function folded<T>(list: readonly T[]): { head: T[]; middle: T[]; tail: T[] } {
  if (list.length <= SHOWN_FIRST + SHOWN_LAST + 2) return { head: [...list], middle: [], tail: [] };
  return { head: list.slice(0, SHOWN_FIRST), middle: list.slice(SHOWN_FIRST, -SHOWN_LAST), tail: list.slice(-SHOWN_LAST) };
}

/** A field of a step's detail as a text; empty when it has none. */
export function detailOf(step: Step, field: string): string {
  const detail = step.detail;
  if (typeof detail !== "object" || detail === null) return "";
  const value = (detail as Record<string, unknown>)[field];
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
}

function wordOr(key: string, other: string): string {
  return key in WORDS ? t(key as Word) : other;
}

/** A reason in the language in use; one we have no word for stands as it is. */
export function reasonWord(reason: string | null): string {
  return reason === null ? "" : wordOr(`reason_${reason.replaceAll(" ", "_")}`, reason);
}

export function levelWord(level: string | null): string {
  return level === null || level === "" ? "" : wordOr(level, level);
}

/** What happened in a step, as a sentence without its time. */
export function sentence(step: Step): string {
  const receiver = step.receiver ?? "";
  const reason = reasonWord(step.reason);
  const level = levelWord(step.level);
  const channel = detailOf(step, "channel");
  const answer = detailOf(step, "answer");
  switch (step.event) {
    case "firing":
      return join(level === "" ? t("step_firing_bare") : t("step_firing", { level }), reason);
    case "level": {
      const from = levelWord(detailOf(step, "from_level"));
      return join(from === "" ? t("step_level", { level }) : t("step_level_from", { from, level }), reason);
    }
    case "grouped":
      return t("step_grouped", { receiver, group: groupText(step.reason ?? "") });
    case "sent":
      return join(t("step_sent", { receiver, channel }), [reason, answer === "" ? "" : t("step_receipt", { answer })].filter((x) => x !== "").join("; "));
    case "retry":
      return t("step_retry", { receiver, channel, answer: answer || reason });
    case "failed":
      return t("step_failed", { receiver, channel, answer: answer || reason });
    case "attempt":
      return t("step_attempt", { receiver, what: [channel, answer, reason].filter((x) => x !== "").join(", ") });
    case "silenced":
    case "inhibited":
      return join(t(`step_${step.event}`, { receiver }), (step.reason ?? "").replace(/^(silenced|inhibited) by /, ""));
    case "deduplicated":
    case "digested":
    case "held":
    case "muted":
      return join(t(`step_${step.event}`, { receiver }), reason);
    case "acknowledged": {
      const comment = detailOf(step, "comment");
      return join(t("step_acknowledged", { by: detailOf(step, "by") || (step.reason ?? "") }), comment);
    }
    case "unacknowledged":
      return join(t("step_unacknowledged"), step.reason === "taken_back" ? "" : reason);
    case "evidence":
      return t(`step_${step.event}`);
    default:
      return join(wordOr(`step_${step.event}`, receiver === "" ? step.event : `${step.event} → ${receiver}`), reason);
  }
}

function join(what: string, why: string): string {
  return why === "" ? what : t("step_because", { what, why });
}

/** A group's key as Alertmanager writes it, `{}/{…}:{alertname="X"}`, shortened to the labels it groups by. */
export function groupText(key: string): string {
  const labels = key.slice(key.lastIndexOf(":{") + 1);
  return labels === "{}" || labels === "" ? key : labels;
}

export interface LevelSince {
  level: string;
  sinceMs: number;
}

/** The levels an alert went through since it fired last, oldest first. */
export function levelHistory(steps: readonly Step[]): LevelSince[] {
  let out: LevelSince[] = [];
  for (const step of steps) {
    if (step.level === null || step.level === "") continue;
    if (step.event === "firing") out = [{ level: step.level, sinceMs: step.ts_ms }];
    else if (step.event === "level" && out[out.length - 1]?.level !== step.level) out.push({ level: step.level, sinceMs: step.ts_ms });
  }
  return out;
}

const STATE_EVENTS = new Set(["pending", "firing", "inactive", "keep_firing", "holds_again", "resolved", "blind", "sighted", "flapping", "steady"]);

/** Why the alert is in the state it is in: the last step of its state, as a sentence. */
export function stateReason(steps: readonly Step[]): string | null {
  for (let i = steps.length - 1; i >= 0; i -= 1) if (STATE_EVENTS.has(steps[i]!.event)) return reasonWord(steps[i]!.reason) || null;
  return null;
}
