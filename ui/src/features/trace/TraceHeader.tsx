/** The totals of a trace and what can be done with it. */
import { useMemo, type ReactNode } from 'react';

import { Button, LinkButton } from '../../components/Button';
import { CopyButton } from '../../components/CopyButton';
import { useCommands } from '../../components/command/commands';
import { Icon, type IconName } from '../../components/Icon';
import { SqlLink } from '../../components/SqlLink';
import { Count, Duration, Money, Tag } from '../../components/Values';
import { permalink } from '../../lib/clock';
import { formatFullTime } from '../../lib/format';
import { download, type Trace } from './queries';
import { totalsSql } from './sql';
import './trace-header.css';
import { COUNTED, has, type NumberName, type TraceTree } from './tree';

type Props = {
  trace: Trace;
  sqlHref: (sql: string) => string;
  links: TraceLinks;
};

/** Where the page of a trace leads. */
export type TraceLinks = {
  readonly traces: string;
  readonly compare: string;
  readonly session: (sessionId: string) => string;
  readonly user: (userId: string) => string;
  /** Goes to one of them. */
  readonly go: (href: string) => void;
};

export function TraceHeader({ trace, sqlHref, links }: Props) {
  const { head, tree } = trace;
  const summary = head.trace;
  const { models = [], tags = [] } = summary;
  const cached = useMemo(
    () => ({ write: counted(tree, 'cache_write_tokens'), reasoning: counted(tree, 'reasoning_tokens') }),
    [tree],
  );
  const { trace_id: traceId } = summary;
  useCommands(
    useMemo(() => {
      const go = (id: string, title: string, icon: IconName, href: string) => ({
        id,
        title,
        icon,
        run: () => {
          links.go(href);
        },
      });
      return [
        {
          id: 'otlp',
          title: 'Download the trace as OTLP',
          icon: 'download' as const,
          run: () => {
            downloadOtlp(traceId);
          },
        },
        go('compare', 'Compare the trace with another one', 'columns', links.compare),
        go('as-sql', 'Open the trace as SQL', 'database', sqlHref(head.sql)),
      ];
    }, [traceId, head.sql, links, sqlHref]),
  );
  return (
    <header className="trace-header">
      <div className="trace-header__line">
        <a href={links.traces} className="trace-header__back" aria-label="Back to the traces">
          <Icon name="arrow-left" />
        </a>
        <h1 className="trace-header__title truncate">{summary.name || summary.trace_id}</h1>
        {summary.error_count > 0 && (
          <Tag tone="error">
            <Icon name="error" size={12} /> {summary.error_count} {summary.error_count === 1 ? 'error' : 'errors'}
          </Tag>
        )}
        {!summary.has_root && <Tag tone="warning">root not received</Tag>}
        <span className="trace-header__id code truncate" title={summary.trace_id}>
          {summary.trace_id}
        </span>
        <CopyButton text={summary.trace_id} label="Copy the trace id" />
        <div className="trace-header__actions">
          <CopyButton icon="link" text={() => permalink(window.location.href)} label="Copy a link to this view" />
          <Button
            icon="download"
            onClick={() => {
              downloadOtlp(traceId);
            }}
          >
            OTLP
          </Button>
          <LinkButton icon="columns" href={links.compare}>
            Compare
          </LinkButton>
          <LinkButton icon="database" href={sqlHref(head.sql)}>
            Open as SQL
          </LinkButton>
        </div>
      </div>
      <div className="trace-header__figures">
        <dl className="trace-header__totals">
          <Total name="Duration">
            <Duration ns={summary.duration_ns} />
          </Total>
          <Total name="Cost">
            <Money usd={summary.cost_usd ?? null} unpriced={summary.unpriced_calls} />
          </Total>
          <Total name="Input">
            <Count value={summary.input_tokens ?? null} />
          </Total>
          {(summary.cache_read_tokens ?? 0) > 0 && (
            <Total name="from cache">
              <Count value={summary.cache_read_tokens ?? null} />
            </Total>
          )}
          {cached.write > 0 && (
            <Total name="to cache">
              <Count value={cached.write} />
            </Total>
          )}
          <Total name="Output">
            <Count value={summary.output_tokens ?? null} />
          </Total>
          {cached.reasoning > 0 && (
            <Total name="reasoning">
              <Count value={cached.reasoning} />
            </Total>
          )}
          <Total name="Model calls">
            <Count value={summary.llm_call_count} />
          </Total>
          <Total name="Tool calls">
            <Count value={summary.tool_call_count} />
          </Total>
          <Total name="Spans">
            <Count value={summary.span_count} />
          </Total>
          {models.length > 0 && (
            <Total name={models.length === 1 ? 'Model' : 'Models'}>
              <span title={models.join(', ')}>{models.join(', ')}</span>
            </Total>
          )}
          {summary.service_name && <Total name="Service">{summary.service_name}</Total>}
          {summary.session_id && (
            <Total name="Session">
              <a href={links.session(summary.session_id)}>{summary.session_id}</a>
            </Total>
          )}
          {summary.user_id && (
            <Total name="User">
              <a href={links.user(summary.user_id)}>{summary.user_id}</a>
            </Total>
          )}
          <Total name="Started">
            <time dateTime={summary.start_time} title={summary.start_time}>
              {formatFullTime(summary.start_time)}
            </time>
          </Total>
          {tags.length > 0 && (
            <Total name="Tags">
              <span title={tags.join(', ')}>{tags.join(', ')}</span>
            </Total>
          )}
        </dl>
        <SqlLink sql={totalsSql(summary.trace_id)} of="the totals of the trace" />
      </div>
    </header>
  );
}

function downloadOtlp(traceId: string): void {
  void download(`/api/v1/traces/${traceId}/otlp`, `${traceId}.otlp.json`);
}

function Total({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="trace-header__total">
      <dt>{name}</dt>
      <dd className="truncate">{children}</dd>
    </div>
  );
}

/** The sum over the calls that count. */
function counted(tree: TraceTree, name: NumberName): number {
  return tree.numbers[name].reduce((sum, value, at) => (Number.isNaN(value) || !has(tree, at, COUNTED) ? sum : sum + value), 0);
}
