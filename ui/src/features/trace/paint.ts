/** Draws the timeline: bars of the rows in sight, grid, idle time, and the strip that shows the trace as a whole. Pure canvas, no React. */
import { formatDuration } from '../../lib/format';
import { placeOf, type Axis, type Tick, type Window } from './axis';
import { ERROR, RUNNING, STEP_KINDS, type TraceTree } from './tree';

export type Colours = {
  readonly kinds: readonly string[];
  readonly error: string;
  readonly surface: string;
  readonly line: string;
  readonly gap: string;
  readonly text: string;
  readonly accent: string;
  readonly font: string;
};

/** The colours of the theme in use. */
export function readColours(): Colours {
  const css = getComputedStyle(document.documentElement);
  const read = (name: string) => css.getPropertyValue(name).trim();
  return {
    kinds: STEP_KINDS.map((kind) => read(`--op-${kind}`)),
    error: read('--error'),
    surface: read('--surface'),
    line: read('--line'),
    gap: read('--sunken'),
    text: read('--text-faint'),
    accent: read('--accent'),
    font: `11px ${read('--font-text')}`,
  };
}

/** Makes the canvas as sharp as the screen and answers its context in CSS pixels. */
export function prepare(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D | null {
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext('2d');
  context?.setTransform(ratio, 0, 0, ratio, 0, 0);
  context?.clearRect(0, 0, width, height);
  return context;
}

export type LanePicture = {
  readonly tree: TraceTree;
  readonly axis: Axis;
  readonly window: Window;
  readonly ticks: readonly Tick[];
  /** Rows in sight: place of the span, in order. */
  readonly rows: Int32Array;
  readonly rowPx: number;
  readonly width: number;
  readonly height: number;
  readonly labels: boolean;
  readonly colours: Colours;
};

const BAR_PX = 10;

/** One bar per row. */
export function paintLanes(context: CanvasRenderingContext2D, picture: LanePicture): void {
  const { tree, axis, window, rows, rowPx, width, height, colours } = picture;
  const scale = width / (window.end - window.start);
  const x = (ns: number) => (placeOf(axis, ns) - window.start) * scale;
  context.fillStyle = colours.gap;
  for (const gap of axis.gaps) {
    const [left, right] = [x(gap.startNs), x(gap.endNs)];
    if (right > 0 && left < width && axis.ns.length > 2) hatch(context, left, right - left, height, colours);
  }
  context.fillStyle = colours.line;
  for (const tick of picture.ticks) context.fillRect(Math.round(tick.at * width), 0, 1, height);
  context.font = colours.font;
  context.textBaseline = 'middle';
  rows.forEach((at, row) => {
    const start = tree.starts[at] ?? 0;
    const duration = tree.durations[at] ?? 0;
    const left = Math.max(-4, x(start));
    const right = Math.min(width + 4, x(start + duration));
    if (right < 0 || left > width) return;
    const top = row * rowPx + (rowPx - BAR_PX) / 2;
    const bar = Math.max(2, right - left);
    const flags = tree.flags[at] ?? 0;
    if (flags & ERROR) {
      context.fillStyle = colours.error;
      context.fillRect(left - 2, top - 2, bar + 4, BAR_PX + 4);
      context.fillStyle = colours.surface;
      context.fillRect(left - 1, top - 1, bar + 2, BAR_PX + 2);
    }
    const colour = colours.kinds[tree.kinds[at] ?? 6] ?? colours.text;
    context.fillStyle = colour;
    if (flags & RUNNING) {
      // Open at its end: how long it takes is not known yet.
      context.globalAlpha = 0.35;
      context.fillRect(left, top, bar, BAR_PX);
      context.globalAlpha = 1;
      context.fillRect(left, top, 3, BAR_PX);
    } else if (bar < 4) context.fillRect(left, top, bar, BAR_PX);
    else {
      context.beginPath();
      context.roundRect(left, top, bar, BAR_PX, 2);
      context.fill();
    }
    if (!picture.labels) return;
    const said = flags & RUNNING ? 'running' : formatDuration(duration);
    context.fillStyle = colours.text;
    const after = right + 6;
    if (after < width - 54) context.fillText(said, after, top + BAR_PX / 2);
    else if (left > 60) {
      context.textAlign = 'right';
      context.fillText(said, left - 6, top + BAR_PX / 2);
      context.textAlign = 'left';
    }
  });
}

function hatch(context: CanvasRenderingContext2D, left: number, width: number, height: number, colours: Colours): void {
  context.save();
  context.beginPath();
  context.rect(left, 0, Math.max(4, width), height);
  context.clip();
  context.fillStyle = colours.gap;
  context.fillRect(left, 0, Math.max(4, width), height);
  context.strokeStyle = colours.line;
  context.lineWidth = 2;
  context.beginPath();
  for (let at = left - height; at < left + width + 8; at += 8) {
    context.moveTo(at, height);
    context.lineTo(at + height, 0);
  }
  context.stroke();
  context.restore();
}

/** Lanes of the overview at most: deeper spans share the last one. */
const LANES_MAX = 6;
const LANE_PX_MAX = 8;
const EMPTY = 255;

export type OverviewPicture = { readonly lanes: number; readonly kinds: Uint8Array; readonly errors: Uint8Array };

/** For each lane and pixel column the kind of step there, and whether a span with an error is in the column. */
export function overview(tree: TraceTree, axis: Axis, width: number): OverviewPicture {
  const columns = Math.max(1, Math.floor(width));
  const lanes = Math.min(LANES_MAX, tree.depth.reduce((deepest, depth) => Math.max(deepest, depth), 0) + 1);
  const kinds = new Uint8Array(columns * lanes).fill(EMPTY);
  const errors = new Uint8Array(columns);
  const scale = columns / (axis.whole.end - axis.whole.start);
  for (let at = 0; at < tree.count; at += 1) {
    const start = tree.starts[at] ?? 0;
    const lane = Math.min(lanes - 1, tree.depth[at] ?? 0) * columns;
    const from = Math.max(0, Math.min(columns - 1, Math.floor(placeOf(axis, start) * scale)));
    const to = Math.max(from, Math.min(columns - 1, Math.floor(placeOf(axis, start + (tree.durations[at] ?? 0)) * scale)));
    kinds.fill(tree.kinds[at] ?? 6, lane + from, lane + to + 1);
    if ((tree.flags[at] ?? 0) & ERROR) errors[from] = 1;
  }
  return { lanes, kinds, errors };
}

export function paintOverview(
  context: CanvasRenderingContext2D,
  { lanes, kinds, errors }: OverviewPicture,
  height: number,
  colours: Colours,
): void {
  const columns = errors.length;
  const lane = Math.min(LANE_PX_MAX, (height - 7) / lanes);
  const top = (height - lane * lanes) / 2;
  for (let row = 0; row < lanes; row += 1) {
    for (let from = 0; from < columns;) {
      const kind = kinds[row * columns + from] ?? EMPTY;
      let to = from + 1;
      while (to < columns && kinds[row * columns + to] === kind) to += 1;
      if (kind !== EMPTY) {
        context.fillStyle = colours.kinds[kind] ?? colours.text;
        context.fillRect(from, top + row * lane, to - from, Math.max(1, lane - 1));
      }
      from = to;
    }
  }
  context.fillStyle = colours.error;
  errors.forEach((failed, at) => {
    if (failed) context.fillRect(at - 0.5, height - 3, 2, 3);
  });
}
