/** What the SQL page asks of the server. */
import { queryOptions } from '@tanstack/react-query';

import { api, ApiError, apiFetch, projectInUrl, unwrap } from '../../api/client';
import type { components } from '../../api/generated/openapi';
import type { FacetField, SqlResult } from '../../api/types';
import { bindings, type Param } from './address';

/** Rows shown in the grid; downloads have no such limit of their own. */
export const GRID_ROWS_MAX = 10_000;

export const schemaQuery = () =>
  queryOptions({
    queryKey: ['schema', projectInUrl()],
    queryFn: ({ signal }) => unwrap(api.GET('/api/v1/schema', { signal })),
    staleTime: Infinity,
  });

/** The body of a question. The document says of `params` only that they are an object; a list is one too. */
function question(query: string, params: readonly Param[]) {
  const values = bindings(params);
  return { query, ...(values === undefined ? {} : { params: values as Record<string, never> }) };
}

/** Runs a query. Aborting the signal closes the connection, which makes the server stop too. */
export async function runSql(query: string, params: readonly Param[], queryId: string, signal: AbortSignal): Promise<SqlResult> {
  const answer = await unwrap(
    api.POST('/api/v1/sql', {
      body: { ...question(query, params), row_limit: GRID_ROWS_MAX, query_id: queryId },
      headers: { accept: 'application/json' },
      signal,
    }),
  );
  if (typeof answer === 'string' || Array.isArray(answer)) throw new Error('expected JSON rows, found another format');
  return answer;
}

export type Explanation = components['schemas']['Explanation'];

/** How a query is answered; `analyze` runs it to its end to know rows and time of each operator. */
export const explainQuery = (query: string, params: readonly Param[], analyze: boolean) =>
  queryOptions({
    queryKey: ['sql-explain', projectInUrl(), query, params, analyze],
    queryFn: ({ signal }) => explainSql(query, params, analyze, signal),
    staleTime: Infinity,
    retry: false,
  });

export function explainSql(query: string, params: readonly Param[], analyze: boolean, signal: AbortSignal) {
  return unwrap(api.POST('/api/v1/sql/explain', { body: { ...question(query, params), analyze }, signal }));
}

/** The queries of the project that run now, asked every `everyMs`. */
export const runningQuery = (everyMs: number) =>
  queryOptions({
    queryKey: ['sql-running', projectInUrl()],
    queryFn: async ({ signal }) => (await unwrap(api.GET('/api/v1/sql/running', { signal }))).queries,
    refetchInterval: everyMs,
    staleTime: 0,
    retry: false,
  });

/** Stops a query on the server. That it has ended meanwhile is no failure. */
export async function cancelQuery(queryId: string): Promise<void> {
  try {
    await apiFetch(`/api/v1/sql/running/${encodeURIComponent(queryId)}`, { method: 'DELETE' });
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error;
  }
}

/** A random UUID. `crypto.randomUUID` exists on secure origins only, and many servers are reached by plain HTTP. */
export function newQueryId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

const FACETS: readonly FacetField[] = [
  'service_name',
  'request_model',
  'operation',
  'provider',
  'user_id',
  'session_id',
  'tool_name',
  'status_code',
  'error_type',
];

/** The most frequent values of a column, for completion; none for columns that the server keeps no list of. */
export async function columnValues(column: string, signal: AbortSignal): Promise<readonly { value: string; count: number }[]> {
  const field = FACETS.find((each) => each === column.toLowerCase());
  if (!field) return [];
  const { values } = await unwrap(api.GET('/api/v1/facets', { params: { query: { field, limit: 50 } }, signal }));
  return values;
}

export const FORMATS = [
  { title: 'CSV', accept: 'text/csv', extension: 'csv' },
  { title: 'JSON', accept: 'application/json', extension: 'json' },
  { title: 'NDJSON', accept: 'application/x-ndjson', extension: 'ndjson' },
  { title: 'Arrow', accept: 'application/vnd.apache.arrow.stream', extension: 'arrows' },
  { title: 'Parquet', accept: 'application/vnd.apache.parquet', extension: 'parquet' },
] as const;

export type Format = (typeof FORMATS)[number];

/**
 * Runs the query again and hands the answer to the browser as a file. The bytes go from the network into the browser's blob store, which
 * moves large ones to disk, and never through the heap of the page. `onBytes` hears how many have come.
 */
export async function downloadSql(
  query: string,
  params: readonly Param[],
  format: Format,
  onBytes: (bytes: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const response = await apiFetch('/api/v1/sql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: format.accept },
    body: JSON.stringify(question(query, params)),
    signal,
  });
  let bytes = 0;
  const counting = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform: (chunk, sink) => {
      bytes += chunk.byteLength;
      onBytes(bytes);
      sink.enqueue(chunk);
    },
  });
  const body = response.body?.pipeThrough(counting) ?? null;
  const url = URL.createObjectURL(await new Response(body, { headers: { 'content-type': format.accept } }).blob());
  const link = document.createElement('a');
  link.href = url;
  link.download = `assay.${format.extension}`;
  link.click();
  URL.revokeObjectURL(url);
}
