/** `/sql?q=…`: the SQL workbench. */
import { createRoute, useNavigate, useRouter } from '@tanstack/react-router';
import { lazy, Suspense, useCallback, useMemo } from 'react';

import { Skeleton } from '../components/Notice';
import { readSqlSearch, sqlAddress, sqlSearch, type SqlAddress } from '../features/sql/address';
import { schemaQuery } from '../features/sql/queries';
import { rootRoute } from './root';

/** The workbench comes when it is first opened: the list must not wait for it. */
const load = () => import('../features/sql/SqlPage');
const SqlPage = lazy(async () => ({ default: (await load()).SqlPage }));

export const sqlRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/sql',
  validateSearch: readSqlSearch,
  loader: ({ context }) => {
    void context.queryClient.prefetchQuery(schemaQuery());
    void load();
  },
  head: () => ({ meta: [{ title: 'SQL · Assay' }] }),
  component: Sql,
});

function Sql() {
  const search = sqlRoute.useSearch();
  const navigate = useNavigate({ from: '/sql' });
  const router = useRouter();
  const address = useMemo(() => sqlAddress(search), [search]);
  const onAddress = useCallback(
    (next: SqlAddress, step: boolean) => void navigate({ search: sqlSearch(next), replace: !step }),
    [navigate],
  );
  const hrefOf = useCallback((of: SqlAddress) => router.buildLocation({ to: '/sql', search: sqlSearch(of) }).href, [router]);
  return (
    <Suspense fallback={<Skeleton lines={8} label="loading the page" />}>
      <SqlPage address={address} onAddress={onAddress} hrefOf={hrefOf} />
    </Suspense>
  );
}
