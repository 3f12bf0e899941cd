/** From rows of a result to a chart: what is drawn by default, and the series it is made of. Pure. */
import { cellText } from '../../lib/table';
import { isNumeric, isTime } from './cells';

export const CHART_KINDS = ['line', 'bar', 'stacked', 'scatter', 'number'] as const;
export type ChartKind = (typeof CHART_KINDS)[number];

/** What to draw, by names of columns. */
export type ChartSpec = {
  readonly kind: ChartKind;
  readonly x: string;
  readonly y: readonly string[];
  /** The column whose values become series. */
  readonly by: string | null;
  /** Series that were switched off in the legend. */
  readonly hidden?: readonly string[];
};

export type ChartData = {
  /** How places on x are to be read: seconds since 1970, numbers, or places of `labels`. */
  readonly xKind: 'time' | 'number' | 'category';
  /** Ascending. */
  readonly xs: readonly number[];
  readonly labels: readonly string[];
  /** `null` is a gap: no row says anything. */
  readonly series: readonly { readonly label: string; readonly values: readonly (number | null)[] }[];
  /** How many series there would be without the limit. */
  readonly seriesAll: number;
  /** How many places on x there would be without the limit; only categories have one. */
  readonly placesAll: number;
  /** Rows that share x and series with one before them: their values were added up. */
  readonly merged: number;
};

type Column = { readonly name: string; readonly type: string };
type Rows = readonly (readonly unknown[])[];

/** As many as there are colours. */
export const SERIES_MAX = 12;
/** More bars than this are no chart. */
export const CATEGORIES_MAX = 60;

/** What a result probably wants to be: time or a name along x, numbers up, a second name as series. `null`: nothing to draw. */
export function guessChart(columns: readonly Column[], rows: Rows): ChartSpec | null {
  const numbers = columns.filter((column) => isNumeric(column.type));
  const times = columns.filter((column) => isTime(column.type));
  const names = columns.filter((column) => !isNumeric(column.type) && !isTime(column.type) && !/_id$/.test(column.name));
  const first = numbers[0];
  if (!first) return null;
  if (rows.length <= 1) return { kind: 'number', x: '', y: [first.name], by: null };
  const time = times[0];
  if (time) {
    const by = names[0]?.name ?? null;
    return { kind: by === null ? 'line' : 'stacked', x: time.name, y: alike(numbers, by), by };
  }
  const name = names[0];
  if (name) return { kind: 'bar', x: name.name, y: [first.name], by: null };
  const second = numbers[1];
  if (!second) return { kind: 'number', x: '', y: [first.name], by: null };
  return { kind: 'scatter', x: first.name, y: [second.name], by: null };
}

/** With a series column one measure is enough; without, those that share a unit by their name's end. */
function alike(numbers: readonly Column[], by: string | null): string[] {
  const [first, ...others] = numbers.map((column) => column.name);
  if (first === undefined) return [];
  const unit = first.split('_').pop();
  return by === null ? [first, ...others.filter((name) => name.split('_').pop() === unit)].slice(0, SERIES_MAX) : [first];
}

/** Whether the columns that a chart names are in the result. */
export function fits(spec: ChartSpec, columns: readonly Column[]): boolean {
  const has = (name: string) => columns.some((column) => column.name === name);
  return spec.y.length > 0 && spec.y.every(has) && (spec.kind === 'number' || has(spec.x)) && (spec.by === null || has(spec.by));
}

/** The series of a chart, from rows that fit it. */
export function chartData(columns: readonly Column[], rows: Rows, spec: ChartSpec): ChartData {
  const at = (name: string) => columns.findIndex((column) => column.name === name);
  const xAt = at(spec.x);
  const xKind = kindOfX(columns[xAt]?.type ?? '', spec.kind);
  const by = spec.by === null ? -1 : at(spec.by);
  const measures = spec.y.map((name) => ({ name, at: at(name) })).filter((each) => each.at >= 0);

  const placeOf = new Map<number | string, number>();
  const labels: string[] = [];
  const sums = new Map<string, Map<number, number>>();
  const weight = new Map<string, number>();
  const points: { x: number; label: string; value: number }[] = [];
  let merged = 0;
  let placesAll = 0;
  for (const row of rows) {
    const x = readX(row[xAt], xKind, placeOf, labels);
    if (x === null) continue;
    placesAll = Math.max(placesAll, x + 1);
    for (const measure of measures) {
      const value = readNumber(row[measure.at]);
      if (value === null) continue;
      const group = by < 0 ? null : cellText(row[by]) || 'null';
      const label = group === null ? measure.name : measures.length > 1 ? `${group} · ${measure.name}` : group;
      weight.set(label, (weight.get(label) ?? 0) + Math.abs(value));
      if (spec.kind === 'scatter') {
        points.push({ x, label, value });
        continue;
      }
      const series = sums.get(label) ?? new Map<number, number>();
      sums.set(label, series);
      const before = series.get(x);
      if (before !== undefined) merged += 1;
      series.set(x, (before ?? 0) + value);
    }
  }

  // The heaviest series are kept, in the order in which they came, so that a colour does not jump with the next row.
  const heaviest = [...weight].sort((a, b) => b[1] - a[1]).slice(0, SERIES_MAX);
  const kept = new Set(heaviest.map(([label]) => label));
  const order = [...weight.keys()].filter((label) => kept.has(label));
  if (spec.kind === 'scatter') {
    // A point each: places on x may repeat.
    const shown = points.filter((point) => kept.has(point.label)).sort((a, b) => a.x - b.x);
    return {
      xKind,
      xs: shown.map((point) => point.x),
      labels,
      series: order.map((label) => ({ label, values: shown.map((point) => (point.label === label ? point.value : null)) })),
      seriesAll: weight.size,
      placesAll: shown.length,
      merged: 0,
    };
  }
  const all = [...new Set([...sums.values()].flatMap((series) => [...series.keys()]))].sort((a, b) => a - b);
  const xs = xKind === 'category' ? all.slice(0, CATEGORIES_MAX) : all;
  return {
    xKind,
    xs,
    labels,
    series: order.map((label) => ({ label, values: xs.map((x) => sums.get(label)?.get(x) ?? null) })),
    seriesAll: weight.size,
    placesAll: xKind === 'category' ? placesAll : all.length,
    merged,
  };
}

function kindOfX(type: string, kind: ChartKind): ChartData['xKind'] {
  if (isTime(type)) return 'time';
  return isNumeric(type) && kind !== 'bar' ? 'number' : 'category';
}

function readX(value: unknown, kind: ChartData['xKind'], placeOf: Map<number | string, number>, labels: string[]): number | null {
  if (kind === 'time') {
    const ms = typeof value === 'string' ? Date.parse(value) : NaN;
    return Number.isNaN(ms) ? null : ms / 1000;
  }
  if (kind === 'number') return readNumber(value);
  const label = value === null || value === undefined ? 'null' : cellText(value);
  const known = placeOf.get(label);
  if (known !== undefined) return known;
  placeOf.set(label, labels.length);
  labels.push(label);
  return labels.length - 1;
}

function readNumber(value: unknown): number | null {
  if (typeof value === 'number') return value;
  if (typeof value !== 'string' || value === '') return null;
  const number = Number(value);
  return Number.isFinite(number) ? number : null;
}
