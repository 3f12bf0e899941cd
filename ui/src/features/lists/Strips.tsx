/** Volume, errors, latency and cost over the range, for the same filter as the table. */
import { useMemo } from 'react';

import type { Strip } from '../../api/types';
import { SqlLink } from '../../components/SqlLink';
import { TimeStrip, type StripSeries } from '../../components/TimeStrip';
import {
  addMoney,
  formatCountExact,
  formatDuration,
  formatMoney,
  formatMoneyExact,
  parseMoney,
  type Femto,
} from '../../lib/format';
import { useMediaQuery } from '../../lib/hooks';
import { useTheme } from '../../lib/theme';

const round = (value: number | null) => (value === null ? '–' : formatCountExact(Math.round(value)));
const dollars = (value: number | null) => (value === null ? '–' : `$${value.toPrecision(3)}`);

type Props = { strip: Strip | undefined; failed: boolean; onNarrow: (fromMs: number, toMs: number) => void };

export function Strips({ strip, failed, onNarrow }: Props) {
  const { resolved } = useTheme();
  const narrow = useMediaQuery('(max-width: 700px)');
  const data = useMemo(() => (strip ? summarise(strip) : null), [strip]);
  if (!data && failed) return <div className="strips strips--waiting strips--failed">These strips could not be read.</div>;
  if (!data) return <div className="strips strips--waiting" aria-hidden="true" />;
  const common = { times: data.times, bucketSeconds: data.bucketSeconds, theme: resolved, onNarrow };
  const sql = (of: string) => <SqlLink sql={strip?.sql} of={`${of} over time`} />;
  return (
    <div className="strips">
      <TimeStrip
        {...common}
        title="Traces"
        more={sql('traces')}
        figure={formatCountExact(data.total)}
        series={data.volume}
        format={round}
      />
      <TimeStrip
        {...common}
        title="Errors"
        more={sql('errors')}
        figure={formatCountExact(data.failed)}
        series={data.errors}
        format={round}
      />
      {!narrow && (
        <TimeStrip
          {...common}
          title="Latency"
          more={sql('latency')}
          figure={
            <>
              {formatDuration(data.typicalNs)}
              <span className="strip__second">p50, typical</span>
            </>
          }
          series={data.latency}
          format={formatDuration}
        />
      )}
      <TimeStrip
        {...common}
        title="Cost"
        more={sql('cost')}
        figure={<span title={formatMoneyExact(data.cost)}>{formatMoney(data.cost)}</span>}
        series={data.spend}
        format={dollars}
      />
    </div>
  );
}

function summarise(strip: Strip) {
  const { buckets } = strip;
  const active = buckets.filter((bucket) => bucket.traces > 0);
  const cost = buckets.reduce<Femto | null>((sum, bucket) => addMoney(sum, parseMoney(bucket.cost_usd)), null);
  const medians = active
    .flatMap((bucket) => (bucket.p50_ns === null || bucket.p50_ns === undefined ? [] : [bucket.p50_ns]))
    .sort((a, b) => a - b);
  const series = (label: string, colour: string, kind: 'bars' | 'line', values: (number | null)[]): StripSeries => ({
    label,
    colour,
    kind,
    values,
  });
  return {
    times: buckets.map((bucket) => Date.parse(bucket.start) / 1000),
    bucketSeconds: strip.bucket_ns / 1e9,
    total: buckets.reduce((sum, bucket) => sum + bucket.traces, 0),
    failed: buckets.reduce((sum, bucket) => sum + bucket.errors, 0),
    cost,
    typicalNs: medians[medians.length >> 1] ?? null,
    volume: [series('traces', '--chart-volume', 'bars', buckets.map((bucket) => bucket.traces))],
    errors: [series('errors', '--chart-error', 'bars', buckets.map((bucket) => bucket.errors))],
    latency: [
      series('p95', '--chart-latency-soft', 'line', buckets.map((bucket) => bucket.p95_ns ?? null)),
      series('p50', '--chart-latency', 'line', buckets.map((bucket) => bucket.p50_ns ?? null)),
    ],
    spend: [series('cost', '--chart-cost', 'bars', buckets.map((bucket) => (bucket.cost_usd === null || bucket.cost_usd === undefined ? null : Number(bucket.cost_usd))))],
  }; // prettier-ignore
}
