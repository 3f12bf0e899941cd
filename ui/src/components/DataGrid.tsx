/**
 * A grid of many rows and columns, of which only what is in sight is in the page. The keyboard moves a cell cursor (arrows, Page, Home,
 * End; with Shift a range), the header row belongs to it: Enter there sorts. Alt+← → sets the width of the column.
 */
import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useId, useRef, useState, type KeyboardEvent, type PointerEvent, type ReactNode } from 'react';

import { rangeBetween, type CellRange, type GridSort } from '../lib/table';
import './data-grid.css';
import { Icon } from './Icon';

export type GridColumn = {
  readonly name: string;
  /** What the column means or holds, on hover. */
  readonly doc?: string;
  /** Numbers stand to the right, so that their digits line up. */
  readonly numeric: boolean;
  /** Width at first, in CSS pixels. */
  readonly width: number;
};

type Place = { readonly row: number; readonly column: number };

type Props = {
  label: string;
  columns: readonly GridColumn[];
  rowCount: number;
  /** What stands in a cell. */
  cell: (row: number, column: number) => ReactNode;
  /** Text on hover, for what does not fit. */
  cellTitle?: (row: number, column: number) => string | undefined;
  sort: GridSort | null;
  /** Where the cursor stands at first. */
  start?: Place;
  onSort: (column: number) => void;
  onSelect: (range: CellRange) => void;
  /** Enter or double click. */
  onOpen: (row: number, column: number) => void;
  onCopy: (range: CellRange) => void;
};

const ROW_PX = 27;
const NUMBER_PX = 56;
const WIDTH_MIN = 44;
const WIDTH_MAX = 1200;
const CORNER: Place = { row: 0, column: 0 };
/** The header as a row of the cursor. */
const HEAD = -1;

export function DataGrid({
  label,
  columns,
  rowCount,
  cell,
  cellTitle,
  sort,
  start = CORNER,
  onSort,
  onSelect,
  onOpen,
  onCopy,
}: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const gridId = useId();
  const [widths, setWidths] = useState(() => columns.map((column) => column.width));
  const [cursor, setCursor] = useState<Place>(start);
  const [anchor, setAnchor] = useState<Place>(start);
  const rows = useVirtualizer({
    count: rowCount,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
    scrollPaddingStart: ROW_PX + 2,
  });
  const across = useVirtualizer({
    horizontal: true,
    count: columns.length,
    getScrollElement: () => scroller.current,
    estimateSize: (at) => widths[at] ?? WIDTH_MIN,
    overscan: 3,
    paddingStart: NUMBER_PX,
    scrollPaddingStart: NUMBER_PX,
  });
  useEffect(() => {
    across.measure();
  }, [across, widths]);
  // Once, when it is drawn: what a link opens is in sight.
  const first = useRef(start);
  useEffect(() => {
    if (first.current === CORNER) return;
    rows.scrollToIndex(first.current.row);
    across.scrollToIndex(first.current.column);
    first.current = CORNER;
  }, [rows, across]);

  const range = rangeBetween(anchor, cursor.row === HEAD ? anchor : cursor);
  const several = range.top !== range.bottom || range.left !== range.right;
  const move = (to: Place, extend: boolean) => {
    setCursor(to);
    const from = extend && to.row !== HEAD ? anchor : to;
    if (!extend && to.row !== HEAD) setAnchor(to);
    if (to.row !== HEAD) {
      onSelect(rangeBetween(from, to));
      rows.scrollToIndex(to.row);
    }
    across.scrollToIndex(to.column);
  };
  const resize = (column: number, width: number) => {
    setWidths((current) =>
      current.map((each, at) => (at === column ? Math.max(WIDTH_MIN, Math.min(WIDTH_MAX, Math.round(width))) : each)),
    );
  };

  const key = (event: KeyboardEvent) => {
    if (event.target !== event.currentTarget) return;
    const { row, column } = cursor;
    const command = event.ctrlKey || event.metaKey;
    if (command && event.key.toLowerCase() === 'c') {
      if (window.getSelection()?.toString()) return;
      event.preventDefault();
      onCopy(range);
      return;
    }
    if (command && event.key.toLowerCase() === 'a') {
      event.preventDefault();
      setAnchor({ row: 0, column: 0 });
      const end = { row: rowCount - 1, column: columns.length - 1 };
      setCursor(end);
      onSelect(rangeBetween({ row: 0, column: 0 }, end));
      return;
    }
    if (event.altKey && (event.key === 'ArrowLeft' || event.key === 'ArrowRight')) {
      event.preventDefault();
      resize(column, (widths[column] ?? WIDTH_MIN) + (event.key === 'ArrowRight' ? 20 : -20));
      return;
    }
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      if (row === HEAD) onSort(column);
      else onOpen(row, column);
      return;
    }
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / ROW_PX) - 2);
    const last = { row: rowCount - 1, column: columns.length - 1 };
    const steps: Record<string, Place> = {
      ArrowDown: { row: row + 1, column },
      ArrowUp: { row: row - 1, column },
      ArrowRight: { row, column: column + 1 },
      ArrowLeft: { row, column: column - 1 },
      PageDown: { row: row + page, column },
      PageUp: { row: Math.max(0, row - page), column },
      Home: command ? { row: 0, column: 0 } : { row, column: 0 },
      End: command ? last : { row, column: last.column },
    };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const top = event.shiftKey ? 0 : HEAD;
    move(
      { row: Math.max(top, Math.min(last.row, step.row)), column: Math.max(0, Math.min(last.column, step.column)) },
      event.shiftKey,
    );
  };

  const total = across.getTotalSize();
  const columnsInSight = across.getVirtualItems();
  return (
    <div
      ref={scroller}
      className="data-grid"
      role="grid"
      tabIndex={0}
      aria-label={label}
      aria-rowcount={rowCount + 1}
      aria-colcount={columns.length}
      aria-multiselectable
      aria-keyshortcuts="Control+C Control+A Alt+ArrowLeft Alt+ArrowRight"
      aria-activedescendant={`${gridId}-${cursor.row}-${cursor.column}`}
      onKeyDown={key}
    >
      <div className="data-grid__head" role="row" aria-rowindex={1} style={{ width: total }}>
        <div role="columnheader" className="data-grid__cell data-grid__number" style={{ left: 0, width: NUMBER_PX }}>
          <span className="visually-hidden">row</span>
        </div>
        {columnsInSight.map(({ index, start, size }) => {
          const column = columns[index];
          if (!column) return null;
          const sorted = sort?.column === index ? sort : null;
          return (
            <div
              key={index}
              id={`${gridId}-${HEAD}-${index}`}
              role="columnheader"
              aria-colindex={index + 1}
              {...(sorted ? { 'aria-sort': sorted.descending ? 'descending' : 'ascending' } : {})}
              className={`data-grid__cell ${column.numeric ? 'data-grid__cell--number' : ''}`}
              data-active={cursor.row === HEAD && cursor.column === index}
              style={{ left: start, width: size }}
              title={column.doc}
              onClick={() => {
                onSort(index);
              }}
            >
              <span className="truncate">{column.name}</span>
              {sorted && <Icon name={sorted.descending ? 'arrow-down' : 'arrow-up'} size={12} />}
              <Resizer
                width={size}
                onResize={(width) => {
                  resize(index, width);
                }}
              />
            </div>
          );
        })}
      </div>
      <div role="rowgroup" style={{ position: 'relative', height: rows.getTotalSize(), width: total }}>
        {rows.getVirtualItems().map((item) => (
          <div
            key={item.index}
            role="row"
            aria-rowindex={item.index + 2}
            className="data-grid__row"
            style={{ transform: `translateY(${item.start}px)`, width: total }}
          >
            <div
              role="rowheader"
              className="data-grid__cell data-grid__number num"
              style={{ width: NUMBER_PX }}
              onMouseDown={() => {
                setAnchor({ row: item.index, column: 0 });
                setCursor({ row: item.index, column: columns.length - 1 });
                onSelect({ top: item.index, bottom: item.index, left: 0, right: columns.length - 1 });
              }}
            >
              {item.index + 1}
            </div>
            {columnsInSight.map(({ index, start, size }) => {
              const place = { row: item.index, column: index };
              const inside = place.row >= range.top && place.row <= range.bottom && index >= range.left && index <= range.right;
              const active = cursor.row === place.row && cursor.column === index;
              return (
                <div
                  key={index}
                  id={`${gridId}-${place.row}-${index}`}
                  role="gridcell"
                  aria-colindex={index + 1}
                  aria-selected={inside}
                  data-active={active}
                  data-range={inside && several}
                  className={`data-grid__cell ${columns[index]?.numeric ? 'data-grid__cell--number num' : ''}`}
                  style={{ left: start, width: size }}
                  title={cellTitle?.(place.row, index)}
                  onMouseDown={(event) => {
                    if (event.button !== 0) return;
                    // The grid keeps the focus: a range is dragged, text is copied by Ctrl+C or read in the panel.
                    if (event.shiftKey) event.preventDefault();
                    setCursor(place);
                    if (!event.shiftKey) setAnchor(place);
                    onSelect(rangeBetween(event.shiftKey ? anchor : place, place));
                  }}
                  onMouseEnter={(event) => {
                    if (event.buttons !== 1) return;
                    window.getSelection()?.removeAllRanges();
                    setCursor(place);
                    onSelect(rangeBetween(anchor, place));
                  }}
                  onDoubleClick={() => {
                    onOpen(place.row, index);
                  }}
                >
                  {cell(place.row, index)}
                </div>
              );
            })}
          </div>
        ))}
      </div>
    </div>
  );
}

/** For the mouse; the keyboard has Alt+← →. */
function Resizer({ width, onResize }: { width: number; onResize: (width: number) => void }) {
  const start = useRef({ x: 0, width: 0 });
  return (
    <span
      className="data-grid__resizer"
      aria-hidden="true"
      onClick={(event) => {
        event.stopPropagation();
      }}
      onPointerDown={(event: PointerEvent<HTMLSpanElement>) => {
        event.preventDefault();
        event.stopPropagation();
        event.currentTarget.setPointerCapture(event.pointerId);
        start.current = { x: event.clientX, width };
      }}
      onPointerMove={(event) => {
        if (event.currentTarget.hasPointerCapture(event.pointerId))
          onResize(start.current.width + event.clientX - start.current.x);
      }}
    />
  );
}
