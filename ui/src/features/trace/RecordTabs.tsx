/** Events, links and log records of a span, as they were sent (OTLP/JSON). */
import { useQuery } from '@tanstack/react-query';

import { inProject } from '../../api/client';
import type { SpanDetail } from '../../api/types';
import { Button } from '../../components/Button';
import { JsonView } from '../../components/JsonView';
import { ErrorNotice, Skeleton } from '../../components/Notice';
import { SqlLink } from '../../components/SqlLink';
import { Tag } from '../../components/Values';
import { formatDuration, formatFullTime } from '../../lib/format';
import { isRecord } from './messages';
import { traceLogsQuery } from './queries';
import { spanLogsSql, traceLogsSql } from './sql';

export function EventsTab({ span }: { span: SpanDetail }) {
  if (span.events.length === 0) return <p className="panel-none">This span has no events.</p>;
  return (
    <>
      {span.events.map((event, index) => {
        const name = text(event, 'name') ?? 'event';
        const at = offset(event, span.start_time);
        return (
          <div key={index} role="group" className="panel-block" aria-label={`Event ${name}`}>
            <h3 className="panel-block__title">
              {name === 'exception' ? <Tag tone="error">{name}</Tag> : name}
              {at !== null && <span className="faint num">+{formatDuration(at)}</span>}
            </h3>
            <div className="panel-box">
              <JsonView value={flatAttributes(event)} openDepth={1} />
            </div>
          </div>
        );
      })}
    </>
  );
}

export function LinksTab({ span, traceId, onSelect }: { span: SpanDetail; traceId: string; onSelect: (spanId: string) => void }) {
  if (span.links.length === 0) return <p className="panel-none">This span links to no other.</p>;
  return (
    <>
      {span.links.map((link, index) => {
        const linkedTrace = text(link, 'traceId', 'trace_id') ?? '';
        const linkedSpan = text(link, 'spanId', 'span_id') ?? '';
        return (
          <div key={index} role="group" className="panel-block" aria-label={`Link ${index + 1}`}>
            <h3 className="panel-block__title">
              <span className="code">
                {linkedTrace.slice(0, 16)}… / {linkedSpan}
              </span>
              {linkedTrace === traceId ? (
                <Button
                  onClick={() => {
                    onSelect(linkedSpan);
                  }}
                >
                  Select
                </Button>
              ) : (
                <a href={inProject(`/traces/${linkedTrace}?span=${linkedSpan}`)}>Open the trace</a>
              )}
            </h3>
            <div className="panel-box">
              <JsonView value={flatAttributes(link)} openDepth={1} />
            </div>
          </div>
        );
      })}
    </>
  );
}

type LogsProps = {
  span: SpanDetail;
  traceId: string;
  /** Those of the whole trace. */
  all: boolean;
  onAll: (all: boolean) => void;
  onSelect: (spanId: string) => void;
};

/** Log records that name the span, or all of its trace. */
export function LogsTab({ span, traceId, all, onAll, onSelect }: LogsProps) {
  const ofTrace = useQuery({ ...traceLogsQuery(traceId), enabled: all });
  const logs: readonly unknown[] = all ? (ofTrace.data ?? []) : span.logs;
  return (
    <>
      <div className="logs__scope" role="group" aria-label="Which log records">
        <Button
          aria-pressed={!all}
          onClick={() => {
            onAll(false);
          }}
        >
          This span
        </Button>
        <Button
          aria-pressed={all}
          onClick={() => {
            onAll(true);
          }}
        >
          The whole trace
        </Button>
        <SqlLink sql={all ? traceLogsSql(traceId) : spanLogsSql(traceId, span.span_id)} of="these log records" />
      </div>
      {all && ofTrace.isPending && <Skeleton lines={4} label="loading log records" />}
      {all && ofTrace.isError && <ErrorNotice title="The log records could not be read" error={ofTrace.error} />}
      {logs.length === 0 && !(all && ofTrace.isPending) && (
        <p className="panel-none">{all ? 'No log record names this trace.' : 'No log record names this span.'}</p>
      )}
      {logs.map((log, index) => {
        const severity = text(log, 'severity_text', 'severityText');
        const name = text(log, 'event_name', 'eventName');
        const time = text(log, 'time');
        const of = text(log, 'span_id');
        return (
          <div key={index} role="group" className="panel-block" aria-label={`Log record ${index + 1}`}>
            <h3 className="panel-block__title">
              {severity && (
                <Tag tone={/err|fatal/i.test(severity) ? 'error' : /warn/i.test(severity) ? 'warning' : 'plain'}>{severity}</Tag>
              )}
              {name}
              {time && <span className="faint num">{formatFullTime(time)}</span>}
              {all && of !== null && of !== span.span_id && (
                <Button
                  look="quiet"
                  onClick={() => {
                    onSelect(of);
                  }}
                >
                  Its span
                </Button>
              )}
            </h3>
            <div className="panel-box">
              <JsonView value={log} openDepth={1} />
            </div>
          </div>
        );
      })}
    </>
  );
}

function text(record: unknown, ...keys: string[]): string | null {
  if (!isRecord(record)) return null;
  for (const key of keys) {
    const value = record[key];
    if (typeof value === 'string' && value !== '') return value;
  }
  return null;
}

/** Nanoseconds from the start of the span, exact in the microseconds that matter. */
function offset(event: unknown, spanStart: string): number | null {
  const nanos = text(event, 'timeUnixNano', 'time_unix_nano');
  if (nanos === null || !/^\d+$/.test(nanos)) return null;
  const started = Date.parse(spanStart);
  if (Number.isNaN(started)) return null;
  const fraction = /\.(\d+)/.exec(spanStart)?.[1] ?? '';
  const startNs = BigInt(Math.floor(started / 1000)) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0').slice(0, 9) || '0');
  return Number(BigInt(nanos) - startNs);
}

/** OTLP/JSON attribute lists read better as one object; keys that repeat or values that are not plain stay as sent. */
function flatAttributes(record: unknown): unknown {
  if (!isRecord(record) || !Array.isArray(record['attributes'])) return record;
  const flat: Record<string, unknown> = {};
  for (const pair of record['attributes'] as unknown[]) {
    if (!isRecord(pair) || typeof pair['key'] !== 'string' || pair['key'] in flat) return record;
    flat[pair['key']] = anyValue(pair['value']);
  }
  return { ...record, attributes: flat };
}

function anyValue(value: unknown): unknown {
  if (!isRecord(value)) return value;
  const [kind, inner] = Object.entries(value)[0] ?? [];
  if (kind === 'arrayValue' && isRecord(inner) && Array.isArray(inner['values'])) return inner['values'].map(anyValue);
  return kind === 'kvlistValue' ? value : inner;
}
