/** What the server says about itself: how many spans it has, when the last one came. */
import { queryOptions, useQuery } from '@tanstack/react-query';

import { api, projectInUrl, unwrap } from '../../api/client';

/** `everyMs`: how often it is asked once there are spans; live mode wants to know sooner. */
export const statusQuery = (everyMs = 5_000) =>
  queryOptions({
    queryKey: ['status', projectInUrl()],
    queryFn: ({ signal }) => unwrap(api.GET('/api/v1/status', { signal })),
    // Whoever waits for the first span looks closely; afterwards it is a reminder.
    refetchInterval: (query) => (query.state.data && query.state.data.spans > 0 ? everyMs : 2_000),
    staleTime: 1_000,
    retry: false,
  });

export function useStatus(everyMs?: number) {
  return useQuery(statusQuery(everyMs));
}
