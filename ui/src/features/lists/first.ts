/** The first rows of a list that has none: they come by themselves, there is nothing under the cursor that could move. */
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef } from 'react';

import type { Status } from '../../api/types';

const READ = ['list', 'strip', 'facets', 'totals'];

/**
 * Reads the list anew when it has no rows and the server received something, and when the first span or the last of the demo came: the demo
 * begins days ago, so that its first spans are not in the range that is looked at. Answers whether the page still waits for what is sent.
 */
export function useFirstRows(status: Status | undefined, nothing: boolean): boolean {
  const client = useQueryClient();
  const waiting = status !== undefined && (status.spans === 0 || status.demo.running);
  useEffect(() => {
    if (!waiting) return;
    return () => {
      for (const key of READ) void client.resetQueries({ queryKey: [key] });
    };
  }, [waiting, client]);
  const received = status?.last_received_at ?? null;
  const seen = useRef(received);
  useEffect(() => {
    const news = seen.current !== null && seen.current !== received;
    seen.current = received;
    if (nothing && news) for (const key of READ) void client.invalidateQueries({ queryKey: [key] });
  }, [nothing, received, client]);
  return waiting;
}
