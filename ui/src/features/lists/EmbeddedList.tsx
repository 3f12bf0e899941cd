/** A list within another page: the table of a kind, without the search box; what it is narrowed to is the page's business. */
import { useInfiniteQuery } from '@tanstack/react-query';
import { useMemo } from 'react';

import { ListTable, type Order } from '../../components/list-table/ListTable';
import { EmptyState, ErrorNotice, Skeleton } from '../../components/Notice';
import { SqlLink } from '../../components/SqlLink';
import { formatLayout, parseLayout } from '../../lib/columns';
import { plural } from '../../lib/format';
import { useNow } from '../../lib/hooks';
import type { KindInfo, Links } from './kinds';
import { listQuery, type Scope } from './queries';
import { largest } from './row';
import { useTotals } from './totals';

export type SortBy = { readonly by: string; readonly order: Order };

type Props = {
  info: KindInfo;
  scope: Scope;
  links: Links;
  /** `null`: as the kind sorts by itself. */
  sort: SortBy | null;
  onSort: (sort: SortBy) => void;
  /** Columns as `lib/columns.ts` writes them; `null`: those of the kind. */
  cols: string | null;
  onCols: (cols: string | null) => void;
  onGo: (href: string) => void;
};

export function EmbeddedList({ info, scope, links, sort: chosenSort, onSort, cols, onCols, onGo }: Props) {
  const sort = chosenSort ?? { by: info.sort, order: info.order };
  const list = useInfiniteQuery(listQuery(info.kind, { ...scope, sort: sort.by, order: sort.order }));
  const rows = useMemo(() => list.data?.pages.flatMap((page) => page.rows) ?? [], [list.data]);
  const now = useNow(30_000);
  const columns = useMemo(() => info.columns({ now, links, max: (key) => largest(rows, key) }), [info, now, links, rows]);
  const first = list.data?.pages[0];
  const totals = useTotals(info, scope, columns, first);
  if (list.isPending) return <Skeleton lines={6} label={`loading ${info.title.toLowerCase()}`} />;
  if (list.isError)
    return <ErrorNotice title={`The ${info.title.toLowerCase()} could not be read`} error={list.error} onRetry={list.refetch} />;
  if (rows.length === 0) return <EmptyState title={`No ${info.title.toLowerCase()} in this range`} />;
  const go = (href: string | null) => {
    if (href !== null) onGo(href);
  };
  return (
    <ListTable
      label={info.title}
      columns={columns}
      layout={parseLayout(cols ?? undefined, columns)}
      onLayout={(layout) => {
        onCols(formatLayout(layout, columns));
      }}
      density="normal"
      rows={rows}
      rowId={info.id}
      sort={sort.by}
      order={sort.order}
      onSort={(by, order) => {
        onSort({ by, order });
      }}
      selected={null}
      stale={list.isPlaceholderData}
      hasMore={list.hasNextPage}
      loadingMore={list.isFetchingNextPage}
      onMore={() => {
        void list.fetchNextPage();
      }}
      onSelect={(row) => {
        go(info.href(row, links));
      }}
      onOpen={(row) => {
        go(info.href(row, links));
      }}
      totals={totals}
      footer={
        <>
          <span className="num">{plural(rows.length, info.noun)} shown</span>
          <SqlLink sql={first?.sql} of={`the ${info.title.toLowerCase()}`} />
        </>
      }
    />
  );
}
