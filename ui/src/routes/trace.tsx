/** `/traces/$traceId?span=…&view=…`: one trace, in the state that the address tells. */
import { createRoute, useNavigate, useRouter } from '@tanstack/react-router';
import { useCallback, useEffect, useMemo, useRef } from 'react';

import { traceQuery } from '../features/trace/queries';
import { readTraceSearch, traceSearch, traceState, type TraceState } from '../features/trace/state';
import { TracePage } from '../features/trace/TracePage';
import { ALL_TIME } from '../lib/time';
import { LIST_PATHS, useLinks } from './links';
import { rootRoute } from './root';

/** A trace may be of any age, and so may what it belongs to. */
const ALL_TIME_SCOPE = { ...ALL_TIME, q: '' };

export const traceRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/traces/$traceId',
  validateSearch: readTraceSearch,
  // Asked for while the page is still being put together; the page itself says what went wrong.
  loader: ({ context, params }) => {
    void context.queryClient.prefetchQuery(traceQuery(params.traceId));
  },
  component: Trace,
});

function Trace() {
  const { traceId } = traceRoute.useParams();
  const search = traceRoute.useSearch();
  const state = useMemo(() => traceState(search), [search]);
  const navigate = useNavigate({ from: '/traces/$traceId' });
  const router = useRouter();
  // A change is told to what the address will be, not to what this rendering saw: two may follow each other before it is drawn.
  const latest = useRef(state);
  useEffect(() => {
    latest.current = state;
  }, [state]);
  const change = useCallback(
    (part: Partial<TraceState>) => {
      latest.current = { ...latest.current, ...part };
      void navigate({ search: traceSearch(latest.current), replace: true });
    },
    [navigate],
  );
  const sqlHref = useCallback((sql: string) => router.buildLocation({ to: '/sql', search: { q: sql } }).href, [router]);
  const { session, user } = useLinks(ALL_TIME_SCOPE);
  const links = useMemo(
    () => ({
      traces: router.buildLocation({ to: LIST_PATHS.traces, search: {} }).href,
      compare: router.buildLocation({ to: '/compare', search: { a: traceId } }).href,
      session,
      user,
      go: (href: string) => {
        router.history.push(href);
      },
    }),
    [router, traceId, session, user],
  );
  return <TracePage key={traceId} traceId={traceId} state={state} onChange={change} sqlHref={sqlHref} links={links} />;
}
