/** A chart of one result: lines, bars, stacked bars, points. Drawn by uPlot, coloured by tokens, explained by a legend that follows the cursor. */
import { useEffect, useMemo, useRef, useState } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

import { wallDate } from '../lib/clock';
import { useSize } from '../lib/hooks';
import { useTheme } from '../lib/theme';
import './chart.css';

export type ChartSeries = { readonly label: string; /** `null` is a gap. */ readonly values: readonly (number | null)[] };

type Props = {
  /** For those who do not see it: what is drawn of what. */
  label: string;
  kind: 'line' | 'bar' | 'stacked' | 'scatter';
  xKind: 'time' | 'number' | 'category';
  /** Ascending: seconds since 1970, numbers, or places of `labels`. */
  xs: readonly number[];
  labels: readonly string[];
  series: readonly ChartSeries[];
  format: (value: number | null) => string;
  /** What x shows at least, empty ends included. Without it, what there is. */
  domain?: readonly [number, number] | null;
  /** Width of a bar in units of x; without it, the smallest distance between two. */
  step?: number;
  /** Steps of the axis are those of the unit. */
  unit?: 'bytes';
  /** Labels of the series that are switched off, where the caller keeps them. */
  hidden?: readonly string[];
  onHidden?: (hidden: readonly string[]) => void;
};

/** Colours of the series, tokens `--series-1` and so on. */
export const SERIES_COLOURS = 12;

export function Chart({ label, kind, xKind, xs, labels, series, format, domain = null, step, unit, ...props }: Props) {
  const [measure, { width, height }] = useSize<HTMLDivElement>();
  const host = useRef<HTMLDivElement>(null);
  const theme = useTheme().resolved;
  const [own, setOwn] = useState<readonly string[]>([]);
  const hidden = props.hidden ?? own;
  const setHidden = props.onHidden ?? setOwn;
  const [at, setAt] = useState<number | null>(null);
  const shown = useMemo(() => series.filter((each) => !hidden.includes(each.label)), [series, hidden]);
  useEffect(() => {
    const element = host.current;
    if (!element || width === 0 || height === 0 || xs.length === 0) return;
    const chart = new uPlot(
      options({ kind, xKind, xs, labels, shown, series, format, domain, step, unit, width, height, onCursor: setAt }),
      [[...xs], ...drawn(kind, shown)] as uPlot.AlignedData,
      element,
    );
    return () => {
      chart.destroy();
    };
  }, [kind, xKind, xs, labels, shown, series, width, height, theme, format, domain, step, unit]);
  const place = at === null ? null : (xs[at] ?? null);
  return (
    <figure className="chart" aria-label={label}>
      <div className="chart__plot" ref={measure}>
        <div className="chart__canvas" ref={host} aria-hidden="true" />
      </div>
      <figcaption className="chart__legend">
        <span className="chart__place num">{place === null ? '' : placeText(place, xKind, labels)}</span>
        <ul>
          {series.map((each, index) => (
            <li key={each.label}>
              <button
                type="button"
                className="chart__series"
                aria-pressed={!hidden.includes(each.label)}
                onClick={() => {
                  setHidden(
                    hidden.includes(each.label) ? hidden.filter((label) => label !== each.label) : [...hidden, each.label],
                  );
                }}
              >
                <span className="chart__mark" style={{ background: `var(--series-${(index % SERIES_COLOURS) + 1})` }} />
                <span className="truncate">{each.label === '' ? 'empty' : each.label}</span>
                {at !== null && <span className="num chart__value">{format(each.values[at] ?? null)}</span>}
              </button>
            </li>
          ))}
        </ul>
      </figcaption>
    </figure>
  );
}

type Options = Pick<Props, 'kind' | 'xKind' | 'xs' | 'labels' | 'series' | 'format'> & {
  domain: readonly [number, number] | null;
  step: number | undefined;
  unit: Props['unit'];
  shown: readonly ChartSeries[];
  width: number;
  height: number;
  onCursor: (at: number | null) => void;
};

/** Stacked series are drawn as running sums, the highest first, so that the lower ones cover its foot. */
function drawn(kind: Props['kind'], shown: readonly ChartSeries[]): (number | null)[][] {
  if (kind !== 'stacked') return shown.map((each) => [...each.values]);
  const below: number[] = [];
  return shown
    .map((each) =>
      each.values.map((value, at) => {
        const sum = (below[at] ?? 0) + (value ?? 0);
        below[at] = sum;
        return sum === 0 ? null : sum;
      }),
    )
    .reverse();
}

function options(asked: Options): uPlot.Options {
  const { kind, xKind, xs, labels, shown, series, format, unit, width, height, onCursor } = asked;
  const css = getComputedStyle(document.documentElement);
  const token = (name: string) => css.getPropertyValue(name).trim();
  const colourOf = (each: ChartSeries) => token(`--series-${(series.indexOf(each) % SERIES_COLOURS) + 1}`);
  const inOrder = kind === 'stacked' ? [...shown].reverse() : shown;
  const barred = kind === 'bar' || kind === 'stacked';
  const step = asked.step ?? smallestStep(xs);
  const span = barSpan(asked, step);
  const first = xs[0] ?? 0;
  const last = xs[xs.length - 1] ?? 0;
  const font = `11px ${token('--font-text')}`;
  const axis = {
    font,
    stroke: token('--text-faint'),
    grid: { stroke: token('--line'), width: 1 },
    ticks: { show: false },
  } satisfies uPlot.Axis;
  return {
    width,
    height,
    // Ticks stand at the hours and days of the zone that times are read in.
    tzDate: (seconds) => wallDate(seconds * 1000),
    padding: [12, 16, 0, 4],
    legend: { show: false },
    cursor: { y: kind === 'scatter', points: { show: !barred }, drag: { x: false, y: false } },
    scales: {
      x: {
        time: xKind === 'time',
        range: barred ? span : padded(Math.min(asked.domain?.[0] ?? first, first), Math.max(asked.domain?.[1] ?? last, last)),
      },
      y: { range: (_, low, high) => yRange(low, high, kind === 'scatter') },
    },
    axes: [
      xKind === 'category'
        ? {
            ...axis,
            grid: { show: false },
            size: 34,
            splits: () => everyNth(xs, Math.max(1, Math.ceil((xs.length * 74) / Math.max(1, width - 80)))),
            values: (_, splits) => splits.map((place) => cut(labels[place] ?? '', 18)),
          }
        : { ...axis, grid: { show: false }, size: 34, ...(xKind === 'time' ? { values: TIME_TICKS } : {}) },
      {
        ...axis,
        size: 64,
        ...(unit === 'bytes' ? { incrs: BYTE_STEPS } : {}),
        values: (_, splits) => splits.map((value) => format(value)),
      },
    ],
    series: [
      {},
      ...inOrder.map((each): uPlot.Series => {
        const colour = colourOf(each);
        const base: uPlot.Series = { label: each.label, stroke: colour, spanGaps: false };
        if (kind === 'line') return { ...base, width: 1.75, points: { show: xs.length < 80, size: 5, fill: colour } };
        if (kind === 'scatter')
          return { ...base, width: 0, paths: () => null, points: { show: true, size: 6, fill: colour, width: 0 } };
        const paths = barPaths(kind, shown.indexOf(each), shown.length, xs, step, span, xKind === 'time');
        return { ...base, width: 0, fill: colour, points: { show: false }, ...(paths ? { paths } : {}) };
      }),
    ],
    hooks: { setCursor: [(chart) => onCursor(chart.cursor.idx ?? null)] },
  };
}

/** Ticks of a time axis: steps in seconds, their text, and the text where a year, day or minute begins. */
const TIME_TICKS: uPlot.Axis.Values = [
  [31_536_000, '{YYYY}', null, null, null, null, null, null, 1],
  [2_419_200, '{MMM}', '\n{YYYY}', null, null, null, null, null, 1],
  [86_400, '{D} {MMM}', '\n{YYYY}', null, null, null, null, null, 1],
  [60, '{HH}:{mm}', '\n{D} {MMM} {YYYY}', null, '\n{D} {MMM}', null, null, null, 1],
  [1, '{HH}:{mm}:{ss}', '\n{D} {MMM} {YYYY}', null, '\n{D} {MMM}', null, null, null, 1],
  [0.001, ':{ss}.{fff}', '\n{D} {MMM} {YYYY} {HH}:{mm}', null, '\n{D} {MMM} {HH}:{mm}', null, '\n{HH}:{mm}', null, 1],
];

/** Bars of a group stand side by side; stacked ones have the whole step. */
function barPaths(
  kind: 'bar' | 'stacked',
  index: number,
  count: number,
  xs: readonly number[],
  step: number,
  [from, to]: [number, number],
  begins: boolean,
): uPlot.Series.PathBuilder | undefined {
  const span = to - from;
  const groupWidth = (0.8 * step) / span;
  const beside = kind === 'bar' ? count : 1;
  const barWidth = groupWidth / beside;
  const offset = kind === 'bar' ? index * barWidth : 0;
  // Places and widths as shares of the plot: 2 is uPlot's PixelPercent.
  const middle = begins ? step / 2 : 0;
  const x0 = xs.map((x) => (x + middle - from) / span - groupWidth / 2 + offset);
  return uPlot.paths.bars?.({
    disp: {
      x0: { unit: 2, values: () => x0 },
      size: { unit: 2, values: () => x0.map(() => barWidth) },
    },
  });
}

/** What x shows of bars: a bar of time stands on its bucket, which begins at x; others stand around x. */
function barSpan({ xKind, xs, domain }: Options, step: number): [number, number] {
  const first = xs[0] ?? 0;
  const last = xs[xs.length - 1] ?? 0;
  const [before, after] = xKind === 'time' ? [0, step] : [step * 0.6, step * 0.6];
  return [Math.min(domain?.[0] ?? Infinity, first - before), Math.max(domain?.[1] ?? -Infinity, last + after)];
}

/** 1, 2, 4 … 512 of B, KB, MB and so on: steps that read as whole numbers of their unit. */
const BYTE_STEPS = Array.from({ length: 50 }, (_, power) => 2 ** power);

function smallestStep(xs: readonly number[]): number {
  let step = Infinity;
  for (let at = 1; at < xs.length; at += 1) {
    const gap = (xs[at] ?? 0) - (xs[at - 1] ?? 0);
    if (gap > 0) step = Math.min(step, gap);
  }
  return Number.isFinite(step) ? step : 1;
}

function padded(low: number, high: number): [number, number] {
  const room = low === high ? 1 : (high - low) * 0.02;
  return [low - room, high + room];
}

/** Zero is in sight, but for scatters, where it may be far away. */
function yRange(low: number | null, high: number | null, free: boolean): [number, number] {
  if (low === null || high === null) return [0, 1];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  if (free) return [low - room, high + room];
  return [low < 0 ? low - room : 0, high > 0 ? high + room : low < 0 ? 0 : 1];
}

function everyNth(xs: readonly number[], n: number): number[] {
  return xs.filter((_, at) => at % n === 0);
}

function cut(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

function placeText(place: number, kind: Props['xKind'], labels: readonly string[]): string {
  if (kind === 'category') return labels[place] ?? '';
  if (kind === 'number') return String(place);
  return wallDate(place * 1000).toLocaleString('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
}
