/** The list itself: virtualised rows, sorting by header, arrow keys, more rows as the end comes near. */
import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useId, useMemo, useRef, useState, type KeyboardEvent, type ReactNode } from 'react';

import type { TraceSummary } from '../../api/types';
import { Icon } from '../../components/Icon';
import { Count, Duration, Money, StatusMark, Tag, TokenPair } from '../../components/Values';
import { formatFullTime, formatListTime } from '../../lib/format';
import { useMediaQuery, useNow } from '../../lib/hooks';
import type { Order, Sort } from './state';
import './trace-table.css';

type Column = {
  id: string;
  title: string;
  sort?: Sort;
  number?: boolean;
  cell: (trace: TraceSummary, context: CellContext) => ReactNode;
};
type CellContext = { now: number; maxNs: number; link: (traceId: string, name: string) => ReactNode };

const COLUMNS: readonly Column[] = [
  {
    id: 'time',
    title: 'Time',
    sort: 'start_time',
    cell: (trace, { now }) => (
      <time dateTime={trace.start_time} title={formatFullTime(trace.start_time)} className="num faint">
        {formatListTime(trace.start_time, now)}
      </time>
    ),
  },
  {
    id: 'name',
    title: 'Trace',
    cell: (trace, { link }) => (
      <>
        <StatusMark status={trace.status_code ?? 'UNSET'} errors={trace.error_count} />
        {link(trace.trace_id, trace.name ?? '')}
        {!trace.has_root && (
          <Tag tone="warning" title="the root span has not arrived">
            no root
          </Tag>
        )}
        <span className="trace-table__preview truncate">{trace.input_preview ?? ''}</span>
      </>
    ),
  },
  { id: 'service', title: 'Service', cell: (trace) => <span className="truncate">{trace.service_name}</span> },
  {
    id: 'model',
    title: 'Model',
    cell: ({ models = [] }) => (
      <span className="truncate" title={models.join(', ')}>
        {models[0] ?? ''}
        {models.length > 1 && <span className="faint"> +{models.length - 1}</span>}
      </span>
    ),
  },
  {
    id: 'duration',
    title: 'Duration',
    sort: 'duration_ns',
    number: true,
    cell: (trace, { maxNs }) => <Duration ns={trace.duration_ns} max={maxNs} />,
  },
  { id: 'spans', title: 'Spans', sort: 'span_count', number: true, cell: (trace) => <Count value={trace.span_count} /> },
  {
    id: 'errors',
    title: 'Errors',
    sort: 'error_count',
    number: true,
    cell: (trace) =>
      trace.error_count === 0 ? (
        <span className="faint">0</span>
      ) : (
        <span className="trace-table__errors num">{trace.error_count}</span>
      ),
  },
  {
    id: 'tokens',
    title: 'Tokens in → out',
    sort: 'input_tokens',
    number: true,
    cell: (trace) => <TokenPair input={trace.input_tokens ?? null} output={trace.output_tokens ?? null} />,
  },
  {
    id: 'cost',
    title: 'Cost',
    sort: 'cost_usd',
    number: true,
    cell: (trace) => <Money usd={trace.cost_usd ?? null} unpriced={trace.unpriced_calls} />,
  },
  {
    id: 'who',
    title: 'Session, user',
    cell: (trace) => <span className="truncate faint">{[trace.session_id, trace.user_id].filter(Boolean).join(' · ')}</span>,
  },
];

type Props = {
  traces: readonly TraceSummary[];
  sort: Sort;
  order: Order;
  selected: string | null;
  stale: boolean;
  hasMore: boolean;
  loadingMore: boolean;
  onSort: (sort: Sort, order: Order) => void;
  onMore: () => void;
  onSelect: (traceId: string) => void;
  onOpen: (traceId: string) => void;
  link: CellContext['link'];
  footer: ReactNode;
};

export function TraceTable(props: Props) {
  const { traces, selected, hasMore, loadingMore, onMore, onSelect, onOpen } = props;
  const phone = useMediaQuery('(max-width: 700px)');
  const now = useNow(30_000);
  const scroller = useRef<HTMLDivElement>(null);
  const gridId = useId();
  const [cursor, setCursor] = useState(0);
  const rowHeight = phone ? 66 : 34;
  const rows = useVirtualizer({
    count: traces.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 12,
  });
  const maxNs = useMemo(() => traces.reduce((max, trace) => Math.max(max, trace.duration_ns), 0), [traces]);
  const items = rows.getVirtualItems();
  const last = items[items.length - 1]?.index ?? 0;

  useEffect(() => {
    if (hasMore && !loadingMore && last >= traces.length - 30) onMore();
  }, [hasMore, loadingMore, last, traces.length, onMore]);
  useEffect(() => {
    rows.measure();
  }, [rows, rowHeight]);

  const at = Math.max(0, Math.min(cursor, traces.length - 1));
  const go = (next: number) => {
    const index = Math.max(0, Math.min(traces.length - 1, next));
    setCursor(index);
    rows.scrollToIndex(index);
    const trace = traces[index];
    if (selected !== null && trace) onSelect(trace.trace_id);
  };
  const key = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / rowHeight) - 2);
    const moves: Record<string, number> = {
      ArrowDown: at + 1,
      j: at + 1,
      ArrowUp: at - 1,
      k: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: traces.length - 1,
    };
    const move = moves[event.key];
    const trace = traces[at];
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== event.currentTarget) return;
    if (move !== undefined) go(move);
    else if (event.key === 'Enter' && trace) onOpen(trace.trace_id);
    else if (event.key === ' ' && trace) onSelect(trace.trace_id);
    else return;
    event.preventDefault();
  };

  return (
    <div className={`trace-table ${props.stale ? 'trace-table--stale' : ''}`}>
      <div
        ref={scroller}
        className="trace-table__scroll"
        role="grid"
        tabIndex={0}
        aria-label="Traces"
        aria-rowcount={hasMore ? -1 : traces.length + 1}
        aria-busy={props.stale}
        {...(traces[at] ? { 'aria-activedescendant': `${gridId}-${at}` } : {})}
        onKeyDown={key}
      >
        <div className="trace-table__head" role="row" aria-rowindex={1}>
          {COLUMNS.map((column) => (
            <HeadCell key={column.id} column={column} sort={props.sort} order={props.order} onSort={props.onSort} />
          ))}
        </div>
        <div role="rowgroup" className="trace-table__body" style={{ height: rows.getTotalSize() }}>
          {items.map((item) => {
            const trace = traces[item.index];
            if (!trace) return null;
            const context = { now, maxNs, link: props.link };
            return (
              <div
                key={trace.trace_id}
                id={`${gridId}-${item.index}`}
                role="row"
                aria-rowindex={item.index + 2}
                aria-selected={trace.trace_id === selected}
                className={`trace-table__row ${item.index === at ? 'trace-table__row--cursor' : ''}`}
                style={{ transform: `translateY(${item.start}px)`, height: rowHeight }}
                onClick={(event) => {
                  if (event.target instanceof HTMLElement && event.target.closest('a')) return;
                  setCursor(item.index);
                  onSelect(trace.trace_id);
                }}
              >
                {COLUMNS.map((column) => (
                  <div key={column.id} role="gridcell" className={`trace-table__cell trace-table__cell--${column.id}`}>
                    {column.cell(trace, context)}
                  </div>
                ))}
              </div>
            );
          })}
        </div>
      </div>
      <div className="trace-table__foot" role="status">
        {props.footer}
      </div>
    </div>
  );
}

function HeadCell({ column, sort, order, onSort }: { column: Column } & Pick<Props, 'sort' | 'order' | 'onSort'>) {
  const by = column.sort;
  const active = by !== undefined && by === sort;
  return (
    <div
      role="columnheader"
      className={`trace-table__cell trace-table__cell--${column.id}`}
      {...(active ? { 'aria-sort': order === 'asc' ? ('ascending' as const) : ('descending' as const) } : {})}
    >
      {by === undefined ? (
        column.title
      ) : (
        <button
          type="button"
          className="trace-table__sort"
          onClick={() => {
            onSort(by, active && order === 'desc' ? 'asc' : 'desc');
          }}
        >
          {column.title}
          {active && <Icon name={order === 'asc' ? 'arrow-up' : 'arrow-down'} size={11} />}
        </button>
      )}
    </div>
  );
}
