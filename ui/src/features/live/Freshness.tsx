/** "Last span 2 s ago", or that the server does not answer. */
import { formatAgo } from '../../lib/format';
import { useNow } from '../../lib/hooks';
import './freshness.css';
import { useStatus } from './queries';

export function Freshness() {
  const { data, isError, isPending } = useStatus();
  const now = useNow(1_000);
  if (isPending) return null;
  if (isError) {
    return (
      <span className="freshness freshness--lost" role="status">
        <span className="freshness__dot" />
        no connection
      </span>
    );
  }
  const last = data.last_received_at === null || data.last_received_at === undefined ? null : Date.parse(data.last_received_at);
  const recent = last !== null && now - last < 10_000;
  return (
    <span className={`freshness ${recent ? 'freshness--recent' : ''}`} title={`Assay ${data.version}`}>
      <span className="freshness__dot" />
      <span className="truncate">{last === null ? 'waiting for the first span' : `last span ${formatAgo(last, now)}`}</span>
    </span>
  );
}
