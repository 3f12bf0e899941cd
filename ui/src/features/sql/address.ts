/** What stands in the address of the workbench: the query, its parameters, how its result is looked at. Pure. */
import { CHART_KINDS, type ChartKind, type ChartSpec } from './chart';

export const PARAM_TYPES = ['text', 'number', 'boolean'] as const;
export type ParamType = (typeof PARAM_TYPES)[number];

/** A value for `$name` or `$1`, as it was typed. */
export type Param = { readonly name: string; readonly type: ParamType; readonly value: string };

/** `plan`: how it would be answered, without running it; `explain`: the same, run and measured. */
export const VIEWS = ['table', 'chart', 'plan', 'explain'] as const;
export type View = (typeof VIEWS)[number];

export type SortBy = { readonly column: string; readonly descending: boolean };

/** A place in the result as it is sorted, from 0; the column by name. */
export type OpenCell = { readonly row: number; readonly column: string };

export type SqlAddress = {
  /** `null`: none was run yet. */
  readonly query: string | null;
  readonly params: readonly Param[];
  readonly view: View;
  readonly chart: ChartSpec | null;
  readonly sort: SortBy | null;
  /** The cell that is open beside the result. */
  readonly cell: OpenCell | null;
  /** The saved query that this one is, or began as. */
  readonly saved: string | null;
};

export const EMPTY_ADDRESS: SqlAddress = {
  query: null,
  params: [],
  view: 'table',
  chart: null,
  sort: null,
  cell: null,
  saved: null,
};

/** The search part of the address; all values are text. `p.` begins a parameter, `:` its type. */
export type SqlSearch = Record<string, string>;

export function readSqlSearch(search: Record<string, unknown>): SqlSearch {
  return Object.fromEntries(
    Object.entries(search).filter(
      (entry): entry is [string, string] =>
        typeof entry[1] === 'string' && (KEYS.includes(entry[0]) || entry[0].startsWith('p.')),
    ),
  );
}

const KEYS = ['q', 'view', 'chart', 'x', 'y', 'by', 'hide', 'sort', 'cell', 'saved'];

export function sqlAddress(search: SqlSearch): SqlAddress {
  const kind = CHART_KINDS.find((each) => each === search['chart']);
  const sort = search['sort'];
  return {
    query: search['q'] ?? null,
    params: Object.entries(search)
      .filter(([key]) => key.startsWith('p.'))
      .map(([key, value]) => {
        const [name = '', type] = key.slice(2).split(':');
        return { name, value, type: PARAM_TYPES.find((each) => each === type) ?? 'text' };
      }),
    view: VIEWS.find((each) => each === search['view']) ?? 'table',
    chart: kind ? readChart(kind, search) : null,
    sort: sort === undefined ? null : { column: sort.replace(/^-/, ''), descending: sort.startsWith('-') },
    cell: readCell(search['cell'] ?? ''),
    saved: search['saved'] ?? null,
  };
}

/** The row from 1, a dot, the column. */
function readCell(text: string): OpenCell | null {
  const match = /^([1-9]\d{0,8})\.(.+)$/s.exec(text);
  return match ? { row: Number(match[1]) - 1, column: match[2] ?? '' } : null;
}

function readChart(kind: ChartKind, search: SqlSearch): ChartSpec {
  return {
    kind,
    x: search['x'] ?? '',
    y: readNames(search['y']),
    by: search['by'] ?? null,
    ...(search['hide'] === undefined ? {} : { hidden: readNames(search['hide']) }),
  };
}

/** Names joined by commas; a comma within one is written `%2C`. */
function readNames(text = ''): string[] {
  return text
    .split(',')
    .filter((name) => name !== '')
    .map((name) => name.replace(/%2C/g, ',').replace(/%25/g, '%'));
}

function writeNames(names: readonly string[]): string {
  return names.map((name) => name.replace(/%/g, '%25').replace(/,/g, '%2C')).join(',');
}

export function sqlSearch(address: SqlAddress): SqlSearch {
  const { query, params, view, chart, sort, cell, saved } = address;
  return {
    ...(query === null ? {} : { q: query }),
    ...Object.fromEntries(
      params.map((param) => [`p.${param.name}${param.type === 'text' ? '' : `:${param.type}`}`, param.value]),
    ),
    ...(view === 'table' ? {} : { view }),
    ...(chart
      ? {
          chart: chart.kind,
          ...(chart.x === '' ? {} : { x: chart.x }),
          y: writeNames(chart.y),
          ...(chart.by === null ? {} : { by: chart.by }),
          ...(chart.hidden === undefined || chart.hidden.length === 0 ? {} : { hide: writeNames(chart.hidden) }),
        }
      : {}),
    ...(sort ? { sort: `${sort.descending ? '-' : ''}${sort.column}` } : {}),
    ...(cell ? { cell: `${cell.row + 1}.${cell.column}` } : {}),
    ...(saved === null ? {} : { saved }),
  };
}

/** The parameters that a query names, with the values that are known for them. */
export function paramsFor(names: readonly string[], known: readonly Param[]): Param[] {
  return names.map((name) => known.find((param) => param.name === name) ?? { name, type: guessType(name), value: '' });
}

function guessType(name: string): ParamType {
  return /^(n|limit|count|min|max|days|hours)$|_(ns|ms|usd|tokens|count|limit)$/.test(name) ? 'number' : 'text';
}

/** What the server binds: a list for `$1`, `$2`, …, an object for names. `undefined`: there are none. */
export function bindings(params: readonly Param[]): unknown[] | Record<string, unknown> | undefined {
  if (params.length === 0) return undefined;
  if (params.every((param) => /^\d+$/.test(param.name))) {
    const count = Math.max(...params.map((param) => Number(param.name)));
    return Array.from({ length: count }, (_, at) => valueOf(params.find((param) => param.name === String(at + 1))));
  }
  return Object.fromEntries(params.map((param) => [param.name, valueOf(param)]));
}

function valueOf(param: Param | undefined): unknown {
  if (!param) return null;
  if (param.type === 'text') return param.value;
  if (param.value.trim() === '') return null;
  if (param.type === 'boolean') return /^(true|t|yes|1)$/i.test(param.value.trim());
  const number = Number(param.value);
  return Number.isFinite(number) ? number : param.value;
}
