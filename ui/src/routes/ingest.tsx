/** `/ingest?tab=…`: what comes in, what is refused, where it lies. */
import { createRoute, useNavigate, useRouter } from '@tanstack/react-router';
import { lazy, Suspense, useCallback } from 'react';

import { Skeleton } from '../components/Notice';
import { ingestSearch, ingestState, readIngestSearch, type IngestState } from '../features/ingest/state';
import { rootRoute } from './root';

/** It comes when it is first opened: the list must not wait for it. */
const load = () => import('../features/ingest/IngestPage');
const IngestPage = lazy(async () => ({ default: (await load()).IngestPage }));

export const ingestRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/ingest',
  validateSearch: readIngestSearch,
  loader: () => void load(),
  component: Ingest,
});

function Ingest() {
  const state = ingestState(ingestRoute.useSearch());
  const navigate = useNavigate({ from: '/ingest' });
  const router = useRouter();
  const onChange = useCallback(
    // What is typed is not another place.
    (change: Partial<IngestState>) => void navigate({ search: ingestSearch({ ...state, ...change }), replace: 'find' in change }),
    [navigate, state],
  );
  const hrefOf = (change: Partial<IngestState>) =>
    router.buildLocation({ to: '/ingest', search: ingestSearch({ ...state, ...change }) }).href;
  return (
    <Suspense fallback={<Skeleton lines={8} label="loading the page" />}>
      <IngestPage state={state} onChange={onChange} hrefOf={hrefOf} />
    </Suspense>
  );
}
