/** `/sql?q=…`: the SQL page. */
import { createRoute, useNavigate } from '@tanstack/react-router';
import { useCallback } from 'react';

import { schemaQuery } from '../features/sql/queries';
import { SqlPage } from '../features/sql/SqlPage';
import { rootRoute } from './root';

type SqlSearch = { q?: string };

export const sqlRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/sql',
  validateSearch: (search: Record<string, unknown>): SqlSearch => (typeof search['q'] === 'string' ? { q: search['q'] } : {}),
  loader: ({ context }) => {
    void context.queryClient.prefetchQuery(schemaQuery());
  },
  component: Sql,
});

function Sql() {
  const { q } = sqlRoute.useSearch();
  const navigate = useNavigate({ from: '/sql' });
  const ran = useCallback((query: string) => void navigate({ search: { q: query } }), [navigate]);
  return <SqlPage query={q ?? null} onRan={ran} />;
}
