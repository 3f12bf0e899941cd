/** Everything about one span. The summary shows at once; the rest follows when it has been read. */
import { useQuery } from '@tanstack/react-query';
import { Tabs } from 'radix-ui';
import { useMemo, type ReactNode } from 'react';

import type { SpanDetail } from '../../api/types';
import { Button, LinkButton } from '../../components/Button';
import { CopyButton } from '../../components/CopyButton';
import { WholeValuesProvider } from '../../components/Cut';
import { Icon } from '../../components/Icon';
import { JsonView } from '../../components/JsonView';
import { ErrorNotice, Skeleton } from '../../components/Notice';
import '../../components/tabs.css';
import { Duration, Money, Tag, TokenPair } from '../../components/Values';
import { WholeText } from '../../components/WholeText';
import { permalink } from '../../lib/clock';
import { formatDuration, formatFullTime } from '../../lib/format';
import { AttributesTab } from './AttributesTab';
import { CanonicalTab } from './CanonicalTab';
import { ContentTab } from './ContentTab';
import { CostTab } from './CostTab';
import { EventsTab, LinksTab, LogsTab } from './RecordTabs';
import { NotesTab } from './NotesTab';
import { notesQuery, rawQuery, spanQuery, wholeValues } from './queries';
import './span-panel.css';
import { STEP_ICONS } from './SpanTree';
import { headAt, kindAt, type SpanHead, type TraceTree } from './tree';

type Props = {
  traceId: string;
  tree: TraceTree;
  index: number;
  /** The tab that is open; it stays open when another span is selected. */
  tab: string;
  onTab: (tab: string) => void;
  /** Which trace, where two stand side by side. */
  of?: string;
  onSelect: (spanId: string) => void;
  sqlHref: (sql: string) => string;
};

export function SpanPanel({ traceId, tree, index, tab, onTab, of, onSelect, sqlHref }: Props) {
  const summary = useMemo(() => headAt(tree, index), [tree, index]);
  const detail = useQuery(spanQuery(traceId, summary.span_id, summary.running));
  const span = detail.data;
  const notes = useQuery(notesQuery(traceId));
  const own = (notes.data ?? []).filter((note) => note.span_id === summary.span_id);
  const whole = useMemo(() => wholeValues(traceId, summary.span_id), [traceId, summary.span_id]);
  // How a tab is looked at stands after a dot: `logs.all`, `raw.text`, `attributes.` and what they are filtered by.
  const [, open = '', part = ''] = /^([^.]*)\.?(.*)$/s.exec(tab) ?? [];
  const tabs: { id: string; title: string; count?: number; body: (span: SpanDetail) => ReactNode }[] = [
    { id: 'content', title: 'Content', body: (each) => <ContentTab span={each} /> },
    { id: 'cost', title: 'Tokens & cost', body: (each) => <CostTab traceId={traceId} span={each} tree={tree} index={index} /> },
    {
      id: 'attributes',
      title: 'Attributes',
      body: (each) => (
        <AttributesTab
          span={each}
          filter={part}
          onFilter={(filter) => {
            onTab(filter === '' ? 'attributes' : `attributes.${filter}`);
          }}
        />
      ),
    },
    { id: 'canonical', title: 'Canonical', body: (each) => <CanonicalTab span={each} /> },
    {
      id: 'events',
      title: 'Events',
      count: span?.events.length ?? summary.event_count ?? 0,
      body: (each) => <EventsTab span={each} />,
    },
    {
      id: 'links',
      title: 'Links',
      count: span?.links.length ?? 0,
      body: (each) => <LinksTab span={each} traceId={traceId} onSelect={onSelect} />,
    },
    {
      id: 'logs',
      title: 'Logs',
      count: span?.logs.length ?? 0,
      body: (each) => (
        <LogsTab
          span={each}
          traceId={traceId}
          all={part === 'all'}
          onAll={(all) => {
            onTab(all ? 'logs.all' : 'logs');
          }}
          onSelect={onSelect}
        />
      ),
    },
    { id: 'notes', title: 'Notes', count: own.length, body: () => <NotesTab traceId={traceId} spanId={summary.span_id} /> },
    {
      id: 'raw',
      title: 'Raw',
      body: (each) => (
        <RawTab
          traceId={traceId}
          span={each}
          asText={part === 'text'}
          onAsText={(asText) => {
            onTab(asText ? 'raw.text' : 'raw');
          }}
        />
      ),
    },
  ];
  const kind = kindAt(tree, index);
  const shown = tabs.some((each) => each.id === open) ? open : 'content';
  return (
    <section className="span-panel" aria-label={`Span ${summary.name ?? ''}${of === undefined ? '' : ` of ${of}`}`}>
      <header className="span-panel__head">
        <div className="span-panel__title">
          <span style={{ color: `var(--op-${kind})` }}>
            <Icon name={STEP_ICONS[kind]} />
          </span>
          <h2 className="truncate">{summary.name}</h2>
          {summary.status_code === 'ERROR' && <Tag tone="error">{summary.error_type ?? 'error'}</Tag>}
          <div className="span-panel__actions">
            <CopyButton text={summary.span_id} label="Copy the span id" />
            <CopyButton
              icon="link"
              text={() => permalink(addressOf(traceId, summary.span_id))}
              label="Copy a link to this span"
            />
            {span && (
              <LinkButton icon="database" href={sqlHref(span.sql)}>
                SQL
              </LinkButton>
            )}
          </div>
        </div>
        <Facts span={summary} />
        {span?.error_message || span?.status_message ? (
          <p className="span-panel__error">{span.error_message ?? span.status_message}</p>
        ) : null}
      </header>
      <Tabs.Root className="span-panel__tabs" value={shown} onValueChange={onTab}>
        <Tabs.List className="tabs" aria-label={`About the span${of === undefined ? '' : ` of ${of}`}`}>
          {tabs.map((each) => (
            <Tabs.Trigger key={each.id} value={each.id} className="tabs__tab">
              {each.title}
              {each.count !== undefined && each.count > 0 && <span className="tabs__count num">{each.count}</span>}
            </Tabs.Trigger>
          ))}
        </Tabs.List>
        {tabs.map((each) => (
          <Tabs.Content key={each.id} value={each.id} className="span-panel__body" tabIndex={0}>
            {detail.isPending && <Skeleton lines={7} label="loading the span" />}
            {detail.isError && <ErrorNotice title="The span could not be read" error={detail.error} onRetry={detail.refetch} />}
            {span && <WholeValuesProvider value={whole}>{each.body(span)}</WholeValuesProvider>}
          </Tabs.Content>
        ))}
      </Tabs.Root>
    </section>
  );
}

function Facts({ span }: { span: SpanHead }) {
  const model = span.response_model ?? span.request_model;
  return (
    <dl className="span-panel__facts">
      <Fact name="Duration">{span.running ? 'running' : <Duration ns={span.duration_ns} />}</Fact>
      {span.time_to_first_token_ns !== null && span.time_to_first_token_ns !== undefined && (
        <Fact name="First token">{formatDuration(span.time_to_first_token_ns)}</Fact>
      )}
      {span.operation && <Fact name="Operation">{span.operation}</Fact>}
      {model && (
        <Fact name="Model">
          {span.provider ? <span className="faint">{span.provider} </span> : null}
          {model}
        </Fact>
      )}
      {span.tool_name && <Fact name="Tool">{span.tool_name}</Fact>}
      {span.agent_name && <Fact name="Agent">{span.agent_name}</Fact>}
      {(span.input_tokens !== null || span.output_tokens !== null) && (
        <Fact name="Tokens">
          <TokenPair input={span.input_tokens ?? null} output={span.output_tokens ?? null} />
        </Fact>
      )}
      {span.cost_usd !== null && span.cost_usd !== undefined && (
        <Fact name="Cost">
          <Money usd={span.cost_usd} />
        </Fact>
      )}
      {span.service_name && <Fact name="Service">{span.service_name}</Fact>}
      <Fact name="Started">
        <time dateTime={span.start_time} title={span.start_time}>
          {formatFullTime(span.start_time)}
        </time>
      </Fact>
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="span-panel__fact">
      <dt>{name}</dt>
      <dd className="truncate">{children}</dd>
    </div>
  );
}

/** The address of a span as this page shows it: in its project and with its way to write times. */
function addressOf(traceId: string, spanId: string): string {
  const here = new URLSearchParams(window.location.search);
  const kept = ['project', 'zone', 'times'].flatMap((key) => (here.has(key) ? [[key, here.get(key) ?? '']] : []));
  return `/traces/${traceId}?${new URLSearchParams([...kept, ['span', spanId]]).toString()}`;
}

type RawProps = { traceId: string; span: SpanDetail; asText: boolean; onAsText: (asText: boolean) => void };

/** The row as the server has it: as a tree with long texts cut, or whole as one text. */
function RawTab({ traceId, span, asText, onAsText }: RawProps) {
  const whole = useQuery({ ...rawQuery(traceId, span.span_id), enabled: asText });
  return (
    <>
      <div className="logs__scope" role="group" aria-label="How the span is shown">
        <Button
          aria-pressed={!asText}
          onClick={() => {
            onAsText(false);
          }}
        >
          Tree
        </Button>
        <Button
          aria-pressed={asText}
          onClick={() => {
            onAsText(true);
          }}
        >
          Whole, as text
        </Button>
        {!asText && <CopyButton text={() => JSON.stringify(span, null, 2)} label="Copy as JSON" />}
      </div>
      {!asText && <JsonView value={span} openDepth={1} />}
      {asText && whole.isPending && <Skeleton lines={6} label="reading the whole span" />}
      {asText && whole.isError && <ErrorNotice title="The span could not be read whole" error={whole.error} />}
      {asText && whole.data !== undefined && <WholeText text={whole.data} label="the span as JSON" />}
    </>
  );
}
