/** What the search box suggests at the caret: keys, values with their counts, comparisons, and filters applied before. */
import { useQuery } from '@tanstack/react-query';

import { quoteValue, type Completion } from '../../lib/filter';
import { formatCount } from '../../lib/format';
import { FILTER_KEYS, filterKey } from './keys';
import { facetQuery, type Scope } from './queries';
import { recentFilters } from './recent';

export type Suggestion = {
  insert: string;
  label: string;
  note: string;
  /** The token goes on after it. */
  more: boolean;
  /** It is a whole filter, not a part of one. */
  whole?: true;
};

const FIXED_VALUES: Record<string, readonly string[]> = { has: ['error', 'cost', 'session', 'user', 'tool'] };

export function useSuggestions(completion: Completion, draft: string, scope: Scope, open: boolean): readonly Suggestion[] {
  const known = completion.kind === 'value' ? filterKey(completion.key) : undefined;
  const field = known?.facet;
  const prefix = completion.kind === 'none' ? '' : completion.prefix;
  const facet = useQuery({
    ...facetQuery(field ?? 'service_name', { ...scope, q: '' }, prefix, 12),
    enabled: open && field !== undefined,
  });
  if (completion.kind === 'none') return [];
  if (completion.kind === 'key') return [...(draft.trim() === '' ? recents() : []), ...keysLike(prefix.toLowerCase())];
  if (field !== undefined) {
    return (facet.data?.values ?? []).flatMap(({ value, count }) =>
      value === null || value === undefined || value === ''
        ? []
        : [{ insert: quoteValue(value), label: value, note: `${formatCount(count)} span${count === 1 ? '' : 's'}`, more: false }],
    );
  }
  return (FIXED_VALUES[completion.key] ?? [])
    .filter((value) => value.startsWith(completion.prefix))
    .map((value) => ({ insert: value, label: value, note: '', more: false }));
}

function recents(): readonly Suggestion[] {
  return recentFilters().map((q) => ({ insert: q, label: q, note: 'used before', more: false, whole: true }));
}

function keysLike(prefix: string): readonly Suggestion[] {
  return FILTER_KEYS.filter((each) => each.key.startsWith(prefix)).map((each) => ({
    insert: each.key === 'attr.' ? 'attr.' : `${each.key}:`,
    label: each.key === 'attr.' ? 'attr.<name>:' : `${each.key}:`,
    note: `${each.doc} · ${each.example}`,
    more: true,
  }));
}
