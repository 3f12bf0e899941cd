/** The time axis of a trace: where a span lies in the window that is shown, and where the grid lines stand. */

export type Window = { readonly startNs: number; readonly endNs: number };

/** Smallest window that zooming reaches: one microsecond. */
const SPAN_MIN_NS = 1_000;

/** Left edge and width of a span, as fractions of the window; `null` if it lies outside. */
export function place(window: Window, startNs: number, durationNs: number): { left: number; width: number } | null {
  const span = window.endNs - window.startNs;
  if (span <= 0) return { left: 0, width: 1 };
  const from = (startNs - window.startNs) / span;
  const to = (startNs + Math.max(0, durationNs) - window.startNs) / span;
  if (to < 0 || from > 1) return null;
  const left = Math.max(0, from);
  return { left, width: Math.min(1, to) - left };
}

/** Grid lines at 1, 2 or 5 times a power of ten, at most one for every `minGapPx`. Offsets from the start of the trace. */
export function ticks(window: Window, widthPx: number, minGapPx = 64): number[] {
  const span = window.endNs - window.startNs;
  if (span <= 0 || widthPx <= 0) return [];
  const raw = (span * minGapPx) / widthPx;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw) ?? raw;
  const first = Math.ceil(window.startNs / step);
  const last = Math.floor(window.endNs / step);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, at) => (first + at) * step);
}

/** The window zoomed by `factor` (below 1: closer), the moment at `anchor` (0 to 1) staying where it is; never beyond `whole`. */
export function zoom(window: Window, whole: Window, factor: number, anchor: number): Window {
  const span = window.endNs - window.startNs;
  const wholeSpan = whole.endNs - whole.startNs;
  const next = Math.max(Math.min(SPAN_MIN_NS, wholeSpan), Math.min(wholeSpan, span * factor));
  const pivot = window.startNs + span * anchor;
  return clampWindow({ startNs: pivot - next * anchor, endNs: pivot + next * (1 - anchor) }, whole);
}

/** The window moved by a share of its own width. */
export function pan(window: Window, whole: Window, share: number): Window {
  const by = (window.endNs - window.startNs) * share;
  return clampWindow({ startNs: window.startNs + by, endNs: window.endNs + by }, whole);
}

function clampWindow(window: Window, whole: Window): Window {
  const span = Math.min(window.endNs - window.startNs, whole.endNs - whole.startNs);
  const startNs = Math.max(whole.startNs, Math.min(window.startNs, whole.endNs - span));
  return { startNs, endNs: startNs + span };
}
