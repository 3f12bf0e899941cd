/** Tree, timeline and span panel over one selection, one set of folds and one search; used by the trace page and by the peek beside the list. */
import { useQuery } from '@tanstack/react-query';
import { useCallback, useEffect, useMemo, useRef, useState, type ReactNode } from 'react';

import { Button, IconButton } from '../../components/Button';
import { useCommands } from '../../components/command/commands';
import type { IconName } from '../../components/Icon';
import { WarningNotice } from '../../components/Notice';
import { SplitPane } from '../../components/SplitPane';
import { SqlLink } from '../../components/SqlLink';
import { formatCountExact, formatDuration, plural } from '../../lib/format';
import { isNumber, useMediaQuery, useReach, useStored } from '../../lib/hooks';
import { findGaps, isWhole, makeAxis, placeOf, type Window } from './axis';
import { Graph } from './Graph';
import { Overview } from './Overview';
import { contentSearchQuery, type Trace } from './queries';
import { SpanPanel } from './SpanPanel';
import { SpanTree, windowInNs } from './SpanTree';
import { rowsSql, searchSql } from './sql';
import { readFolds, VIEWS, writeFolds, type TraceState, type View } from './state';
import './trace-view.css';
import { Transcript } from './Transcript';
import { TraceSearch } from './TraceSearch';
import { collapsible, ERROR, idAt, indexOfId, nextWith, revealed, searchSpans, type TraceTree } from './tree';

const VIEW_LABELS: Record<View, { label: string; icon: IconName }> = {
  tree: { label: 'Tree', icon: 'tree' },
  timeline: { label: 'Timeline', icon: 'bars' },
  transcript: { label: 'Transcript', icon: 'chat' },
  graph: { label: 'Graph', icon: 'graph' },
};

type Props = {
  trace: Trace;
  state: TraceState;
  onChange: (change: Partial<TraceState>) => void;
  /** Stacked: the panel below the tree, as in the peek. */
  stacked: boolean;
  sqlHref: (sql: string) => string;
};

/** A third of a wide screen, not less than a message needs to be read, and of a narrow one less than half: the tree needs the rest. */
const PANEL_WIDTH = Math.min(Math.max(640, Math.round(window.innerWidth * 0.34)), Math.round(window.innerWidth * 0.46));
const PANEL_HEIGHT = Math.min(420, Math.round(window.innerHeight * 0.42));

export function TraceView({ trace, state, onChange, stacked, sqlHref }: Props) {
  const { head, tree } = trace;
  const traceId = head.trace.trace_id;
  const [panelWidth, setPanelWidth] = useStored('assay.panel-width', PANEL_WIDTH, isNumber);
  const [panelHeight, setPanelHeight] = useStored('assay.panel-height', PANEL_HEIGHT, isNumber);
  const upright = useMediaQuery('(max-width: 900px)') || stacked;
  const narrow = useMediaQuery('(max-width: 700px)');
  const selected = Math.max(0, state.span === null ? 0 : indexOfId(tree, state.span));
  const collapsed = useMemo(() => readFolds(tree, state.fold), [tree, state.fold]);
  const open = useMemo(() => readFolds(tree, state.open), [tree, state.open]);

  const named = useMemo(() => searchSpans(tree, state.find), [tree, state.find]);
  const content = useQuery(contentSearchQuery(traceId, state.find.trim()));
  const hits = useMemo(() => {
    const all = new Set(named);
    for (const id of content.data ?? []) {
      const at = indexOfId(tree, id);
      if (at >= 0) all.add(at);
    }
    return [...all].sort((a, b) => a - b);
  }, [tree, named, content.data]);
  const hitSet = useMemo(() => new Set(hits), [hits]);

  // What is selected is in sight: a link, a match or an error inside a folded subtree opens the way to it.
  const select = useCallback(
    (index: number) => {
      if (index < 0 || index >= tree.count) return;
      const open = revealed(tree, collapsed, index);
      onChange({ span: idAt(tree, index), ...(open === collapsed ? {} : { fold: writeFolds(tree, open) }) });
    },
    [tree, collapsed, onChange],
  );
  const fold = useCallback(
    (next: ReadonlySet<number>) => {
      // Folding a subtree takes the selection out of it with it.
      const hidden = hiddenBy(tree, next, selected);
      onChange({ fold: writeFolds(tree, next), ...(hidden >= 0 ? { span: idAt(tree, hidden) } : {}) });
    },
    [tree, selected, onChange],
  );
  const shown = revealed(tree, collapsed, selected);
  const frame = useRef<HTMLElement>(null);
  useReach(() => (stacked ? null : frame.current?.querySelector<HTMLElement>('[role=tree], [role=listbox]')));
  useCommands(
    useMemo(
      () => [
        ...VIEWS.map((view) => ({
          id: `view-${view}`,
          title: `Show the trace as ${VIEW_LABELS[view].label.toLowerCase()}`,
          icon: VIEW_LABELS[view].icon,
          run: () => {
            onChange({ view });
          },
        })),
        ...(nextWith(tree, ERROR, -1) < 0
          ? []
          : [
              {
                id: 'next-error',
                title: 'Next error',
                icon: 'error' as const,
                run: () => {
                  select(nextWith(tree, ERROR, selected));
                },
              },
            ]),
        {
          id: 'fold',
          title: collapsed.size > 0 ? 'Unfold all spans' : 'Fold all spans but the top',
          icon: 'tree' as const,
          run: () => {
            fold(collapsed.size > 0 ? new Set() : collapsible(tree, 1));
          },
        },
      ],
      [tree, selected, collapsed, select, fold, onChange],
    ),
  );

  const panel: ReactNode =
    tree.count === 0 ? null : (
      <SpanPanel
        key={idAt(tree, selected)}
        traceId={traceId}
        tree={tree}
        index={selected}
        tab={state.tab}
        onTab={(tab) => {
          onChange({ tab });
        }}
        onSelect={(id) => {
          select(indexOfId(tree, id));
        }}
        sqlHref={sqlHref}
      />
    );
  return (
    <SplitPane
      direction={upright ? 'column' : 'row'}
      size={upright ? panelHeight : panelWidth}
      min={upright ? 140 : 340}
      max={upright ? 1200 : 1800}
      label="Size of the span panel"
      onResize={upright ? setPanelHeight : setPanelWidth}
      first={
        <section className="trace-view__tree" ref={frame} aria-label="Spans of the trace">
          <div className="trace-view__bar">
            <TraceSearch
              hits={hits}
              text={state.find}
              sql={state.find.trim() === '' ? null : searchSql(traceId, state.find.trim())}
              searching={content.isFetching}
              selected={selected}
              onSearch={(find) => {
                onChange({ find });
              }}
              onSelect={select}
            />
            {(tree.errors[0] ?? 0) + tree.orphans > 0 && nextWith(tree, ERROR, -1) >= 0 && (
              <Button
                look="quiet"
                icon="error"
                className="trace-view__error"
                onClick={() => {
                  select(nextWith(tree, ERROR, selected));
                }}
              >
                Next error
              </Button>
            )}
            <SqlLink sql={rowsSql([traceId])} of="the rows" />
            <IconButton
              icon={collapsed.size > 0 ? 'plus' : 'expand'}
              label={collapsed.size > 0 ? 'Unfold all' : 'Fold all but the top'}
              onClick={() => {
                fold(collapsed.size > 0 ? new Set() : collapsible(tree, 1));
              }}
            />
            <div className="trace-view__views" role="group" aria-label="View">
              {VIEWS.map((view) => (
                <Button
                  key={view}
                  look="quiet"
                  icon={VIEW_LABELS[view].icon}
                  aria-pressed={state.view === view}
                  onClick={() => {
                    onChange({ view });
                  }}
                >
                  {VIEW_LABELS[view].label}
                </Button>
              ))}
            </div>
          </div>
          <Notices trace={trace} />
          {state.view === 'graph' ? (
            <Graph
              traceId={traceId}
              tree={tree}
              expanded={state.expanded}
              selected={selected}
              hits={hitSet}
              onExpanded={(expanded) => {
                onChange({ expanded });
              }}
              onSelect={select}
            />
          ) : state.view === 'transcript' ? (
            <Transcript
              traceId={traceId}
              tree={tree}
              collapsed={shown}
              open={open}
              selected={selected}
              hits={hitSet}
              onSelect={select}
              onFolds={(next, collapsed) => {
                onChange({ open: writeFolds(tree, next), ...(collapsed === shown ? {} : { fold: writeFolds(tree, collapsed) }) });
              }}
            />
          ) : (
            <Timed
              tree={tree}
              state={state}
              narrow={narrow}
              collapsed={shown}
              selected={selected}
              hits={hitSet}
              onChange={onChange}
              onSelect={select}
              onCollapse={fold}
            />
          )}
        </section>
      }
      second={panel}
    />
  );
}

type TimedProps = {
  tree: TraceTree;
  state: TraceState;
  narrow: boolean;
  collapsed: ReadonlySet<number>;
  selected: number;
  hits: ReadonlySet<number>;
  onChange: (change: Partial<TraceState>) => void;
  onSelect: (index: number) => void;
  onCollapse: (collapsed: ReadonlySet<number>) => void;
};

/** What zooming draws anew: the strip, its tools, and the rows with their bars; the span panel stays out of it. */
function Timed({ tree, state, narrow, onChange, ...rows }: TimedProps) {
  const timeline = useTimeline(tree, state, onChange);
  return (
    <>
      {!narrow && tree.count > 1 && (
        <div className="trace-view__strip">
          <Overview tree={tree} axis={timeline.axis} window={timeline.window} onWindow={timeline.set} />
          <TimelineTools timeline={timeline} compressed={state.gaps} onChange={onChange} />
        </div>
      )}
      <SpanTree
        {...rows}
        tree={tree}
        axis={timeline.axis}
        window={timeline.window}
        view={state.view === 'timeline' ? 'timeline' : 'tree'}
        narrow={narrow}
        onWindow={timeline.set}
      />
    </>
  );
}

type Timeline = ReturnType<typeof useTimeline>;

/** The address follows the window after this rest: browsers refuse to change it with each turn of a wheel. */
const ADDRESS_MS = 250;

/** The axis and the window of it that is shown: at first the whole, then what the wheel says, and in the address once it rests. */
function useTimeline(tree: TraceTree, state: TraceState, onChange: (change: Partial<TraceState>) => void) {
  const gaps = useMemo(() => findGaps(tree), [tree]);
  const axis = useMemo(() => makeAxis(tree.endNs, state.gaps ? gaps : []), [tree, gaps, state.gaps]);
  const [moving, setMoving] = useState<{ axis: typeof axis; window: Window } | null>(null);
  const rest = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(
    () => () => {
      clearTimeout(rest.current);
    },
    [],
  );
  const stored = useMemo<Window>(() => {
    if (state.window === null) return axis.whole;
    const start = Math.max(axis.whole.start, placeOf(axis, state.window.startNs));
    const end = Math.min(axis.whole.end, placeOf(axis, state.window.endNs));
    return end > start ? { start, end } : axis.whole;
  }, [axis, state.window]);
  const set = useCallback(
    (window: Window) => {
      setMoving({ axis, window });
      clearTimeout(rest.current);
      rest.current = setTimeout(() => {
        setMoving(null);
        onChange({ window: windowInNs(axis, window) });
      }, ADDRESS_MS);
    },
    [axis, onChange],
  );
  return { axis, gaps, window: moving?.axis === axis ? moving.window : stored, set };
}

function TimelineTools({
  timeline,
  compressed,
  onChange,
}: {
  timeline: Timeline;
  compressed: boolean;
  onChange: (change: Partial<TraceState>) => void;
}) {
  const idle = timeline.gaps.reduce((sum, gap) => sum + gap.endNs - gap.startNs, 0);
  const whole = isWhole(timeline.window, timeline.axis.whole);
  if (timeline.gaps.length === 0 && whole) return null;
  return (
    <div className="trace-view__tools">
      {timeline.gaps.length > 0 && (
        <Button
          look="quiet"
          icon="clock"
          aria-pressed={compressed}
          title={`${plural(timeline.gaps.length, 'stretch')} of idle time, together ${formatDuration(idle)}`}
          onClick={() => {
            onChange({ gaps: !compressed, window: null });
          }}
        >
          {compressed ? 'Idle time compressed' : `Compress ${formatDuration(idle)} idle`}
        </Button>
      )}
      {!whole && (
        <Button
          look="quiet"
          icon="expand"
          onClick={() => {
            timeline.set(timeline.axis.whole);
          }}
        >
          Fit
        </Button>
      )}
    </div>
  );
}

function Notices({ trace: { head, tree } }: { trace: Trace }) {
  return (
    <>
      {head.truncated && (
        <WarningNotice>
          The server sent the first {plural(tree.count, 'span')} of {formatCountExact(head.trace.span_count)}; the sums in the
          header are those of the whole trace.
        </WarningNotice>
      )}
      {tree.running > 0 && (
        <WarningNotice>
          {plural(tree.running, 'span')} {tree.running === 1 ? 'is' : 'are'} still running; this page follows.
        </WarningNotice>
      )}
      {tree.orphans > 0 && (
        <WarningNotice>
          {plural(tree.orphans, 'span')} {tree.orphans === 1 ? 'names a parent' : 'name parents'} that did not arrive; shown at
          the top level.
        </WarningNotice>
      )}
    </>
  );
}

/** The outermost folded ancestor that hides a span; -1 if it is visible. */
function hiddenBy(tree: TraceTree, collapsed: ReadonlySet<number>, index: number): number {
  let hidden = -1;
  for (let above = tree.parent[index] ?? -1; above >= 0; above = tree.parent[above] ?? -1)
    if (collapsed.has(above)) hidden = above;
  return hidden;
}
