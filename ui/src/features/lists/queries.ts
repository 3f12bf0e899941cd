/** What the lists ask of the server. */
import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query';

import { api, apiFetch, projectInUrl, unwrap } from '../../api/client';
import type { FacetField } from '../../api/types';
import type { Order } from '../../components/list-table/ListTable';
import { ALL_TIME, type TimeRange } from '../../lib/time';
import type { Row } from './row';
import type { Kind } from './state';

export type Scope = TimeRange & { readonly q: string };

export type ListPage = {
  readonly rows: readonly Row[];
  readonly next_cursor: string | null;
  readonly sql: string;
  readonly elapsed_ms: number;
  /** Of all rows, not only of this page; `null` if the list answers them elsewhere. */
  readonly totals: Row | null;
};

export const PAGE_ROWS = 100;

const TRACE_SORTS = [
  'start_time',
  'duration_ns',
  'cost_usd',
  'input_tokens',
  'output_tokens',
  'span_count',
  'error_count',
] as const;

export const scopeParams = (scope: Scope) => ({
  ...(scope.from === ALL_TIME.from ? {} : { from: scope.from }),
  to: scope.to,
  ...(scope.q === '' ? {} : { q: scope.q }),
});

export type ListQuestion = Scope & { readonly sort: string; readonly order: Order };

export const listQuery = (kind: Kind, question: ListQuestion) =>
  infiniteQueryOptions({
    queryKey: ['list', kind, projectInUrl(), question.from, question.to, question.q, question.sort, question.order],
    queryFn: ({ pageParam, signal }) => fetchPage(kind, question, pageParam, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
    placeholderData: keepPreviousData,
  });

async function fetchPage(kind: Kind, question: ListQuestion, cursor: string | null, signal: AbortSignal): Promise<ListPage> {
  if (kind !== 'traces') throw new Error(`there is no list of ${kind}`);
  const sort = TRACE_SORTS.find((each) => each === question.sort);
  const query = {
    ...scopeParams(question),
    ...(sort === undefined ? {} : { sort }),
    order: question.order,
    limit: PAGE_ROWS,
    ...(cursor === null ? {} : { cursor }),
  };
  const page = await unwrap(api.GET('/api/v1/traces', { params: { query }, signal }));
  return { rows: page.traces, next_cursor: page.next_cursor ?? null, sql: page.sql, elapsed_ms: page.elapsed_ms, totals: null };
}

/** The newest rows of the same filter, asked again and again in live mode to count what the table does not show yet. */
export const newestQuery = (kind: Kind, scope: Scope, enabled: boolean) =>
  queryOptions({
    queryKey: ['list-newest', kind, projectInUrl(), scope.from, scope.q],
    queryFn: ({ signal }) => fetchPage(kind, { ...scope, sort: 'start_time', order: 'desc' }, null, signal),
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
