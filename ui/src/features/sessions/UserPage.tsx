/** One user: what they cost and what failed for them over time, and their sessions. */
import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';

import { FigureRow, RowFigure } from '../../components/FigureRow';
import { ErrorNotice, Skeleton } from '../../components/Notice';
import { SqlLink } from '../../components/SqlLink';
import { TimeRangePicker } from '../../components/TimeRangePicker';
import { Count } from '../../components/Values';
import { formatFullTime } from '../../lib/format';
import { describeRange, type TimeRange } from '../../lib/time';
import { GroupFigures, PageHead } from './PageHead';
import { ofUser, userQuery } from './queries';
import { SeriesChart } from './SeriesChart';
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

const CHARTS = ['cost', 'errors', 'calls', 'duration'] as const;

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
        {user.isError && <ErrorNotice title="The user could not be read" error={user.error} onRetry={user.refetch} />}
        {user.data && !row && (
          <p className="faint">Nothing of this user in this range: {describeRange(range)}. A wider one is chosen at the right.</p>
        )}
      </PageHead>
      <div className="series-charts">
        {CHARTS.map((chart) => (
          <SeriesChart key={chart} of={chart} q={ofUser(userId)} range={range} />
        ))}
      </div>
      <section className="user__sessions" aria-label="Sessions">
        <h2 className="session__heading">Sessions</h2>
        {sessions}
      </section>
    </article>
  );
}
