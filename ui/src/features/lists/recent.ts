/** The last filters that were applied, kept in this browser, the newest first. */
const KEY = 'assay.recent-filters';
const KEPT = 8;

export function recentFilters(): readonly string[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(stored) ? stored.filter((each): each is string => typeof each === 'string').slice(0, KEPT) : [];
  } catch {
    return [];
  }
}

export function rememberFilter(q: string): void {
  if (q === '') return;
  try {
    const others = recentFilters().filter((each) => each !== q);
    localStorage.setItem(KEY, JSON.stringify([q, ...others].slice(0, KEPT)));
  } catch {
    // Forbidden or full: nothing is remembered.
  }
}
