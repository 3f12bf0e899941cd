/** One user: what they cost and what failed for them over time, and their sessions. */
import { useQuery } from '@tanstack/react-query';
import { useMemo, type ReactNode } from 'react';

import { Chart } from '../../components/Chart';
import { FigureRow, RowFigure } from '../../components/FigureRow';
import { ErrorNotice, Skeleton } from '../../components/Notice';
import { SqlLink } from '../../components/SqlLink';
import { TimeRangePicker } from '../../components/TimeRangePicker';
import { Count } from '../../components/Values';
import { formatCount, formatDuration, formatFullTime } from '../../lib/format';
import { describeRange, type TimeRange } from '../../lib/time';
import { GroupFigures, PageHead } from './PageHead';
import { seriesQuery, userQuery, type Measure, type SeriesBy } from './queries';
import './session-page.css';
import './user-page.css';

type Props = {
  userId: string;
  range: TimeRange;
  onRange: (range: TimeRange) => void;
  usersHref: string;
  /** Lists of what is theirs in the range. */
  listHrefs: readonly { title: string; href: string }[];
  sessions: ReactNode;
};

const dollars = (value: number | null) => (value === null ? '–' : `$${value.toPrecision(3)}`);
const CHARTS: readonly { measure: Measure; by: SeriesBy; title: string; kind: 'stacked' | 'line'; format: (value: number | null) => string }[] = [
  { measure: 'cost_usd', by: 'model', title: 'Cost by model', kind: 'stacked', format: dollars },
  { measure: 'errors', by: 'none', title: 'Errors', kind: 'stacked', format: formatCount },
  { measure: 'llm_calls', by: 'none', title: 'LLM calls', kind: 'stacked', format: formatCount },
  { measure: 'p95_ns', by: 'none', title: 'Call duration, p95', kind: 'line', format: formatDuration },
]; // prettier-ignore

export function UserPage({ userId, range, onRange, usersHref, listHrefs, sessions }: Props) {
  const user = useQuery(userQuery(userId, range));
  const row = user.data?.row;
  return (
    <article className="session">
      <PageHead
        list="Users"
        listHref={usersHref}
        name={userId}
        of="user"
        ways={listHrefs}
        end={<TimeRangePicker range={range} onChange={onRange} />}
      >
        {row && (
          <FigureRow more={<SqlLink sql={user.data?.sql} of="the user" />}>
            <RowFigure title="First seen">{formatFullTime(row.first_time)}</RowFigure>
            <RowFigure title="Last seen">{formatFullTime(row.last_time)}</RowFigure>
            <RowFigure title="Sessions">
              <Count value={row.sessions} />
            </RowFigure>
            <GroupFigures of={row} />
          </FigureRow>
        )}
        {user.isPending && <Skeleton lines={2} label="loading the user" />}
        {user.isError && <ErrorNotice title="The user could not be read" error={user.error} />}
        {user.data && !row && (
          <p className="faint">Nothing of this user in this range: {describeRange(range)}. A wider one is chosen at the right.</p>
        )}
      </PageHead>
      <div className="user__charts">
        {CHARTS.map((chart) => (
          <SeriesChart key={chart.measure} userId={userId} range={range} {...chart} />
        ))}
      </div>
      <section className="user__sessions" aria-label="Sessions">
        <h2 className="user__heading">Sessions</h2>
        {sessions}
      </section>
    </article>
  );
}

type ChartProps = (typeof CHARTS)[number] & { userId: string; range: TimeRange };

function SeriesChart({ userId, range, measure, by, title, kind, format }: ChartProps) {
  const { data, isPending, isError, error } = useQuery(seriesQuery(userId, range, measure, by));
  const drawn = useMemo(() => {
    if (!data) return null;
    const start = Date.parse(data.start) / 1000;
    const length = data.series[0]?.points.length ?? 0;
    return {
      xs: Array.from({ length }, (_, index) => start + (index * data.bucket_ns) / 1e9),
      series: data.series.map((each) => ({ label: each.name ?? title, values: each.points.map(asNumber) })),
    };
  }, [data, title]);
  return (
    <section className="user__chart" aria-label={title}>
      <h2 className="user__heading">
        {title} <SqlLink sql={data?.sql} of={title.toLowerCase()} />
      </h2>
      {isPending && <Skeleton lines={4} label={`loading ${title}`} />}
      {isError && <ErrorNotice title={`${title} could not be read`} error={error} />}
      {drawn && drawn.series.length === 0 && <p className="faint user__none">nothing in this range</p>}
      {drawn && drawn.series.length > 0 && (
        <Chart
          label={`${title} over time`}
          kind={kind}
          xKind="time"
          xs={drawn.xs}
          labels={NO_LABELS}
          series={drawn.series}
          format={format}
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
