/** Rows of a result: virtualised, columns resized by dragging or arrow keys, a cell copied by Ctrl+C. */
import { useVirtualizer } from '@tanstack/react-virtual';
import { useId, useRef, useState, type KeyboardEvent, type PointerEvent } from 'react';

import type { SqlResult } from '../../api/types';
import { copyText } from '../../components/CopyButton';
import { cellLink, cellText, columnWidth, isNumeric } from './cells';
import './result-grid.css';

const ROW_PX = 27;
const WIDTH_MIN = 40;

export function ResultGrid({ result }: { result: SqlResult }) {
  const { columns, rows } = result;
  const scroller = useRef<HTMLDivElement>(null);
  const gridId = useId();
  const [widths, setWidths] = useState(() => columns.map((column, at) => columnWidth(column.name, rows, at)));
  const [cell, setCell] = useState({ row: 0, column: 0 });
  const [copied, setCopied] = useState('');
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 14,
  });
  const template = `52px ${widths.map((width) => `${width}px`).join(' ')}`;
  const total = 52 + widths.reduce((sum, width) => sum + width, 0);

  const resize = (column: number, width: number) => {
    setWidths((current) => current.map((each, at) => (at === column ? Math.max(WIDTH_MIN, Math.round(width)) : each)));
  };

  const key = (event: KeyboardEvent) => {
    if (event.target !== event.currentTarget) return;
    if ((event.ctrlKey || event.metaKey) && event.key === 'c') {
      if (window.getSelection()?.toString()) return;
      event.preventDefault();
      const text = cellText(rows[cell.row]?.[cell.column]);
      copyText(text).then(
        () => {
          setCopied(`Copied ${columns[cell.column]?.name ?? 'cell'}`);
        },
        () => {
          setCopied('The browser refused to copy');
        },
      );
      return;
    }
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / ROW_PX) - 2);
    const moves: Record<string, [number, number]> = {
      ArrowDown: [1, 0],
      ArrowUp: [-1, 0],
      ArrowRight: [0, 1],
      ArrowLeft: [0, -1],
      PageDown: [page, 0],
      PageUp: [-page, 0],
      Home: [-rows.length, 0],
      End: [rows.length, 0],
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const next = {
      row: Math.max(0, Math.min(rows.length - 1, cell.row + move[0])),
      column: Math.max(0, Math.min(columns.length - 1, cell.column + move[1])),
    };
    setCell(next);
    virtual.scrollToIndex(next.row);
  };

  return (
    <>
      <div
        ref={scroller}
        className="result-grid"
        role="grid"
        tabIndex={0}
        aria-label="Result"
        aria-rowcount={rows.length + 1}
        aria-colcount={columns.length}
        {...(rows.length > 0 ? { 'aria-activedescendant': `${gridId}-${cell.row}-${cell.column}` } : {})}
        onKeyDown={key}
      >
        <div className="result-grid__head" role="row" aria-rowindex={1} style={{ gridTemplateColumns: template, width: total }}>
          <div role="columnheader" className="result-grid__cell result-grid__number">
            <span className="visually-hidden">row</span>
          </div>
          {columns.map((column, at) => (
            <div
              key={`${column.name} ${at}`}
              role="columnheader"
              className="result-grid__cell"
              title={`${column.name}: ${column.type}`}
            >
              <span className="truncate">{column.name}</span>
              <Resizer
                name={column.name}
                width={widths[at] ?? WIDTH_MIN}
                onResize={(width) => {
                  resize(at, width);
                }}
              />
            </div>
          ))}
        </div>
        <div role="rowgroup" style={{ position: 'relative', height: virtual.getTotalSize(), width: total }}>
          {virtual.getVirtualItems().map((item) => {
            const row = rows[item.index];
            if (!row) return null;
            return (
              <div
                key={item.index}
                role="row"
                aria-rowindex={item.index + 2}
                className="result-grid__row"
                style={{ gridTemplateColumns: template, transform: `translateY(${item.start}px)`, width: total }}
              >
                <div role="rowheader" className="result-grid__cell result-grid__number num">
                  {item.index + 1}
                </div>
                {columns.map((column, at) => (
                  <Cell
                    key={at}
                    id={`${gridId}-${item.index}-${at}`}
                    value={row[at]}
                    numeric={isNumeric(column.type)}
                    href={cellLink(columns, row, at)}
                    active={cell.row === item.index && cell.column === at}
                    onPick={() => {
                      setCell({ row: item.index, column: at });
                    }}
                  />
                ))}
              </div>
            );
          })}
        </div>
      </div>
      <span className="visually-hidden" role="status">
        {copied}
      </span>
    </>
  );
}

type CellProps = { id: string; value: unknown; numeric: boolean; href: string | null; active: boolean; onPick: () => void };

function Cell({ id, value, numeric, href, active, onPick }: CellProps) {
  const text = cellText(value);
  // A cell shows one line; a prompt of megabytes must not be laid out for it.
  const shown = text.length > 300 ? `${text.slice(0, 300)}…` : text;
  const missing = value === null || value === undefined;
  return (
    <div
      id={id}
      role="gridcell"
      aria-selected={active}
      className={`result-grid__cell ${numeric ? 'result-grid__cell--number num' : ''}`}
      title={text.length > 20 ? text.slice(0, 2000) : undefined}
      onMouseDown={onPick}
    >
      {missing ? (
        <span className="result-grid__null">null</span>
      ) : href === null ? (
        <span className="truncate">{shown}</span>
      ) : (
        <a className="truncate" href={href} tabIndex={-1}>
          {shown}
        </a>
      )}
    </div>
  );
}

function Resizer({ name, width, onResize }: { name: string; width: number; onResize: (width: number) => void }) {
  const start = useRef({ x: 0, width: 0 });
  return (
    <div
      className="result-grid__resizer"
      role="separator"
      tabIndex={0}
      aria-orientation="vertical"
      aria-label={`Width of ${name}`}
      aria-valuenow={width}
      aria-valuemin={WIDTH_MIN}
      aria-valuemax={2000}
      onPointerDown={(event: PointerEvent<HTMLDivElement>) => {
        event.preventDefault();
        event.currentTarget.setPointerCapture(event.pointerId);
        start.current = { x: event.clientX, width };
      }}
      onPointerMove={(event) => {
        if (event.currentTarget.hasPointerCapture(event.pointerId))
          onResize(start.current.width + event.clientX - start.current.x);
      }}
      onKeyDown={(event) => {
        if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
        event.preventDefault();
        event.stopPropagation();
        onResize(width + (event.key === 'ArrowRight' ? 20 : -20));
      }}
    />
  );
}
