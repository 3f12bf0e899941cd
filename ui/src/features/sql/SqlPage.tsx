/** The SQL page: schema, editor, result. The query that ran stands in the address. */
import { useQuery } from '@tanstack/react-query';
import { DropdownMenu } from 'radix-ui';
import { lazy, Suspense, useCallback, useEffect, useRef, useState } from 'react';

import { ApiError } from '../../api/client';
import type { SqlResult } from '../../api/types';
import { Button } from '../../components/Button';
import { CopyButton } from '../../components/CopyButton';
import { Icon } from '../../components/Icon';
import '../../components/menu.css';
import { EmptyState, ErrorNotice, Skeleton } from '../../components/Notice';
import { SplitPane } from '../../components/SplitPane';
import { formatAgo, formatBytes, formatCountExact, plural } from '../../lib/format';
import { isNumber, useMediaQuery, useNow, useStored } from '../../lib/hooks';
import { asTsv } from './cells';
import { isHistory, remembered, type HistoryEntry } from './history';
import { downloadSql, FORMATS, GRID_ROWS_MAX, runSql, schemaQuery } from './queries';
import { ResultGrid } from './ResultGrid';
import { SchemaBrowser } from './SchemaBrowser';
import './sql-page.css';

const Editor = lazy(() => import('./Editor'));

type Outcome =
  | { kind: 'idle' }
  | { kind: 'running'; since: number }
  | { kind: 'done'; query: string; result: SqlResult }
  | { kind: 'failed'; query: string; error: unknown }
  | { kind: 'cancelled' };

const FIRST_QUERY = `SELECT request_model, count(*) AS calls, sum(input_tokens) AS input_tokens,
       sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd
FROM llm_calls
GROUP BY request_model
ORDER BY calls DESC`;

const NO_HISTORY: HistoryEntry[] = [];

type Props = { query: string | null; onRan: (query: string) => void };

export function SqlPage({ query, onRan }: Props) {
  const schema = useQuery(schemaQuery());
  const [text, setText] = useState(query ?? FIRST_QUERY);
  const [outcome, setOutcome] = useState<Outcome>({ kind: 'idle' });
  const [history, setHistory] = useStored<HistoryEntry[]>('assay.sql-history', NO_HISTORY, isHistory);
  const [resultHeight, setResultHeight] = useStored('assay.sql-result-height', 460, isNumber);
  const wide = useMediaQuery('(min-width: 900px)');
  const running = useRef<AbortController | null>(null);
  const shownFor = useRef<string | null>(null);

  const run = useCallback(
    async (sql: string) => {
      if (sql.trim() === '') return;
      running.current?.abort();
      const controller = new AbortController();
      running.current = controller;
      shownFor.current = sql;
      setOutcome({ kind: 'running', since: Date.now() });
      onRan(sql);
      try {
        const result = await runSql(sql, controller.signal);
        if (running.current === controller) setOutcome({ kind: 'done', query: sql, result });
      } catch (error) {
        if (running.current !== controller) return;
        setOutcome(controller.signal.aborted ? { kind: 'cancelled' } : { kind: 'failed', query: sql, error });
      }
    },
    [onRan],
  );

  const runAndRemember = () => {
    setHistory(remembered(history, text, Date.now()));
    void run(text);
  };

  // A query that arrives by the address (a link, Back) is shown and run: it can only read.
  useEffect(() => {
    if (query === null || query === shownFor.current) return;
    setText(query);
    void run(query);
  }, [query, run]);
  useEffect(
    () => () => {
      running.current?.abort();
    },
    [],
  );

  const problem =
    outcome.kind === 'failed' && outcome.query === text && outcome.error instanceof ApiError && outcome.error.position
      ? { message: outcome.error.message, ...outcome.error.position }
      : null;

  return (
    <div className="sql-page">
      <h1 className="visually-hidden">SQL</h1>
      {wide && schema.data && (
        <SchemaBrowser
          schema={schema.data}
          onInsert={(name) => {
            setText((current) => (current === '' || /\s$/.test(current) ? current + name : `${current} ${name}`));
          }}
        />
      )}
      <SplitPane
        direction="column"
        size={resultHeight}
        min={120}
        max={1600}
        label="Height of the result"
        onResize={setResultHeight}
        first={
          <section className="sql-page__query" aria-label="Query">
            <div className="sql-page__bar">
              {outcome.kind === 'running' ? (
                <Button
                  icon="stop"
                  onClick={() => {
                    running.current?.abort();
                  }}
                >
                  Cancel
                </Button>
              ) : (
                <Button look="primary" icon="play" onClick={runAndRemember}>
                  Run
                </Button>
              )}
              <span className="faint sql-page__keys">{navigator.platform.startsWith('Mac') ? '⌘' : 'Ctrl'} Enter</span>
              <span className="sql-page__space" />
              <History history={history} onPick={setText} />
              <CopyButton text={text} label="Copy the query" />
            </div>
            <Suspense fallback={<Skeleton lines={5} label="loading the editor" />}>
              <Editor text={text} schema={schema.data} problem={problem} onChange={setText} onRun={runAndRemember} />
            </Suspense>
          </section>
        }
        second={<ResultView outcome={outcome} />}
      />
    </div>
  );
}

function ResultView({ outcome }: { outcome: Outcome }) {
  const now = useNow(500);
  switch (outcome.kind) {
    case 'idle':
      return (
        <EmptyState title="No result yet">
          <p>The same rows as everywhere: spans, logs, cost lines, and the views made of them.</p>
        </EmptyState>
      );
    case 'cancelled':
      return <EmptyState title="Cancelled" />;
    case 'running':
      return (
        <div className="sql-page__running" role="status">
          Running{now - outcome.since > 1_000 ? `, ${Math.round((now - outcome.since) / 1000)} s` : ' …'}
        </div>
      );
    case 'failed': {
      const { error } = outcome;
      return (
        <div className="sql-page__failed">
          <ErrorNotice
            title={
              error instanceof ApiError && error.position
                ? `The query is not valid, line ${error.position.line}`
                : 'The query failed'
            }
            error={error}
          >
            {error instanceof ApiError && (error.found !== null || error.expected !== null) && (
              <p className="code">
                {error.found !== null && <>found {error.found}</>} {error.expected !== null && <>expected {error.expected}</>}
              </p>
            )}
          </ErrorNotice>
        </div>
      );
    }
    case 'done':
      return <Result query={outcome.query} result={outcome.result} />;
  }
}

function Result({ query, result }: { query: string; result: SqlResult }) {
  const [failed, setFailed] = useState<unknown>(null);
  const { stats } = result;
  return (
    <section className="sql-page__result" aria-label="Result">
      <div className="sql-page__bar">
        <span className="num" role="status">
          {plural(result.rows.length, 'row')} in {formatCountExact(Math.round(stats.elapsed_ms))} ms
          {typeof stats.bytes_scanned === 'number' && <span className="faint"> · {formatBytes(stats.bytes_scanned)} read</span>}
        </span>
        {stats.truncated && (
          <span className="sql-page__cut">
            <Icon name="warning" size={14} /> cut at {formatCountExact(GRID_ROWS_MAX)} rows; a download has all the server allows
          </span>
        )}
        <span className="sql-page__space" />
        <CopyButton text={() => asTsv(result.columns, result.rows)} label="Copy all rows" />
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
                    setFailed(null);
                    downloadSql(query, format).catch(setFailed);
                  }}
                >
                  {format.title}
                </DropdownMenu.Item>
              ))}
            </DropdownMenu.Content>
          </DropdownMenu.Portal>
        </DropdownMenu.Root>
      </div>
      {failed !== null && <ErrorNotice title="The download failed" error={failed} />}
      {result.rows.length === 0 ? (
        <EmptyState title="No rows" />
      ) : (
        <ResultGrid key={query + result.columns.length} result={result} />
      )}
    </section>
  );
}

function History({ history, onPick }: { history: readonly HistoryEntry[]; onPick: (query: string) => void }) {
  const now = useNow(30_000);
  return (
    <DropdownMenu.Root>
      <DropdownMenu.Trigger className="button button--quiet" disabled={history.length === 0}>
        <Icon name="history" size={14} />
        History
      </DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content className="menu sql-page__history" align="end" sideOffset={5} collisionPadding={8}>
          {history.map((entry) => (
            <DropdownMenu.Item
              key={entry.query}
              className="menu__item"
              onSelect={() => {
                onPick(entry.query);
              }}
            >
              <span className="code truncate">{entry.query.replace(/\s+/g, ' ')}</span>
              <span className="faint sql-page__when">{formatAgo(entry.at, now)}</span>
            </DropdownMenu.Item>
          ))}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}
