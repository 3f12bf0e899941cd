/**
 * The table of every list: columns that are dragged, pinned and resized, sorting by header, arrow keys, virtualised rows, more rows as the
 * end comes near, and a row of totals that stays in sight. It knows no query: rows and their meaning belong to the caller.
 */
import { useVirtualizer } from '@tanstack/react-virtual';
import { memo, useEffect, useId, useMemo, useRef, useState, type CSSProperties, type KeyboardEvent, type ReactNode } from 'react';

import { fitting, formatLayout, type ColumnShape, type Layout } from '../../lib/columns';
import { useMediaQuery, useSize } from '../../lib/hooks';
import './list-table.css';
import { TableHead } from './TableHead';

export type Density = 'compact' | 'normal' | 'roomy';
export type Order = 'asc' | 'desc';

export type TableColumn<R> = ColumnShape & {
  readonly title: string;
  /** What the server sorts by; without it the header does not sort. */
  readonly sort?: string;
  /** Numbers stand at the right. */
  readonly number?: boolean;
  /** On a phone a row is a card: its title, the line of details beneath, or not there. */
  readonly phone?: 'title' | 'detail';
  /** On a card the value needs its title beside it to be understood. */
  readonly labelled?: boolean;
  readonly cell: (row: R) => ReactNode;
};

/** A column where it stands now: its width in the template and, if pinned, its distance from the left. */
export type PlacedColumn<R> = TableColumn<R> & { readonly left: number | null; readonly chosenWidth: number | null };

type Props<R> = {
  label: string;
  columns: readonly TableColumn<R>[];
  layout: Layout;
  onLayout: (layout: Layout) => void;
  density: Density;
  rows: readonly R[];
  rowId: (row: R) => string;
  sort: string;
  order: Order;
  onSort: (sort: string, order: Order) => void;
  /** The row in the peek panel. */
  selected: string | null;
  /** The rows belong to the question before this one. */
  stale: boolean;
  hasMore: boolean;
  loadingMore: boolean;
  onMore: () => void;
  onSelect: (row: R) => void;
  onOpen: (row: R) => void;
  /** By column id; `null` while they are not known. */
  totals: Readonly<Record<string, ReactNode>> | null;
  footer: ReactNode;
};

const ROW_HEIGHT: Record<Density, number> = { compact: 27, normal: 34, roomy: 50 };
const CARD_HEIGHT = 66;

export function ListTable<R>(props: Props<R>) {
  const { columns, layout, rows, selected, hasMore, loadingMore, onMore, onSelect, onOpen, rowId } = props;
  const phone = useMediaQuery('(max-width: 700px)');
  const [measure, { width }] = useSize<HTMLDivElement>();
  const scroller = useRef<HTMLDivElement>(null);
  const gridId = useId();
  const [cursor, setCursor] = useState(0);
  const rowHeight = phone ? CARD_HEIGHT : ROW_HEIGHT[props.density];
  const placed = useMemo(() => place(columns, layout, width), [columns, layout, width]);
  const cards = useMemo(() => asCard(columns), [columns]);
  const shown = phone ? cards : placed.columns;
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 12,
  });
  const items = virtual.getVirtualItems();
  const last = items[items.length - 1]?.index ?? 0;

  useEffect(() => {
    if (hasMore && !loadingMore && last >= rows.length - 30) onMore();
  }, [hasMore, loadingMore, last, rows.length, onMore]);
  useEffect(() => {
    virtual.measure();
  }, [virtual, rowHeight]);

  const at = Math.max(0, Math.min(cursor, rows.length - 1));
  const go = (next: number) => {
    const index = Math.max(0, Math.min(rows.length - 1, next));
    setCursor(index);
    virtual.scrollToIndex(index);
    const row = rows[index];
    if (selected !== null && row !== undefined) onSelect(row);
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
      End: rows.length - 1,
    };
    const move = moves[event.key];
    const row = rows[at];
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== event.currentTarget) return;
    if (move !== undefined) go(move);
    else if (event.key === 'Enter' && row !== undefined) onOpen(row);
    else if (event.key === ' ' && row !== undefined) onSelect(row);
    else return;
    event.preventDefault();
  };
  const pick = useLatest((row: R, index: number) => {
    setCursor(index);
    onSelect(row);
  });

  return (
    <div className={`table table--${props.density} ${props.stale ? 'table--stale' : ''}`} ref={measure}>
      <div
        ref={scroller}
        className="table__scroll"
        role="grid"
        tabIndex={0}
        aria-label={props.label}
        aria-rowcount={hasMore ? -1 : rows.length + 1}
        aria-colcount={shown.length}
        aria-busy={props.stale}
        {...(rows[at] === undefined ? {} : { 'aria-activedescendant': `${gridId}-${at}` })}
        style={{ '--template': placed.template, '--total': `${placed.total}px` } as CSSProperties}
        onKeyDown={key}
      >
        {!phone && (
          <TableHead
            columns={placed.columns}
            layout={layout}
            sort={props.sort}
            order={props.order}
            onSort={props.onSort}
            onLayout={props.onLayout}
          />
        )}
        <div role="rowgroup" className="table__body" style={{ height: virtual.getTotalSize() }}>
          {items.map((item) => {
            const row = rows[item.index];
            if (row === undefined) return null;
            const id = rowId(row);
            return (
              <TableRow
                key={id}
                domId={`${gridId}-${item.index}`}
                row={row}
                index={item.index}
                columns={shown}
                phone={phone}
                selected={id === selected}
                cursor={item.index === at}
                top={item.start}
                height={rowHeight}
                onPick={pick}
              />
            );
          })}
        </div>
        {props.totals && !phone && <TotalsRow columns={placed.columns} totals={props.totals} />}
      </div>
      <div className="table__foot" role="status">
        {props.footer}
      </div>
    </div>
  );
}

type RowProps<R> = {
  domId: string;
  row: R;
  index: number;
  columns: readonly PlacedColumn<R>[];
  phone: boolean;
  selected: boolean;
  cursor: boolean;
  top: number;
  height: number;
  onPick: (row: R, index: number) => void;
};

function PlainRow<R>({ domId, row, index, columns, phone, selected, cursor, top, height, onPick }: RowProps<R>) {
  return (
    <div
      id={domId}
      role="row"
      aria-rowindex={index + 2}
      aria-selected={selected}
      className={`table__row ${cursor ? 'table__row--cursor' : ''}`}
      style={{ transform: `translateY(${top}px)`, height }}
      onClick={(event) => {
        if (event.target instanceof HTMLElement && event.target.closest('a, button')) return;
        onPick(row, index);
      }}
    >
      {columns.map((column) => (
        <div key={column.id} role="gridcell" {...cellLook(column, phone)}>
          {column.cell(row)}
          {phone && column.labelled === true && <span className="table__label">{column.title}</span>}
        </div>
      ))}
    </div>
  );
}
// `memo` forgets that the component is generic.
const TableRow = memo(PlainRow) as typeof PlainRow;

function TotalsRow<R>({ columns, totals }: { columns: readonly PlacedColumn<R>[]; totals: Readonly<Record<string, ReactNode>> }) {
  return (
    <div className="table__totals" role="row" aria-label="Totals">
      {columns.map((column) => (
        <div key={column.id} role="gridcell" {...cellLook(column, false)}>
          {totals[column.id]}
        </div>
      ))}
    </div>
  );
}

export function cellLook<R>(column: PlacedColumn<R>, phone: boolean): { className: string; style?: CSSProperties } {
  const kind = phone ? `table__cell--${column.phone ?? 'detail'}` : column.number === true ? 'table__cell--number' : '';
  const pinned = !phone && column.left !== null;
  return {
    className: `table__cell ${kind} ${pinned ? 'table__cell--pinned' : ''}`,
    ...(pinned ? { style: { left: column.left ?? 0 } } : {}),
  };
}

/** The columns in order with their widths as a grid template; an untouched layout drops what is spare in a narrow table. */
function place<R>(
  columns: readonly TableColumn<R>[],
  layout: Layout,
  room: number,
): { columns: readonly PlacedColumn<R>[]; template: string; total: number } {
  const untouched = formatLayout(layout, columns) === null;
  let left = 0;
  const placed = layout.flatMap(({ id, width, pinned }) => {
    const column = columns.find((each) => each.id === id);
    if (!column) return [];
    const one: PlacedColumn<R> = { ...column, chosenWidth: width, left: pinned ? left : null };
    if (pinned) left += width ?? column.width;
    return [one];
  });
  const kept = untouched ? fitting(placed, room) : placed;
  const fixed = (column: PlacedColumn<R>) => column.chosenWidth !== null || column.left !== null || column.grow === undefined;
  const template = kept.map((column) => {
    const width = `${column.chosenWidth ?? column.width}px`;
    return fixed(column) ? width : `minmax(${width}, ${column.grow ?? 1}fr)`;
  });
  // Without a column that grows, the room that is left stays empty at the end.
  if (kept.every(fixed)) template.push('minmax(0, 1fr)');
  const total = kept.reduce((sum, column) => sum + (column.chosenWidth ?? column.width), 0);
  return { columns: kept, template: template.join(' '), total };
}

function asCard<R>(columns: readonly TableColumn<R>[]): readonly PlacedColumn<R>[] {
  const of = (phone: 'title' | 'detail') => columns.filter((column) => column.phone === phone);
  return [...of('title'), ...of('detail')].map((column) => ({ ...column, chosenWidth: null, left: null }));
}

/** A function that stays the same and calls the newest one, so that rows need not be drawn again. */
function useLatest<A extends unknown[]>(fn: (...args: A) => void): (...args: A) => void {
  const latest = useRef(fn);
  useEffect(() => {
    latest.current = fn;
  });
  return useMemo(
    () =>
      (...args: A) => {
        latest.current(...args);
      },
    [],
  );
}
