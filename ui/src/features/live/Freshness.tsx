/** "Last span 2 s ago", or that the server does not answer. */
import { ApiError } from '../../api/client';
import { useSqlHref } from '../../components/SqlLink';
import { formatAgo, formatFullTime } from '../../lib/format';
import { useNow } from '../../lib/hooks';
import './freshness.css';
import { useStatus } from './queries';

/** What the server asks itself for it. */
const LAST_SQL = `SELECT max(received_at) AS last_received_at
FROM (SELECT max(received_at) AS received_at FROM spans UNION ALL SELECT max(received_at) FROM logs)`;

export function Freshness() {
  const sqlHref = useSqlHref();
  const { data, error, isError, isPending } = useStatus();
  const now = useNow(1_000);
  if (isPending) return null;
  if (isError) {
    return (
      <span className="freshness freshness--lost" role="status">
        <span className="freshness__dot" />
        {error instanceof ApiError && error.status > 0 ? 'server error' : 'no connection'}
      </span>
    );
  }
  const last = data.last_received_at === null || data.last_received_at === undefined ? null : Date.parse(data.last_received_at);
  const recent = last !== null && now - last < 10_000;
  return (
    <span className={`freshness ${recent ? 'freshness--recent' : ''}`} title={`Assay ${data.version}`}>
      <span className="freshness__dot" />
      {last === null ? (
        <span className="truncate">waiting for the first span</span>
      ) : (
        <a
          className="freshness__last truncate"
          href={sqlHref(LAST_SQL)}
          title={`${formatFullTime(data.last_received_at ?? '')}; open the SQL of it`}
        >
          last span {formatAgo(last, now)}
        </a>
      )}
    </span>
  );
}
