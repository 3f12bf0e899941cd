/** Addresses of places, for the features that must not know the router. */
import { useRouter, type AnyRouter } from '@tanstack/react-router';
import { useMemo } from 'react';

import type { Links } from '../features/lists/kinds';
import type { SavedView } from '../features/lists/saved';
import { scopeSearch, type Kind, type ListState } from '../features/lists/state';
import { withTermValues } from '../lib/filter';

/** The path of each list. */
export const LIST_PATHS = {
  traces: '/',
} as const satisfies Partial<Record<Kind, string>>;

/** The path of a list, as far as it has a page. */
export function listPath(kind: Kind): (typeof LIST_PATHS)[keyof typeof LIST_PATHS] {
  return kind in LIST_PATHS ? LIST_PATHS[kind as keyof typeof LIST_PATHS] : LIST_PATHS.traces;
}

/** Address of the workbench with a query in it. */
export function sqlHref(router: AnyRouter, sql: string): string {
  return router.buildLocation({ to: '/sql', search: { q: sql } }).href;
}

/** Address of a saved view. */
export function viewHref(router: AnyRouter, view: SavedView): string {
  return router.buildLocation({ to: listPath(view.kind), search: { ...view.search, view: view.id } }).href;
}

/** Where the rows of a list lead; the next list keeps the time and the filter of this one. */
export function useLinks({ from, to, q }: Pick<ListState, 'from' | 'to' | 'q'>): Links {
  const router = useRouter();
  return useMemo(() => {
    const list = (kind: Kind, key: string, value: string) =>
      router.buildLocation({
        to: listPath(kind),
        search: scopeSearch({ from, to, q: withTermValues(q, key, [value]) }),
      }).href;
    return {
      trace: (traceId, spanId) =>
        router.buildLocation({
          to: '/traces/$traceId',
          params: { traceId },
          search: spanId === undefined ? {} : { span: spanId },
        }).href,
      session: (sessionId) => list('traces', 'session', sessionId),
      user: (userId) => list('traces', 'user', userId),
      list,
    };
  }, [router, from, to, q]);
}
