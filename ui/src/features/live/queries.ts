/** What the server says about itself: how many spans it has, when the last one came. */
import { queryOptions, useQuery } from '@tanstack/react-query';

import { api, projectInUrl, unwrap } from '../../api/client';

export const statusQuery = () =>
  queryOptions({
    queryKey: ['status', projectInUrl()],
    queryFn: ({ signal }) => unwrap(api.GET('/api/v1/status', { signal })),
    // Whoever waits for the first span looks closely; afterwards it is a reminder.
    refetchInterval: (query) => (query.state.data && query.state.data.spans > 0 ? 5_000 : 2_000),
    staleTime: 1_000,
    retry: false,
  });

export function useStatus() {
  return useQuery(statusQuery());
}
