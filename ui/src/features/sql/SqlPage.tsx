/** The SQL workbench: library, open queries, editor, result. What was run and how it is looked at stands in the address. */
import { useQuery } from '@tanstack/react-query';
import { Dialog } from 'radix-ui';
import { lazy, Suspense, useEffect, useMemo, useRef, useState } from 'react';

import { ApiError } from '../../api/client';
import { Button, IconButton } from '../../components/Button';
import { useCommands } from '../../components/command/commands';
import { CopyButton } from '../../components/CopyButton';
import type { IconName } from '../../components/Icon';
import '../../components/labelled.css';
import { EmptyState, ErrorNotice, Skeleton } from '../../components/Notice';
import '../../components/segments.css';
import { SplitPane } from '../../components/SplitPane';
import { permalink } from '../../lib/clock';
import { isNumber, useMediaQuery, useStored } from '../../lib/hooks';
import { EMPTY_ADDRESS, paramsFor, type SqlAddress, type View } from './address';
import type { EditorHandle } from './Editor';
import { formatSql } from './format';
import { isHistory, remembered, type HistoryEntry } from './history';
import { HistoryList } from './HistoryList';
import { parameterNames, toRun } from './lex';
import { Library, type Shelf } from './Library';
import { ParamBar } from './ParamBar';
import { markOf, type Mark } from './problems';
import { columnValues, schemaQuery } from './queries';
import { ResultPane } from './ResultPane';
import { RunningQueries } from './RunningQueries';
import { useRuns } from './runs';
import { SaveButton } from './SaveButton';
import { savedQueriesQuery, type SavedQuery } from './saved';
import { SavedList } from './SavedList';
import { SchemaBrowser } from './SchemaBrowser';
import './sql-page.css';
import { activeTab, addressOf, arrive, change, close, FIRST_QUERY, isTabs, newTab, open, type Tab, type Tabs } from './tabs';
import { TabStrip } from './TabStrip';
import { useCheck } from './useCheck';

const Editor = lazy(() => import('./Editor'));

/** Of a tall screen the result takes the larger part. */
const RESULT_HEIGHT = Math.max(480, Math.round(window.innerHeight * 0.62));
const NO_HISTORY: HistoryEntry[] = [];
const FIRST_TABS: Tabs = { tabs: [newTab('1', FIRST_QUERY)], active: '1' };

type Props = {
  address: SqlAddress;
  /** `step`: a step to go back to, as after a run; else the present one is changed. */
  onAddress: (address: SqlAddress, step: boolean) => void;
  hrefOf: (address: SqlAddress) => string;
};

export function SqlPage({ address, onAddress, hrefOf }: Props) {
  const schema = useQuery(schemaQuery());
  const [tabs, setTabs] = useStored<Tabs>('assay.sql-tabs', FIRST_TABS, isTabs);
  const [history, setHistory] = useStored<HistoryEntry[]>('assay.sql-history', NO_HISTORY, isHistory);
  const [resultHeight, setResultHeight] = useStored('assay.sql-result-height', RESULT_HEIGHT, isNumber);
  const [said, setSaid] = useState('');
  const [drawer, setDrawer] = useState(false);
  const [saving, setSaving] = useState(false);
  const saved = useQuery(savedQueriesQuery());
  const wide = useMediaQuery('(min-width: 900px)');
  const editor = useRef<EditorHandle>(null);
  const { outcomeOf, run, plan, cancel, forget } = useRuns();
  const tab = activeTab(tabs);
  const outcome = outcomeOf(tab.id);
  const names = useMemo(() => parameterNames(tab.text), [tab.text]);
  const params = paramsFor(names, tab.params);

  /** Writes the values of the tab; what the address shows of it follows. */
  const set = (values: Partial<Omit<Tab, 'id'>>, step = false) => {
    const next = change(tabs, tab.id, values);
    setTabs(next);
    const shown = addressOf(activeTab(next));
    if (shown.query !== null && !same(shown, address)) onAddress(shown, step);
  };
  const go = (next: Tabs) => {
    setTabs(next);
    onAddress(addressOf(activeTab(next)), true);
  };

  /** `view`: how its answer is looked at; a plan needs no run. */
  const ask = (text: string, selection: { from: number; to: number }, view: View) => {
    const statement = toRun(text, selection);
    if (!statement) return;
    const bound = paramsFor(parameterNames(statement.text), tab.params);
    setHistory(remembered(history, statement.text, Date.now()));
    set({ text, ran: statement.text, params: bound.length > 0 ? params : tab.params, view, cell: null }, true);
    const asked = { query: statement.text, from: statement.from, params: bound };
    if (view === 'plan') plan(tab.id, asked);
    else void run(tab.id, asked);
  };
  const runText = (text: string, selection: { from: number; to: number }) => {
    ask(text, selection, tab.view === 'plan' ? 'table' : tab.view);
  };
  const selection = () => editor.current?.selection() ?? { from: 0, to: 0 };
  const runNow = () => {
    runText(tab.text, selection());
  };

  // A query that arrives by the address (a link, Back) is shown and run, unless only its plan is wanted: it can only read.
  const seen = useRef<string | null>(null);
  useEffect(() => {
    const { query } = address;
    if (query === null) return;
    const key = `${query}\n${JSON.stringify(address.params)}`;
    const mine = tab.ran === query && JSON.stringify(tab.params) === JSON.stringify(address.params);
    if (seen.current === key || (mine && outcome.kind !== 'idle')) {
      seen.current = key;
      return;
    }
    seen.current = key;
    const next = arrive(tabs, { ...address, query }, freshId(tabs));
    setTabs(next);
    const bound = paramsFor(parameterNames(query), address.params);
    const asked = { query, from: 0, params: bound };
    if (address.view === 'plan') plan(next.active, asked);
    else void run(next.active, asked);
  }, [address, outcome.kind, plan, run, setTabs, tab.params, tab.ran, tabs]);

  const mark = useMemo((): Mark | null => {
    if (outcome.kind !== 'failed' || !(outcome.error instanceof ApiError)) return null;
    const { query, from } = outcome.asked;
    // The text has changed since: the place no longer means anything.
    if (tab.text.slice(from, from + query.length) !== query) return null;
    return markOf(outcome.error, query, from);
  }, [outcome, tab.text]);
  const checked = useCheck(tab.text, params);
  const problems = useMemo(() => (mark ? [mark] : checked), [mark, checked]);

  const format = () => {
    formatSql(tab.text).then(
      (text) => {
        set({ text });
        setSaid('Formatted');
      },
      () => {
        setSaid('This text cannot be formatted: it does not read as SQL');
      },
    );
  };
  const openSaved = (item: SavedQuery) => {
    setDrawer(false);
    const mine = tabs.tabs.find((each) => each.saved === item.id);
    if (mine) {
      go({ ...tabs, active: mine.id });
      return;
    }
    const { query, params: defaults, chart, id, name } = item;
    const values = { name, params: defaults, chart, view: chart ? ('chart' as const) : ('table' as const), saved: id };
    const fresh = { ...newTab(freshId(tabs), query), ...values };
    setTabs(open(tabs, fresh));
    onAddress({ ...addressOf(fresh), query }, true);
  };
  // A link that names only a saved query.
  const wanted = address.query === null ? address.saved : null;
  useEffect(() => {
    const item = wanted === null ? undefined : saved.data?.find((each) => each.id === wanted);
    if (!item) return;
    const { query, params: defaults, chart } = item;
    onAddress({ query, params: defaults, chart, view: chart ? 'chart' : 'table', sort: null, cell: null, saved: item.id }, false);
  }, [wanted, saved.data, onAddress]);
  const openText = (text: string) => {
    setDrawer(false);
    if (tab.text.trim() === '') set({ text });
    else setTabs(open(tabs, newTab(freshId(tabs), text)));
  };

  const doing = useRef({ run: runNow, format });
  useEffect(() => {
    doing.current = { run: runNow, format };
  });
  useCommands(
    useMemo(() => {
      const of = (id: string, title: string, icon: IconName, keys: string | null, run: () => void) => ({
        id,
        title,
        icon,
        ...(keys === null ? {} : { keys }),
        run,
      });
      return [
        of('run', 'Run the query', 'play', 'Ctrl Enter', () => {
          doing.current.run();
        }),
        of('format', 'Format the query', 'bars', 'Shift Alt F', () => {
          doing.current.format();
        }),
        of('save', 'Save the query', 'bookmark', 'Ctrl S', () => {
          setSaving(true);
        }),
        of('edit', 'Go to the editor', 'database', null, () => {
          editor.current?.focus();
        }),
      ];
    }, []),
  );

  const shelves: Shelf[] = [
    {
      id: 'schema',
      title: 'Schema',
      content: schema.data ? (
        <SchemaBrowser
          schema={schema.data}
          onInsert={(name) => {
            setDrawer(false);
            editor.current?.insert(name);
          }}
        />
      ) : schema.isError ? (
        <ErrorNotice title="The schema could not be read" error={schema.error} />
      ) : (
        <Skeleton lines={12} label="loading the schema" />
      ),
    },
    {
      id: 'saved',
      title: 'Saved',
      content: <SavedList onOpen={openSaved} hrefOf={(id) => hrefOf({ ...EMPTY_ADDRESS, saved: id })} />,
    },
    {
      id: 'history',
      title: 'History',
      content: (
        <HistoryList
          history={history}
          onPick={openText}
          onClear={() => {
            setHistory([]);
          }}
        />
      ),
    },
  ];

  return (
    <div className="sql-page">
      <h1 className="visually-hidden">SQL</h1>
      {wide && <Library shelves={shelves} />}
      <div className="sql-page__work">
        <TabStrip
          tabs={tabs.tabs.map((each) => named(each, saved.data))}
          active={tab.id}
          outcomeOf={outcomeOf}
          onPick={(id) => {
            go({ ...tabs, active: id });
          }}
          onNew={() => {
            go(open(tabs, newTab(freshId(tabs), '')));
          }}
          onClose={(id) => {
            forget(id);
            go(close(tabs, id, newTab(freshId(tabs), '')));
          }}
          onRename={(id, name) => {
            setTabs(change(tabs, id, { name: name === '' ? null : name }));
          }}
        />
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
                      cancel(tab.id);
                    }}
                  >
                    Cancel
                  </Button>
                ) : (
                  <Button look="primary" icon="play" onClick={runNow}>
                    Run
                  </Button>
                )}
                <Button
                  look="quiet"
                  icon="tree"
                  title="How it would be answered: nothing is run"
                  onClick={() => {
                    ask(tab.text, selection(), 'plan');
                  }}
                >
                  Plan
                </Button>
                <span className="faint sql-page__keys">{navigator.platform.startsWith('Mac') ? '⌘' : 'Ctrl'} Enter</span>
                <span className="sql-page__space" />
                <span className="faint sql-page__said" role="status">
                  {said}
                </span>
                {!wide && <Drawer shelves={shelves} open={drawer} onOpen={setDrawer} />}
                <RunningQueries />
                <Button look="quiet" icon="bars" onClick={format} title="Shift Alt F">
                  Format
                </Button>
                <SaveButton
                  tab={{ ...tab, params }}
                  open={saving}
                  onOpen={setSaving}
                  onSaved={(id, name) => {
                    set({ saved: id, name });
                    setSaid(`Saved as ${name}`);
                  }}
                />
                <CopyButton
                  text={() => permalink(hrefOf({ ...addressOf({ ...tab, params }), query: tab.text }))}
                  label="Copy a link to this query"
                  icon="link"
                />
                <CopyButton text={tab.text} label="Copy the query" />
              </div>
              <ParamBar
                params={params}
                onChange={(next) => {
                  setTabs(change(tabs, tab.id, { params: next }));
                }}
                onRun={runNow}
              />
              <Suspense fallback={<Skeleton lines={5} label="loading the editor" />}>
                <Editor
                  ref={editor}
                  tab={tab.id}
                  text={tab.text}
                  schema={schema.data}
                  problems={problems}
                  valuesOf={columnValues}
                  onChange={(text) => {
                    setTabs(change(tabs, tab.id, { text }));
                    setSaid('');
                  }}
                  onRun={runNow}
                  onFormat={format}
                  onSave={() => {
                    if (tab.text.trim() !== '') setSaving(true);
                  }}
                />
              </Suspense>
            </section>
          }
          second={
            wanted !== null && saved.data && !saved.data.some((each) => each.id === wanted) ? (
              <EmptyState title="There is no such saved query">
                <p>It was deleted, or belongs to another project.</p>
              </EmptyState>
            ) : (
              <ResultPane
                outcome={outcome}
                view={tab.view}
                chart={tab.chart}
                sort={tab.sort}
                cell={tab.cell ?? null}
                mark={mark}
                onView={(view) => {
                  set({ view });
                  // Everything but the plan needs the rows.
                  if (outcome.kind === 'planned' && view !== 'plan') void run(tab.id, outcome.asked);
                }}
                onChart={(chart) => {
                  set({ chart, view: 'chart' });
                }}
                onSort={(sort) => {
                  set({ sort });
                }}
                onCell={(cell) => {
                  set({ cell });
                }}
                onFix={(wrong) => {
                  const text = tab.text.slice(0, wrong.from) + (wrong.fix ?? '') + tab.text.slice(wrong.to);
                  runText(text, { from: wrong.from, to: wrong.from });
                }}
              />
            )
          }
        />
      </div>
    </div>
  );
}

function Drawer({
  shelves,
  open: isOpen,
  onOpen,
}: {
  shelves: readonly Shelf[];
  open: boolean;
  onOpen: (open: boolean) => void;
}) {
  return (
    <Dialog.Root open={isOpen} onOpenChange={onOpen}>
      <Dialog.Trigger asChild>
        <IconButton icon="database" label="Schema, saved queries and history" />
      </Dialog.Trigger>
      <Dialog.Portal>
        <Dialog.Overlay className="library-drawer__shade" />
        <Dialog.Content className="library-drawer" aria-describedby={undefined}>
          <Dialog.Title className="visually-hidden">Schema, saved queries and history</Dialog.Title>
          <Library shelves={shelves} />
          <Dialog.Close asChild>
            <IconButton className="library-drawer__close" icon="close" label="Close" />
          </Dialog.Close>
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

/** A name for the next tab that none has. */
function freshId(tabs: Tabs): string {
  return String(1 + Math.max(0, ...tabs.tabs.map((tab) => Number(tab.id) || 0)));
}

/** A tab that began as a saved query is called so, unless it was given another name. */
function named(tab: Tab, saved: readonly SavedQuery[] | undefined): Tab {
  const name = tab.name ?? saved?.find((each) => each.id === tab.saved)?.name ?? null;
  return { ...tab, name };
}

function same(a: SqlAddress, b: SqlAddress): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
