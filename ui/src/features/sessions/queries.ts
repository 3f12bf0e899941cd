/** What the session page and the user page ask of the server. */
import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query';

import { api, projectInUrl, unwrap } from '../../api/client';
import type { components } from '../../api/generated/openapi';
import { withParser } from '../../components/markdownParser';
import { quoteValue } from '../../lib/filter';
import { ALL_TIME, type TimeRange } from '../../lib/time';

export type Measure = components['schemas']['Measure'];
export type SeriesBy = components['schemas']['By'];

const TRACES_AT_ONCE = 20;

export const sessionQuery = (sessionId: string) =>
  infiniteQueryOptions({
    queryKey: ['session', projectInUrl(), sessionId],
    queryFn: ({ pageParam, signal }) =>
      withParser(
        unwrap(
          api.GET('/api/v1/sessions/{session_id}', {
            params: {
              path: { session_id: sessionId },
              query: { limit: TRACES_AT_ONCE, ...(pageParam === null ? {} : { cursor: pageParam }) },
            },
            signal,
          }),
        ),
      ),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor ?? null,
  });

const rangeParams = (range: TimeRange) => ({ ...(range.from === ALL_TIME.from ? {} : { from: range.from }), to: range.to });

/** The filter that a user's rows pass. */
export const ofUser = (userId: string) => `user:${quoteValue(userId)}`;

/** The filter that a session's rows pass. */
export const ofSession = (sessionId: string) => `session:${quoteValue(sessionId)}`;

/** The user as the list of users has it; `null` if nothing of the range is theirs. */
export const userQuery = (userId: string, range: TimeRange) =>
  queryOptions({
    queryKey: ['user', projectInUrl(), userId, range.from, range.to],
    queryFn: async ({ signal }) => {
      const query = { ...rangeParams(range), q: ofUser(userId), limit: 2 };
      const page = await unwrap(api.GET('/api/v1/lists/users', { params: { query }, signal }));
      return { row: page.rows.find((row) => row.user_id === userId) ?? null, sql: page.sql };
    },
    placeholderData: keepPreviousData,
  });

/** A measure over time of what a filter lets through. */
export const seriesQuery = (q: string, range: TimeRange, measure: Measure, by: SeriesBy) =>
  queryOptions({
    queryKey: ['series', projectInUrl(), q, range.from, range.to, measure, by],
    queryFn: ({ signal }) =>
      unwrap(
        api.GET('/api/v1/series', {
          params: { query: { ...rangeParams(range), q, measure, by, buckets: 60 } },
          signal,
        }),
      ),
    placeholderData: keepPreviousData,
  });
