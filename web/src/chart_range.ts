// From where to where the values axis of a chart goes. Pure.
import type { Unit } from "./format";

/** The y range of a chart that shows a change: from zero unless everything lies far above it. */
export function nearRange(min: number | null, max: number | null, unit: Unit): [number, number] {
  const [low, high] = ticksFrom(min, max, unit);
  if (min === null || max === null || min <= 0 || max === min || max - min > 0.5 * max) return [low, high];
  const room = (max - min) * 0.15;
  return [min - room, unit === "ratio" || unit === "percent" ? Math.min(high, max + room) : max + room];
}

/** The y range: from zero, with room above; a flat zero gets a height. Ratios end at 100 % only when near it. */
export function ticksFrom(min: number | null, max: number | null, unit: Unit): [number, number] {
  const low = Math.min(0, min ?? 0);
  const high = max ?? 0;
  if (high <= 0 && low === 0) return [0, 1];
  if (unit === "ratio" && high <= 1) return [low, high > 0.5 ? 1 : high * 1.15];
  if (unit === "percent" && high <= 100) return [low, high > 50 ? 100 : high * 1.15];
  return [low, high * 1.12];
}
