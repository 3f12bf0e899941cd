/** Addresses of places, for the features that must not know the router. */
import { useRouter, type AnyRouter } from '@tanstack/react-router';
import { useMemo } from 'react';

import type { SqlParams } from '../components/SqlLink';
import type { Links } from '../features/lists/kinds';
import type { SavedView } from '../features/lists/saved';
import { scopeSearch, type Kind, type ListState } from '../features/lists/state';
import { withTermValues } from '../lib/filter';

/** The path of each list. */
export const LIST_PATHS = {
  traces: '/',
  calls: '/calls',
  sessions: '/sessions',
  users: '/users',
  models: '/models',
  tools: '/tools',
  errors: '/errors',
} as const satisfies Record<Kind, string>;

/** Address of the workbench with a query in it, and its parameters as that address names them. */
export function sqlHref(router: AnyRouter, sql: string, params: SqlParams = {}): string {
  return router.buildLocation({ to: '/sql', search: { q: sql, ...params } }).href;
}

/** Address of a saved view. */
export function viewHref(router: AnyRouter, view: SavedView): string {
  return router.buildLocation({ to: LIST_PATHS[view.kind], search: { ...view.search, view: view.id } }).href;
}

/** Where the rows of a list lead; the next list keeps the time and the filter of this one. */
export function useLinks({ from, to, q }: Pick<ListState, 'from' | 'to' | 'q'>): Links {
  const router = useRouter();
  return useMemo(() => {
    const scope = scopeSearch({ from, to, q: '' });
    return {
      trace: (traceId, spanId) =>
        router.buildLocation({
          to: '/traces/$traceId',
          params: { traceId },
          search: spanId === undefined ? {} : { span: spanId },
        }).href,
      session: (sessionId) => router.buildLocation({ to: '/sessions/$sessionId', params: { sessionId }, search: {} }).href,
      user: (userId) => router.buildLocation({ to: '/users/$userId', params: { userId }, search: scope }).href,
      list: (kind, key, value) =>
        router.buildLocation({ to: LIST_PATHS[kind], search: scopeSearch({ from, to, q: withTermValues(q, key, [value]) }) })
          .href,
    };
  }, [router, from, to, q]);
}
