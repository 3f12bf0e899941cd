/** What the SQL page asks of the server. */
import { queryOptions } from '@tanstack/react-query';

import { api, apiFetch, projectInUrl, unwrap } from '../../api/client';
import type { SqlResult } from '../../api/types';

/** Rows shown in the grid; downloads have no such limit of their own. */
export const GRID_ROWS_MAX = 10_000;

export const schemaQuery = () =>
  queryOptions({
    queryKey: ['schema', projectInUrl()],
    queryFn: ({ signal }) => unwrap(api.GET('/api/v1/schema', { signal })),
    staleTime: Infinity,
  });

/** Runs a query. Aborting the signal closes the connection, which makes the server stop too. */
export async function runSql(query: string, signal: AbortSignal): Promise<SqlResult> {
  const answer = await unwrap(
    api.POST('/api/v1/sql', {
      body: { query, row_limit: GRID_ROWS_MAX },
      headers: { accept: 'application/json' },
      signal,
    }),
  );
  if (typeof answer === 'string' || Array.isArray(answer)) throw new Error('expected JSON rows, found another format');
  return answer;
}

export const FORMATS = [
  { title: 'CSV', accept: 'text/csv', extension: 'csv' },
  { title: 'JSON', accept: 'application/json', extension: 'json' },
  { title: 'NDJSON', accept: 'application/x-ndjson', extension: 'ndjson' },
  { title: 'Arrow', accept: 'application/vnd.apache.arrow.stream', extension: 'arrows' },
  { title: 'Parquet', accept: 'application/vnd.apache.parquet', extension: 'parquet' },
] as const;

/** Runs the query again and hands the answer to the browser as a file. */
export async function downloadSql(query: string, format: (typeof FORMATS)[number]): Promise<void> {
  const response = await apiFetch('/api/v1/sql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: format.accept },
    body: JSON.stringify({ query }),
  });
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement('a');
  link.href = url;
  link.download = `assay.${format.extension}`;
  link.click();
  URL.revokeObjectURL(url);
}
