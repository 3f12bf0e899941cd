/** `/sessions/$sessionId`: one session, its conversation across traces. */
import { createRoute, useRouter } from '@tanstack/react-router';
import { useMemo } from 'react';

import { SessionPage } from '../features/sessions/SessionPage';
import { sessionQuery } from '../features/sessions/queries';
import { Conversation } from '../features/trace/Conversation';
import { quoteValue } from '../lib/filter';
import { ALL_TIME } from '../lib/time';
import { LIST_PATHS, useLinks } from './links';
import { rootRoute } from './root';

export const sessionRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/sessions/$sessionId',
  // Asked for while the page is still being put together; the page itself says what went wrong.
  loader: ({ context, params }) => {
    void context.queryClient.prefetchInfiniteQuery(sessionQuery(params.sessionId));
  },
  component: Session,
});

function Session() {
  const { sessionId } = sessionRoute.useParams();
  const router = useRouter();
  const scope = useMemo(() => ({ ...ALL_TIME, q: '' }), []);
  const links = useLinks(scope);
  return (
    <SessionPage
      key={sessionId}
      sessionId={sessionId}
      traceHref={(traceId, spanId) => links.trace(traceId, spanId ?? undefined)}
      userHref={links.user}
      listHref={
        router.buildLocation({ to: LIST_PATHS.traces, search: { ...ALL_TIME, q: `session:${quoteValue(sessionId)}` } }).href
      }
      sessionsHref={router.buildLocation({ to: LIST_PATHS.sessions, search: {} }).href}
      renderMessages={(messages, label) => <Conversation messages={messages} label={label} />}
    />
  );
}
