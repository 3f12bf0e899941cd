/** What each list is: its columns, how its rows are named and sorted, and where a row leads. */
import type { ReactNode } from 'react';

import type { TableColumn, Order } from '../../components/list-table/ListTable';
import { Count, Duration, Money, Share, StatusMark, Tag, TimeCell, TokenPair } from '../../components/Values';
import { formatDuration } from '../../lib/format';
import { num, text, texts, type Row } from './row';
import type { Kind } from './state';

/** Addresses of what a row can lead to. */
export type Links = {
  trace: (traceId: string, spanId?: string | undefined) => string;
  session: (sessionId: string) => string;
  user: (userId: string) => string;
  /** A list of this range, narrowed further by a term. */
  list: (kind: Kind, key: string, value: string) => string;
};

export type CellContext = { now: number; links: Links; max: (key: string) => number };

export type KindInfo = {
  readonly kind: Kind;
  readonly title: string;
  readonly noun: string;
  readonly sort: string;
  readonly order: Order;
  /** How live mode learns of news: what the newest rows are sorted by, and the columns that grow when a row of the table goes on. */
  readonly news: { readonly sort: string; readonly grows: readonly string[] };
  readonly id: (row: Row) => string;
  /** What the peek panel shows of a row, in the words of `ListState.peek`; `null` where a row opens a page of its own. */
  readonly peek: (row: Row) => string | null;
  readonly href: (row: Row, links: Links) => string | null;
  readonly columns: (context: CellContext) => readonly TableColumn<Row>[];
};

type Column = TableColumn<Row>;

const time = (key: string, title: string, { now }: CellContext, more: Partial<Column> = {}): Column => ({
  id: key,
  title,
  width: 126,
  sort: key,
  cell: (row) => <TimeCell iso={text(row, key)} now={now} />,
  ...more,
});
const tally = (key: string, title: string, more: Partial<Column> = {}): Column => ({
  id: key,
  title,
  width: 76,
  number: true,
  labelled: true,
  cell: (row) => <Count value={num(row, key)} />,
  ...more,
});
const count = (key: string, title: string, more: Partial<Column> = {}): Column => tally(key, title, { sort: key, ...more });
const errors = (key: string, more: Partial<Column> = {}): Column => ({
  ...count(key, 'Errors'),
  width: 66,
  cell: (row) => {
    const value = num(row, key) ?? 0;
    return value === 0 ? <span className="faint">0</span> : <span className="list-cell__errors num">{value}</span>;
  },
  ...more,
});
const duration = (key: string, title: string, { max }: CellContext, more: Partial<Column> = {}): Column => ({
  id: key,
  title,
  width: 84,
  sort: key,
  number: true,
  cell: (row) => <Duration ns={num(row, key)} max={max(key)} />,
  ...more,
});
const money = (more: Partial<Column> = {}): Column => ({
  id: 'cost_usd',
  title: 'Cost',
  width: 92,
  sort: 'cost_usd',
  number: true,
  phone: 'detail',
  cell: (row) => <Money usd={text(row, 'cost_usd')} unpriced={num(row, 'unpriced_calls') ?? 0} />,
  ...more,
});
const words = (key: string, title: string, width: number, more: Partial<Column> = {}): Column => ({
  id: key,
  title,
  width,
  cell: (row) => (
    <span className="truncate" title={text(row, key) ?? undefined}>
      {text(row, key)}
    </span>
  ),
  ...more,
});
const link = (
  key: string,
  title: string,
  width: number,
  href: (value: string) => string,
  more: Partial<Column> = {},
): Column => ({
  id: key,
  title,
  width,
  cell: (row) => {
    const value = text(row, key);
    return value === null ? null : (
      <a className="list-cell__link truncate" href={href(value)} title={value} tabIndex={-1}>
        {value}
      </a>
    );
  },
  ...more,
});
const named = (key: string, title: string, href: (row: Row) => string | null, more: Partial<Column> = {}): Column => ({
  id: key,
  title,
  width: 220,
  grow: 2,
  phone: 'title',
  cell: (row) => (
    <a className="list-cell__name truncate" href={href(row) ?? undefined} tabIndex={-1} title={text(row, key) ?? undefined}>
      {text(row, key) ?? <span className="faint">none</span>}
    </a>
  ),
  ...more,
});
const preview = (key: string, title: string, more: Partial<Column> = {}): Column => ({
  id: key,
  title,
  width: 220,
  grow: 1.4,
  cell: (row) => <span className="list-cell__preview truncate">{text(row, key)}</span>,
  ...more,
});
const tokens = (more: Partial<Column> = {}): Column => ({
  id: 'tokens',
  title: 'Tokens in → out',
  width: 118,
  sort: 'input_tokens',
  number: true,
  cell: (row) => <TokenPair input={num(row, 'input_tokens')} output={num(row, 'output_tokens')} />,
  ...more,
});

const TRACES: KindInfo = {
  kind: 'traces',
  title: 'Traces',
  noun: 'trace',
  sort: 'start_time',
  order: 'desc',
  news: { sort: 'start_time', grows: [] },
  id: (row) => text(row, 'trace_id') ?? '',
  peek: (row) => text(row, 'trace_id'),
  href: (row, links) => links.trace(text(row, 'trace_id') ?? ''),
  columns: (context) => [
    time('start_time', 'Time', context, { phone: 'detail' }),
    {
      id: 'name',
      title: 'Trace',
      width: 240,
      grow: 2.6,
      phone: 'title',
      cell: (row) => (
        <>
          <StatusMark status={text(row, 'status_code') ?? 'UNSET'} errors={num(row, 'error_count') ?? 0} />
          <span className="list-cell__lines">
            <a className="list-cell__name truncate" href={context.links.trace(text(row, 'trace_id') ?? '')} tabIndex={-1}>
              {text(row, 'name') ?? text(row, 'trace_id')?.slice(0, 16)}
            </a>
            {row['has_root'] === false && (
              <Tag tone="warning" title="the root span has not arrived">
                no root
              </Tag>
            )}
            <span className="list-cell__preview truncate">{text(row, 'input_preview')}</span>
          </span>
        </>
      ),
    },
    words('service_name', 'Service', 124, { grow: 0.9, spare: 3 }),
    {
      id: 'models',
      title: 'Model',
      width: 132,
      grow: 1,
      spare: 1,
      cell: (row) => {
        const models = texts(row, 'models');
        return (
          <span className="truncate" title={models.join(', ')}>
            {models[0]}
            {models.length > 1 && <span className="faint"> +{models.length - 1}</span>}
          </span>
        );
      },
    },
    duration('duration_ns', 'Duration', context, { phone: 'detail' }),
    count('span_count', 'Spans', { width: 62, spare: 5 }),
    errors('error_count', { spare: 4 }),
    tokens({ spare: 2 }),
    money(),
    link('session_id', 'Session', 118, context.links.session, { grow: 0.7, spare: 6 }),
    link('user_id', 'User', 90, context.links.user, { grow: 0.5, spare: 7 }),
    preview('output_preview', 'Output', { optional: true }),
    tally('llm_call_count', 'LLM calls', { optional: true }),
    tally('tool_call_count', 'Tool calls', { optional: true }),
    tally('cache_read_tokens', 'Cache read', { optional: true, width: 90 }),
    {
      id: 'tags',
      title: 'Tags',
      width: 120,
      optional: true,
      cell: (row) => texts(row, 'tags').map((tag) => <Tag key={tag}>{tag}</Tag>),
    },
    words('trace_id', 'Trace id', 250, { optional: true }),
  ],
};

const CALLS: KindInfo = {
  kind: 'calls',
  title: 'LLM calls',
  noun: 'call',
  sort: 'start_time',
  order: 'desc',
  news: { sort: 'start_time', grows: [] },
  id: (row) => text(row, 'log_id') ?? `${text(row, 'trace_id') ?? ''}.${text(row, 'span_id') ?? ''}`,
  // A call that a log record tells of may belong to no trace.
  peek: (row) => {
    const traceId = text(row, 'trace_id');
    return traceId === null ? null : [traceId, text(row, 'span_id')].filter(Boolean).join('.');
  },
  href: (row, links) => callHref(row, links),
  columns: (context) => [
    time('start_time', 'Time', context, { phone: 'detail' }),
    {
      id: 'model',
      title: 'Model',
      width: 180,
      grow: 1,
      phone: 'title',
      cell: (row) => (
        <>
          <StatusMark status={text(row, 'status_code') ?? 'UNSET'} />
          <a
            className="list-cell__name truncate"
            href={callHref(row, context.links) ?? undefined}
            tabIndex={-1}
            title={`asked for ${text(row, 'request_model') ?? 'no model'}, answered by ${text(row, 'response_model') ?? 'an unnamed one'}`}
          >
            {text(row, 'request_model') ?? text(row, 'response_model') ?? text(row, 'operation') ?? 'call'}
          </a>
        </>
      ),
    },
    preview('input_preview', 'Input', { spare: 4 }),
    preview('output_preview', 'Output', { spare: 5 }),
    duration('duration_ns', 'Duration', context, { phone: 'detail' }),
    duration('time_to_first_token_ns', 'First token', context, { width: 92, spare: 6 }),
    tokens({ spare: 2 }),
    count('cache_read_tokens', 'Cache read', { optional: true, width: 90 }),
    count('reasoning_tokens', 'Reasoning', { optional: true, width: 90 }),
    money(),
    words('service_name', 'Service', 124, { grow: 0.5, spare: 3 }),
    link('session_id', 'Session', 118, context.links.session, { optional: true }),
    link('user_id', 'User', 90, context.links.user, { optional: true }),
    words('provider', 'Provider', 100, { optional: true }),
    words('operation', 'Operation', 110, { optional: true }),
    words('response_model', 'Answered by', 160, { optional: true }),
    words('error_type', 'Error', 140, { optional: true }),
    words('span_id', 'Span id', 140, { optional: true }),
  ],
};

const callHref = (row: Row, links: Links) => {
  const traceId = text(row, 'trace_id');
  return traceId === null ? null : links.trace(traceId, text(row, 'span_id') ?? undefined);
};

const SESSIONS: KindInfo = {
  kind: 'sessions',
  title: 'Sessions',
  noun: 'session',
  sort: 'last_time',
  order: 'desc',
  news: { sort: 'last_time', grows: ['last_time', 'traces', 'llm_calls'] },
  id: (row) => text(row, 'session_id') ?? '',
  peek: () => null,
  href: (row, links) => links.session(text(row, 'session_id') ?? ''),
  columns: (context) => [
    time('last_time', 'Last', context, { phone: 'detail' }),
    named('session_id', 'Session', (row) => context.links.session(text(row, 'session_id') ?? '')),
    link('user_id', 'User', 140, context.links.user, { grow: 0.8, spare: 2 }),
    {
      id: 'models',
      title: 'Models',
      width: 150,
      grow: 1,
      spare: 3,
      cell: (row) => {
        const models = texts(row, 'models');
        return (
          <span className="truncate" title={models.join(', ')}>
            {models[0] ?? text(row, 'models')}
            {models.length > 1 && <span className="faint"> +{models.length - 1}</span>}
          </span>
        );
      },
    },
    duration('duration_ns', 'Length', context, { phone: 'detail' }),
    count('traces', 'Traces'),
    count('llm_calls', 'LLM calls', { spare: 4 }),
    errors('errors'),
    tokens({ spare: 5 }),
    money(),
    time('first_time', 'First', context, { optional: true }),
  ],
};

const USERS: KindInfo = {
  kind: 'users',
  title: 'Users',
  noun: 'user',
  sort: 'last_time',
  order: 'desc',
  news: { sort: 'last_time', grows: ['last_time', 'traces', 'llm_calls'] },
  id: (row) => text(row, 'user_id') ?? '',
  peek: () => null,
  href: (row, links) => links.user(text(row, 'user_id') ?? ''),
  columns: (context) => [
    time('last_time', 'Last seen', context, { phone: 'detail' }),
    named('user_id', 'User', (row) => context.links.user(text(row, 'user_id') ?? '')),
    time('first_time', 'First seen', context, { spare: 3 }),
    count('sessions', 'Sessions'),
    count('traces', 'Traces'),
    count('llm_calls', 'LLM calls', { spare: 4 }),
    errors('errors'),
    tokens({ spare: 5 }),
    money(),
  ],
};

const MODELS: KindInfo = {
  kind: 'models',
  title: 'Models',
  noun: 'model',
  sort: 'cost_usd',
  order: 'desc',
  news: { sort: 'llm_calls', grows: ['llm_calls'] },
  id: (row) => `${text(row, 'provider') ?? ''}/${text(row, 'model') ?? ''}`,
  peek: () => null,
  href: (row, links) => modelHref(row, links),
  columns: (context) => [
    named('model', 'Model', (row) => modelHref(row, context.links)),
    words('provider', 'Provider', 130, { grow: 0.6, phone: 'detail' }),
    count('llm_calls', 'Calls', { phone: 'detail' }),
    errors('errors'),
    {
      id: 'error_share',
      title: 'Failed',
      width: 76,
      number: true,
      spare: 5,
      cell: (row) => <Share part={num(row, 'errors')} whole={num(row, 'llm_calls')} />,
    },
    duration('p50_ns', 'p50', context),
    duration('p95_ns', 'p95', context),
    {
      ...count('tokens_per_second', 'Tokens/s'),
      width: 84,
      spare: 3,
      cell: (row) => <Rate value={num(row, 'tokens_per_second')} />,
    },
    tokens({ spare: 2 }),
    count('cache_read_tokens', 'Cache read', { width: 92, spare: 6 }),
    count('unpriced_calls', 'Unpriced', { width: 80, spare: 4 }),
    money(),
  ],
};

const modelHref = (row: Row, links: Links) => {
  const model = text(row, 'model');
  return model === null ? null : links.list('calls', 'model', model);
};

const TOOLS: KindInfo = {
  kind: 'tools',
  title: 'Tools',
  noun: 'tool',
  sort: 'calls',
  order: 'desc',
  news: { sort: 'calls', grows: ['calls'] },
  id: (row) => text(row, 'tool_name') ?? '',
  peek: () => null,
  href: (row, links) => links.list('traces', 'tool', text(row, 'tool_name') ?? ''),
  columns: (context) => [
    named('tool_name', 'Tool', (row) => context.links.list('traces', 'tool', text(row, 'tool_name') ?? '')),
    count('calls', 'Calls', { phone: 'detail' }),
    errors('errors', { phone: 'detail' }),
    {
      id: 'error_share',
      title: 'Failed',
      width: 76,
      number: true,
      cell: (row) => <Share part={num(row, 'errors')} whole={num(row, 'calls')} />,
    },
    duration('p50_ns', 'p50', context),
    duration('p95_ns', 'p95', context),
    count('traces', 'Traces'),
    money({ title: 'Cost of its traces', width: 140 }),
  ],
};

const ERRORS: KindInfo = {
  kind: 'errors',
  title: 'Errors',
  noun: 'error group',
  sort: 'spans',
  order: 'desc',
  news: { sort: 'last_time', grows: ['last_time', 'spans'] },
  id: (row) => ['error_type', 'service_name', 'name', 'message'].map((key) => text(row, key) ?? '').join('\n'),
  peek: (row) => text(row, 'last_trace_id'),
  href: (row, links) => links.trace(text(row, 'last_trace_id') ?? ''),
  columns: (context) => [
    {
      id: 'error_type',
      title: 'Error',
      width: 170,
      grow: 0.8,
      phone: 'title',
      cell: (row) => (
        <>
          <StatusMark status="ERROR" />
          <a
            className="list-cell__name truncate"
            href={context.links.trace(text(row, 'last_trace_id') ?? '')}
            tabIndex={-1}
            title={text(row, 'error_type') ?? undefined}
          >
            {text(row, 'error_type') ?? 'unnamed'}
          </a>
          <span className="list-cell__preview list-cell__of-card truncate">{text(row, 'message')}</span>
        </>
      ),
    },
    preview('message', 'Message', { grow: 2, spare: 1 }),
    words('name', 'Span', 150, { grow: 0.8, spare: 3 }),
    words('service_name', 'Service', 130, { grow: 0.6, spare: 2 }),
    count('spans', 'Spans', { phone: 'detail' }),
    count('traces', 'Traces'),
    count('users', 'Users', { spare: 4 }),
    time('last_time', 'Last', context, { phone: 'detail' }),
    time('first_time', 'First', context, { spare: 6 }),
    money(),
  ],
};

export const KIND_INFO: Record<Kind, KindInfo> = {
  traces: TRACES,
  calls: CALLS,
  sessions: SESSIONS,
  users: USERS,
  models: MODELS,
  tools: TOOLS,
  errors: ERRORS,
};

function Rate({ value }: { value: number | null }) {
  return (
    <span className={value === null ? 'num faint' : 'num'} title={value === null ? 'unknown' : `${value} tokens per second`}>
      {value === null ? '–' : value.toFixed(value < 10 ? 1 : 0)}
    </span>
  );
}

/** Where the totals of a column stand if not under its own name. */
const TOTAL_OF: Readonly<Record<string, string>> = { span_count: 'spans', llm_call_count: 'llm_calls', error_count: 'errors' };

/** A total as its column shows it: the same units as the cells above. */
export function totalCell(column: string, totals: Row): ReactNode {
  if (column === 'tokens') return <TokenPair input={num(totals, 'input_tokens')} output={num(totals, 'output_tokens')} />;
  if (column === 'cost_usd') return <Money usd={text(totals, column)} unpriced={num(totals, 'unpriced_calls') ?? 0} />;
  if (column === 'error_share')
    return <Share part={num(totals, 'errors')} whole={num(totals, 'llm_calls') ?? num(totals, 'calls')} />;
  if (column === 'tokens_per_second') return 'tokens_per_second' in totals ? <Rate value={num(totals, column)} /> : null;
  const value = num(totals, TOTAL_OF[column] ?? column);
  if (value === null) return null;
  return column.endsWith('_ns') ? <span className="num">{formatDuration(value)}</span> : <Count value={value} />;
}

/** Whether the total of a column is another one now. */
export function totalMoved(column: string, totals: Row, now: Row): boolean {
  const keys = column === 'tokens' ? ['input_tokens', 'output_tokens'] : [TOTAL_OF[column] ?? column];
  return keys.some((key) => key in now && totals[key] !== now[key]);
}
