/** Tree, timeline and span panel over one selection; used by the trace page and by the peek beside the list. */
import { useMemo, useRef, useState, type ReactNode } from 'react';

import type { Trace } from '../../api/types';
import { Button, IconButton } from '../../components/Button';
import { Icon } from '../../components/Icon';
import { WarningNotice } from '../../components/Notice';
import { SplitPane } from '../../components/SplitPane';
import { formatCountExact, plural } from '../../lib/format';
import { isNumber, useMediaQuery, useShortcut, useStored } from '../../lib/hooks';
import { SpanPanel } from './SpanPanel';
import { SpanTree } from './SpanTree';
import './trace-view.css';
import { buildTree, collapsible, revealed, searchSpans, type TraceTree } from './tree';

type View = 'both' | 'tree' | 'timeline';
const VIEWS: readonly { view: View; label: string; icon: 'columns' | 'tree' | 'bars' }[] = [
  { view: 'both', label: 'Both', icon: 'columns' },
  { view: 'tree', label: 'Tree', icon: 'tree' },
  { view: 'timeline', label: 'Timeline', icon: 'bars' },
];
const isView = (value: unknown): value is View => value === 'both' || value === 'tree' || value === 'timeline';

type Props = {
  trace: Trace;
  spanId: string | null;
  /** Stacked: the panel below the tree, as in the peek. */
  stacked: boolean;
  onSelect: (spanId: string) => void;
  sqlHref: (sql: string) => string;
};

export function TraceView({ trace, spanId, stacked, onSelect, sqlHref }: Props) {
  const tree = useMemo(() => buildTree(trace.spans), [trace.spans]);
  const traceId = trace.trace.trace_id;
  const [collapsed, setCollapsed] = useState<ReadonlySet<number>>(new Set());
  const [view, setView] = useStored<View>('assay.trace-view', 'both', isView);
  const [panelWidth, setPanelWidth] = useStored('assay.panel-width', 640, isNumber);
  const [panelHeight, setPanelHeight] = useStored('assay.panel-height', 420, isNumber);
  const narrow = useMediaQuery('(max-width: 900px)');
  const selected = (spanId === null ? undefined : tree.indexOf.get(spanId)) ?? 0;
  const [search, setSearch] = useState('');
  const hits = useMemo(() => searchSpans(tree, search), [tree, search]);
  const hitSet = useMemo(() => new Set(hits), [hits]);

  // Selecting a span inside a folded subtree (a link, a match) opens the way to it.
  const [revealedFor, setRevealedFor] = useState(selected);
  if (revealedFor !== selected) {
    setRevealedFor(selected);
    const open = revealed(tree, collapsed, selected);
    if (open !== collapsed) setCollapsed(open);
  }

  const span = tree.spans[selected];
  const select = (index: number) => {
    const next = tree.spans[index];
    if (next) onSelect(next.span_id);
  };
  const upright = stacked || narrow;
  const panel: ReactNode = span ? (
    <SpanPanel
      key={span.span_id}
      traceId={traceId}
      summary={span}
      tree={tree}
      index={selected}
      onSelect={onSelect}
      sqlHref={sqlHref}
    />
  ) : null;
  return (
    <SplitPane
      direction={upright ? 'column' : 'row'}
      size={upright ? panelHeight : panelWidth}
      min={upright ? 140 : 340}
      max={upright ? 1200 : 1800}
      label="Size of the span panel"
      onResize={upright ? setPanelHeight : setPanelWidth}
      first={
        <section className="trace-view__tree" aria-label="Spans of the trace">
          <div className="trace-view__bar">
            <Search tree={tree} hits={hits} text={search} selected={selected} onSearch={setSearch} onSelect={select} />
            <IconButton
              icon={collapsed.size > 0 ? 'plus' : 'expand'}
              label={collapsed.size > 0 ? 'Unfold all' : 'Fold all but the top'}
              onClick={() => {
                setCollapsed(collapsed.size > 0 ? new Set() : collapsible(tree, 1));
                if (collapsed.size === 0 && (tree.depth[selected] ?? 0) > 1) select(topOf(tree, selected));
              }}
            />
            {tree.errors[0] !== undefined && firstError(tree) >= 0 && (
              <Button
                look="quiet"
                icon="error"
                className="trace-view__error"
                onClick={() => {
                  select(nextError(tree, selected));
                }}
              >
                Next error
              </Button>
            )}
            <div className="trace-view__views" role="group" aria-label="View">
              {VIEWS.map((each) => (
                <Button
                  key={each.view}
                  look="quiet"
                  icon={each.icon}
                  aria-pressed={view === each.view}
                  onClick={() => {
                    setView(each.view);
                  }}
                >
                  {each.label}
                </Button>
              ))}
            </div>
          </div>
          {trace.truncated && (
            <WarningNotice>
              The server sent the first {plural(tree.spans.length, 'span')} of {formatCountExact(trace.trace.span_count)}; the
              sums in the header are those of the whole trace.
            </WarningNotice>
          )}
          {tree.orphans > 0 && (
            <WarningNotice>
              {plural(tree.orphans, 'span')} {tree.orphans === 1 ? 'names a parent' : 'name parents'} that did not arrive; shown
              at the top level.
            </WarningNotice>
          )}
          <SpanTree
            tree={tree}
            view={view}
            collapsed={collapsed}
            selected={selected}
            hits={hitSet}
            onSelect={select}
            onCollapse={(next) => {
              // Folding a subtree takes the selection out of it with it.
              const hidden = hiddenBy(tree, next, selected);
              setCollapsed(next);
              if (hidden >= 0) select(hidden);
            }}
          />
        </section>
      }
      second={panel}
    />
  );
}

type SearchProps = {
  tree: TraceTree;
  hits: readonly number[];
  text: string;
  selected: number;
  onSearch: (text: string) => void;
  onSelect: (index: number) => void;
};

/** Search within the trace: Enter and Shift+Enter go to the next and previous match. */
function Search({ hits, text, selected, onSearch, onSelect }: SearchProps) {
  const input = useRef<HTMLInputElement>(null);
  useShortcut((event) => {
    if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    input.current?.focus();
  });
  const at = hits.indexOf(selected);
  const go = (back: boolean) => {
    const next = back
      ? (hits.findLast((hit) => hit < selected) ?? hits[hits.length - 1])
      : (hits.find((hit) => hit > selected) ?? hits[0]);
    if (next !== undefined) onSelect(next);
  };
  return (
    <div className="trace-view__search" role="search">
      <Icon name="search" size={14} />
      <input
        ref={input}
        aria-label="Search in this trace"
        placeholder="Search in this trace"
        value={text}
        spellCheck={false}
        onChange={(event) => {
          onSearch(event.target.value);
        }}
        onKeyDown={(event) => {
          if (event.key === 'Enter') go(event.shiftKey);
          else if (event.key === 'Escape') {
            onSearch('');
            event.currentTarget.blur();
          } else return;
          event.preventDefault();
        }}
      />
      {text.trim() !== '' && (
        <>
          <span className="trace-view__hits num" role="status">
            {hits.length === 0 ? 'no match' : `${at < 0 ? '–' : formatCountExact(at + 1)} of ${formatCountExact(hits.length)}`}
          </span>
          <IconButton
            icon="chevron-up"
            label="Previous match"
            disabled={hits.length === 0}
            onClick={() => {
              go(true);
            }}
          />
          <IconButton
            icon="chevron-down"
            label="Next match"
            disabled={hits.length === 0}
            onClick={() => {
              go(false);
            }}
          />
        </>
      )}
    </div>
  );
}

function firstError(tree: TraceTree): number {
  return tree.spans.findIndex((span) => span.status_code === 'ERROR');
}

/** The next span with an error of its own after the selected one, from the top again at the end. */
function nextError(tree: TraceTree, selected: number): number {
  const next = tree.spans.findIndex((span, at) => at > selected && span.status_code === 'ERROR');
  return next >= 0 ? next : firstError(tree);
}

/** The ancestor of a span at depth 1, which stays visible when all but the top is folded. */
function topOf(tree: TraceTree, index: number): number {
  let at = index;
  while ((tree.depth[at] ?? 0) > 1) at = tree.parent[at] ?? 0;
  return at;
}

/** The outermost folded ancestor that hides a span; -1 if it is visible. */
function hiddenBy(tree: TraceTree, collapsed: ReadonlySet<number>, index: number): number {
  let hidden = -1;
  for (let above = tree.parent[index] ?? -1; above >= 0; above = tree.parent[above] ?? -1)
    if (collapsed.has(above)) hidden = above;
  return hidden;
}
