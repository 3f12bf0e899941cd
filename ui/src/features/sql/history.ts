/** The queries that ran, newest first, kept in this browser. */

export type HistoryEntry = { readonly query: string; readonly at: number };

const ENTRIES_MAX = 100;

export function isHistory(value: unknown): value is HistoryEntry[] {
  return (
    Array.isArray(value) &&
    value.every(
      (entry: unknown) =>
        typeof entry === 'object' &&
        entry !== null &&
        'query' in entry &&
        typeof entry.query === 'string' &&
        'at' in entry &&
        typeof entry.at === 'number',
    )
  );
}

/** The history with a query on top; the same query stands in it once. */
export function remembered(history: readonly HistoryEntry[], query: string, at: number): HistoryEntry[] {
  const text = query.trim();
  if (text === '') return [...history];
  return [{ query: text, at }, ...history.filter((entry) => entry.query !== text)].slice(0, ENTRIES_MAX);
}
