/** Answers of SQL for the ingest page: asked again while the page is looked at, the last answer kept meanwhile. */
import { keepPreviousData, useQuery } from '@tanstack/react-query';

import { api, projectInUrl, unwrap } from '../../api/client';
import type { SqlResult } from '../../api/types';

export type Rows = readonly Readonly<Record<string, unknown>>[];

/** Rows of a query, as objects. */
export async function ask(query: string, signal: AbortSignal): Promise<Rows> {
  const answer = await unwrap(api.POST('/api/v1/sql', { body: { query }, headers: { accept: 'application/json' }, signal }));
  if (typeof answer === 'string' || Array.isArray(answer)) throw new Error('expected JSON rows, found another format');
  const { columns, rows }: SqlResult = answer;
  return rows.map((row) => Object.fromEntries(columns.map((column, at) => [column.name, row[at]])));
}

/** Rows of a query, asked anew every `everyMs`; `null` asks nothing. */
export function useSql(query: string | null, everyMs: number | false = 10_000) {
  return useQuery({
    queryKey: ['ingest-sql', projectInUrl(), query],
    queryFn: ({ signal }) => ask(query ?? '', signal),
    enabled: query !== null,
    refetchInterval: everyMs,
    refetchOnMount: 'always',
    placeholderData: keepPreviousData,
  });
}

/** A 64-bit integer or a decimal of an answer. */
export function number(value: unknown): number | null {
  if (typeof value === 'number') return value;
  if (typeof value !== 'string' || value === '') return null;
  const read = Number(value);
  return Number.isFinite(read) ? read : null;
}

export function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
