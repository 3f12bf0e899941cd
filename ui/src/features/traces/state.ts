/** What the list shows, as it stands in the address. */
import { DEFAULT_RANGE, isRange, type TimeRange } from '../../lib/time';

export const SORTS = [
  'start_time',
  'duration_ns',
  'cost_usd',
  'input_tokens',
  'output_tokens',
  'span_count',
  'error_count',
] as const;
export type Sort = (typeof SORTS)[number];
export type Order = 'asc' | 'desc';

export type ListState = TimeRange & {
  readonly q: string;
  readonly sort: Sort;
  readonly order: Order;
  readonly live: boolean;
  /** Trace in the peek panel. */
  readonly peek: string | null;
};

/** Search parameters: all text, all optional; what is missing or cannot be understood is the default. */
export type ListSearch = { from?: string; to?: string; q?: string; sort?: string; order?: string; live?: string; peek?: string };

export function readListSearch(search: Record<string, unknown>): ListSearch {
  const read: ListSearch = {};
  for (const key of ['from', 'to', 'q', 'sort', 'order', 'live', 'peek'] as const) {
    const value = search[key];
    if (typeof value === 'string' && value !== '') read[key] = value;
  }
  return read;
}

export function listState(search: ListSearch): ListState {
  const range = { from: search.from ?? DEFAULT_RANGE.from, to: search.to ?? DEFAULT_RANGE.to };
  const valid = isRange(range, Date.now()) ? range : DEFAULT_RANGE;
  return {
    ...valid,
    q: search.q ?? '',
    sort: SORTS.find((sort) => sort === search.sort) ?? 'start_time',
    order: search.order === 'asc' ? 'asc' : 'desc',
    live: search.live === '1',
    peek: search.peek ?? null,
  };
}

/** The address of a state; defaults are left out, so that links stay short. */
export function listSearch(state: ListState): ListSearch {
  return {
    ...(state.from === DEFAULT_RANGE.from && state.to === DEFAULT_RANGE.to ? {} : { from: state.from, to: state.to }),
    ...(state.q === '' ? {} : { q: state.q }),
    ...(state.sort === 'start_time' ? {} : { sort: state.sort }),
    ...(state.order === 'desc' ? {} : { order: state.order }),
    ...(state.live ? { live: '1' } : {}),
    ...(state.peek === null ? {} : { peek: state.peek }),
  };
}
