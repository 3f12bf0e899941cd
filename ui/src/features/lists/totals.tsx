/** The row of totals under a list: sums over all rows of the range and the filter, not only over what is loaded. */
import { useMemo, type ReactNode } from 'react';

import type { Strip } from '../../api/types';
import { Count, Money } from '../../components/Values';
import { SqlLink } from '../../components/SqlLink';
import { addMoney, parseMoney, plural, type Femto } from '../../lib/format';
import type { KindInfo } from './kinds';
import type { ListPage } from './queries';

export function useTotals(
  info: KindInfo,
  page: ListPage | undefined,
  strip: Strip | undefined,
): Readonly<Record<string, ReactNode>> | null {
  return useMemo(() => {
    if (!strip || !page) return null;
    const traces = strip.buckets.reduce((sum, bucket) => sum + bucket.traces, 0);
    const errors = strip.buckets.reduce((sum, bucket) => sum + bucket.errors, 0);
    const cost = strip.buckets.reduce<Femto | null>((sum, bucket) => addMoney(sum, parseMoney(bucket.cost_usd)), null);
    return {
      start_time: (
        <>
          Total <SqlLink sql={strip.sql} of="the totals" />
        </>
      ),
      name: <span className="num">{plural(traces, info.noun)}</span>,
      error_count: <Count value={errors} />,
      cost_usd: <Money usd={cost} />,
    };
  }, [info, page, strip]);
}
