/** The row of totals under a list: over all rows of the range and the filter, not only over what is loaded. */
import { useQuery } from '@tanstack/react-query';
import { useMemo, type ReactNode } from 'react';

import type { TableColumn } from '../../components/list-table/ListTable';
import { SqlLink } from '../../components/SqlLink';
import { formatCountExact, plural } from '../../lib/format';
import { totalCell, totalMoved, type KindInfo } from './kinds';
import { traceTotalsQuery, type ListPage, type Scope } from './queries';
import { num, type Row } from './row';
import './totals.css';

/** By column id; `null` while they are not known. */
export function useTotals(
  info: KindInfo,
  scope: Scope,
  columns: readonly TableColumn<Row>[],
  first: ListPage | undefined,
  /** The totals as live mode knows them: a figure that has moved on says so and stays. */
  now: Row | null = null,
): Readonly<Record<string, ReactNode>> | null {
  const traces = useQuery(traceTotalsQuery(scope, info.kind === 'traces'));
  const totals: Row | null = info.kind === 'traces' ? (traces.data ?? null) : (first?.totals ?? null);
  const sql = info.kind === 'traces' ? traces.data?.sql : first?.totals_sql;
  return useMemo(() => {
    if (totals === null) return null;
    const cells: Record<string, ReactNode> = {};
    for (const column of columns) {
      const cell = totalCell(column.id, totals);
      const next = now === null ? null : totalCell(column.id, now);
      cells[column.id] =
        cell !== null && now !== null && totalMoved(column.id, totals, now) ? <Moved now={next}>{cell}</Moved> : cell;
    }
    const title = columns.find((column) => column.phone === 'title');
    if (title) {
      const [rows, rowsNow] = [rowsOf(totals), now === null ? null : rowsOf(now)];
      cells[title.id] = (
        <>
          <span className="num">{plural(rows, info.noun)}</span>
          {rowsNow !== null && rowsNow !== rows && <span className="totals__now num">now {formatCountExact(rowsNow)}</span>}
          <SqlLink sql={sql} of="the totals" />
        </>
      );
    }
    return cells;
  }, [columns, totals, now, sql, info]);
}

const rowsOf = (totals: Row): number => num(totals, 'rows') ?? num(totals, 'traces') ?? 0;

/** A figure that is older than what has come since: marked, with the newer one on hover and for screen readers. */
function Moved({ now, children }: { now: ReactNode; children: ReactNode }) {
  return (
    <span className="totals__moved">
      {children}
      <span className="totals__mark" aria-hidden="true" />
      <span className="totals__next">
        <span className="visually-hidden">, </span>now {now}
      </span>
    </span>
  );
}
