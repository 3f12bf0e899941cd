/** The header row: a click sorts, a drag moves the column, the edge resizes it; Alt with an arrow key does both without a mouse. */
import { useRef, useState, type KeyboardEvent, type PointerEvent } from 'react';

import { moveColumn, resizeColumn, shiftColumn, type Layout } from '../../lib/columns';
import { Icon } from '../Icon';
import { cellLook, type Order, type PlacedColumn } from './ListTable';

type Props<R> = {
  columns: readonly PlacedColumn<R>[];
  layout: Layout;
  sort: string;
  order: Order;
  onSort: (sort: string, order: Order) => void;
  onLayout: (layout: Layout) => void;
};

/** A column on its way, and the column it would stand before; `null`: at the end. */
type Drag = { id: string; startX: number; moving: boolean; before: string | null };

const DRAG_FROM_PX = 6;

export function TableHead<R>({ columns, layout, sort, order, onSort, onLayout }: Props<R>) {
  const head = useRef<HTMLDivElement>(null);
  const [drag, setDrag] = useState<Drag | null>(null);
  const [sizing, setSizing] = useState<{ id: string; width: number } | null>(null);

  const target = (x: number): string | null => {
    const cells = [...(head.current?.querySelectorAll<HTMLElement>('[data-column]') ?? [])];
    const cell = cells.find((each) => {
      const box = each.getBoundingClientRect();
      return x < box.left + box.width / 2;
    });
    return cell?.dataset['column'] ?? null;
  };
  const down = (event: PointerEvent, id: string) => {
    if (event.button !== 0 || event.pointerType === 'touch') return;
    setDrag({ id, startX: event.clientX, moving: false, before: id });
  };
  const move = (event: PointerEvent<HTMLDivElement>) => {
    if (!drag) return;
    const moving = drag.moving || Math.abs(event.clientX - drag.startX) > DRAG_FROM_PX;
    if (!moving) return;
    if (!event.currentTarget.hasPointerCapture(event.pointerId)) event.currentTarget.setPointerCapture(event.pointerId);
    setDrag({ ...drag, moving, before: target(event.clientX) });
  };
  const up = () => {
    if (drag?.moving) onLayout(moveColumn(layout, drag.id, drag.before));
    setDrag(null);
  };
  const key = (event: KeyboardEvent, id: string) => {
    if (!event.altKey || (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight')) return;
    event.preventDefault();
    onLayout(shiftColumn(layout, id, event.key === 'ArrowLeft' ? -1 : 1));
  };

  return (
    <div
      ref={head}
      className={`table__head ${drag?.moving ? 'table__head--dragging' : ''}`}
      role="row"
      aria-rowindex={1}
      onPointerMove={move}
      onPointerUp={up}
      onPointerCancel={() => {
        setDrag(null);
      }}
    >
      {columns.map((column, index) => {
        const by = column.sort;
        const active = by !== undefined && by === sort;
        const look = cellLook(column, false);
        const dropsHere = drag?.moving === true && drag.before === column.id && drag.id !== column.id;
        const dropsAfter = drag?.moving === true && drag.before === null && index === columns.length - 1;
        return (
          <div
            key={column.id}
            role="columnheader"
            data-column={column.id}
            {...look}
            className={`${look.className} ${dropsHere ? 'table__cell--drop' : ''} ${dropsAfter ? 'table__cell--drop-after' : ''} ${drag?.moving && drag.id === column.id ? 'table__cell--dragged' : ''}`}
            {...(active ? { 'aria-sort': order === 'asc' ? ('ascending' as const) : ('descending' as const) } : {})}
            onPointerDown={(event) => {
              down(event, column.id);
            }}
          >
            {by === undefined ? (
              <span className="truncate">{column.title}</span>
            ) : (
              <button
                type="button"
                className="table__sort"
                title="Sort; drag or Alt with an arrow key moves the column"
                onKeyDown={(event) => {
                  key(event, column.id);
                }}
                onClick={() => {
                  if (!drag?.moving) onSort(by, active && order === 'desc' ? 'asc' : 'desc');
                }}
              >
                <span className="truncate">{column.title}</span>
                {active && <Icon name={order === 'asc' ? 'arrow-up' : 'arrow-down'} size={11} />}
              </button>
            )}
            <ColumnEdge
              title={column.title}
              width={column.chosenWidth ?? column.width}
              sizing={sizing?.id === column.id}
              onStart={(width) => {
                setSizing({ id: column.id, width });
              }}
              onSize={(width) => {
                onLayout(resizeColumn(layout, column.id, width));
              }}
              onEnd={() => {
                setSizing(null);
              }}
            />
          </div>
        );
      })}
    </div>
  );
}

type EdgeProps = {
  title: string;
  width: number;
  sizing: boolean;
  onStart: (width: number) => void;
  onSize: (width: number | null) => void;
  onEnd: () => void;
};

/** The right edge of a header: drag or arrow keys set the width, a double click gives it back. */
function ColumnEdge({ title, width, sizing, onStart, onSize, onEnd }: EdgeProps) {
  const start = useRef({ x: 0, width: 0 });
  return (
    <div
      className={`table__edge ${sizing ? 'table__edge--active' : ''}`}
      role="separator"
      tabIndex={0}
      aria-orientation="vertical"
      aria-label={`Width of ${title}`}
      aria-valuenow={width}
      onPointerDown={(event) => {
        event.preventDefault();
        event.stopPropagation();
        event.currentTarget.setPointerCapture(event.pointerId);
        const cell = event.currentTarget.parentElement?.getBoundingClientRect();
        start.current = { x: event.clientX, width: cell?.width ?? width };
        onStart(start.current.width);
      }}
      onPointerMove={(event) => {
        if (event.currentTarget.hasPointerCapture(event.pointerId)) onSize(start.current.width + event.clientX - start.current.x);
      }}
      onPointerUp={onEnd}
      onDoubleClick={() => {
        onSize(null);
      }}
      onKeyDown={(event) => {
        if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
        event.preventDefault();
        event.stopPropagation();
        onSize(width + (event.key === 'ArrowRight' ? 16 : -16));
      }}
    />
  );
}
