/** What the address holds of a trace page: view, selection, folds, search, window. A link restores it; a peek keeps it to itself. */
import { collapsible, idAt, indexOfId, type TraceTree } from './tree';

export const VIEWS = ['tree', 'timeline', 'transcript', 'graph'] as const;
export type View = (typeof VIEWS)[number];

export type TraceState = {
  readonly span: string | null;
  readonly view: View;
  readonly tab: string;
  /** Text searched within the trace. */
  readonly find: string;
  /** Folded spans: see `readFolds`. */
  readonly fold: string;
  /** Agents within agents that the transcript shows unfolded, in the words of `fold`. */
  readonly open: string;
  /** Window of the timeline, nanoseconds since the first span. */
  readonly window: { readonly startNs: number; readonly endNs: number } | null;
  /** Whether idle time is compressed. */
  readonly gaps: boolean;
  /** Whether the graph has a node for each span. */
  readonly expanded: boolean;
};

export const FIRST_STATE: TraceState = { span: null, view: 'tree', tab: 'content', find: '', fold: '', open: '', window: null, gaps: false, expanded: false }; // prettier-ignore

export type TraceSearch = Partial<
  Record<'span' | 'view' | 'tab' | 'find' | 'fold' | 'open' | 'window' | 'gaps' | 'graph', string>
>;

const KEYS = ['span', 'view', 'tab', 'find', 'fold', 'open', 'window', 'gaps', 'graph'] as const;

export function readTraceSearch(search: Record<string, unknown>): TraceSearch {
  const read: TraceSearch = {};
  for (const key of KEYS) {
    const value = search[key];
    if (typeof value === 'string' && value !== '') read[key] = value;
  }
  return read;
}

export function traceState(search: TraceSearch): TraceState {
  const window = /^(\d+)-(\d+)$/.exec(search.window ?? '');
  const [startNs, endNs] = [Number(window?.[1]), Number(window?.[2])];
  return {
    span: search.span ?? null,
    view: VIEWS.find((view) => view === search.view) ?? 'tree',
    tab: search.tab ?? 'content',
    find: search.find ?? '',
    fold: search.fold ?? '',
    open: search.open ?? '',
    window: window && endNs > startNs ? { startNs, endNs } : null,
    gaps: search.gaps === '1',
    expanded: search.graph === 'spans',
  };
}

/** Only what differs from the first state stands in the address. */
export function traceSearch(state: TraceState): TraceSearch {
  return {
    ...(state.span === null ? {} : { span: state.span }),
    ...(state.view === 'tree' ? {} : { view: state.view }),
    ...(state.tab === 'content' ? {} : { tab: state.tab }),
    ...(state.find === '' ? {} : { find: state.find }),
    ...(state.fold === '' ? {} : { fold: state.fold }),
    ...(state.open === '' ? {} : { open: state.open }),
    ...(state.window === null ? {} : { window: `${Math.round(state.window.startNs)}-${Math.round(state.window.endNs)}` }),
    ...(state.gaps ? { gaps: '1' } : {}),
    ...(state.expanded ? { graph: 'spans' } : {}),
  };
}

/** More folds than this are not kept in the address, which has its limits. */
const FOLDS_MAX = 60;

/** Folded spans from the address: `all` (everything but the top), or ids joined by dots, those after `all-` being open again. */
export function readFolds(tree: TraceTree, fold: string): ReadonlySet<number> {
  const [base, exceptions] = fold.startsWith('all') ? [collapsible(tree, 1), fold.slice(4)] : [new Set<number>(), fold];
  for (const id of exceptions === '' ? [] : exceptions.split('.')) {
    const at = indexOfId(tree, id);
    if (at >= 0 && !base.delete(at)) base.add(at);
  }
  return base;
}

export function writeFolds(tree: TraceTree, folds: ReadonlySet<number>): string {
  if (folds.size === 0) return '';
  const ids = (places: readonly number[]) => places.slice(0, FOLDS_MAX).map((at) => idAt(tree, at)).join('.'); // prettier-ignore
  if (folds.size <= FOLDS_MAX) return ids([...folds]);
  const all = collapsible(tree, 1);
  const open = [...all].filter((at) => !folds.has(at));
  return open.length === 0 ? 'all' : `all-${ids(open)}`;
}
