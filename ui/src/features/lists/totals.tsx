/** The row of totals under a list: over all rows of the range and the filter, not only over what is loaded. */
import { useQuery } from '@tanstack/react-query';
import { useMemo, type ReactNode } from 'react';

import type { TableColumn } from '../../components/list-table/ListTable';
import { SqlLink } from '../../components/SqlLink';
import { plural } from '../../lib/format';
import { totalCell, type KindInfo } from './kinds';
import { traceTotalsQuery, type ListPage, type Scope } from './queries';
import { num, type Row } from './row';

/** By column id; `null` while they are not known. */
export function useTotals(
  info: KindInfo,
  scope: Scope,
  columns: readonly TableColumn<Row>[],
  first: ListPage | undefined,
): Readonly<Record<string, ReactNode>> | null {
  const traces = useQuery(traceTotalsQuery(scope, info.kind === 'traces'));
  const totals: Row | null = info.kind === 'traces' ? (traces.data ?? null) : (first?.totals ?? null);
  const sql = info.kind === 'traces' ? traces.data?.sql : first?.totals_sql;
  return useMemo(() => {
    if (totals === null) return null;
    const cells: Record<string, ReactNode> = {};
    for (const column of columns) cells[column.id] = totalCell(column.id, totals);
    const title = columns.find((column) => column.phone === 'title');
    if (title) {
      cells[title.id] = (
        <>
          <span className="num">{plural(num(totals, 'rows') ?? num(totals, 'traces') ?? 0, info.noun)}</span>
          <SqlLink sql={sql} of="the totals" />
        </>
      );
    }
    return cells;
  }, [columns, totals, sql, info]);
}
