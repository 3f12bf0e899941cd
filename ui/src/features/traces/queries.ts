/** What the trace list asks of the server. */
import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query';

import { api, apiFetch, projectInUrl, unwrap } from '../../api/client';
import type { FacetField } from '../../api/types';
import { ALL_TIME, type TimeRange } from '../../lib/time';
import type { ListState } from './state';

export type Scope = TimeRange & { readonly q: string };

export const PAGE_ROWS = 100;

const scopeParams = (scope: Scope) => ({
  ...(scope.from === ALL_TIME.from ? {} : { from: scope.from }),
  to: scope.to,
  ...(scope.q === '' ? {} : { q: scope.q }),
});

export const tracesQuery = (state: ListState) =>
  infiniteQueryOptions({
    queryKey: ['traces', projectInUrl(), state.from, state.to, state.q, state.sort, state.order],
    queryFn: ({ pageParam, signal }) =>
      unwrap(
        api.GET('/api/v1/traces', {
          params: {
            query: {
              ...scopeParams(state),
              sort: state.sort,
              order: state.order,
              limit: PAGE_ROWS,
              ...(pageParam === null ? {} : { cursor: pageParam }),
            },
          },
          signal,
        }),
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor ?? null,
    placeholderData: keepPreviousData,
  });

/** The newest rows of the same filter, asked again and again in live mode to count what the table does not show yet. */
export const newestQuery = (scope: Scope, enabled: boolean) =>
  queryOptions({
    queryKey: ['traces-newest', projectInUrl(), scope.from, scope.q],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET('/api/v1/traces', {
          params: { query: { ...scopeParams(scope), sort: 'start_time', order: 'desc', limit: PAGE_ROWS } },
          signal,
        }),
      ),
    refetchInterval: 2_000,
    staleTime: 0,
    enabled,
  });

export const stripQuery = (scope: Scope, live: boolean) =>
  queryOptions({
    queryKey: ['strip', projectInUrl(), scope.from, scope.to, scope.q],
    queryFn: ({ signal }) =>
      unwrap(api.GET('/api/v1/traces/strip', { params: { query: { ...scopeParams(scope), buckets: 60 } }, signal })),
    placeholderData: keepPreviousData,
    refetchInterval: live ? 10_000 : false,
  });

/** Values of a field within the range and the filter. */
export const facetQuery = (field: FacetField, scope: Scope, prefix = '', limit = 12) =>
  queryOptions({
    queryKey: ['facets', projectInUrl(), field, scope.from, scope.to, scope.q, prefix, limit],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET('/api/v1/facets', {
          params: { query: { ...scopeParams(scope), field, limit, ...(prefix === '' ? {} : { prefix }) } },
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
    staleTime: 30_000,
  });

/** Asks the server whether it understands a filter, without asking for rows. Throws its explanation. */
export async function checkFilter(scope: Scope): Promise<void> {
  await unwrap(api.GET('/api/v1/traces', { params: { query: { ...scopeParams(scope), limit: 1 } } }));
}

/** Starts demo traffic on the server. */
export async function startDemo(): Promise<void> {
  await apiFetch('/api/v1/demo', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' });
}
