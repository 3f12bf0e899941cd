/** What a list shows, as it stands in the address. */
import type { Density, Order } from '../../components/list-table/ListTable';
import { DEFAULT_RANGE, isRange, type TimeRange } from '../../lib/time';

export const KINDS = ['traces', 'calls', 'sessions', 'users', 'models', 'tools', 'errors'] as const;
export type Kind = (typeof KINDS)[number];

export type ListState = TimeRange & {
  readonly q: string;
  /** `null`: as the kind sorts by itself. */
  readonly sort: string | null;
  readonly order: Order;
  readonly live: boolean;
  /** What stands in the peek panel: a trace, or a trace and a span of it (`trace.span`). */
  readonly peek: string | null;
  /** How it is shown there, in the words of the page of a trace: `peek.tab`, `peek.view` and the like, without the `peek.`. */
  readonly peeking: Readonly<Record<string, string>>;
  /** Columns as `lib/columns.ts` writes them. */
  readonly cols: string | null;
  readonly density: Density;
  /** The saved view that this list is, or began as. */
  readonly view: string | null;
};

/** Search parameters: all text, all optional; what is missing or cannot be understood is the default. */
export type ListSearch = Partial<Record<(typeof SEARCH_KEYS)[number] | `${typeof PEEKING}${string}`, string>>;

const PEEKING = 'peek.';

const SEARCH_KEYS = ['from', 'to', 'q', 'sort', 'order', 'live', 'peek', 'cols', 'density', 'view'] as const;

export function readListSearch(search: Record<string, unknown>): ListSearch {
  const read: ListSearch = {};
  for (const key of SEARCH_KEYS) {
    const value = search[key];
    if (typeof value === 'string' && value !== '') read[key] = value;
  }
  for (const [key, value] of Object.entries(search))
    if (key.startsWith(PEEKING) && typeof value === 'string' && value !== '') read[key as `${typeof PEEKING}${string}`] = value;
  return read;
}

export function listState(search: ListSearch): ListState {
  const range = { from: search.from ?? DEFAULT_RANGE.from, to: search.to ?? DEFAULT_RANGE.to };
  const valid = isRange(range, Date.now()) ? range : DEFAULT_RANGE;
  return {
    ...valid,
    q: search.q ?? '',
    sort: search.sort !== undefined && /^\w+$/.test(search.sort) ? search.sort : null,
    order: search.order === 'asc' ? 'asc' : 'desc',
    live: search.live === '1',
    peek: search.peek ?? null,
    peeking: Object.fromEntries(
      Object.entries(search).flatMap(([key, value]) =>
        key.startsWith(PEEKING) && value !== undefined ? [[key.slice(PEEKING.length), value]] : [],
      ),
    ),
    cols: search.cols ?? null,
    density: search.density === 'compact' || search.density === 'roomy' ? search.density : 'normal',
    view: search.view ?? null,
  };
}

/** The address of a state; defaults are left out, so that links stay short. */
export function listSearch(state: ListState): ListSearch {
  return {
    ...scopeSearch(state),
    ...(state.sort === null ? {} : { sort: state.sort }),
    ...(state.order === 'desc' ? {} : { order: state.order }),
    ...(state.live ? { live: '1' } : {}),
    ...(state.peek === null ? {} : { peek: state.peek }),
    ...(state.peek === null
      ? {}
      : Object.fromEntries(Object.entries(state.peeking).map(([key, value]) => [`${PEEKING}${key}`, value]))),
    ...(state.cols === null ? {} : { cols: state.cols }),
    ...(state.density === 'normal' ? {} : { density: state.density }),
    ...(state.view === null ? {} : { view: state.view }),
  };
}

/** What one list hands to the next: the time and the filter, which mean the same to all of them. */
export function scopeSearch(state: Pick<ListState, 'from' | 'to' | 'q'>): ListSearch {
  return {
    ...(state.from === DEFAULT_RANGE.from && state.to === DEFAULT_RANGE.to ? {} : { from: state.from, to: state.to }),
    ...(state.q === '' ? {} : { q: state.q }),
  };
}
