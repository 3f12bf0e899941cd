/** What the lists ask of the server. */
import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query';

import { api, apiFetch, projectInUrl, unwrap } from '../../api/client';
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
  /** Of all rows, not only of this page; `null` on later pages and for traces. */
  readonly totals: Row | null;
  readonly totals_sql: string | null;
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

async function fetchPage(
  kind: Kind,
  question: ListQuestion,
  cursor: string | null,
  signal: AbortSignal,
  limit = PAGE_ROWS,
): Promise<ListPage> {
  const query = {
    ...scopeParams(question),
    order: question.order,
    limit,
    ...(cursor === null ? {} : { cursor }),
  };
  if (kind === 'traces') {
    const sort = TRACE_SORTS.find((each) => each === question.sort);
    const params = { query: { ...query, ...(sort === undefined ? {} : { sort }) } };
    const page = await unwrap(api.GET('/api/v1/traces', { params, signal }));
    return { ...page, rows: page.traces, next_cursor: page.next_cursor ?? null, totals: null, totals_sql: null };
  }
  const page = await FETCH[kind]({ params: { query: { ...query, sort: question.sort } }, signal });
  return { ...page, next_cursor: page.next_cursor ?? null, totals: page.totals ?? null };
}

type Init = { params: { query: { from?: string; to?: string; q?: string; sort: string; order: Order; limit: number; cursor?: string } }; signal: AbortSignal }; // prettier-ignore

const FETCH = {
  calls: (init: Init) => unwrap(api.GET('/api/v1/lists/calls', init)),
  sessions: (init: Init) => unwrap(api.GET('/api/v1/lists/sessions', init)),
  users: (init: Init) => unwrap(api.GET('/api/v1/lists/users', init)),
  models: (init: Init) => unwrap(api.GET('/api/v1/lists/models', init)),
  tools: (init: Init) => unwrap(api.GET('/api/v1/lists/tools', init)),
  errors: (init: Init) => unwrap(api.GET('/api/v1/lists/errors', init)),
};

function fetchTraceTotals(scope: Scope, signal: AbortSignal) {
  return unwrap(api.GET('/api/v1/traces/totals', { params: { query: scopeParams(scope) }, signal }));
}

/** Totals of the trace list; the other lists bring theirs with the first page. */
export const traceTotalsQuery = (scope: Scope, enabled: boolean) =>
  queryOptions({
    queryKey: ['totals', projectInUrl(), scope.from, scope.to, scope.q],
    queryFn: ({ signal }) => fetchTraceTotals(scope, signal),
    placeholderData: keepPreviousData,
    enabled,
  });

/** Rows that live mode looks at in one go, and where it gives up counting. */
const NEWS_PAGE_ROWS = 500;
const NEWS_ROWS_MAX = 2_000;

/**
 * The newest rows of the same filter and their totals, asked again when the server has received something, for live mode. `known` says of a row
 * that it and all below it are no news: pages are read until such a one. `more`: there was none among so many rows.
 */
export const newestQuery = (
  kind: Kind,
  scope: Scope,
  sort: string,
  received: string | null,
  since: string,
  known: (row: Row) => boolean,
  enabled: boolean,
) =>
  queryOptions({
    queryKey: ['list-newest', kind, projectInUrl(), scope.from, scope.q, received, since],
    queryFn: async ({ signal }) => {
      const question = { ...scope, sort, order: 'desc' as const };
      const [first, totals] = await Promise.all([
        fetchPage(kind, question, null, signal),
        kind === 'traces' ? fetchTraceTotals(scope, signal) : null,
      ]);
      const rows = [...first.rows];
      let cursor = first.next_cursor;
      const goesOn = () => cursor !== null && !rows.slice(-1).some(known);
      while (goesOn() && rows.length < NEWS_ROWS_MAX) {
        const page = await fetchPage(kind, question, cursor, signal, NEWS_PAGE_ROWS);
        rows.push(...page.rows);
        cursor = page.next_cursor;
      }
      return { rows, more: goesOn(), totals: totals ?? first.totals };
    },
    placeholderData: keepPreviousData,
    staleTime: Infinity,
    gcTime: 10_000,
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

/** Values of a key within the range and what the rest of the filter lets through. */
export const facetQuery = (key: string, scope: Scope, prefix = '', limit = 12) =>
  queryOptions({
    queryKey: ['facets', projectInUrl(), key, scope.from, scope.to, scope.q, prefix, limit],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET('/api/v1/facets', {
          params: { query: { ...scopeParams(scope), field: key, limit, ...(prefix === '' ? {} : { prefix }) } },
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
    staleTime: 30_000,
    // A word before a colon need not be a key.
    retry: false,
  });

export const filterKeysQuery = () =>
  queryOptions({
    queryKey: ['filter-keys'],
    queryFn: ({ signal }) => unwrap(api.GET('/api/v1/filter/keys', { signal })),
    staleTime: Infinity,
  });

/** A filter as the server reads it: its normal form and its SQL. Throws the server's explanation if it is none. */
export async function readFilter(q: string): Promise<{ q: string; sql: string | null }> {
  const read = await unwrap(api.GET('/api/v1/filter', { params: { query: { q } } }));
  return { q: read.q, sql: read.sql ?? null };
}

/** SQL as a filter, with the range where the condition limits the time. Throws what has no token. */
export async function filterFromSql(sql: string): Promise<{ q: string; from: string | null; to: string | null }> {
  const read = await unwrap(api.POST('/api/v1/filter/from-sql', { body: { sql } }));
  return { q: read.q, from: read.from ?? null, to: read.to ?? null };
}

/** Starts demo traffic on the server. */
export async function startDemo(): Promise<void> {
  await apiFetch('/api/v1/demo', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' });
}
