/** From rows of the ledger to what the page draws. Pure. */
import { number, text, type Rows } from './useSql';

export type LedgerLine = {
  readonly signal: string;
  readonly requests: number;
  readonly received: number;
  readonly stored: number;
  readonly quarantined: number;
  readonly resent: number;
  /** What is neither stored nor refused: zero, or something is wrong. */
  readonly missing: number;
  readonly bytes: number;
};

export function readLedger(rows: Rows): LedgerLine[] {
  return rows.map((row) => {
    const of = (name: string) => number(row[name]) ?? 0;
    return {
      signal: text(row['signal']) ?? '',
      requests: of('requests'),
      received: of('received'),
      stored: of('stored'),
      quarantined: of('quarantined'),
      resent: of('resent'),
      missing: of('missing'),
      bytes: of('bytes'),
    };
  });
}

export function total(lines: readonly LedgerLine[], column: Exclude<keyof LedgerLine, 'signal'>): number {
  return lines.reduce((sum, line) => sum + line[column], 0);
}

/** Series per signal over time. Minutes without requests are zeros, not unknown: the ledger has a line for each request. */
export function ratesChart(rows: Rows, measure: string, minutes: number) {
  const known = rows.map((row) => Date.parse(text(row['at']) ?? '') / 1000).filter((at) => !Number.isNaN(at));
  const first = Math.min(...known);
  const last = Math.max(...known);
  const step = minutes * 60;
  const times =
    known.length === 0 ? [] : Array.from({ length: Math.round((last - first) / step) + 1 }, (_, at) => first + at * step);
  const placeOf = new Map(times.map((at, place) => [at, place]));
  const series = new Map<string, number[]>();
  for (const row of rows) {
    const place = placeOf.get(Date.parse(text(row['at']) ?? '') / 1000);
    const signal = text(row['signal']);
    if (place === undefined || signal === null) continue;
    const values = series.get(signal) ?? times.map(() => 0);
    series.set(signal, values);
    values[place] = number(row[measure]) ?? 0;
  }
  return { xs: times, series: [...series].map(([label, values]) => ({ label, values })) };
}

/** A group of refused records. */
export type Group = {
  readonly id: string;
  readonly reason: string;
  readonly signal: string;
  readonly service: string | null;
  readonly records: number;
  readonly firstTime: string;
  readonly lastTime: string;
};

export function readGroups(rows: Rows): Group[] {
  return rows.map((row) => {
    const reason = text(row['reason']) ?? '';
    const signal = text(row['signal']) ?? '';
    const service = text(row['service_name']);
    return {
      id: groupId(reason, signal, service),
      reason,
      signal,
      service,
      records: number(row['records']) ?? 0,
      firstTime: text(row['first_time']) ?? '',
      lastTime: text(row['last_time']) ?? '',
    };
  });
}

/** How the address names a group. */
export function groupId(reason: string, signal: string, service: string | null): string {
  return [reason, signal, ...(service === null ? [] : [service])].join('~');
}

export type Refused = {
  readonly id: string;
  readonly receivedAt: string;
  readonly detail: string;
  readonly traceId: string | null;
  readonly spanId: string | null;
  /** OTLP/JSON, cut at 64 KiB. */
  readonly record: string | null;
  readonly bytes: number;
};

export function readRefused(rows: Rows): Refused[] {
  const seen = new Map<string, number>();
  return rows.map((row) => {
    // Several records of a request share its position; their order is the same each time.
    const position = String(number(row['wal_position']) ?? 0);
    const nth = seen.get(position) ?? 0;
    seen.set(position, nth + 1);
    return {
      id: `${position}.${nth}`,
      receivedAt: text(row['received_at']) ?? '',
      detail: text(row['detail']) ?? '',
      traceId: text(row['trace_id']),
      spanId: text(row['span_id']),
      record: text(row['record']),
      bytes: number(row['record_bytes']) ?? 0,
    };
  });
}

/** The record as a value; `null` if it was cut or never could be read. */
export function parseRecord(record: string | null): unknown {
  if (record === null) return null;
  try {
    return JSON.parse(record) as unknown;
  } catch {
    return null;
  }
}

/** How many records an OTLP answer says were refused, and why; `null`: none. */
export function partialSuccess(answer: unknown): { rejected: number; message: string } | null {
  if (typeof answer !== 'object' || answer === null || !('partialSuccess' in answer)) return null;
  const partial = answer.partialSuccess;
  if (typeof partial !== 'object' || partial === null) return null;
  const fields = partial as Record<string, unknown>;
  const rejected = number(fields['rejectedSpans'] ?? fields['rejectedLogRecords'] ?? fields['rejectedDataPoints']) ?? 0;
  const message = text(fields['errorMessage']) ?? '';
  return rejected > 0 || message !== '' ? { rejected, message } : null;
}
