// A chart over time with uPlot: shared cursor, drag to zoom into the range, holes where nothing was known,
// lost stretches shaded, and marks at moments that matter (alerts, plan changes).
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { nearRange, ticksFrom } from "./chart_range";
import { clock, number, stamp, type Unit } from "./format";
import { t } from "./language";
import { useShared } from "./shell_state";

export interface Series {
  name: string;
  values: (number | null)[];
  /** A limit line: dashed, without fill. */
  limit?: boolean;
  /** A colour of the style sheet instead of the next line colour. */
  tone?: "critical" | "warning" | "notice" | "plan" | "muted" | "line2";
  /** An edge of an interval: `high` stands right before its `low`, and what is between them is tinted. */
  edge?: "high" | "low";
  /** Dashed: not measured. */
  dashed?: boolean;
}
export interface Mark {
  atMs: number;
  grade: "critical" | "warning" | "notice" | "plan";
  text: string;
}
export interface Stretch {
  fromMs: number;
  toMs: number;
}

const SYNC = uPlot.sync("tidewatch");
const COLOURS = 8;
const DAY_S = 86_400;

/** A value of the style sheet. */
function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Sums series from the bottom up; a hole in one counts as nothing, a hole in all stays one. */
export function stacked(series: readonly Series[]): Series[] {
  const below: (number | null)[] = [];
  return series.map((s) => ({
    ...s,
    values: s.values.map((v, i) => {
      if (v === null && (below[i] ?? null) === null) return null;
      below[i] = (below[i] ?? 0) + (v ?? 0);
      return below[i]!;
    }),
  }));
}

const BARS = uPlot.paths.bars!({ size: [0.9, 60], align: 1 });

function strokeOf(series: Series | undefined, at: number): string {
  return colour(series?.limit ? "--muted" : `--${series?.tone ?? `line${(at % COLOURS) + 1}`}`);
}

const POWERS_OF_TWO = Array.from({ length: 52 }, (_, i) => 2 ** i);
const ROUND_MS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 72e5, 216e5, 432e5, 864e5, 1728e5, 6048e5];

/** Distances between ticks that read well in a unit: powers of two for bytes, clock units for times. */
function incrementsOf(unit: Unit): { incrs?: number[] } {
  if (unit === "bytes" || unit === "bytes_per_second") return { incrs: POWERS_OF_TWO };
  if (unit === "ms") return { incrs: ROUND_MS };
  if (unit === "seconds") return { incrs: ROUND_MS.map((ms) => ms / 1000) };
  return {};
}

interface Shape {
  title: string;
  unit: Unit;
  stack: boolean;
  bars: boolean;
  height: number;
  near: boolean;
}

function options(shape: Shape, series: readonly Series[], width: number, marks: { current: Mark[] }, gaps: { current: Stretch[] }, zoom: (fromMs: number, toMs: number) => void, pick: ((atMs: number) => void) | undefined): uPlot.Options {
  const ink = colour("--muted");
  const line = colour("--grid");
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const own = (i: number) => series[i - 1];
  const shown = (u: uPlot, at: number, i: number): string => {
    const total = (u.data[at] as (number | null)[])[i];
    if (total === null || total === undefined) return "–";
    return number(own(at)?.values[i] ?? (shape.stack ? 0 : total), shape.unit);
  };
  return {
    width,
    height: shape.height,
    cursor: { sync: { key: SYNC.key, setSeries: false }, drag: { x: true, y: false, setScale: false }, points: { size: 5 } },
    legend: { live: true, markers: { width: 0, fill: (_u, at) => strokeOf(own(at), at - 1) } },
    scales: { x: { time: true }, y: { range: (_u, min, max) => (shape.near ? nearRange(min, max, shape.unit) : ticksFrom(min, max, shape.unit)) } },
    axes: [
      { stroke: ink, font, grid: { stroke: line, width: 1 }, ticks: { show: false }, size: 24, gap: 3, space: 70, values: (u, splits) => timesOf(u, splits) },
      { stroke: ink, font, grid: { stroke: line, width: 1 }, ticks: { show: false }, size: 62, gap: 4, space: 34, ...incrementsOf(shape.unit), values: (_u, splits) => splits.map((v) => number(v, shape.unit)) },
    ],
    series: [
      { value: (_u, v) => (v === null ? "–" : stamp(v * 1000)) },
      ...series.map((s, at): uPlot.Series => {
        const stroke = strokeOf(s, at);
        return {
          label: s.name,
          stroke,
          width: s.edge ? 0.6 : s.limit ? 1 : 1.5,
          ...(s.limit ? { dash: [4, 4] } : s.dashed ? { dash: [6, 3] } : {}),
          ...(shape.bars ? { fill: stroke, width: 0, paths: BARS } : shape.stack && !s.limit ? { fill: `${stroke}55` } : series.length === 1 ? { fill: `${stroke}1f` } : {}),
          points: { show: (u, i, from, to) => !shape.bars && lonely(u, i, from, to) },
          spanGaps: false,
          value: (u, _v, seriesAt, i) => shown(u, seriesAt, i ?? (u.data[0]?.length ?? 1) - 1),
        };
      }),
    ],
    ...(series.some((s) => s.edge) ? { bands: series.flatMap((s, i) => (s.edge === "high" ? [{ series: [i + 1, i + 2] as [number, number], fill: `${strokeOf(s, i)}2e` }] : [])) } : {}),
    ...(shape.stack && !shape.bars ? { bands: series.slice(1).flatMap((s, i) => (s.limit ? [] : [{ series: [i + 2, i + 1] as [number, number] }])) } : {}),
    hooks: {
      drawClear: [(u) => shadeGaps(u, gaps.current)],
      draw: [(u) => drawMarks(u, marks.current)],
      setSelect: [
        (u) => {
          if (u.select.width < 6) return;
          const fromMs = Math.round(u.posToVal(u.select.left, "x") * 1000);
          const toMs = Math.round(u.posToVal(u.select.left + u.select.width, "x") * 1000);
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          if (toMs - fromMs >= 5000) zoom(fromMs, toMs);
        },
      ],
      ready: [
        (u) => {
          if (pick === undefined) return;
          u.over.addEventListener("click", () => {
            if (u.cursor.left !== undefined && u.cursor.left !== null && u.cursor.left >= 0) pick(Math.round(u.posToVal(u.cursor.left, "x") * 1000));
          });
        },
      ],
    },
  };
}

function timesOf(u: uPlot, splits: number[]): string[] {
  const wide = ((u.scales["x"]?.max ?? 0) - (u.scales["x"]?.min ?? 0)) > 1.5 * DAY_S;
  return splits.map((s) => (wide ? stamp(s * 1000).slice(5, 16) : clock(s * 1000).slice(0, 5)));
}

/** Points are drawn only where a value stands alone between holes and no line would show it. */
function lonely(u: uPlot, at: number, from: number, to: number): boolean {
  const values = u.data[at] as (number | null)[];
  for (let i = Math.max(0, from); i <= Math.min(to, values.length - 1); i += 1) {
    if (values[i] !== null && (values[i - 1] ?? null) === null && (values[i + 1] ?? null) === null) return true;
  }
  return false;
}

function shadeGaps(u: uPlot, gaps: Stretch[]): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.fillStyle = colour("--gap");
  for (const gap of gaps) {
    const left = Math.max(bbox.left, u.valToPos(gap.fromMs / 1000, "x", true));
    const right = Math.min(bbox.left + bbox.width, u.valToPos(gap.toMs / 1000, "x", true));
    if (right >= left) ctx.fillRect(left, bbox.top, Math.max(2, right - left), bbox.height);
  }
  ctx.restore();
}

function drawMarks(u: uPlot, marks: Mark[]): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  for (const mark of marks) {
    const x = Math.round(u.valToPos(mark.atMs / 1000, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = colour(`--${mark.grade}`);
    ctx.fillStyle = ctx.strokeStyle;
    ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.beginPath();
    const s = 4 * devicePixelRatio;
    ctx.moveTo(x - s, bbox.top);
    ctx.lineTo(x + s, bbox.top);
    ctx.lineTo(x, bbox.top + s * 1.6);
    ctx.fill();
  }
  ctx.restore();
}

/** Draws series over `times` (seconds). Screen readers get the latest value of each series. */
export function Chart(props: {
  title: string;
  unit: Unit;
  times: number[];
  series: Series[];
  stack?: boolean | undefined;
  /** Columns instead of lines, stacked. */
  bars?: boolean | undefined;
  marks?: Mark[] | undefined;
  gaps?: Stretch[] | undefined;
  height?: number | undefined;
  pick?: ((atMs: number) => void) | undefined;
  /** Dragging does not change the range: the chart reaches into the future. */
  still?: boolean | undefined;
  /** The values' own range, not from zero, where they all lie far above it. */
  near?: boolean | undefined;
}) {
  const shared = useShared();
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const marks = useRef<Mark[]>([]);
  const gaps = useRef<Stretch[]>([]);
  const picked = useRef(props.pick);
  const zoomed = useRef(shared.setChoice);
  marks.current = props.marks ?? [];
  gaps.current = props.gaps ?? [];
  picked.current = props.pick;
  zoomed.current = shared.setChoice;
  const stack = props.stack ?? false;
  const bars = props.bars ?? false;
  const shape = `${props.unit}|${stack}|${bars}|${props.height ?? 0}|${props.series.map((s) => `${s.name}${s.limit ? "!" : ""}`).join("\u0001")}`;
  const series = useRef(props.series);
  // One array kept for the life of the plot, so that the legend reads the newest values.
  if (series.current.length !== props.series.length) series.current = [...props.series];
  else props.series.forEach((s, i) => (series.current[i] = s));

  useEffect(() => {
    const at = box.current;
    if (at === null) return;
    const made = new uPlot(
      options(
        { title: props.title, unit: props.unit, stack: stack || bars, bars, height: props.height ?? 170, near: props.near === true },
        series.current,
        Math.max(200, at.clientWidth),
        marks,
        gaps,
        (fromMs, toMs) => {
          if (!props.still) zoomed.current({ kind: "fixed", fromMs, toMs });
        },
        props.pick === undefined ? undefined : (atMs) => picked.current?.(atMs),
      ),
      dataOf(props.times, props.series, stack, bars),
      at,
    );
    plot.current = made;
    const watch = new ResizeObserver(() => {
      if (at.clientWidth > 0 && at.clientWidth !== made.width) made.setSize({ width: at.clientWidth, height: props.height ?? 170 });
    });
    watch.observe(at);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => {
    const made = plot.current;
    if (made === null) return;
    made.setData(dataOf(props.times, props.series, stack, bars));
    const first = props.times[0];
    const last = props.times[props.times.length - 1];
    const step = bars && props.times.length > 1 ? props.times[1]! - first! : 0;
    if (first !== undefined && last !== undefined) made.setScale("x", { min: first, max: last + step });
  }, [props.times, props.series, props.marks, props.gaps, shape]);

  const latest = props.series.map((s) => `${s.name} ${number(lastKnown(s.values), props.unit)}`).join(", ");
  return <div class="chart" ref={box} role="img" aria-label={`${props.title}. ${t("current")}: ${latest}`} />;
}

function lastKnown(values: readonly (number | null)[]): number | null {
  for (let i = values.length - 1; i >= 0; i -= 1) if (values[i] !== null) return values[i] ?? null;
  return null;
}

function dataOf(times: number[], series: readonly Series[], stack: boolean, bars: boolean): uPlot.AlignedData {
  // Columns are drawn over each other: the first reaches to the sum of all, the last stands in front.
  if (bars) return [times, ...stacked([...series].reverse()).reverse().map((s) => s.values)];
  if (!stack) return [times, ...series.map((s) => s.values)];
  const sums = stacked(series.filter((s) => !s.limit));
  let next = 0;
  return [times, ...series.map((s) => (s.limit ? s.values : sums[next++]!.values))];
}
