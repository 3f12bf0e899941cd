/** What the search box suggests at the caret: keys, values with their counts, comparisons, and filters applied before. */
import { useQuery } from '@tanstack/react-query';

import { quoteValue, type Completion } from '../../lib/filter';
import { plural } from '../../lib/format';
import { exampleOf, findKey, type FilterKey } from './keys';
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

export type Suggestions = {
  readonly list: readonly Suggestion[];
  /** What counted the values; `null`: nothing is counted. */
  readonly sql: string | null;
};

export function useSuggestions(
  keys: readonly FilterKey[],
  completion: Completion,
  draft: string,
  scope: Scope,
  open: boolean,
): Suggestions {
  const name = completion.kind === 'value' ? completion.key : null;
  const known = name === null ? undefined : findKey(keys, name);
  const prefix = completion.kind === 'none' ? '' : completion.prefix;
  const listed = known?.facet === true && name !== null;
  const facet = useQuery({
    ...facetQuery(name ?? '', { ...scope, q: '' }, prefix, 12),
    enabled: open && listed,
  });
  if (listed) {
    const values = (facet.data?.values ?? []).filter(({ value }) => value !== '');
    return { list: values.map(counted), sql: values.length === 0 ? null : (facet.data?.sql ?? null) };
  }
  if (completion.kind === 'none') return { list: [], sql: null };
  if (completion.kind === 'value') return { list: fixedValues(known, prefix), sql: null };
  return { list: [...(draft.trim() === '' ? recents() : []), ...keysLike(keys, prefix.toLowerCase())], sql: null };
}

function counted({ value, count }: { value: string; count: number }): Suggestion {
  return { insert: quoteValue(value), label: value, note: `${plural(count, 'span')}`, more: false };
}

/** The few values a key has, or how it is compared. */
function fixedValues(known: FilterKey | undefined, prefix: string): readonly Suggestion[] {
  if (!known) return [];
  const start = prefix.toLowerCase();
  const values = known.values
    .filter((value) => value.toLowerCase().startsWith(start))
    .map((value) => ({ insert: quoteValue(value), label: value, note: '', more: false }));
  if (values.length > 0 || prefix !== '' || known.type === 'text' || known.type === 'flag') return values;
  const unit = { number: '1000', duration: '2s', money: '0.01' }[known.type];
  return ['>', '>=', '<', '<='].map((sign) => ({ insert: sign, label: sign, note: `${known.key}:${sign}${unit}`, more: true }));
}

function recents(): readonly Suggestion[] {
  return recentFilters().map((q) => ({ insert: q, label: q, note: 'used before', more: false, whole: true }));
}

function keysLike(keys: readonly FilterKey[], prefix: string): readonly Suggestion[] {
  return keys
    .filter((each) => each.key.startsWith(prefix) || (prefix !== '' && each.aliases.some((alias) => alias.startsWith(prefix))))
    .map((each) => {
      const open = each.key.endsWith('.');
      return {
        insert: open ? each.key : `${each.key}:`,
        label: open ? `${each.key}<name>:` : `${each.key}:`,
        note: `${each.doc} · ${exampleOf(each)}`,
        more: true,
      };
    });
}
