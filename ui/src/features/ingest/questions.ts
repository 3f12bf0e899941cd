/**
 * The SQL behind every number of the ingest page. The page asks exactly these texts and links them, so that the workbench gives the same
 * numbers. Pure.
 */
import { resolveBound, type TimeRange } from '../../lib/time';

const UNITS: Record<string, string> = { s: 'seconds', m: 'minutes', h: 'hours', d: 'days', w: 'weeks' };

/** A bound as SQL. Relative ones stay relative, so that a question means the same tomorrow. `null`: there is none. */
function bound(text: string): string | null {
  if (text === 'all') return null;
  if (text === 'now') return 'now()';
  const relative = /^(?:now)?-(\d+(?:\.\d+)?)([smhdw])$/.exec(text);
  if (relative) return `now() - INTERVAL '${relative[1] ?? '0'} ${UNITS[relative[2] ?? ''] ?? 'seconds'}'`;
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : `TIMESTAMP '${new Date(at).toISOString()}'`;
}

/** The condition that a time is in the range; `TRUE` if every time is. */
export function within(range: TimeRange, column: string): string {
  const from = bound(range.from);
  const to = range.to === 'now' ? null : bound(range.to);
  const parts = [from === null ? null : `${column} >= ${from}`, to === null ? null : `${column} < ${to}`];
  return parts.filter((part) => part !== null).join(' AND ') || 'TRUE';
}

/** A text as SQL. */
export function literal(text: string): string {
  return `'${text.replace(/'/g, "''")}'`;
}

/** Minutes per bar of a chart over the range: some sixty to two hundred bars. */
export function bucketMinutes(range: TimeRange, nowMs: number, firstMs: number | null): number {
  const to = resolveBound(range.to, nowMs) ?? nowMs;
  const from = range.from === 'all' ? (firstMs ?? nowMs - 864e5) : (resolveBound(range.from, nowMs) ?? nowMs - 864e5);
  const minutes = Math.max(1, (to - from) / 6e4);
  return [1, 2, 5, 10, 15, 30, 60, 120, 360, 720, 1440].find((width) => minutes / width <= 150) ?? 10_080;
}

/** Records and bytes per minute, by signal. */
export function rates(range: TimeRange, minutes: number): string {
  const per = minutes === 1 ? '' : ` / ${minutes}.0`;
  return `SELECT time_bucket(INTERVAL '${minutes} minutes', minute) AS at, signal,
       sum(accepted)${per} AS records_per_minute, sum(request_bytes)${per} AS bytes_per_minute
FROM ingest_ledger
WHERE ${within(range, 'minute')}
GROUP BY 1, 2
ORDER BY 1, 2`;
}

/** The ledger, summed by signal. */
export function ledger(range: TimeRange): string {
  return `SELECT signal, count(*) AS requests, sum(accepted) + sum(resent) AS received, sum(stored) AS stored,
       sum(quarantined) AS quarantined, sum(resent) AS resent,
       sum(accepted) - sum(stored) - sum(quarantined) AS missing, sum(request_bytes) AS bytes
FROM ingest_ledger
WHERE ${within(range, 'received_at')}
GROUP BY signal
ORDER BY signal`;
}

/** Rows that the tables hold, by signal: the other side of the ledger. */
export function held(range: TimeRange): string {
  const from = (signal: string, table: string) =>
    `SELECT '${signal}' AS signal, count(*) AS rows FROM ${table} WHERE ${within(range, 'received_at')}`;
  const metrics = ['gauge', 'sum', 'histogram', 'exponential_histogram', 'summary'].map((kind) =>
    from('metrics', `metrics_${kind}`),
  );
  return `SELECT signal, sum(rows) AS rows FROM (
  ${[from('traces', 'spans'), from('logs', 'logs'), ...metrics].join('\n  UNION ALL ')}
) GROUP BY signal ORDER BY signal`;
}

/** When something last came, and when something first did. */
export function freshness(): string {
  return 'SELECT max(received_at) AS last_received, min(received_at) AS first_received FROM ingest_ledger';
}

/** Refused records by reason. */
export function quarantineGroups(range: TimeRange): string {
  return `SELECT reason, signal, service_name, count(*) AS records, min(received_at) AS first_time, max(received_at) AS last_time
FROM quarantine
WHERE ${within(range, 'received_at')}
GROUP BY reason, signal, service_name
ORDER BY records DESC, reason`;
}

/** The latest records that were refused for a reason. */
export function quarantineRecords(range: TimeRange, group: { reason: string; signal: string; service: string | null }): string {
  const service = group.service === null ? 'service_name IS NULL' : `service_name = ${literal(group.service)}`;
  return `SELECT received_at, wal_position, detail, trace_id, span_id, record, record_bytes
FROM quarantine
WHERE reason = ${literal(group.reason)} AND signal = ${literal(group.signal)} AND ${service}
  AND ${within(range, 'received_at')}
ORDER BY received_at DESC, wal_position DESC, span_id
LIMIT 100`;
}

/** How many records were refused. */
export function quarantined(range: TimeRange): string {
  return `SELECT count(*) AS records FROM quarantine WHERE ${within(range, 'received_at')}`;
}

/** Whether a trace has been stored: asked after a mended record was sent again. */
export function spanStored(traceId: string, spanId: string): string {
  return `SELECT name, received_at FROM spans WHERE trace_id = ${literal(traceId)} AND span_id = ${literal(spanId)} LIMIT 1`;
}

/** The write-ahead log: what is durable and not yet in the lake. */
export function wal(): string {
  return 'SELECT segments, bytes, bytes_max, oldest_received_at, last_position, flushed_position FROM system.wal';
}

/** Files, rows and memory of each table. */
export function tables(): string {
  return `SELECT table_name, files, rows, bytes, hot_rows, hot_bytes, version, last_flush_at, last_compaction_at
FROM system.tables
ORDER BY bytes + hot_bytes DESC, table_name`;
}

/** Bytes of each column of a table. */
export function columns(table: string): string {
  return `SELECT column_name, rows, compressed_bytes, uncompressed_bytes
FROM system.columns
WHERE table_name = ${literal(table)}
ORDER BY compressed_bytes DESC, column_name`;
}

/** The latest background work; what failed comes first. */
export function jobs(): string {
  return `SELECT kind, table_name, started_at, ended_at, duration_ms, rows, bytes, status, error
FROM system.jobs
ORDER BY status = 'failed' DESC, started_at DESC
LIMIT 100`;
}

/** Background work by kind. */
export function jobKinds(): string {
  return `SELECT kind, count(*) AS runs, count(*) FILTER (WHERE status = 'failed') AS failed, max(ended_at) AS last_ended_at,
       max(duration_ms) AS longest_ms, sum(bytes) AS bytes
FROM system.jobs
GROUP BY kind
ORDER BY kind`;
}

type TriedLine = {
  readonly usage_kind: string;
  readonly units: number;
  readonly usd_per_million?: string | null;
  readonly price?: string | null;
};

/** What a span that was tried would cost: its usage by the rates of the price table. `null`: nothing of it has a price. */
export function triedCost(lines: readonly TriedLine[]): string | null {
  const priced = lines.flatMap(({ usage_kind: kind, units, usd_per_million: rate, price }) =>
    price && rate ? [`(${literal(kind)}, ${units}, ${literal(rate)}, ${literal(price)})`] : [],
  );
  if (priced.length === 0) return null;
  return `SELECT tried.usage_kind, tried.units, rates.usd_per_million, tried.units * rates.usd_per_million / 1000000 AS cost_usd, rates.price
FROM (VALUES ${priced.join(',\n             ')}) AS tried(usage_kind, units, usd_per_million, price)
JOIN (SELECT DISTINCT price, usd_per_million FROM system.prices) AS rates
  ON rates.price = tried.price AND rates.usd_per_million = CAST(tried.usd_per_million AS DECIMAL(28, 15))`;
}
