// The level of an alert as the pages grade it. Pure.
import type { Alert } from "./api";

export type Grade = "critical" | "warning" | "notice" | "none";

/** The level of an alert: its own, else what its rule's `severity` label says. */
export function gradeOf(alert: Pick<Alert, "level" | "labels">): Grade {
  return gradeOfName(alert.level ?? alert.labels["severity"] ?? "");
}

/** The grade of a level's or a severity's name. */
export function gradeOfName(level: string): Grade {
  const name = level.toLowerCase();
  if (["critical", "page", "fatal", "emergency", "error"].includes(name)) return "critical";
  if (["warning", "warn", "major"].includes(name)) return "warning";
  if (["notice", "info", "minor", "none"].includes(name)) return "notice";
  return "none";
}
