/** A figure over time of what a filter lets through: cost, errors, calls or their duration, with the SQL that gives it. */
import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';

import { Chart } from '../../components/Chart';
import { ErrorNotice, Skeleton } from '../../components/Notice';
import { SqlLink } from '../../components/SqlLink';
import { formatCount, formatDuration } from '../../lib/format';
import type { TimeRange } from '../../lib/time';
import { seriesQuery, type Measure, type SeriesBy } from './queries';
import './series-chart.css';

const dollars = (value: number | null) => (value === null ? '–' : `$${value.toPrecision(3)}`);

type Kind = {
  readonly measure: Measure;
  readonly by: SeriesBy;
  readonly title: string;
  readonly kind: 'stacked' | 'line';
  readonly format: (value: number | null) => string;
};

const KINDS = {
  cost: { measure: 'cost_usd', by: 'model', title: 'Cost by model', kind: 'stacked', format: dollars },
  errors: { measure: 'errors', by: 'none', title: 'Errors', kind: 'stacked', format: formatCount },
  calls: { measure: 'llm_calls', by: 'none', title: 'LLM calls', kind: 'stacked', format: formatCount },
  duration: { measure: 'p95_ns', by: 'none', title: 'Call duration, p95', kind: 'line', format: formatDuration },
} as const satisfies Record<string, Kind>;

type Props = {
  of: keyof typeof KINDS;
  /** The filter, in the language of the search box. */
  q: string;
  range: TimeRange;
};

export function SeriesChart({ of, q, range }: Props) {
  const { measure, by, title, kind, format } = KINDS[of];
  const { data, isPending, isError, error, refetch } = useQuery(seriesQuery(q, range, measure, by));
  const drawn = useMemo(() => {
    if (!data) return null;
    const start = Date.parse(data.start) / 1000;
    const length = data.series[0]?.points.length ?? 0;
    return {
      step: data.bucket_ns / 1e9,
      xs: Array.from({ length }, (_, index) => start + (index * data.bucket_ns) / 1e9),
      series: data.series.map((each) => ({ label: each.name ?? title, values: each.points.map(asNumber) })),
    };
  }, [data, title]);
  return (
    <section className="series-chart" aria-label={title}>
      <h2 className="session__heading">
        {title} <SqlLink sql={data?.sql} of={title.toLowerCase()} />
      </h2>
      {isPending && <Skeleton lines={4} label={`loading ${title}`} />}
      {isError && <ErrorNotice title={`${title} could not be read`} error={error} onRetry={refetch} />}
      {drawn && drawn.series.length === 0 && <p className="faint series-chart__none">nothing in this range</p>}
      {drawn && drawn.series.length > 0 && (
        <Chart
          label={`${title} over time`}
          kind={kind}
          xKind="time"
          xs={drawn.xs}
          labels={NO_LABELS}
          series={drawn.series}
          format={format}
          step={drawn.step}
        />
      )}
    </section>
  );
}

const NO_LABELS: readonly string[] = [];

/** A chart draws floats; money comes as text. */
function asNumber(point: unknown): number | null {
  if (typeof point === 'number') return point;
  return typeof point === 'string' && point !== '' ? Number(point) : null;
}
