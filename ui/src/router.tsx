/** The routes, one file each, and what they share: how the address is read and the query cache. */
import { QueryClient } from '@tanstack/react-query';
import { createRouter } from '@tanstack/react-router';

import { ApiError } from './api/client';
import { compareRoute } from './routes/compare';
import { ingestRoute } from './routes/ingest';
import { callsRoute, errorsRoute, modelsRoute, sessionsRoute, toolsRoute, tracesRoute, usersRoute } from './routes/lists';
import { rootRoute } from './routes/root';
import { sessionRoute } from './routes/session';
import { sqlRoute } from './routes/sql';
import { traceRoute } from './routes/trace';
import { userRoute } from './routes/user';

export function createQueryClient(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        staleTime: 10_000,
        refetchOnWindowFocus: false,
        // What the server refused it will refuse again; only an unreachable or failing server is asked twice.
        retry: (failures, error) => failures < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
      },
    },
  });
}

export function createAppRouter(queryClient: QueryClient) {
  return createRouter({
    routeTree: rootRoute.addChildren([
      tracesRoute,
      callsRoute,
      sessionsRoute,
      sessionRoute,
      usersRoute,
      userRoute,
      modelsRoute,
      toolsRoute,
      errorsRoute,
      traceRoute,
      compareRoute,
      sqlRoute,
      ingestRoute,
    ]),
    context: { queryClient },
    // Plain text both ways: the default reads values as JSON, and a span id of digits would become a rounded number.
    parseSearch: (search) => Object.fromEntries(new URLSearchParams(search)),
    stringifySearch: (search) => {
      const params = new URLSearchParams();
      for (const [key, value] of Object.entries(search)) if (typeof value === 'string' && value !== '') params.set(key, value);
      const text = params.toString();
      return text === '' ? '' : `?${text}`;
    },
    scrollRestoration: false,
  });
}
