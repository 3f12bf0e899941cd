/** `/`: the trace list. */
import { createRoute, Link, useNavigate, useRouter } from '@tanstack/react-router';
import { useCallback } from 'react';

import { useStatus } from '../features/live/queries';
import { TracePeek } from '../features/trace/TracePeek';
import { listSearch, listState, readListSearch } from '../features/traces/state';
import { TraceListPage } from '../features/traces/TraceListPage';
import { rootRoute } from './root';

export const tracesRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/',
  validateSearch: readListSearch,
  head: () => ({ meta: [{ title: 'Traces · Assay' }] }),
  component: Traces,
});

function Traces() {
  const state = listState(tracesRoute.useSearch());
  const navigate = useNavigate({ from: '/' });
  const router = useRouter();
  const status = useStatus();
  const open = useCallback(
    (traceId: string) => void navigate({ to: '/traces/$traceId', params: { traceId }, search: {} }),
    [navigate],
  );
  const sqlHref = useCallback((sql: string) => router.buildLocation({ to: '/sql', search: { q: sql } }).href, [router]);
  return (
    <TraceListPage
      state={state}
      status={status.data}
      onChange={(change) => {
        // Moving the peek is not a step to go back to.
        void navigate({ search: listSearch({ ...state, ...change }), replace: 'peek' in change && state.peek !== null });
      }}
      onOpen={open}
      traceLink={(traceId, name) => (
        <Link to="/traces/$traceId" params={{ traceId }} search={{}} className="trace-table__name" tabIndex={-1}>
          {name === '' ? traceId.slice(0, 16) : name}
        </Link>
      )}
      sqlHref={sqlHref}
      peek={(traceId, step) => (
        <TracePeek
          key={traceId}
          step={step}
          sqlHref={sqlHref}
          traceId={traceId}
          openHref={router.buildLocation({ to: '/traces/$traceId', params: { traceId }, search: {} }).href}
          onClose={() => {
            void navigate({ search: listSearch({ ...state, peek: null }) });
          }}
        />
      )}
    />
  );
}
