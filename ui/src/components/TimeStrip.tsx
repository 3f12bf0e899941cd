/**
 * A small chart over time, one of several that share crosshair and drag: dragging narrows the time range. With the keyboard arrows move the
 * crosshair, with Shift they choose, and Enter narrows.
 */
import { useEffect, useRef, useState, type KeyboardEvent } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

import { wallDate } from '../lib/clock';
import { useSize } from '../lib/hooks';
import './time-strip.css';

export type StripSeries = {
  label: string;
  /** Name of a CSS variable, so that both themes draw their own colour. */
  colour: string;
  kind: 'bars' | 'line';
  /** `null` is a gap: nothing happened or nothing is known. */
  values: (number | null)[];
};

type Props = {
  title: string;
  /** The number over the strip: a total or typical value. */
  figure: React.ReactNode;
  /** After the figure, such as a link to its SQL. */
  more?: React.ReactNode;
  /** Start of each bucket, in seconds since 1970. */
  times: number[];
  bucketSeconds: number;
  series: StripSeries[];
  format: (value: number | null) => string;
  /** Changes when colours must be read anew. */
  theme: string;
  onNarrow: (fromMs: number, toMs: number) => void;
};

const HEIGHT = 46;

/** Where the keyboard points, and where its choice began: places of buckets. */
type Place = { readonly from: number; readonly to: number };

export function TimeStrip({ title, figure, more, times, bucketSeconds, series, format, theme, onNarrow }: Props) {
  const [measure, { width }] = useSize<HTMLDivElement>();
  const host = useRef<HTMLDivElement>(null);
  const legend = useRef<HTMLSpanElement>(null);
  const drawn = useRef<uPlot | null>(null);
  const [place, setPlace] = useState<Place | null>(null);
  const count = times.length;
  const at = place === null ? null : { ...place, to: Math.min(place.to, count - 1), from: Math.min(place.from, count - 1) };
  const narrow = useRef(onNarrow);
  useEffect(() => {
    narrow.current = onNarrow;
  });
  useEffect(() => {
    const element = host.current;
    if (!element || width === 0 || times.length === 0) return;
    const css = getComputedStyle(document.documentElement);
    const colour = (name: string) => css.getPropertyValue(name).trim();
    const bars = uPlot.paths.bars?.({ size: [0.82, 14], align: 1 });
    const say = (chart: uPlot) => {
      if (legend.current) legend.current.textContent = textAt(chart.cursor.idx ?? null, times, bucketSeconds, series, format);
    };
    const last = times[times.length - 1] ?? 0;
    const chart = new uPlot(
      {
        width,
        height: HEIGHT,
        padding: [4, 0, 0, 0],
        legend: { show: false },
        cursor: {
          y: false,
          points: { show: false },
          sync: { key: 'strips', setSeries: false },
          drag: { x: true, y: false, setScale: false },
        },
        scales: {
          x: { time: true, range: () => [times[0] ?? 0, last + bucketSeconds] },
          y: { range: (_, __, max) => [0, max > 0 ? max * 1.05 : 1] },
        },
        axes: [{ show: false }, { show: false }],
        series: [
          {},
          ...series.map((each) => ({
            label: each.label,
            stroke: colour(each.colour),
            width: each.kind === 'bars' ? 0 : 1.5,
            points: { show: each.kind === 'line', size: 3, fill: colour(each.colour), width: 0 },
            spanGaps: false,
            ...(each.kind === 'bars' ? { fill: colour(each.colour), ...(bars ? { paths: bars } : {}) } : {}),
          })),
        ],
        hooks: {
          setCursor: [say],
          setSelect: [
            (self) => {
              if (self.select.width < 4) return;
              const from = self.posToVal(self.select.left, 'x');
              const to = self.posToVal(self.select.left + self.select.width, 'x');
              self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
              narrow.current(from * 1000, to * 1000);
            },
          ],
        },
      },
      [times, ...series.map((each) => each.values)],
      element,
    );
    drawn.current = chart;
    return () => {
      drawn.current = null;
      chart.destroy();
    };
  }, [times, series, width, theme, bucketSeconds, format]);
  // What the keyboard points at is drawn as the pointer would draw it.
  const show = (next: Place | null) => {
    setPlace(next);
    const chart = drawn.current;
    if (!chart) return;
    const left = (index: number) => chart.valToPos(times[index] ?? 0, 'x');
    const end = (index: number) => chart.valToPos((times[index] ?? 0) + bucketSeconds, 'x');
    chart.setCursor(next === null ? { left: -10, top: -10 } : { left: (left(next.to) + end(next.to)) / 2, top: 1 });
    const [from, to] = next === null ? [0, 0] : [Math.min(next.from, next.to), Math.max(next.from, next.to)];
    const chosen = next !== null && next.from !== next.to;
    const select = chosen ? { left: left(from), width: end(to) - left(from) } : { left: 0, width: 0 };
    chart.setSelect({ ...select, top: 0, height: chosen ? HEIGHT : 0 }, false);
  };
  const key = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || count === 0) return;
    const now = at?.to ?? count - 1;
    const moves: Record<string, number> = {
      ArrowLeft: at === null ? now : now - 1,
      ArrowRight: now + 1,
      Home: 0,
      End: count - 1,
    };
    const move = moves[event.key];
    if (move !== undefined) {
      const to = Math.max(0, Math.min(count - 1, move));
      show({ to, from: event.shiftKey ? (at?.from ?? to) : to });
    } else if (event.key === 'Enter' && at !== null) {
      const [from, to] = [Math.min(at.from, at.to), Math.max(at.from, at.to)];
      show(null);
      onNarrow((times[from] ?? 0) * 1000, ((times[to] ?? 0) + bucketSeconds) * 1000);
    } else if (event.key === 'Escape' && at !== null) show(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <figure className="strip" ref={measure}>
      <figcaption className="strip__caption">
        <span className="strip__title">{title}</span>
        <span className="strip__figure">{figure}</span>
        {more}
        <span className="strip__legend num" ref={legend} aria-hidden="true" />
      </figcaption>
      <div
        className="strip__keys"
        role="slider"
        tabIndex={0}
        aria-label={`${title} over time`}
        aria-valuemin={0}
        aria-valuemax={Math.max(0, count - 1)}
        aria-valuenow={at?.to ?? Math.max(0, count - 1)}
        aria-valuetext={textAt(at?.to ?? count - 1, times, bucketSeconds, series, format)}
        title="Drag, or Shift and arrows, then Enter: only this time"
        onKeyDown={key}
        onBlur={() => {
          if (at !== null) show(null);
        }}
      >
        <div className="strip__chart" ref={host} style={{ height: HEIGHT }} aria-hidden="true" />
      </div>
    </figure>
  );
}

/** A bucket in words; nothing where there is none. */
function textAt(
  at: number | null,
  times: readonly number[],
  bucketSeconds: number,
  series: readonly StripSeries[],
  format: Props['format'],
): string {
  const time = at === null ? undefined : times[at];
  if (at === null || time === undefined) return '';
  const values = series.map((each) => `${series.length > 1 ? `${each.label} ` : ''}${format(each.values[at] ?? null)}`);
  return `${clock(time, bucketSeconds)}  ${values.join('  ')}`;
}

function clock(seconds: number, bucketSeconds: number): string {
  const at = wallDate(seconds * 1000);
  const time = at.toLocaleTimeString('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
    ...(bucketSeconds < 60 ? { second: '2-digit' } : {}),
  });
  return bucketSeconds < 3600 ? time : `${at.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })} ${time}`;
}
