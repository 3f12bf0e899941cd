/** What came of the query: rows, chart or plan, what they cost, and how to take them away. */
import { useQuery } from '@tanstack/react-query';
import { DropdownMenu } from 'radix-ui';
import { useEffect, useRef, useState, type ReactNode } from 'react';

import { ApiError } from '../../api/client';
import type { SqlResult } from '../../api/types';
import { Button } from '../../components/Button';
import { Icon } from '../../components/Icon';
import '../../components/menu.css';
import { EmptyState, ErrorNotice, Prose } from '../../components/Notice';
import { formatBytes, formatCountExact, plural } from '../../lib/format';
import { useNow } from '../../lib/hooks';
import type { OpenCell, SortBy, View } from './address';
import type { ChartSpec } from './chart';
import { ChartPane } from './ChartPane';
import { ExplainPane } from './ExplainPane';
import type { Mark } from './problems';
import { downloadSql, FORMATS, GRID_ROWS_MAX, runningQuery, type Format } from './queries';
import { ResultGrid } from './ResultGrid';
import type { Asked, Outcome } from './runs';

type Props = {
  outcome: Outcome;
  view: View;
  chart: ChartSpec | null;
  sort: SortBy | null;
  cell: OpenCell | null;
  /** The place of the error in the editor, if it has one there. */
  mark: Mark | null;
  onView: (view: View) => void;
  onChart: (chart: ChartSpec) => void;
  onSort: (sort: SortBy | null) => void;
  onCell: (cell: OpenCell | null) => void;
  onFix: (mark: Mark) => void;
};

export function ResultPane(props: Props) {
  const { outcome } = props;
  switch (outcome.kind) {
    case 'idle':
      return (
        <EmptyState title="No result yet">
          <p>
            <kbd>Ctrl</kbd> <kbd>Enter</kbd> runs the statement at the cursor, or what is selected.
          </p>
        </EmptyState>
      );
    case 'cancelled':
      return (
        <EmptyState title="Cancelled">
          <p>The server has stopped working on it.</p>
        </EmptyState>
      );
    case 'planned':
      return (
        <section className="sql-page__result" aria-label="Result">
          <div className="sql-page__bar">
            <Views view="plan" onView={props.onView} />
            <span className="faint">not run</span>
          </div>
          <ExplainPane asked={outcome.asked} measured={false} onView={props.onView} />
        </section>
      );
    case 'running':
      return <Running since={outcome.since} queryId={outcome.queryId} />;
    case 'failed':
      return <Failed error={outcome.error} mark={props.mark} onFix={props.onFix} />;
    case 'done':
      return <Done {...props} asked={outcome.asked} result={outcome.result} />;
  }
}

function Running({ since, queryId }: { since: number; queryId: string }) {
  const now = useNow(200);
  const { data } = useQuery(runningQuery(700));
  const mine = data?.find((query) => query.query_id === queryId);
  const seconds = (now - since) / 1000;
  return (
    <div className="sql-page__running">
      <span className="sql-page__progress" aria-hidden="true" />
      <span role="status">Running …</span>{' '}
      {seconds > 0.5 && (
        <span className="num faint">
          {seconds.toFixed(1)} s
          {mine &&
            ` · ${formatCountExact(mine.rows)} rows · ${formatBytes(mine.bytes_scanned)} read · ${formatBytes(mine.memory_bytes)} memory`}
        </span>
      )}
    </div>
  );
}

function Failed({ error, mark, onFix }: { error: unknown; mark: Mark | null; onFix: (mark: Mark) => void }) {
  const known = error instanceof ApiError ? error : null;
  const fix = mark?.fix ?? null;
  return (
    <div className="sql-page__failed">
      <ErrorNotice
        title={known?.position ? `The query is not valid, line ${known.position.line}` : 'The query failed'}
        error={error}
      >
        {known?.expected != null && !known.message.includes(known.expected) && (
          <p>
            expected <Prose text={known.expected} />
          </p>
        )}
        {mark && fix !== null && (
          <p className="sql-page__fix">
            <Button
              onClick={() => {
                onFix(mark);
              }}
            >
              Write {fix} and run
            </Button>
          </p>
        )}
      </ErrorNotice>
    </div>
  );
}

function Done({
  asked,
  result,
  view,
  chart,
  sort,
  cell,
  onView,
  onChart,
  onSort,
  onCell,
}: Props & { asked: Asked; result: SqlResult }) {
  const bar = (extra: ReactNode) => <Bar asked={asked} result={result} view={view} onView={onView} extra={extra} />;
  return (
    <section className="sql-page__result" aria-label="Result">
      {view === 'explain' || view === 'plan' ? (
        <>
          {bar(null)}
          <ExplainPane asked={asked} measured={view === 'explain'} onView={onView} />
        </>
      ) : view === 'chart' ? (
        <>
          {bar(null)}
          <ChartPane result={result} spec={chart} onChange={onChart} />
        </>
      ) : result.rows.length === 0 ? (
        <>
          {bar(null)}
          <EmptyState title="No rows">
            <p>The query is valid; nothing fits its conditions.</p>
          </EmptyState>
        </>
      ) : (
        <ResultGrid
          // Widths, cursor and selection belong to one result.
          key={resultKey(result)}
          result={result}
          sort={sort}
          onSort={onSort}
          open={cell}
          onOpen={onCell}
          bar={bar}
        />
      )}
    </section>
  );
}

const keys = new WeakMap<SqlResult, string>();
let keyCount = 0;

function resultKey(result: SqlResult): string {
  const known = keys.get(result);
  if (known !== undefined) return known;
  keyCount += 1;
  const key = String(keyCount);
  keys.set(result, key);
  return key;
}

type BarProps = { asked: Asked; result: SqlResult; view: View; onView: (view: View) => void; extra: ReactNode };

const VIEW_TITLES: readonly { view: View; title: string }[] = [
  { view: 'table', title: 'Table' },
  { view: 'chart', title: 'Chart' },
  { view: 'explain', title: 'Explain' },
];

function Views({ view, onView }: { view: View; onView: (view: View) => void }) {
  const shown = view === 'plan' ? 'explain' : view;
  return (
    <div className="segments" role="group" aria-label="Show as">
      {VIEW_TITLES.map((each) => (
        <button
          key={each.view}
          type="button"
          className="segments__choice"
          aria-pressed={shown === each.view}
          onClick={() => {
            // Both forms of the explanation stand behind one word; it keeps the one that is shown.
            if (shown !== each.view) onView(each.view);
          }}
        >
          {each.title}
        </button>
      ))}
    </div>
  );
}

function Bar({ asked, result, view, onView, extra }: BarProps) {
  const { stats } = result;
  const download = useDownload();
  return (
    <>
      <div className="sql-page__bar">
        <Views view={view} onView={onView} />
        <span className="num sql-page__stats" role="status">
          {plural(result.rows.length, 'row')} in {formatCountExact(Math.round(stats.elapsed_ms))} ms
          <span className="faint"> · {formatBytes(stats.bytes_scanned)} read</span>
        </span>
        {stats.truncated && (
          <span className="sql-page__cut">
            <Icon name="warning" size={14} /> cut: there are more than {formatCountExact(GRID_ROWS_MAX)} rows; a download has all
          </span>
        )}
        <span className="sql-page__space" />
        {extra}
        {download.state.kind === 'running' ? (
          <Button icon="stop" onClick={download.cancel}>
            {formatBytes(download.state.bytes)} of {download.state.format.title}
          </Button>
        ) : (
          <DropdownMenu.Root>
            <DropdownMenu.Trigger className="button button--plain">
              <Icon name="download" size={14} />
              Download
            </DropdownMenu.Trigger>
            <DropdownMenu.Portal>
              <DropdownMenu.Content className="menu" align="end" sideOffset={5}>
                {FORMATS.map((format) => (
                  <DropdownMenu.Item
                    key={format.title}
                    className="menu__item"
                    onSelect={() => {
                      download.start(asked, format);
                    }}
                  >
                    {format.title}
                  </DropdownMenu.Item>
                ))}
              </DropdownMenu.Content>
            </DropdownMenu.Portal>
          </DropdownMenu.Root>
        )}
      </div>
      {download.state.kind === 'failed' && <ErrorNotice title="The download failed" error={download.state.error} />}
    </>
  );
}

type Download =
  | { readonly kind: 'idle' }
  | { readonly kind: 'running'; readonly format: Format; readonly bytes: number }
  | { readonly kind: 'failed'; readonly error: unknown };

function useDownload() {
  const [state, setState] = useState<Download>({ kind: 'idle' });
  const controller = useRef<AbortController | null>(null);
  useEffect(
    () => () => {
      controller.current?.abort();
    },
    [],
  );
  const start = (asked: Asked, format: Format) => {
    const current = new AbortController();
    controller.current = current;
    setState({ kind: 'running', format, bytes: 0 });
    const heard = (bytes: number) => {
      setState({ kind: 'running', format, bytes });
    };
    downloadSql(asked.query, asked.params, format, heard, current.signal).then(
      () => {
        setState({ kind: 'idle' });
      },
      (error: unknown) => {
        setState(current.signal.aborted ? { kind: 'idle' } : { kind: 'failed', error });
      },
    );
  };
  return { state, start, cancel: () => controller.current?.abort() };
}
