/** `/traces/$traceId?span=…`: one trace. */
import { createRoute, useNavigate, useRouter } from '@tanstack/react-router';
import { useCallback } from 'react';

import { traceQuery } from '../features/trace/queries';
import { TracePage } from '../features/trace/TracePage';
import { rootRoute } from './root';

type TraceSearch = { span?: string };

export const traceRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/traces/$traceId',
  validateSearch: (search: Record<string, unknown>): TraceSearch =>
    typeof search['span'] === 'string' ? { span: search['span'] } : {},
  // Asked for while the page is still being put together; the page itself says what went wrong.
  loader: ({ context, params }) => {
    void context.queryClient.prefetchQuery(traceQuery(params.traceId));
  },
  component: Trace,
});

function Trace() {
  const { traceId } = traceRoute.useParams();
  const { span } = traceRoute.useSearch();
  const navigate = useNavigate({ from: '/traces/$traceId' });
  const router = useRouter();
  const sqlHref = useCallback((sql: string) => router.buildLocation({ to: '/sql', search: { q: sql } }).href, [router]);
  const listHref = useCallback(
    (q: string) => router.buildLocation({ to: '/', search: q === '' ? {} : { q, from: 'now-30d', to: 'now' } }).href,
    [router],
  );
  return (
    <TracePage
      key={traceId}
      traceId={traceId}
      spanId={span ?? null}
      onSelect={(spanId) => void navigate({ search: { span: spanId }, replace: true })}
      sqlHref={sqlHref}
      listHref={listHref}
    />
  );
}
