/**
 * The spans of a trace as one list: tree on the left, numbers, and the timeline on the same rows. Only rows in sight exist in the page and
 * all bars are one canvas, so 100 000 spans scroll and zoom like 100. The keyboard is taken by the tree as a whole: up/down or j/k move,
 * left/right fold, + − 0 zoom, [ ] pan.
 */
import {
  memo,
  useCallback,
  useEffect,
  useId,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
  type CSSProperties,
  type KeyboardEvent,
} from 'react';

import { Icon, type IconName } from '../../components/Icon';
import { Duration, Money, StatusMark } from '../../components/Values';
import { formatCountExact, formatDuration, formatMoneyExact, heat } from '../../lib/format';
import { useSize } from '../../lib/hooks';
import { useTheme } from '../../lib/theme';
import { isWhole, momentOf, pan, placeOf, ticks, zoom, type Axis, type Window } from './axis';
import { paintLanes, prepare, readColours } from './paint';
import './span-tree.css';
import {
  costAt,
  costShare,
  ERROR,
  has,
  kindAt,
  modelAt,
  rowOf,
  RUNNING,
  textAt,
  visibleRows,
  type StepKind,
  type TraceTree,
} from './tree';

export const STEP_ICONS: Record<StepKind, IconName> = {
  chat: 'chat',
  tool: 'tool',
  agent: 'agent',
  retrieval: 'retrieval',
  embeddings: 'embeddings',
  guard: 'guard',
  other: 'step',
};

const ROW_PX = 26;
const HEAD_PX = 26;
const INDENT_PX = 14;
/** Deeper than this the name stays in place, else it would leave its column. */
const INDENT_DEPTH_MAX = 16;
/** Rows kept ready beyond each edge. */
const OVERSCAN = 5;
/** Bars drawn beyond each edge, so that a short scroll needs no new drawing. */
const BEYOND_ROWS = 16;
/** Share of the width that the lanes have; of a narrow tree less, so that names can be read. */
const LANES = { tree: 0.42, timeline: 0.72 };
const LANES_NARROW = { tree: 0.26, timeline: 0.6 };
const NARROW_PX = 640;

type Props = {
  tree: TraceTree;
  axis: Axis;
  window: Window;
  collapsed: ReadonlySet<number>;
  selected: number;
  hits: ReadonlySet<number>;
  view: 'tree' | 'timeline';
  /** Too narrow for lanes beside the names. */
  narrow: boolean;
  onWindow: (window: Window) => void;
  onSelect: (index: number) => void;
  onCollapse: (collapsed: ReadonlySet<number>) => void;
};

export function SpanTree({ tree, axis, window, collapsed, selected, hits, view, narrow, onWindow, onSelect, onCollapse }: Props) {
  const rows = useMemo(() => visibleRows(tree, collapsed), [tree, collapsed]);
  const scroller = useRef<HTMLDivElement | null>(null);
  const [measure, { width, height }] = useSize<HTMLDivElement>();
  const treeId = useId();
  const shown = narrow && view === 'tree' ? 'narrow' : view;
  const selectedRow = rowOf(rows, selected);
  const share = (width < NARROW_PX ? LANES_NARROW : LANES)[view];
  const laneWidth = shown === 'narrow' ? 0 : Math.max(0, Math.floor(width * share));
  const grid = useMemo(() => ticks(axis, window, laneWidth), [axis, window, laneWidth]);

  // Which row is at the top; it changes a row at a time, so most of what a wheel turns draws nothing anew.
  const [top, setTop] = useState(0);
  const first = Math.max(0, Math.min(top, rows.length - 1) - OVERSCAN);
  const slots = Math.ceil(height / ROW_PX) + 2 * OVERSCAN + 1;
  const scrolled = () => {
    setTop(Math.floor((scroller.current?.scrollTop ?? 0) / ROW_PX));
  };

  useEffect(() => {
    const element = scroller.current;
    if (!element || selectedRow < 0 || height === 0) return;
    const room = height - HEAD_PX - ROW_PX;
    const at = selectedRow * ROW_PX;
    if (at < element.scrollTop) element.scrollTop = at;
    else if (at > element.scrollTop + room) element.scrollTop = at - room;
  }, [selectedRow, height]);

  // React listens to the wheel passively; zooming must keep the page from zooming along.
  const latest = useRef({ axis, window, onWindow, laneWidth });
  useEffect(() => {
    latest.current = { axis, window, onWindow, laneWidth };
  });
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const wheel = (event: WheelEvent) => {
      const now = latest.current;
      if (now.laneWidth === 0) return;
      const box = element.getBoundingClientRect();
      const left = box.left + element.clientWidth - now.laneWidth;
      const sideways = event.shiftKey ? event.deltaY : event.deltaX;
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        const anchor = Math.max(0, Math.min(1, (event.clientX - left) / now.laneWidth));
        now.onWindow(zoom(now.window, now.axis.whole, Math.exp(event.deltaY / 300), anchor));
      } else if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY) && !isWhole(now.window, now.axis.whole)) {
        event.preventDefault();
        now.onWindow(pan(now.window, now.axis.whole, sideways / now.laneWidth));
      }
    };
    element.addEventListener('wheel', wheel, { passive: false });
    return () => {
      element.removeEventListener('wheel', wheel);
    };
  }, []);

  const toggle = useCallback(
    (index: number) => {
      const next = new Set(collapsed);
      if (!next.delete(index)) next.add(index);
      onCollapse(next);
    },
    [collapsed, onCollapse],
  );

  const fit = useCallback(
    (index: number) => {
      const start = tree.starts[index] ?? 0;
      const duration = tree.durations[index] ?? 0;
      const margin = Math.max(1_000, duration * 0.05);
      onWindow({
        start: Math.max(axis.whole.start, placeOf(axis, start - margin)),
        end: Math.min(axis.whole.end, placeOf(axis, start + duration + margin)),
      });
    },
    [tree, axis, onWindow],
  );

  const key = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = Math.max(0, selectedRow);
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / ROW_PX) - 3);
    const moves: Record<string, number> = {
      ArrowDown: at + 1,
      j: at + 1,
      ArrowUp: at - 1,
      k: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: rows.length - 1,
    };
    const move = moves[event.key];
    const hasChildren = (tree.size[selected] ?? 1) > 1;
    if (move !== undefined) {
      const index = rows[Math.max(0, Math.min(rows.length - 1, move))];
      if (index !== undefined) onSelect(index);
    } else if (event.key === 'ArrowRight' || event.key === 'l') {
      if (hasChildren && collapsed.has(selected)) toggle(selected);
      else if (hasChildren) onSelect(selected + 1);
    } else if (event.key === 'ArrowLeft' || event.key === 'h') {
      const parent = tree.parent[selected] ?? -1;
      if (hasChildren && !collapsed.has(selected)) toggle(selected);
      else if (parent >= 0) onSelect(parent);
    } else if (event.key === '+' || event.key === '=') onWindow(zoom(window, axis.whole, 0.5, 0.5));
    else if (event.key === '-') onWindow(zoom(window, axis.whole, 2, 0.5));
    else if (event.key === '0') onWindow(axis.whole);
    else if (event.key === 'f') fit(selected);
    else if (event.key === '[') onWindow(pan(window, axis.whole, -0.25));
    else if (event.key === ']') onWindow(pan(window, axis.whole, 0.25));
    else return;
    event.preventDefault();
  };

  return (
    <div
      ref={(element) => {
        scroller.current = element;
        measure(element);
      }}
      className={`span-tree span-tree--${shown}`}
      role="tree"
      aria-label="Spans"
      tabIndex={0}
      style={{ '--lane': `${share * 100}%` } as CSSProperties}
      {...(selectedRow >= 0 ? { 'aria-activedescendant': `${treeId}-${selected}` } : {})}
      onKeyDown={key}
      onScroll={scrolled}
    >
      <div className="span-tree__head" role="presentation">
        <span className="span-tree__name">Span</span>
        {shown !== 'timeline' && (
          <>
            <span className="span-tree__number">Cost Σ</span>
            <span className="span-tree__number">Duration</span>
          </>
        )}
        {laneWidth > 0 && (
          <div className="span-tree__lane span-tree__ruler">
            {grid.map((tick) => (
              <span
                key={tick.ns}
                className={`span-tree__tick num ${tick.at * laneWidth > laneWidth - 64 ? 'span-tree__tick--end' : ''}`}
                style={{ left: `${tick.at * 100}%` }}
              >
                {tick.ns === 0 ? '0' : formatDuration(tick.ns)}
              </span>
            ))}
          </div>
        )}
      </div>
      <div className="span-tree__rows" role="presentation" style={{ height: rows.length * ROW_PX }}>
        {Array.from({ length: Math.max(0, Math.min(slots, rows.length - first)) }, (_, offset) => {
          const row = first + offset;
          const index = rows[row] ?? 0;
          return (
            // A row that scrolls out lends its element to the one that scrolls in.
            <Row
              key={row % slots}
              id={`${treeId}-${index}`}
              tree={tree}
              index={index}
              top={row * ROW_PX}
              lean={shown === 'timeline'}
              open={!collapsed.has(index)}
              selected={index === selected}
              hit={hits.has(index)}
              onSelect={onSelect}
              onToggle={toggle}
              onFit={fit}
            />
          );
        })}
        {laneWidth > 0 && (
          <Lanes
            tree={tree}
            axis={axis}
            window={window}
            rows={rows}
            ticks={grid}
            width={laneWidth}
            height={height}
            top={top}
            labels={shown === 'timeline'}
          />
        )}
      </div>
    </div>
  );
}

type LanesProps = {
  tree: TraceTree;
  axis: Axis;
  window: Window;
  rows: Int32Array;
  ticks: ReturnType<typeof ticks>;
  width: number;
  height: number;
  /** Row at the top. */
  top: number;
  labels: boolean;
};

/** The bars of the rows in sight and some beyond, on one canvas that scrolls with the rows. */
function Lanes({ tree, axis, window, rows, ticks: grid, width, height, top, labels }: LanesProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { resolved } = useTheme();
  const colours = useMemo(() => {
    void resolved;
    return readColours();
  }, [resolved]);
  // The first row drawn moves in steps: within one, scrolling moves the finished picture.
  const first = Math.max(0, Math.floor(top / BEYOND_ROWS - 1) * BEYOND_ROWS);
  const count = Math.min(rows.length - first, Math.ceil(height / ROW_PX) + 3 * BEYOND_ROWS);
  useLayoutEffect(() => {
    const element = canvas.current;
    if (!element || count <= 0) return;
    const context = prepare(element, width, count * ROW_PX);
    if (!context) return;
    paintLanes(context, {
      tree, axis, window, ticks: grid, rows: rows.subarray(first, first + count), rowPx: ROW_PX, width, height: count * ROW_PX, labels, colours,
    }); // prettier-ignore
  }, [tree, axis, window, grid, rows, first, count, width, labels, colours]);
  return (
    <canvas
      ref={canvas}
      className="span-tree__bars"
      aria-hidden="true"
      style={{ top: first * ROW_PX, width, height: Math.max(0, count) * ROW_PX }}
    />
  );
}

type RowProps = {
  id: string;
  tree: TraceTree;
  index: number;
  top: number;
  /** Without numbers: the lane says the duration. */
  lean: boolean;
  open: boolean;
  selected: boolean;
  hit: boolean;
  onSelect: (index: number) => void;
  onToggle: (index: number) => void;
  onFit: (index: number) => void;
};

const Row = memo(function Row({ id, tree, index, top, lean, open, selected, hit, onSelect, onToggle, onFit }: RowProps) {
  const depth = tree.depth[index] ?? 0;
  const size = tree.size[index] ?? 1;
  const failed = has(tree, index, ERROR);
  const below = (tree.errors[index] ?? 0) - (failed ? 1 : 0);
  const kind = kindAt(tree, index);
  const model = modelToShow(tree, index);
  return (
    <div
      id={id}
      role="treeitem"
      aria-level={depth + 1}
      aria-selected={selected}
      {...(size > 1 ? { 'aria-expanded': open } : {})}
      className={`span-tree__row ${hit ? 'span-tree__row--hit' : ''}`}
      style={{ transform: `translateY(${top}px)` }}
      onClick={() => {
        onSelect(index);
      }}
      onDoubleClick={() => {
        onFit(index);
      }}
    >
      <span className="span-tree__name" style={{ paddingLeft: 6 + Math.min(depth, INDENT_DEPTH_MAX) * INDENT_PX }}>
        {size > 1 ? (
          <span
            className="span-tree__fold"
            aria-hidden="true"
            onClick={(event) => {
              event.stopPropagation();
              onToggle(index);
            }}
          >
            <Icon name={open ? 'chevron-down' : 'chevron-right'} size={12} />
          </span>
        ) : (
          <span className="span-tree__fold" />
        )}
        <span className="span-tree__kind" style={{ color: `var(--op-${kind})` }}>
          <Icon name={STEP_ICONS[kind]} size={14} />
        </span>
        <span className="truncate">{textAt(tree, 'name', index)}</span>
        {model !== null && <span className="span-tree__model truncate">{model}</span>}
        {!open && size > 1 && <span className="span-tree__hidden num">{formatCountExact(size - 1)}</span>}
        {(failed || below > 0) && <StatusMark status={failed ? 'ERROR' : 'UNSET'} errors={below} />}
      </span>
      {!lean && <Numbers tree={tree} index={index} size={size} />}
    </div>
  );
});

function Numbers({ tree, index, size }: { tree: TraceTree; index: number; size: number }) {
  const cost = costAt(tree, index);
  const top = costShare(tree, 0);
  const warmth = cost === null ? 0 : heat(costShare(tree, index), Number.isNaN(top) ? tree.maxCost : top);
  return (
    <>
      <span
        className={`span-tree__number span-tree__cost--${warmth}`}
        title={cost === null ? undefined : `${size > 1 ? 'Σ subtree ' : ''}${formatMoneyExact(cost)}`}
      >
        {cost !== null && (
          <>
            {size > 1 && <span className="faint">Σ</span>} <Money usd={cost} />
          </>
        )}
      </span>
      <span className="span-tree__number">
        {has(tree, index, RUNNING) ? (
          <span className="span-tree__running">running</span>
        ) : (
          <Duration ns={tree.durations[index] ?? null} max={tree.maxDurationNs} />
        )}
      </span>
    </>
  );
}

/** The model, unless the name already says it: `chat gpt-4o`. */
function modelToShow(tree: TraceTree, index: number): string | null {
  const name = textAt(tree, 'name', index) ?? '';
  const models = [textAt(tree, 'response_model', index), textAt(tree, 'request_model', index)];
  return models.some((each) => each !== null && name.includes(each)) ? null : modelAt(tree, index);
}

/** The window in nanoseconds since the first span, for the address. */
export function windowInNs(axis: Axis, window: Window): { startNs: number; endNs: number } | null {
  return isWhole(window, axis.whole) ? null : { startNs: momentOf(axis, window.start), endNs: momentOf(axis, window.end) };
}
