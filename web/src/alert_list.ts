// Which alerts of a list are shown, and in which groups. Pure.
import type { Alert } from "./api";
import { gradeOf, type Grade } from "./grade";

export const GRADES: readonly Grade[] = ["critical", "warning", "notice", "none"];

export interface AlertFilter {
  level: Grade | null;
  instance: string | null;
  text: string;
}

/** Alerts that pass: level, instance, and every word of the text somewhere in name, labels, summary or fingerprint. */
export function passing(list: readonly Alert[], filter: AlertFilter): Alert[] {
  const words = filter.text.toLowerCase().split(/\s+/).filter((w) => w !== "");
  return list.filter((a) => {
    if (filter.level !== null && gradeOf(a) !== filter.level) return false;
    if (filter.instance !== null && a.labels["instance"] !== filter.instance) return false;
    if (words.length === 0) return true;
    const pairs = Object.entries(a.labels).map(([k, v]) => `${k}=${v}`);
    const hay = [a.rule, a.fingerprint, ...pairs, a.annotations["summary"] ?? "", a.annotations["summary_zh"] ?? ""].join("\n").toLowerCase();
    return words.every((w) => hay.includes(w));
  });
}

/** How many there are of each level. */
export function countsByLevel(list: readonly Alert[]): Record<Grade, number> {
  const counts: Record<Grade, number> = { critical: 0, warning: 0, notice: 0, none: 0 };
  for (const a of list) counts[gradeOf(a)] += 1;
  return counts;
}

/** Worst first, then latest. */
export function worstFirst(list: readonly Alert[]): Alert[] {
  return [...list].sort((a, b) => GRADES.indexOf(gradeOf(a)) - GRADES.indexOf(gradeOf(b)) || latest(b) - latest(a));
}

export function latestFirst(list: readonly Alert[]): Alert[] {
  return [...list].sort((a, b) => latest(b) - latest(a));
}

function latest(a: Alert): number {
  return a.fired_at_ms ?? a.active_at_ms ?? 0;
}

export type Grouping = "none" | "rule" | "instance";

/** Groups in the order of their first alert, so that the worst group stands first in a list that is worst first. */
export function groupedAlerts(list: readonly Alert[], by: Grouping): { key: string; alerts: Alert[] }[] {
  if (by === "none") return list.length === 0 ? [] : [{ key: "", alerts: [...list] }];
  const groups = new Map<string, Alert[]>();
  for (const a of list) {
    const key = by === "rule" ? a.rule : (a.labels["instance"] ?? "");
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [a]);
    else group.push(a);
  }
  return [...groups].map(([key, alerts]) => ({ key, alerts }));
}

/** Instances that occur, in order of name. */
export function instancesOf(list: readonly Alert[]): string[] {
  return [...new Set(list.map((a) => a.labels["instance"] ?? "").filter((i) => i !== ""))].sort();
}
