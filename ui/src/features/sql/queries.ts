/** What the SQL page asks of the server. */
import { queryOptions } from '@tanstack/react-query';

import { api, apiFetch, projectInUrl, unwrap } from '../../api/client';
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
export async function runSql(query: string, params: readonly Param[], signal: AbortSignal): Promise<SqlResult> {
  const answer = await unwrap(
    api.POST('/api/v1/sql', {
      body: { ...question(query, params), row_limit: GRID_ROWS_MAX },
      headers: { accept: 'application/json' },
      signal,
    }),
  );
  if (typeof answer === 'string' || Array.isArray(answer)) throw new Error('expected JSON rows, found another format');
  return answer;
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
