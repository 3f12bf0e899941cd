/** Two traces side by side: their totals with the difference, their spans aligned, and both spans of the selected row. */
import { useQuery } from '@tanstack/react-query';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useId, useMemo, useRef, useState, type KeyboardEvent, type ReactNode } from 'react';

import { Button, IconButton } from '../../components/Button';
import { Icon } from '../../components/Icon';
import { EmptyState, ErrorNotice, Skeleton } from '../../components/Notice';
import { SplitPane } from '../../components/SplitPane';
import { SqlLink } from '../../components/SqlLink';
import { Duration, Money, StatusMark } from '../../components/Values';
import { formatCountExact, formatDuration, formatFullTime, formatMoney, parseMoney, plural } from '../../lib/format';
import { isNumber, useMediaQuery, useStored } from '../../lib/hooks';
import { ALIGN_SPANS_MAX, type Aligned } from './align';
import './compare.css';
import { alignQuery, similarTracesQuery, traceQuery, type Trace } from './queries';
import { SpanPanel } from './SpanPanel';
import { STEP_ICONS } from './SpanTree';
import { compareSql, rowsSql } from './sql';
import { costAt, ERROR, has, idAt, indexOfId, kindAt, textAt, type TraceTree } from './tree';

const ROW_PX = 26;
const INDENT_PX = 14;
const INDENT_DEPTH_MAX = 14;
/** Of a tall screen the spans that are looked at take more. */
const PANELS_HEIGHT = Math.max(380, Math.round(window.innerHeight * 0.42));

export type CompareState = {
  readonly a: string | null;
  readonly b: string | null;
  /** The selected row, as a span of one of the traces: `a.` or `b.` and its id. */
  readonly span: string | null;
  readonly tab: string;
  /** Whether rows that are alike are left out. */
  readonly differing: boolean;
};

type Props = {
  state: CompareState;
  onChange: (change: Partial<CompareState>) => void;
  sqlHref: (sql: string) => string;
  traceHref: (traceId: string) => string;
};

export function ComparePage({ state, onChange, sqlHref, traceHref }: Props) {
  const a = useQuery({ ...traceQuery(state.a ?? ''), enabled: state.a !== null });
  const b = useQuery({ ...traceQuery(state.b ?? ''), enabled: state.b !== null });
  const isLoading = a.isLoading || b.isLoading;
  return (
    <div className="compare">
      <header className="compare__head">
        <h1 className="visually-hidden">Compare two traces</h1>
        <Side
          name="A"
          traceId={state.a}
          trace={a.data}
          traceHref={traceHref}
          onChoose={(id) => {
            onChange({ a: id, span: null });
          }}
        />{' '}
        {/* prettier-ignore */}
        <IconButton
          icon="swap"
          label="Swap the traces"
          onClick={() => {
            onChange({ a: state.b, b: state.a });
          }}
        />
        <Side
          name="B"
          traceId={state.b}
          trace={b.data}
          traceHref={traceHref}
          onChoose={(id) => {
            onChange({ b: id, span: null });
          }}
        />{' '}
        {/* prettier-ignore */}
      </header>
      {[a, b].map((each, at) =>
        each.isError ? (
          <ErrorNotice
            key={at}
            title={`Trace ${at === 0 ? 'A' : 'B'} could not be read`}
            error={each.error}
            onRetry={each.refetch}
          />
        ) : null,
      )}
      {isLoading && <Skeleton lines={10} label="loading the traces" />}
      {a.data && b.data && <Comparison a={a.data} b={b.data} state={state} onChange={onChange} sqlHref={sqlHref} />}
      {(state.a === null || state.b === null) && !isLoading && (
        <Choose
          like={a.data ?? b.data}
          not={state.a ?? state.b}
          onChoose={(id) => {
            onChange(state.a === null ? { a: id } : { b: id });
          }}
        />
      )}
    </div>
  );
}

type SideProps = {
  name: 'A' | 'B';
  traceId: string | null;
  trace: Trace | undefined;
  traceHref: (traceId: string) => string;
  onChoose: (traceId: string | null) => void;
};

function Side({ name, traceId, trace, traceHref, onChoose }: SideProps) {
  const summary = trace?.head.trace;
  return (
    <div className="compare__side">
      <span className={`compare__letter compare__letter--${name.toLowerCase()}`}>{name}</span>
      {traceId === null ? (
        <PickId name={name} onChoose={onChoose} />
      ) : (
        <>
          <a className="truncate" href={traceHref(traceId)}>
            {summary?.name || traceId.slice(0, 16)}
          </a>
          {summary && <span className="faint truncate">{formatFullTime(summary.start_time)}</span>}
          <IconButton
            icon="close"
            label={`Choose another trace as ${name}`}
            onClick={() => {
              onChoose(null);
            }}
          />
        </>
      )}
    </div>
  );
}

/** A trace id, alone or within an address. */
function PickId({ name, onChoose }: { name: string; onChoose: (traceId: string) => void }) {
  const [text, setText] = useState('');
  const id = /[0-9a-f]{32}/.exec(text.toLowerCase())?.[0];
  return (
    <form
      className="compare__pick"
      onSubmit={(event) => {
        event.preventDefault();
        if (id !== undefined) onChoose(id);
      }}
    >
      <input
        aria-label={`Trace id or address of trace ${name}`}
        placeholder="Trace id or address"
        value={text}
        spellCheck={false}
        onChange={(event) => {
          setText(event.target.value);
        }}
      />
      <Button type="submit" disabled={id === undefined}>
        Compare
      </Button>
    </form>
  );
}

/** Other runs of the same name, to choose from. */
function Choose({ like, not, onChoose }: { like: Trace | undefined; not: string | null; onChoose: (traceId: string) => void }) {
  const name = like?.head.trace.name ?? null;
  const similar = useQuery(similarTracesQuery(name));
  const found = (similar.data?.traces ?? []).filter((trace) => trace.traceId !== not);
  return (
    <section className="compare__choose" aria-label="Traces to compare with">
      <h2>
        {name === null ? 'Latest traces' : `Other runs of ${name}`} <SqlLink sql={similar.data?.sql} of="these traces" />
      </h2>
      {similar.isPending && <Skeleton lines={6} label="loading traces" />}
      {similar.isError && <ErrorNotice title="The traces could not be read" error={similar.error} onRetry={similar.refetch} />}
      {similar.data && found.length === 0 && <p className="panel-none">There is no other; paste an id above.</p>}
      <ul>
        {found.map((trace) => (
          <li key={trace.traceId}>
            <button
              type="button"
              onClick={() => {
                onChoose(trace.traceId);
              }}
            >
              <StatusMark status={trace.errors > 0 ? 'ERROR' : 'UNSET'} />
              <span className="truncate">{trace.name}</span>
              <span className="faint">{formatFullTime(trace.startTime)}</span>
              <Duration ns={trace.durationNs} />
              <Money usd={trace.costUsd} />
              <span className="faint">{plural(trace.spans, 'span')}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

type ComparisonProps = {
  a: Trace;
  b: Trace;
  state: CompareState;
  onChange: (change: Partial<CompareState>) => void;
  sqlHref: (sql: string) => string;
};

function Comparison(props: ComparisonProps) {
  const { a, b } = props;
  const aligned = useQuery(alignQuery(a.tree, b.tree));
  return (
    <>
      <Totals a={a} b={b} pairs={aligned.data?.pairs ?? null} />
      {aligned.isPending && <Skeleton lines={10} label="aligning the traces" />}
      {aligned.isError && <ErrorNotice title="The traces could not be aligned" error={aligned.error} />}
      {aligned.data === null && (
        <EmptyState title="Too large to be aligned">
          <p>
            Together they have {plural(a.tree.count + b.tree.count, 'span')}; up to {formatCountExact(ALIGN_SPANS_MAX)} are
            aligned. Their totals are above, each has its own page.
          </p>
        </EmptyState>
      )}
      {aligned.data && <SideBySide {...props} aligned={aligned.data} />}
    </>
  );
}

function SideBySide({ a, b, state, onChange, sqlHref, aligned }: ComparisonProps & { aligned: Aligned }) {
  const rows = useMemo(() => rowsToShow(aligned, state.differing), [aligned, state.differing]);
  const [panelHeight, setPanelHeight] = useStored('assay.compare-height', PANELS_HEIGHT, isNumber);
  const narrow = useMediaQuery('(max-width: 700px)');
  const selected = selectedRow(aligned, a.tree, b.tree, state.span);
  const [left, right] = [aligned.a[selected] ?? -1, aligned.b[selected] ?? -1];
  const select = (row: number) => {
    const at = aligned.a[row] ?? -1;
    onChange({ span: at >= 0 ? `a.${idAt(a.tree, at)}` : `b.${idAt(b.tree, aligned.b[row] ?? 0)}` });
  };
  const panel = (trace: Trace, at: number, name: string) =>
    at < 0 ? (
      <p className="compare__none panel-none">Trace {name} has no span that answers to this one.</p>
    ) : (
      <SpanPanel
        key={idAt(trace.tree, at)}
        traceId={trace.head.trace.trace_id}
        of={`trace ${name}`}
        tree={trace.tree}
        index={at}
        tab={state.tab}
        onTab={(tab) => {
          onChange({ tab });
        }}
        onSelect={(span) => {
          onChange({ span: `${name.toLowerCase()}.${span}` });
        }}
        sqlHref={sqlHref}
      />
    );
  return (
    <SplitPane
      direction="column"
      size={panelHeight}
      min={140}
      max={1400}
      label="Height of the span panels"
      onResize={setPanelHeight}
      first={
        <div className="compare__rows">
          <div className="compare__tools">
            <Button
              look="quiet"
              icon="filter"
              aria-pressed={state.differing}
              onClick={() => {
                onChange({ differing: !state.differing });
              }}
            >
              Only what differs
            </Button>
            <span className="faint num" role="status">
              {formatCountExact(rows.length)} of {plural(aligned.count, 'row')}
            </span>
            <SqlLink sql={rowsSql([a.head.trace.trace_id, b.head.trace.trace_id])} of="the rows of both traces" />
          </div>
          <Rows a={a.tree} b={b.tree} aligned={aligned} rows={rows} selected={selected} onSelect={select} />
        </div>
      }
      second={
        <div className={`compare__panels ${narrow ? 'compare__panels--narrow' : ''}`}>
          {panel(a, left, 'A')}
          {panel(b, right, 'B')}
        </div>
      }
    />
  );
}

function selectedRow(aligned: Aligned, a: TraceTree, b: TraceTree, span: string | null): number {
  if (span === null) return 0;
  // Both may have spans of the same id.
  const [side, id = ''] = span.split('.');
  const row = side === 'b' ? aligned.b.indexOf(indexOfId(b, id)) : aligned.a.indexOf(indexOfId(a, id));
  return Math.max(0, row);
}

function rowsToShow(aligned: Aligned, differing: boolean): Int32Array {
  const all = Int32Array.from({ length: aligned.count }, (_, row) => row);
  return differing ? all.filter((row) => aligned.differs[row] === 1) : all;
}

/** `pairs`: `null` while they are not known. */
function Totals({ a, b, pairs }: { a: Trace; b: Trace; pairs: number | null }) {
  const [one, other] = [a.head.trace, b.head.trace];
  const count = (name: string, left: number | null | undefined, right: number | null | undefined) => (
    <Figure key={name} name={name} a={formatCountExact(left)} b={formatCountExact(right)} by={left === null || left === undefined || right === null || right === undefined ? '' : signed(right - left, formatCountExact)} />
  ); // prettier-ignore
  const money = [parseMoney(one.cost_usd), parseMoney(other.cost_usd)] as const;
  const costBy = money[0] === null || money[1] === null ? null : money[1] - money[0];
  return (
    <dl className="compare__totals" aria-label="Totals">
      <Figure
        name="Duration"
        a={formatDuration(one.duration_ns)}
        b={formatDuration(other.duration_ns)}
        by={signed(other.duration_ns - one.duration_ns, formatDuration)}
      />{' '}
      {/* prettier-ignore */}
      <Figure name="Cost" a={formatMoney(money[0])} b={formatMoney(money[1])} by={costBy === null || costBy === 0n ? '' : `${costBy > 0n ? '+' : ''}${formatMoney(costBy)}`} />{' '}
      {/* prettier-ignore */}
      {count('Input tokens', one.input_tokens, other.input_tokens)}
      {count('Output tokens', one.output_tokens, other.output_tokens)}
      {count('Model calls', one.llm_call_count, other.llm_call_count)}
      {count('Tool calls', one.tool_call_count, other.tool_call_count)}
      {count('Errors', one.error_count, other.error_count)}
      {count('Spans', one.span_count, other.span_count)}
      <div className="compare__total">
        <dt>Aligned</dt>
        <dd className="num">
          {pairs === null ? '–' : plural(pairs, 'pair')}{' '}
          <SqlLink sql={compareSql(one.trace_id, other.trace_id)} of="the totals of both traces" />
        </dd>
      </div>
    </dl>
  );
}

function Figure({ name, a, b, by }: { name: string; a: string; b: string; by: string }): ReactNode {
  return (
    <div className="compare__total">
      <dt>{name}</dt>
      <dd className="num">
        {a} <span className="faint">→</span> {b} {by !== '' && <span className="compare__by">{by}</span>}
      </dd>
    </div>
  );
}

/** A difference with its sign; nothing where there is none. */
function signed(by: number, format: (value: number) => string): string {
  if (by === 0) return '';
  return by > 0 ? `+${format(by)}` : `−${format(-by)}`;
}

type RowsProps = {
  a: TraceTree;
  b: TraceTree;
  aligned: Aligned;
  rows: Int32Array;
  selected: number;
  onSelect: (row: number) => void;
};

function Rows({ a, b, aligned, rows, selected, onSelect }: RowsProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const listId = useId();
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 8,
  });
  const current = rows.indexOf(selected);
  useEffect(() => {
    if (current >= 0) virtual.scrollToIndex(current, { align: 'auto' });
  }, [current, virtual]);
  const key = (event: KeyboardEvent) => {
    const moves: Record<string, number> = { ArrowDown: current + 1, j: current + 1, ArrowUp: current - 1, k: current - 1, Home: 0, End: rows.length - 1 }; // prettier-ignore
    const move = event.ctrlKey || event.metaKey || event.altKey ? undefined : moves[event.key];
    if (move === undefined) return;
    event.preventDefault();
    const row = rows[Math.max(0, Math.min(rows.length - 1, move))];
    if (row !== undefined) onSelect(row);
  };
  return (
    <div
      ref={scroller}
      className="compare__list"
      role="listbox"
      aria-label="Spans of both traces"
      tabIndex={0}
      {...(current >= 0 ? { 'aria-activedescendant': `${listId}-${selected}` } : {})}
      onKeyDown={key}
    >
      <div role="presentation" className="compare__tall" style={{ height: virtual.getTotalSize() }}>
        {virtual.getVirtualItems().map((item) => {
          const row = rows[item.index] ?? 0;
          const [left, right] = [aligned.a[row] ?? -1, aligned.b[row] ?? -1];
          const indent = Math.min(aligned.depth[row] ?? 0, INDENT_DEPTH_MAX) * INDENT_PX;
          const by = left >= 0 && right >= 0 ? (b.durations[right] ?? 0) - (a.durations[left] ?? 0) : null;
          return (
            <div
              key={row}
              id={`${listId}-${row}`}
              role="option"
              aria-selected={row === selected}
              className="compare__row"
              style={{ transform: `translateY(${item.start}px)` }}
              onClick={() => {
                onSelect(row);
              }}
            >
              <Half tree={a} at={left} indent={indent} name="A" />
              <Half tree={b} at={right} indent={indent} name="B" />
              <span className="compare__delta num">
                {by === null ? (left < 0 ? 'only B' : 'only A') : signed(by, formatDuration)}
              </span>
            </div>
          );
        })}
      </div>
    </div>
  );
}

function Half({ tree, at, indent, name }: { tree: TraceTree; at: number; indent: number; name: string }) {
  if (at < 0) return <span className="compare__half compare__half--none" aria-label={`not in ${name}`} />;
  const kind = kindAt(tree, at);
  const cost = costAt(tree, at);
  return (
    <span className="compare__half">
      <span className="compare__name" style={{ paddingLeft: indent }}>
        <span style={{ color: `var(--op-${kind})` }}>
          <Icon name={STEP_ICONS[kind]} size={14} />
        </span>
        <span className="truncate">{textAt(tree, 'name', at)}</span>
        {has(tree, at, ERROR) && <StatusMark status="ERROR" />}
      </span>
      <span className="compare__number">{cost !== null && <Money usd={cost} />}</span>
      <span className="compare__number">
        <Duration ns={tree.durations[at] ?? null} max={tree.maxDurationNs} />
      </span>
    </span>
  );
}
