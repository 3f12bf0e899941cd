/**
 * The time axis of a trace: from nanoseconds to a place on the axis and back, with idle time compressed if asked, and the window of it that
 * is shown. Places are in "axis nanoseconds": where nothing is compressed they are nanoseconds since the first span.
 */
import type { TraceTree } from './tree';

export type Window = { readonly start: number; readonly end: number };

export type Gap = { readonly startNs: number; readonly endNs: number };

export type Axis = {
  /** Knots between which the axis is straight; both ascending. */
  readonly ns: Float64Array;
  readonly place: Float64Array;
  readonly gaps: readonly Gap[];
  readonly whole: Window;
};

/** Smallest window that zooming reaches: one microsecond. */
const WINDOW_MIN_NS = 1_000;
/** Idle time of at least this share of the trace is worth compressing, and what it is compressed to. */
const GAP_SHARE_MIN = 0.03;
const GAP_SHARE_SHOWN = 0.012;
const GAPS_MAX = 200;

/** Idle time: no leaf span was at work. Spans that contain others say nothing: they wait too. */
export function findGaps(tree: TraceTree): Gap[] {
  const least = Math.max(1, tree.endNs * GAP_SHARE_MIN);
  const gaps: Gap[] = [];
  let busyUntil = 0;
  for (const at of tree.byStart) {
    if ((tree.size[at] ?? 1) > 1) continue;
    const start = tree.starts[at] ?? 0;
    if (start - busyUntil >= least) gaps.push({ startNs: busyUntil, endNs: start });
    busyUntil = Math.max(busyUntil, start + (tree.durations[at] ?? 0));
  }
  if (tree.endNs - busyUntil >= least) gaps.push({ startNs: busyUntil, endNs: tree.endNs });
  return gaps.slice(0, GAPS_MAX);
}

/** The axis from 0 to `endNs`, with the gaps compressed. */
export function makeAxis(endNs: number, gaps: readonly Gap[]): Axis {
  const end = Math.max(1, endNs);
  const idle = gaps.reduce((sum, gap) => sum + gap.endNs - gap.startNs, 0);
  const shown = Math.max(1, (end - idle) * GAP_SHARE_SHOWN);
  const ns = [0];
  const place = [0];
  const add = (to: number, width: number) => {
    if (to <= (ns[ns.length - 1] ?? 0)) return;
    ns.push(to);
    place.push((place[place.length - 1] ?? 0) + width);
  };
  for (const gap of gaps) {
    add(gap.startNs, gap.startNs - (ns[ns.length - 1] ?? 0));
    add(gap.endNs, Math.min(shown, gap.endNs - gap.startNs));
  }
  add(end, end - (ns[ns.length - 1] ?? 0));
  return {
    ns: Float64Array.from(ns),
    place: Float64Array.from(place),
    gaps,
    whole: { start: 0, end: place[place.length - 1] ?? 1 },
  };
}

/** The place of a moment. */
export function placeOf(axis: Axis, ns: number): number {
  return interpolate(axis.ns, axis.place, ns);
}

/** The moment at a place. */
export function momentOf(axis: Axis, place: number): number {
  return interpolate(axis.place, axis.ns, place);
}

function interpolate(from: Float64Array, to: Float64Array, value: number): number {
  let low = 0;
  let high = from.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((from[middle] ?? 0) <= value) low = middle;
    else high = middle - 1;
  }
  const [x0, x1, y0, y1] = [from[low] ?? 0, from[low + 1] ?? 1, to[low] ?? 0, to[low + 1] ?? 1];
  return y0 + ((value - x0) * (y1 - y0)) / (x1 - x0 || 1);
}

export type Tick = { readonly ns: number; /** Fraction of the window. */ readonly at: number };

/** Grid lines at 1, 2 or 5 times a power of ten, at most one for every `minGapPx`, none within compressed idle time. */
export function ticks(axis: Axis, window: Window, widthPx: number, minGapPx = 72): Tick[] {
  const span = window.end - window.start;
  if (span <= 0 || widthPx <= 0) return [];
  const raw = (span * minGapPx) / widthPx;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw) ?? raw;
  const found: Tick[] = [];
  for (let knot = 0; knot + 1 < axis.ns.length; knot += 1) {
    const [from, to] = [axis.ns[knot] ?? 0, axis.ns[knot + 1] ?? 0];
    const compressed = (axis.place[knot + 1] ?? 0) - (axis.place[knot] ?? 0) < (to - from) * 0.999;
    if (compressed) continue;
    const first = Math.max(from, momentOf(axis, window.start));
    const last = Math.min(to, momentOf(axis, window.end));
    for (let number = Math.ceil(first / step); number * step <= last; number += 1) {
      const at = (placeOf(axis, number * step) - window.start) / span;
      if ((at - (found[found.length - 1]?.at ?? -1)) * widthPx >= minGapPx * 0.999) found.push({ ns: number * step, at });
    }
  }
  return found;
}

/** The window zoomed by `factor` (below 1: closer), the place at `anchor` (0 to 1) staying where it is; never beyond `whole`. */
export function zoom(window: Window, whole: Window, factor: number, anchor: number): Window {
  const span = window.end - window.start;
  const wholeSpan = whole.end - whole.start;
  const next = Math.max(Math.min(WINDOW_MIN_NS, wholeSpan), Math.min(wholeSpan, span * factor));
  const pivot = window.start + span * anchor;
  return clampWindow({ start: pivot - next * anchor, end: pivot + next * (1 - anchor) }, whole);
}

/** The window moved by a share of its own width. */
export function pan(window: Window, whole: Window, share: number): Window {
  const by = (window.end - window.start) * share;
  return clampWindow({ start: window.start + by, end: window.end + by }, whole);
}

export function clampWindow(window: Window, whole: Window): Window {
  const span = Math.min(window.end - window.start, whole.end - whole.start);
  const start = Math.max(whole.start, Math.min(window.start, whole.end - span));
  return { start, end: start + span };
}

/** Whether the window shows all there is. */
export function isWhole(window: Window, whole: Window): boolean {
  return window.end - window.start >= (whole.end - whole.start) * 0.999;
}
