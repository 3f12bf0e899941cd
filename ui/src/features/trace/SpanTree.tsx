/**
 * The spans of a trace as one list: tree on the left, numbers, and the timeline on the same rows. Only visible rows exist in the page, so
 * 100 000 spans scroll like 100. The keyboard is taken by the tree as a whole: up/down or j/k move, left/right fold, + − 0 zoom.
 */
import { useVirtualizer } from '@tanstack/react-virtual';
import { useCallback, useEffect, useId, useMemo, useRef, useState, type KeyboardEvent } from 'react';

import type { SpanSummary } from '../../api/types';
import { Icon, type IconName } from '../../components/Icon';
import { Duration, Money, StatusMark } from '../../components/Values';
import { formatDuration, formatMoneyExact, heat } from '../../lib/format';
import { useMediaQuery, useSize } from '../../lib/hooks';
import { pan, place, ticks, zoom, type Window } from './scale';
import './span-tree.css';
import { rowOf, stepKind, visibleRows, type StepKind, type TraceTree } from './tree';

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
const INDENT_PX = 14;
/** Deeper than this the name stays in place, else it would leave its column. */
const INDENT_DEPTH_MAX = 16;

type Props = {
  tree: TraceTree;
  collapsed: ReadonlySet<number>;
  selected: number;
  hits: ReadonlySet<number>;
  view: 'both' | 'tree' | 'timeline';
  onSelect: (index: number) => void;
  onCollapse: (collapsed: ReadonlySet<number>) => void;
};

export function SpanTree({ tree, collapsed, selected, hits, view, onSelect, onCollapse }: Props) {
  const rows = useMemo(() => visibleRows(tree, collapsed), [tree, collapsed]);
  const whole = useMemo<Window>(() => ({ startNs: tree.startNs, endNs: Math.max(tree.endNs, tree.startNs + 1) }), [tree]);
  const [zoomed, setZoomed] = useState<Window | null>(null);
  const window_ = zoomed ?? whole;
  const scroller = useRef<HTMLDivElement | null>(null);
  const [measure, { width }] = useSize<HTMLDivElement>();
  const treeId = useId();
  const narrow = useMediaQuery('(max-width: 700px)');
  const shownView = narrow && view === 'both' ? 'tree' : view;
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 16,
  });
  const selectedRow = rowOf(rows, selected);

  useEffect(() => {
    if (selectedRow >= 0) virtual.scrollToIndex(selectedRow, { align: 'auto' });
  }, [selectedRow, virtual]);

  // React listens to the wheel passively; zooming must keep the page from zooming along.
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const wheel = (event: WheelEvent) => {
      if (!event.ctrlKey && !event.metaKey) return;
      const lane = element.querySelector('.span-tree__ruler')?.getBoundingClientRect();
      if (!lane || lane.width === 0) return;
      event.preventDefault();
      const anchor = Math.max(0, Math.min(1, (event.clientX - lane.left) / lane.width));
      setZoomed((current) => unlessWhole(zoom(current ?? whole, whole, Math.exp(event.deltaY / 300), anchor), whole));
    };
    element.addEventListener('wheel', wheel, { passive: false });
    return () => {
      element.removeEventListener('wheel', wheel);
    };
  }, [whole]);

  const toggle = useCallback(
    (index: number) => {
      const next = new Set(collapsed);
      if (!next.delete(index)) next.add(index);
      onCollapse(next);
    },
    [collapsed, onCollapse],
  );

  const fit = (index: number) => {
    const span = tree.spans[index];
    if (!span) return;
    const margin = Math.max(1_000, span.duration_ns * 0.05);
    setZoomed({
      startNs: Math.max(whole.startNs, span.start_ns - margin),
      endNs: Math.min(whole.endNs, span.start_ns + span.duration_ns + margin),
    });
  };

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
    } else if (event.key === '+' || event.key === '=') setZoomed(unlessWhole(zoom(window_, whole, 0.5, 0.5), whole));
    else if (event.key === '-') setZoomed(unlessWhole(zoom(window_, whole, 2, 0.5), whole));
    else if (event.key === '0') setZoomed(null);
    else if (event.key === '[') setZoomed(unlessWhole(pan(window_, whole, -0.25), whole));
    else if (event.key === ']') setZoomed(unlessWhole(pan(window_, whole, 0.25), whole));
    else return;
    event.preventDefault();
  };

  const laneWidth = shownView === 'tree' ? 0 : Math.max(0, width * (shownView === 'timeline' ? 0.72 : 0.42));
  const grid = ticks(window_, laneWidth);
  return (
    <div
      ref={(element) => {
        scroller.current = element;
        measure(element);
      }}
      className={`span-tree span-tree--${shownView}`}
      role="tree"
      aria-label="Spans"
      tabIndex={0}
      {...(selectedRow >= 0 ? { 'aria-activedescendant': `${treeId}-${selected}` } : {})}
      onKeyDown={key}
    >
      <div className="span-tree__head" role="presentation">
        <span className="span-tree__name">Span</span>
        {shownView !== 'timeline' && (
          <>
            <span className="span-tree__number">Cost Σ</span>
            <span className="span-tree__number">Duration</span>
          </>
        )}
        {shownView !== 'tree' && (
          <div className="span-tree__lane span-tree__ruler">
            {grid.map((tick) => {
              const at = (tick - window_.startNs) / (window_.endNs - window_.startNs);
              return (
                <span
                  key={tick}
                  className={`span-tree__tick num ${at > 0.88 ? 'span-tree__tick--end' : ''}`}
                  style={{ left: `${at * 100}%` }}
                >
                  {tick === 0 ? '0' : formatDuration(tick)}
                </span>
              );
            })}
          </div>
        )}
      </div>
      <div className="span-tree__rows" role="presentation" style={{ height: virtual.getTotalSize() }}>
        {virtual.getVirtualItems().map((item) => {
          const index = rows[item.index];
          if (index === undefined) return null;
          return (
            <Row
              key={index}
              id={`${treeId}-${index}`}
              tree={tree}
              index={index}
              top={item.start}
              window={window_}
              grid={grid}
              view={shownView}
              open={!collapsed.has(index)}
              selected={index === selected}
              hit={hits.has(index)}
              onSelect={onSelect}
              onToggle={toggle}
              onFit={fit}
            />
          );
        })}
      </div>
    </div>
  );
}

function unlessWhole(next: Window, whole: Window): Window | null {
  return next.endNs - next.startNs >= (whole.endNs - whole.startNs) * 0.999 ? null : next;
}

type RowProps = {
  id: string;
  tree: TraceTree;
  index: number;
  top: number;
  window: Window;
  grid: readonly number[];
  view: 'both' | 'tree' | 'timeline';
  open: boolean;
  selected: boolean;
  hit: boolean;
  onSelect: (index: number) => void;
  onToggle: (index: number) => void;
  onFit: (index: number) => void;
};

function Row({ id, tree, index, top, window, grid, view, open, selected, hit, onSelect, onToggle, onFit }: RowProps) {
  const span = tree.spans[index];
  if (!span) return null;
  const depth = tree.depth[index] ?? 0;
  const size = tree.size[index] ?? 1;
  const below = (tree.errors[index] ?? 0) - (span.status_code === 'ERROR' ? 1 : 0);
  const kind = stepKind(span);
  const model = modelToShow(span);
  const bar = place(window, span.start_ns, span.duration_ns);
  const cost = tree.cost[index] ?? null;
  const costHeat = heat(cost === null ? null : Number(cost), Number(tree.cost[0] ?? tree.maxCost));
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
        <span className="truncate">{span.name}</span>
        {model !== null && <span className="span-tree__model truncate">{model}</span>}
        {!open && size > 1 && <span className="span-tree__hidden num">{size - 1}</span>}
        {(span.status_code === 'ERROR' || below > 0) && <StatusMark status={span.status_code} errors={below} />}
      </span>
      {view !== 'timeline' && (
        <>
          <span
            className={`span-tree__number ${cost === null ? '' : `span-tree__cost--${costHeat}`}`}
            title={cost === null ? undefined : `${size > 1 ? 'Σ subtree ' : ''}${formatMoneyExact(cost)}`}
          >
            {cost === null ? (
              ''
            ) : (
              <>
                {size > 1 && <span className="faint">Σ</span>} <Money usd={cost} />
              </>
            )}
          </span>
          <span className="span-tree__number">
            <Duration ns={span.duration_ns} max={tree.maxDurationNs} />
          </span>
        </>
      )}
      {view !== 'tree' && (
        <span className="span-tree__lane" aria-hidden="true">
          {grid.map((tick) => (
            <span
              key={tick}
              className="span-tree__grid"
              style={{ left: `${((tick - window.startNs) / (window.endNs - window.startNs)) * 100}%` }}
            />
          ))}
          {bar && (
            <>
              <span
                className={`span-tree__bar ${span.status_code === 'ERROR' ? 'span-tree__bar--error' : ''}`}
                style={{ left: `${bar.left * 100}%`, width: `max(2px, ${bar.width * 100}%)`, background: `var(--op-${kind})` }}
              />
              {view === 'timeline' && (
                <span
                  className="span-tree__bar-label num"
                  style={
                    bar.left + bar.width > 0.8
                      ? { right: `calc(${(1 - bar.left) * 100}% + 6px)` }
                      : { left: `calc(${(bar.left + bar.width) * 100}% + 6px)` }
                  }
                >
                  {formatDuration(span.duration_ns)}
                </span>
              )}
            </>
          )}
        </span>
      )}
    </div>
  );
}

/** The model, unless the name already says it: `chat gpt-4o`. */
function modelToShow(span: SpanSummary): string | null {
  const model = span.response_model ?? span.request_model ?? null;
  const named = [span.response_model, span.request_model].some((each) => each && span.name.includes(each));
  return named ? null : model;
}
