/** The keys of the filter language, as the server tells them: for suggestions, and to mark what is none. */
import { useQuery } from '@tanstack/react-query';

import type { components } from '../../api/generated/openapi';
import { filterKeysQuery } from './queries';

export type FilterKey = components['schemas']['FilterKey'];

/** Empty until the server has told them. */
export function useFilterKeys(): readonly FilterKey[] {
  return useQuery(filterKeysQuery()).data?.keys ?? [];
}

/** The description of a key, aliases included; a key that ends in a dot begins others: `attr.http.route`. */
export function findKey(keys: readonly FilterKey[], name: string): FilterKey | undefined {
  return keys.find((each) =>
    each.key.endsWith('.')
      ? name.startsWith(each.key) && name.length > each.key.length
      : each.key === name || each.aliases.includes(name),
  );
}

/** How its values are written, by an example. */
export function exampleOf({ key, type, values }: FilterKey): string {
  if (key.endsWith('.')) return `${key}http.route:/chat`;
  const value = { text: values[0] ?? '…', number: '>1000', duration: '>2s', money: '>0.01', flag: values[0] ?? 'true' }[type];
  return `${key}:${value}`;
}
