/** `/` and the other lists: one page, a route for each kind. */
import { createRoute, redirect, useNavigate, useRouter } from '@tanstack/react-router';
import { useCallback } from 'react';

import { useSqlHref } from '../components/SqlLink';
import { KIND_INFO } from '../features/lists/kinds';
import { ListPage } from '../features/lists/ListPage';
import { listSearch, listState, readListSearch, type Kind, type ListState } from '../features/lists/state';
import { savedViewsQuery, type SavedView } from '../features/lists/saved';
import { useStatus } from '../features/live/queries';
import { readTraceSearch, traceSearch, traceState } from '../features/trace/state';
import { TracePeek } from '../features/trace/TracePeek';
import { LIST_PATHS, useLinks, viewHref } from './links';
import { rootRoute } from './root';

/** How often live mode asks whether something was received. */
const LIVE_MS = 2_000;

/** Whether a page has been opened since the application was loaded: only the first can be the project's default view. */
let entered = false;

export const tracesRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: LIST_PATHS.traces,
  validateSearch: readListSearch,
  beforeLoad: async ({ context, search }) => {
    if (entered) return;
    entered = true;
    if (Object.keys(readListSearch(search)).length > 0) return;
    // Without an answer there is no default view: the list itself will say what is wrong.
    const views = await context.queryClient.fetchQuery({ ...savedViewsQuery(), retry: false }).catch(() => []);
    const view = views.find((each) => each.isDefault);
    if (view) throw redirect({ to: LIST_PATHS[view.kind], search: { ...view.search, view: view.id }, replace: true });
  },
  component: () => <List kind="traces" search={tracesRoute.useSearch()} />,
});

export const callsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: LIST_PATHS.calls,
  validateSearch: readListSearch,
  component: () => <List kind="calls" search={callsRoute.useSearch()} />,
});

export const sessionsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: LIST_PATHS.sessions,
  validateSearch: readListSearch,
  component: () => <List kind="sessions" search={sessionsRoute.useSearch()} />,
});

export const usersRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: LIST_PATHS.users,
  validateSearch: readListSearch,
  component: () => <List kind="users" search={usersRoute.useSearch()} />,
});

export const modelsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: LIST_PATHS.models,
  validateSearch: readListSearch,
  component: () => <List kind="models" search={modelsRoute.useSearch()} />,
});

export const toolsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: LIST_PATHS.tools,
  validateSearch: readListSearch,
  component: () => <List kind="tools" search={toolsRoute.useSearch()} />,
});

export const errorsRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: LIST_PATHS.errors,
  validateSearch: readListSearch,
  component: () => <List kind="errors" search={errorsRoute.useSearch()} />,
});

function List({ kind, search }: { kind: Kind; search: ReturnType<typeof readListSearch> }) {
  const state = listState(search);
  const navigate = useNavigate();
  const router = useRouter();
  const status = useStatus(state.live ? LIVE_MS : undefined);
  const sqlHref = useSqlHref();
  const links = useLinks(state);
  const info = KIND_INFO[kind];
  const hrefOfView = useCallback((view: SavedView) => viewHref(router, view), [router]);
  const change = useCallback(
    (changed: Partial<ListState>) => {
      // Read anew: two changes may come before the page is drawn again.
      const before = listState(readListSearch(router.state.location.search));
      // Moving the peek or a column edge is not a step to go back to.
      const replace = 'cols' in changed || (before.peek !== null && ('peek' in changed || 'peeking' in changed));
      void navigate({ to: '.', search: listSearch({ ...before, ...changed }), replace });
    },
    [navigate, router],
  );
  const go = useCallback(
    (href: string) => {
      router.history.push(href);
    },
    [router],
  );
  return (
    <ListPage
      key={kind}
      info={info}
      state={state}
      status={status.data}
      links={links}
      viewHref={hrefOfView}
      onChange={change}
      onGo={go}
      peek={(peeked, step) => {
        const [traceId = '', spanId] = peeked.split('.');
        const shown = (list: ListState) => {
          const trace = traceState(readTraceSearch(list.peeking));
          return { ...trace, span: trace.span ?? spanId ?? null };
        };
        return (
          <TracePeek
            key={traceId}
            step={step}
            sqlHref={sqlHref}
            traceId={traceId}
            state={shown(state)}
            onChange={(part) => {
              const now = shown(listState(readListSearch(router.state.location.search)));
              change({ peeking: traceSearch({ ...now, ...part }) });
            }}
            openHref={(search) => router.buildLocation({ to: '/traces/$traceId', params: { traceId }, search }).href}
            onClose={() => {
              change({ peek: null });
            }}
          />
        );
      }}
    />
  );
}
