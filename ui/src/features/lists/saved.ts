/** Saved views: a list with its range, filter, order and columns under a name; one of them is what the project opens with. */
import { queryOptions, useMutation, useQueryClient } from '@tanstack/react-query';

import { api, apiFetch, projectInUrl, unwrap } from '../../api/client';
import { KINDS, listSearch, listState, readListSearch, type Kind, type ListSearch, type ListState } from './state';

export type SavedView = {
  readonly id: string;
  readonly name: string;
  readonly kind: Kind;
  readonly search: ListSearch;
  readonly isDefault: boolean;
};

export const savedViewsQuery = () =>
  queryOptions({
    queryKey: ['saved-views', projectInUrl()],
    queryFn: async ({ signal }): Promise<readonly SavedView[]> => {
      const { items } = await unwrap(api.GET('/api/v1/saved', { params: { query: { kind: 'view' } }, signal }));
      return items.flatMap((item) => {
        const view = readBody(item.body);
        return view === null ? [] : [{ id: item.id, name: item.name, isDefault: item.is_default, ...view }];
      });
    },
    staleTime: 30_000,
  });

/** What a view keeps; `null` for one that another program wrote in a way that is not understood here. */
export function readBody(body: unknown): { kind: Kind; search: ListSearch } | null {
  if (typeof body !== 'object' || body === null || !('list' in body) || !('search' in body)) return null;
  const kind = KINDS.find((each) => each === body.list);
  const { search } = body;
  if (kind === undefined || typeof search !== 'object' || search === null) return null;
  return { kind, search: viewSearch(listState(readListSearch(search as Record<string, unknown>))) };
}

/** What of a state belongs to a view: neither the row in the peek panel nor that it is live, nor which view it came from. */
export function viewSearch(state: ListState): ListSearch {
  return listSearch({ ...state, peek: null, live: false, view: null });
}

/** Whether the list has been changed since it was opened as this view. */
export function differs(view: SavedView, state: ListState): boolean {
  const text = (search: ListSearch) => JSON.stringify(Object.entries(search).sort());
  return text(view.search) !== text(viewSearch(state));
}

export type ViewChange =
  | { readonly do: 'create'; readonly name: string; readonly kind: Kind; readonly state: ListState }
  | { readonly do: 'update'; readonly id: string; readonly kind: Kind; readonly state: ListState }
  | { readonly do: 'default'; readonly id: string; readonly isDefault: boolean }
  | { readonly do: 'delete'; readonly id: string };

/** Changes a view and reads the views anew. */
export function useChangeView() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: changeView,
    onSettled: () => client.invalidateQueries({ queryKey: ['saved-views'] }),
  });
}

async function changeView(change: ViewChange): Promise<{ id: string }> {
  switch (change.do) {
    case 'create':
      return unwrap(
        api.POST('/api/v1/saved', { body: { kind: 'view', name: change.name, body: bodyOf(change.kind, change.state) } }),
      );
    case 'update':
      return unwrap(
        api.PUT('/api/v1/saved/{id}', { params: { path: { id: change.id } }, body: { body: bodyOf(change.kind, change.state) } }),
      );
    case 'default':
      return unwrap(
        api.PUT('/api/v1/saved/{id}', { params: { path: { id: change.id } }, body: { is_default: change.isDefault } }),
      );
    case 'delete':
      await apiFetch(`/api/v1/saved/${encodeURIComponent(change.id)}`, { method: 'DELETE' });
      return { id: change.id };
  }
}

/** The document says "any JSON" as an object without members. */
function bodyOf(kind: Kind, state: ListState): Record<string, never> {
  return { list: kind, search: viewSearch(state) } as unknown as Record<string, never>;
}
