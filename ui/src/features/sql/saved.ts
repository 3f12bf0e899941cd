/** Queries that the project keeps: anyone who may see it finds them by name or by link. */
import { queryOptions, useMutation, useQueryClient } from '@tanstack/react-query';

import { api, apiFetch, projectInUrl, unwrap } from '../../api/client';
import { PARAM_TYPES, type Param } from './address';
import type { ChartSpec } from './chart';
import { isChart, isRecord, type Tab } from './tabs';

export type SavedQuery = {
  readonly id: string;
  readonly name: string;
  readonly query: string;
  readonly params: readonly Param[];
  readonly chart: ChartSpec | null;
  readonly updatedAt: string;
};

export const savedQueriesQuery = () =>
  queryOptions({
    queryKey: ['saved-queries', projectInUrl()],
    queryFn: async ({ signal }): Promise<readonly SavedQuery[]> => {
      const { items } = await unwrap(api.GET('/api/v1/saved', { params: { query: { kind: 'query' } }, signal }));
      return items.flatMap((item) => {
        const body = readBody(item.body);
        return body === null ? [] : [{ id: item.id, name: item.name, updatedAt: item.updated_at, ...body }];
      });
    },
    staleTime: 30_000,
  });

/** What a saved query keeps; `null` for one that another program wrote in a way that is not understood here. */
export function readBody(body: unknown): Pick<SavedQuery, 'query' | 'params' | 'chart'> | null {
  if (!isRecord(body) || typeof body['query'] !== 'string') return null;
  const params: unknown[] = Array.isArray(body['params']) ? body['params'] : [];
  const chart = body['chart'];
  return {
    query: body['query'],
    params: params.filter(isRecord).flatMap((param) => {
      const { name, type, default: value } = param;
      if (typeof name !== 'string') return [];
      return [
        {
          name,
          type: PARAM_TYPES.find((each) => each === type) ?? 'text',
          value: typeof value === 'string' ? value : value === undefined || value === null ? '' : JSON.stringify(value),
        },
      ];
    }),
    chart: isChart(chart) ? chart : null,
  };
}

/** What is kept of a tab. The values of the parameters become their defaults. */
export function bodyOf(tab: Pick<Tab, 'text' | 'params' | 'chart'>): Record<string, unknown> {
  return {
    query: tab.text,
    params: tab.params.map(({ name, type, value }) => ({ name, type, default: value })),
    ...(tab.chart ? { chart: tab.chart } : {}),
  };
}

/** Whether a tab says something else than the saved query that it began as. */
export function differs(tab: Pick<Tab, 'text' | 'params' | 'chart'>, saved: SavedQuery): boolean {
  const { query, params, chart } = saved;
  return JSON.stringify(bodyOf(tab)) !== JSON.stringify(bodyOf({ text: query, params, chart }));
}

export type SavedChange =
  | { readonly do: 'create'; readonly name: string; readonly tab: Tab }
  | { readonly do: 'update'; readonly saved: SavedQuery; readonly tab: Tab }
  | { readonly do: 'rename'; readonly saved: SavedQuery; readonly name: string }
  | { readonly do: 'delete'; readonly saved: SavedQuery };

export function useSavedChange() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: write,
    onSettled: () => client.invalidateQueries({ queryKey: ['saved-queries'] }),
  });
}

async function write(change: SavedChange): Promise<{ id: string }> {
  switch (change.do) {
    case 'create':
      return unwrap(api.POST('/api/v1/saved', { body: { kind: 'query', name: change.name, body: anyJson(bodyOf(change.tab)) } }));
    case 'update':
      return unwrap(
        api.PUT('/api/v1/saved/{id}', {
          params: { path: { id: change.saved.id } },
          // Named, so that what someone else wrote meanwhile is not lost.
          body: { body: anyJson(bodyOf(change.tab)), updated_at: change.saved.updatedAt },
        }),
      );
    case 'rename':
      return unwrap(api.PUT('/api/v1/saved/{id}', { params: { path: { id: change.saved.id } }, body: { name: change.name } }));
    case 'delete':
      await apiFetch(`/api/v1/saved/${encodeURIComponent(change.saved.id)}`, { method: 'DELETE' });
      return { id: change.saved.id };
  }
}

/** The document says "any JSON" as an object without members. */
function anyJson(body: Record<string, unknown>): Record<string, never> {
  return body as Record<string, never>;
}
