/** Every list: range, filter, strips, facets, table, and a place beside it for a peek at one row. What differs stands in `kinds.tsx`. */
import { useInfiniteQuery, useQuery, useQueryClient } from '@tanstack/react-query';
import { useCallback, useMemo, useRef, type ReactNode } from 'react';

import type { Status } from '../../api/types';
import { Button } from '../../components/Button';
import { ListTable } from '../../components/list-table/ListTable';
import { Icon } from '../../components/Icon';
import { EmptyState, ErrorNotice, Skeleton } from '../../components/Notice';
import { SplitPane } from '../../components/SplitPane';
import { SqlLink } from '../../components/SqlLink';
import { TimeRangePicker } from '../../components/TimeRangePicker';
import { clock, useClock } from '../../lib/clock';
import { formatLayout, parseLayout } from '../../lib/columns';
import { useCommands } from '../../components/command/commands';
import { formatCountExact, plural } from '../../lib/format';
import { isNumber, useMediaQuery, useNow, useReach, useShortcut, useStored } from '../../lib/hooks';
import { ALL_TIME, absoluteRange, describeRange, fixedRange } from '../../lib/time';
import { Facets } from './Facets';
import { FilterBox } from './FilterBox';
import { useFirstRows } from './first';
import type { KindInfo, Links } from './kinds';
import './list-page.css';
import { describeNews, useFresh } from './live';
import { Onboarding } from './Onboarding';
import { listQuery, stripQuery, type ListPage as Page } from './queries';
import { largest, type Row } from './row';
import type { ListState } from './state';
import { Strips } from './Strips';
import { useTotals } from './totals';
import type { SavedView } from './saved';
import { ViewMenu } from './ViewMenu';
import { ViewsMenu } from './ViewsMenu';

/** Of a narrow screen the list keeps the larger part. */
const PEEK_WIDTH = Math.min(620, Math.round(window.innerWidth * 0.46));

export type Step = { previous: (() => void) | null; next: (() => void) | null };

type Props = {
  info: KindInfo;
  state: ListState;
  status: Status | undefined;
  links: Links;
  viewHref: (view: SavedView) => string;
  onChange: (change: Partial<ListState>) => void;
  /** Goes to an address of `links`. */
  onGo: (href: string) => void;
  /** Draws one row beside the list; what `ListState.peek` says. */
  peek: (peeked: string, step: Step) => ReactNode;
};

export function ListPage({ info, state, status, links, viewHref, onChange, onGo, peek }: Props) {
  const client = useQueryClient();
  const question = { ...state, sort: state.sort ?? info.sort };
  const list = useInfiniteQuery(listQuery(info.kind, question));
  const strip = useQuery(stripQuery(state, state.live));
  const wide = useMediaQuery('(min-width: 1100px)');
  const roomy = useMediaQuery('(min-width: 900px)');
  const [peekWidth, setPeekWidth] = useStored('assay.peek-width', PEEK_WIDTH, isNumber);
  const rows = useMemo(() => distinct(list.data?.pages ?? [], info), [list.data, info]);
  const first = list.data?.pages[0];
  const fresh = useFresh(
    info,
    question,
    rows,
    list.isPlaceholderData ? undefined : first,
    status?.last_received_at ?? null,
    state.live,
  );
  const news = describeNews(fresh, info.noun);
  const { columns, layout } = useColumns(info, state, links, rows);
  const totals = useTotals(info, state, columns, first, fresh.totals);
  const { fetchNextPage } = list;
  const more = useCallback(() => {
    void fetchNextPage();
  }, [fetchNextPage]);
  const showFresh = () => {
    fresh.reset();
    // What is new stands on top only where the newest come first; a list by size or cost keeps its order.
    if (info.sort === info.news.sort) onChange({ sort: null, order: info.order });
    for (const key of ['list', 'strip', 'facets', 'totals']) void client.resetQueries({ queryKey: [key] });
  };
  const select = (row: Row) => {
    const href = info.href(row, links);
    const peeked = info.peek(row);
    if (roomy && peeked !== null) onChange({ peek: peeked, peeking: withoutPlace(state.peeking) });
    else if (href !== null) onGo(href);
  };
  useShortcut((event) => {
    if (event.key === 'Escape' && state.peek !== null) onChange({ peek: null });
    else if (event.key === '.' && news !== '') showFresh();
  });
  const tableFrame = useRef<HTMLDivElement>(null);
  useReach(() => tableFrame.current?.querySelector<HTMLElement>('[role=grid]'));
  useListCommands(state, onChange);
  const waiting = useFirstRows(status, list.isSuccess && rows.length === 0);

  if (status && waiting && rows.length === 0 && (status.spans === 0 || state.q === '')) {
    return (
      <div className="list__first">
        <Onboarding demo={status.demo} />
      </div>
    );
  }

  const peekedAt = state.peek === null ? -1 : rows.findIndex((row) => info.peek(row) === state.peek);
  const to = (index: number) => {
    const row = peekedAt < 0 ? undefined : rows[index];
    return row
      ? () => {
          onChange({ peek: info.peek(row), peeking: withoutPlace(state.peeking) });
        }
      : null;
  };
  const table = (
    <ListTable
      label={info.title}
      columns={columns}
      layout={layout}
      onLayout={(next) => {
        onChange({ cols: formatLayout(next, columns) });
      }}
      density={state.density}
      rows={rows}
      rowId={info.id}
      sort={question.sort}
      order={state.order}
      selected={peekedAt < 0 ? null : info.id(rows[peekedAt] ?? {})}
      stale={list.isPlaceholderData}
      hasMore={list.hasNextPage}
      loadingMore={list.isFetchingNextPage}
      onSort={(sort, order) => {
        onChange({ sort: sort === info.sort ? null : sort, order });
      }}
      onMore={more}
      onSelect={select}
      onOpen={(row) => {
        const href = info.href(row, links);
        if (href !== null) onGo(href);
      }}
      totals={totals}
      footer={
        <Footer
          loaded={rows.length}
          more={list.hasNextPage}
          failed={list.isFetchNextPageError}
          reading={list.isPlaceholderData}
          page={first}
          info={info}
        />
      }
    />
  );
  const body = list.isPending ? (
    <Skeleton lines={14} label={`loading ${info.title.toLowerCase()}`} />
  ) : list.isError && rows.length === 0 ? (
    <div className="list__problem">
      <ErrorNotice title={`The ${info.title.toLowerCase()} could not be read`} error={list.error} onRetry={list.refetch} />
    </div>
  ) : rows.length === 0 ? (
    <NothingFound info={info} state={state} onChange={onChange} />
  ) : (
    table
  );

  return (
    <div className="list">
      <h1 className="visually-hidden">{info.title}</h1>
      <div className="list__bar">
        <TimeRangePicker range={state} onChange={onChange} />
        <FilterBox
          scope={state}
          onApply={(q, range) => {
            onChange({
              q,
              ...(range?.from ? { from: range.from, to: range.to ?? 'now' } : {}),
              ...(range?.to && !range.from ? { from: ALL_TIME.from, to: range.to } : {}),
            });
          }}
        />
        <Button
          icon="live"
          aria-pressed={state.live}
          title="Announce what arrives; the table stays as it is"
          onClick={() => {
            onChange({ live: !state.live, to: 'now' });
          }}
        >
          Live
        </Button>
        <ViewMenu
          columns={columns}
          layout={layout}
          onLayout={(next) => {
            onChange({ cols: formatLayout(next, columns) });
          }}
          density={state.density}
          onDensity={(density) => {
            onChange({ density });
          }}
        />
        <ViewsMenu
          info={info}
          state={state}
          hrefOf={viewHref}
          onGo={onGo}
          onSaved={(view) => {
            onChange({ view });
          }}
        />
      </div>
      <Strips
        strip={strip.data}
        failed={strip.isError}
        onNarrow={(from, to) => {
          onChange(absoluteRange(from, to));
        }}
      />
      <div className="list__body">
        {wide && (
          <Facets
            scope={state}
            onApply={(q) => {
              onChange({ q });
            }}
          />
        )}
        <div className="list__table" ref={tableFrame}>
          <div role="status" className="list__announce">
            {news !== '' && (
              <button type="button" className="list__fresh" onClick={showFresh} title="Show them (.)">
                <Icon name="arrow-up" size={12} />
                {news}
              </button>
            )}
          </div>
          <SplitPane
            direction="row"
            size={peekWidth}
            min={360}
            max={1400}
            label="Width of the peek panel"
            onResize={setPeekWidth}
            first={body}
            second={
              state.peek !== null && roomy ? peek(state.peek, { previous: to(peekedAt - 1), next: to(peekedAt + 1) }) : null
            }
          />
        </div>
      </div>
    </div>
  );
}

/** What stays when another row is shown: the view and the tab, but no place within the row before. */
function withoutPlace(peeking: ListState['peeking']): ListState['peeking'] {
  return Object.fromEntries(Object.entries(peeking).filter(([key]) => key === 'view' || key === 'tab'));
}

/** The columns of the kind with what they need to draw a row, and how the address wants them. */
function useColumns(info: KindInfo, state: ListState, links: Links, rows: readonly Row[]) {
  const now = useNow(30_000);
  useClock();
  const columns = useMemo(() => {
    const known = new Map<string, number>();
    const max = (key: string) => {
      const value = known.get(key) ?? largest(rows, key);
      known.set(key, value);
      return value;
    };
    return info.columns({ now, links, max });
    // A row is drawn again only when a column is another object: that is wanted when the zone changes.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [info, links, now, rows, clock()]);
  const layout = useMemo(() => parseLayout(state.cols ?? undefined, columns), [state.cols, columns]);
  return { columns, layout };
}

/** The same row can stand on two pages when rows came in between. */
function distinct(pages: readonly Page[], info: KindInfo): readonly Row[] {
  const seen = new Set<string>();
  return pages
    .flatMap((page) => page.rows)
    .filter((row) => {
      const id = info.id(row);
      return !seen.has(id) && seen.add(id);
    });
}

function useListCommands(state: ListState, onChange: Props['onChange']): void {
  useCommands(
    useMemo(
      () => [
        {
          id: 'live',
          title: state.live ? 'Stop live mode' : 'Start live mode',
          icon: 'live' as const,
          run: () => {
            onChange({ live: !state.live, to: 'now' });
          },
        },
        ...(state.q === ''
          ? []
          : [
              {
                id: 'clear-filter',
                title: 'Clear the filter',
                icon: 'close' as const,
                run: () => {
                  onChange({ q: '' });
                },
              },
            ]),
        {
          id: 'only-errors',
          title: 'Only what failed (status:error)',
          icon: 'error' as const,
          run: () => {
            onChange({ q: state.q.includes('status:error') ? state.q : `${state.q} status:error`.trim() });
          },
        },
        {
          id: 'density',
          title: state.density === 'compact' ? 'Rows of normal height' : 'Compact rows',
          icon: 'table' as const,
          run: () => {
            onChange({ density: state.density === 'compact' ? 'normal' : 'compact' });
          },
        },
        {
          id: 'fix-time',
          title: 'Fix the time range to these moments',
          icon: 'clock' as const,
          words: 'absolute link permalink',
          run: () => {
            onChange(fixedRange(state, Date.now()));
          },
        },
      ],
      [state, onChange],
    ),
  );
}

type FooterProps = { loaded: number; more: boolean; failed: boolean; reading: boolean; page: Page | undefined; info: KindInfo };

function Footer({ loaded, more, failed, reading, page, info }: FooterProps) {
  return (
    <>
      <span className="num">
        {reading ? 'reading …' : more ? `${formatCountExact(loaded)} loaded` : `${plural(loaded, info.noun)}, all loaded`}
      </span>
      {failed && <span className="list__failed">The next rows could not be read.</span>}
      {page && !reading && <span className="faint num">{Math.round(page.elapsed_ms)} ms</span>}
      <span className="list__sql">
        <SqlLink sql={page?.sql} of={`the ${info.title.toLowerCase()}`} />
      </span>
    </>
  );
}

function NothingFound({ info, state, onChange }: Pick<Props, 'info' | 'state' | 'onChange'>) {
  return (
    <EmptyState title={state.q === '' ? `No ${info.title.toLowerCase()} in this range` : `No ${info.noun} matches`}>
      <p>
        {describeRange(state)}
        {state.q !== '' && (
          <>
            {' '}
            with <code>{state.q}</code>
          </>
        )}
      </p>
      <div className="list__ways">
        {state.q !== '' && (
          <Button
            onClick={() => {
              onChange({ q: '' });
            }}
          >
            Remove the filter
          </Button>
        )}
        {state.from !== ALL_TIME.from && (
          <Button
            onClick={() => {
              onChange(ALL_TIME);
            }}
          >
            Look through all time
          </Button>
        )}
      </div>
    </EmptyState>
  );
}
