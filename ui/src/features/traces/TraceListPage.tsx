/** The trace list: range, filter, strips, facets, table, and a place beside it for a peek at one trace. */
import { useInfiniteQuery, useQuery, useQueryClient } from '@tanstack/react-query';
import { useCallback, useMemo, type ReactNode } from 'react';

import type { Status } from '../../api/types';
import { Button, LinkButton } from '../../components/Button';
import { Icon } from '../../components/Icon';
import { EmptyState, ErrorNotice, Skeleton } from '../../components/Notice';
import { SplitPane } from '../../components/SplitPane';
import { addMoney, formatCountExact, formatMoney, parseMoney, plural, type Femto } from '../../lib/format';
import { isNumber, useMediaQuery, useShortcut, useStored } from '../../lib/hooks';
import { ALL_TIME, absoluteRange, describeRange } from '../../lib/time';
import { Facets } from './Facets';
import { FilterBox } from './FilterBox';
import { Onboarding } from './Onboarding';
import { newestQuery, stripQuery, tracesQuery } from './queries';
import type { ListState } from './state';
import { Strips } from './Strips';
import { TimeRangePicker } from './TimeRangePicker';
import './trace-list.css';
import { TraceTable } from './TraceTable';

type Props = {
  state: ListState;
  status: Status | undefined;
  onChange: (change: Partial<ListState>) => void;
  onOpen: (traceId: string) => void;
  traceLink: (traceId: string, name: string) => ReactNode;
  sqlHref: (sql: string) => string;
  /** Draws one trace beside the list. */
  peek: (traceId: string, step: { previous: (() => void) | null; next: (() => void) | null }) => ReactNode;
};

export function TraceListPage({ state, status, onChange, onOpen, traceLink, sqlHref, peek }: Props) {
  const client = useQueryClient();
  const list = useInfiniteQuery(tracesQuery(state));
  const strip = useQuery(stripQuery(state, state.live));
  const newest = useQuery(newestQuery(state, state.live));
  const wide = useMediaQuery('(min-width: 1100px)');
  const roomy = useMediaQuery('(min-width: 900px)');
  const [peekWidth, setPeekWidth] = useStored('assay.peek-width', 620, isNumber);
  const traces = useMemo(() => {
    const seen = new Set<string>();
    return (list.data?.pages ?? [])
      .flatMap((page) => page.traces)
      .filter((trace) => !seen.has(trace.trace_id) && seen.add(trace.trace_id));
  }, [list.data]);
  const fresh = useMemo(() => countNew(traces, newest.data?.traces ?? []), [traces, newest.data]);
  const { fetchNextPage } = list;
  const more = useCallback(() => {
    void fetchNextPage();
  }, [fetchNextPage]);
  const showFresh = () => {
    onChange({ sort: 'start_time', order: 'desc' });
    void client.resetQueries({ queryKey: ['traces'] });
    void client.invalidateQueries({ queryKey: ['strip'] });
    void client.invalidateQueries({ queryKey: ['facets'] });
  };
  useShortcut((event) => {
    if (event.key === 'Escape' && state.peek !== null) onChange({ peek: null });
  });

  if (status && status.spans === 0 && traces.length === 0) {
    return (
      <div className="trace-list__first">
        <Onboarding demo={status.demo} />
      </div>
    );
  }

  const sql = list.data?.pages[0]?.sql;
  const peeked = traces.findIndex((trace) => trace.trace_id === state.peek);
  const to = (index: number) => {
    const trace = peeked < 0 ? undefined : traces[index];
    return trace
      ? () => {
          onChange({ peek: trace.trace_id });
        }
      : null;
  };
  const step = { previous: to(peeked - 1), next: to(peeked + 1) };
  const table = (
    <TraceTable
      traces={traces}
      sort={state.sort}
      order={state.order}
      selected={state.peek}
      stale={list.isPlaceholderData}
      hasMore={list.hasNextPage}
      loadingMore={list.isFetchingNextPage}
      onSort={(sort, order) => {
        onChange({ sort, order });
      }}
      onMore={more}
      onSelect={(traceId) => {
        if (roomy) onChange({ peek: traceId });
        else onOpen(traceId);
      }}
      onOpen={onOpen}
      link={traceLink}
      footer={
        <Totals list={traces.length} more={list.hasNextPage} strip={strip.data} elapsedMs={list.data?.pages[0]?.elapsed_ms} />
      }
    />
  );
  const body = list.isPending ? (
    <Skeleton lines={14} label="loading traces" />
  ) : list.isError && traces.length === 0 ? (
    <div className="trace-list__problem">
      <ErrorNotice title="The traces could not be read" error={list.error}>
        <Button
          onClick={() => {
            void list.refetch();
          }}
        >
          Try again
        </Button>
      </ErrorNotice>
    </div>
  ) : traces.length === 0 ? (
    <NothingFound state={state} onChange={onChange} />
  ) : (
    table
  );

  return (
    <div className="trace-list">
      <h1 className="visually-hidden">Traces</h1>
      <div className="trace-list__bar">
        <TimeRangePicker range={state} onChange={onChange} />
        <FilterBox
          scope={state}
          onApply={(q) => {
            onChange({ q });
          }}
        />
        <Button
          icon="live"
          aria-pressed={state.live}
          onClick={() => {
            onChange({ live: !state.live });
          }}
        >
          Live
        </Button>
        {sql !== undefined && (
          <LinkButton icon="database" href={sqlHref(sql)} className="trace-list__sql">
            Show SQL
          </LinkButton>
        )}
      </div>
      <Strips
        strip={strip.data}
        onNarrow={(from, to) => {
          onChange(absoluteRange(from, to));
        }}
      />
      <div className="trace-list__body">
        {wide && (
          <Facets
            scope={state}
            onApply={(q) => {
              onChange({ q });
            }}
          />
        )}
        <div className="trace-list__table">
          {state.live && fresh > 0 && (
            <button type="button" className="trace-list__fresh" onClick={showFresh}>
              <Icon name="arrow-up" size={12} />
              {fresh >= 100 ? '100 or more' : formatCountExact(fresh)} new {fresh === 1 ? 'trace' : 'traces'}
            </button>
          )}
          <SplitPane
            direction="row"
            size={peekWidth}
            min={360}
            max={1400}
            label="Width of the peek panel"
            onResize={setPeekWidth}
            first={body}
            second={state.peek !== null && roomy ? peek(state.peek, step) : null}
          />
        </div>
      </div>
    </div>
  );
}

/** Rows of the newest page that the table does not show: what is not loaded and began after the newest loaded row. */
function countNew(
  shown: readonly { trace_id: string; start_time: string }[],
  newest: readonly { trace_id: string; start_time: string }[],
): number {
  const known = new Set(shown.map((trace) => trace.trace_id));
  const latest = shown.reduce((max, trace) => (trace.start_time > max ? trace.start_time : max), '');
  return newest.filter((trace) => !known.has(trace.trace_id) && trace.start_time > latest).length;
}

type TotalsProps = {
  list: number;
  more: boolean;
  strip: { buckets: { traces: number; errors: number; cost_usd?: string | null }[]; sql: string } | undefined;
  elapsedMs: number | undefined;
};

function Totals({ list, more, strip, elapsedMs }: TotalsProps) {
  const total = strip?.buckets.reduce((sum, bucket) => sum + bucket.traces, 0);
  const errors = strip?.buckets.reduce((sum, bucket) => sum + bucket.errors, 0);
  const cost = strip?.buckets.reduce<Femto | null>((sum, bucket) => addMoney(sum, parseMoney(bucket.cost_usd)), null) ?? null;
  return (
    <>
      <span className="num">{plural(more ? Math.max(total ?? 0, list) : list, 'trace')}</span>
      {errors !== undefined && errors > 0 && <span className="num">{formatCountExact(errors)} with errors</span>}
      {cost !== null && <span className="num money">{formatMoney(cost)}</span>}
      <span className="faint trace-list__loaded num">
        {more ? `${formatCountExact(list)} loaded` : 'all loaded'}
        {elapsedMs !== undefined && ` in ${Math.round(elapsedMs)} ms`}
      </span>
    </>
  );
}

function NothingFound({ state, onChange }: Pick<Props, 'state' | 'onChange'>) {
  return (
    <EmptyState title={state.q === '' ? 'No traces in this range' : 'No trace matches'}>
      <p>
        {describeRange(state)}
        {state.q !== '' && (
          <>
            {' '}
            with <code>{state.q}</code>
          </>
        )}
      </p>
      <div className="trace-list__ways">
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
