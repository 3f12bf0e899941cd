/** Rows of a result as a grid: sorted here, copied as tab-separated text or JSON, a cell opened beside it. */
import { DropdownMenu } from 'radix-ui';
import { useMemo, useState } from 'react';

import type { SqlResult } from '../../api/types';
import { copyText } from '../../components/CopyButton';
import { DataGrid, type GridColumn } from '../../components/DataGrid';
import { Icon } from '../../components/Icon';
import '../../components/menu.css';
import { isNumber, useMediaQuery, useStored } from '../../lib/hooks';
import { SplitPane } from '../../components/SplitPane';
import { asJson, asTsv, cellText, sortedRows, type CellRange, type GridSort } from '../../lib/table';
import type { OpenCell, SortBy } from './address';
import { columnWidth, isNumeric } from './cells';
import { Inspector } from './Inspector';
import { linkOf } from './links';

/** A cell shows one line; a prompt of megabytes must not be laid out for it. */
const SHOWN_MAX = 300;

type Props = {
  result: SqlResult;
  sort: SortBy | null;
  onSort: (sort: SortBy | null) => void;
  /** The cell that is shown whole beside the grid. */
  open: OpenCell | null;
  onOpen: (cell: OpenCell | null) => void;
  /** Where the copy menu stands: the bar above. */
  bar: (copy: React.ReactNode) => React.ReactNode;
};

export function ResultGrid({ result, sort, onSort, open, onOpen, bar }: Props) {
  const { columns, rows } = result;
  const [start] = useState(() => placeOf(open, result));
  const [range, setRange] = useState<CellRange>(() => ({
    top: start.row,
    bottom: start.row,
    left: start.column,
    right: start.column,
  }));
  const opened = open !== null && rows.length > 0;
  const [said, setSaid] = useState('');
  const [width, setWidth] = useStored('assay.sql-inspector-width', 420, isNumber);
  const wide = useMediaQuery('(min-width: 900px)');
  const grid = useMemo(
    () =>
      columns.map((column, at): GridColumn => ({
        name: column.name,
        doc: `${column.name}: ${column.type}`,
        numeric: isNumeric(column.type),
        width: columnWidth(column.name, rows, at),
      })),
    [columns, rows],
  );
  const gridSort = useMemo((): GridSort | null => {
    const column = sort ? columns.findIndex((each) => each.name === sort.column) : -1;
    return sort && column >= 0 ? { column, descending: sort.descending } : null;
  }, [columns, sort]);
  const order = useMemo(
    () => (gridSort ? sortedRows(rows, isNumeric(columns[gridSort.column]?.type ?? ''), gridSort) : null),
    [rows, columns, gridSort],
  );
  const rowAt = (row: number): readonly unknown[] => rows[order?.[row] ?? row] ?? [];
  const names = columns.map((column) => column.name);
  const allRows = () => rows.map((_, at) => rowAt(at));
  const cut = ({ top, bottom, left, right }: CellRange) => ({
    names: names.slice(left, right + 1),
    rows: Array.from({ length: bottom - top + 1 }, (_, at) => rowAt(top + at).slice(left, right + 1)),
  });
  const copy = (text: string, what: string) => {
    copyText(text).then(
      () => {
        setSaid(`Copied ${what}`);
      },
      () => {
        setSaid('The browser refused to copy');
      },
    );
  };
  const nextSort = (at: number) => {
    const name = names[at] ?? '';
    if (gridSort?.column !== at) onSort({ column: name, descending: grid[at]?.numeric ?? false });
    else if (gridSort.descending === (grid[at]?.numeric ?? false)) onSort({ column: name, descending: !gridSort.descending });
    else onSort(null);
  };
  const wholeRow: CellRange = { top: range.bottom, bottom: range.bottom, left: 0, right: columns.length - 1 };
  const focus = { row: range.bottom, column: range.right };

  const copyMenu = (
    <DropdownMenu.Root>
      <DropdownMenu.Trigger className="button button--plain">
        <Icon name="copy" size={14} />
        Copy
      </DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content className="menu" align="end" sideOffset={5}>
          <CopyItem
            label="Cell"
            keys="Ctrl C"
            onSelect={() => {
              copy(cellText(rowAt(focus.row)[focus.column]), 'the cell');
            }}
          />
          <CopyItem
            label="Row as JSON"
            onSelect={() => {
              copy(JSON.stringify(JSON.parse(asJson(names, [rowAt(wholeRow.top)]))[0], null, 2), 'the row');
            }}
          />
          <DropdownMenu.Separator className="menu__line" />
          <CopyItem
            label="Selection, tab-separated"
            onSelect={() => {
              const part = cut(range);
              copy(asTsv(part.names, part.rows), 'the selection');
            }}
          />
          <CopyItem
            label="Selection as JSON"
            onSelect={() => {
              const part = cut(range);
              copy(asJson(part.names, part.rows), 'the selection');
            }}
          />
          <DropdownMenu.Separator className="menu__line" />
          <CopyItem
            label="All rows, tab-separated"
            onSelect={() => {
              copy(asTsv(names, allRows()), 'all rows');
            }}
          />
          <CopyItem
            label="All rows as JSON"
            onSelect={() => {
              copy(asJson(names, allRows()), 'all rows');
            }}
          />
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );

  return (
    <>
      {bar(copyMenu)}
      <SplitPane
        direction={wide ? 'row' : 'column'}
        size={wide ? width : 260}
        min={wide ? 260 : 120}
        max={900}
        label="Size of the cell panel"
        onResize={setWidth}
        first={
          <DataGrid
            label="Result"
            columns={grid}
            rowCount={rows.length}
            sort={gridSort}
            onSort={nextSort}
            start={start}
            onSelect={(next) => {
              setRange(next);
              if (opened) onOpen({ row: next.bottom, column: names[next.right] ?? '' });
            }}
            onOpen={(row, column) => {
              onOpen({ row, column: names[column] ?? '' });
            }}
            onCopy={(part) => {
              const { rows: picked } = cut(part);
              const single = part.top === part.bottom && part.left === part.right;
              copy(single ? cellText(picked[0]?.[0]) : asTsv(null, picked), single ? 'the cell' : 'the selection');
            }}
            cellTitle={(row, at) => {
              const text = cellText(rowAt(row)[at]);
              return text.length > 20 ? text.slice(0, 1_000) : undefined;
            }}
            cell={(row, at) => <Cell value={rowAt(row)[at]} href={linkOf(columns, rowAt(row), at)} />}
          />
        }
        second={
          opened ? (
            <Inspector
              columns={columns}
              row={rowAt(focus.row)}
              rowNumber={focus.row + 1}
              column={focus.column}
              onClose={() => {
                onOpen(null);
              }}
            />
          ) : null
        }
      />
      <span className="visually-hidden" role="status">
        {said}
      </span>
    </>
  );
}

/** Where the cursor stands at first: at the cell that is open, else in the corner. */
function placeOf(open: OpenCell | null, { columns, rows }: SqlResult): { row: number; column: number } {
  const column = open === null ? 0 : columns.findIndex((each) => each.name === open.column);
  const row = Math.min(open?.row ?? 0, Math.max(0, rows.length - 1));
  return column < 0 ? { row: 0, column: 0 } : { row, column };
}

function CopyItem({ label, keys, onSelect }: { label: string; keys?: string; onSelect: () => void }) {
  return (
    <DropdownMenu.Item className="menu__item" onSelect={onSelect}>
      {label}
      {keys !== undefined && <span className="faint menu__keys">{keys}</span>}
    </DropdownMenu.Item>
  );
}

function Cell({ value, href }: { value: unknown; href: string | null }) {
  if (value === null || value === undefined) return <span className="data-grid__null">null</span>;
  const text = cellText(value);
  const shown = text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
  if (href === null) return <span className="truncate">{shown}</span>;
  return (
    <a className="truncate" href={href} tabIndex={-1}>
      {shown}
    </a>
  );
}
