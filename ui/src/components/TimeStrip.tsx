/** A small chart over time, one of several that share crosshair and drag: dragging narrows the time range. */
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';

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

export function TimeStrip({ title, figure, more, times, bucketSeconds, series, format, theme, onNarrow }: Props) {
  const [measure, { width }] = useSize<HTMLDivElement>();
  const host = useRef<HTMLDivElement>(null);
  const legend = useRef<HTMLSpanElement>(null);
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
      if (!legend.current) return;
      const at = chart.cursor.idx;
      const time = at === null || at === undefined ? undefined : times[at];
      if (time === undefined || at === null || at === undefined) {
        legend.current.textContent = '';
        return;
      }
      const values = series.map((each) => `${series.length > 1 ? `${each.label} ` : ''}${format(each.values[at] ?? null)}`);
      legend.current.textContent = `${clock(time, bucketSeconds)}  ${values.join('  ')}`;
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
    return () => {
      chart.destroy();
    };
  }, [times, series, width, theme, bucketSeconds, format]);
  return (
    <figure className="strip" ref={measure}>
      <figcaption className="strip__caption">
        <span className="strip__title">{title}</span>
        <span className="strip__figure">{figure}</span>
        {more}
        <span className="strip__legend num" ref={legend} aria-hidden="true" />
      </figcaption>
      <div className="strip__chart" ref={host} style={{ height: HEIGHT }} aria-hidden="true" />
    </figure>
  );
}

function clock(seconds: number, bucketSeconds: number): string {
  const at = new Date(seconds * 1000);
  const time = at.toLocaleTimeString('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
    ...(bucketSeconds < 60 ? { second: '2-digit' } : {}),
  });
  return bucketSeconds < 3600 ? time : `${at.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })} ${time}`;
}
