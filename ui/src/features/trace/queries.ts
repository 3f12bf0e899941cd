/** What the trace page asks of the server. */
import { queryOptions } from '@tanstack/react-query';

import { api, projectInUrl, unwrap } from '../../api/client';
import { readSpanDetail } from '../../api/types';

export const traceQuery = (traceId: string) =>
  queryOptions({
    queryKey: ['trace', projectInUrl(), traceId],
    queryFn: ({ signal }) => unwrap(api.GET('/api/v1/traces/{trace_id}', { params: { path: { trace_id: traceId } }, signal })),
    staleTime: 30_000,
  });

export const spanQuery = (traceId: string, spanId: string) =>
  queryOptions({
    queryKey: ['span', projectInUrl(), traceId, spanId],
    queryFn: async ({ signal }) =>
      readSpanDetail(
        await unwrap(
          api.GET('/api/v1/traces/{trace_id}/spans/{span_id}', {
            params: { path: { trace_id: traceId, span_id: spanId } },
            signal,
          }),
        ),
      ),
    staleTime: 60_000,
  });
