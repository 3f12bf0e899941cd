/** The trace as a graph of its steps, aggregated or one node per span. Arrows walk the nodes; a node leads to its spans, one after the other. */
import { useQuery } from '@tanstack/react-query';
import { useEffect, useId, useRef, type KeyboardEvent } from 'react';

import { Button } from '../../components/Button';
import { EmptyState, ErrorNotice, Skeleton, WarningNotice } from '../../components/Notice';
import { SqlLink } from '../../components/SqlLink';
import { formatCountExact, formatDuration, plural } from '../../lib/format';
import { NODE_HEIGHT, NODE_WIDTH, type Graph as Laid, type GraphNode } from './graph';
import './graph.css';
import { graphQuery } from './queries';
import { graphSql } from './sql';
import type { TraceTree } from './tree';

const LABEL_CHARS = 24;

type Props = {
  traceId: string;
  tree: TraceTree;
  expanded: boolean;
  selected: number;
  hits: ReadonlySet<number>;
  onExpanded: (expanded: boolean) => void;
  onSelect: (index: number) => void;
};

export function Graph({ traceId, tree, expanded, selected, hits, onExpanded, onSelect }: Props) {
  const laid = useQuery(graphQuery(tree, expanded));
  return (
    <div className="graph">
      <div className="graph__tools" role="group" aria-label="Nodes of the graph">
        <Button
          look="quiet"
          aria-pressed={!expanded}
          onClick={() => {
            onExpanded(false);
          }}
        >
          A node for each step
        </Button>
        <Button
          look="quiet"
          aria-pressed={expanded}
          onClick={() => {
            onExpanded(true);
          }}
        >
          A node for each span
        </Button>
        {laid.data && (
          <span className="faint num" role="status">
            {plural(laid.data.nodes.length, 'node')}, {plural(laid.data.edges.length, 'edge')}
          </span>
        )}
        <SqlLink sql={graphSql(traceId, expanded)} of="the graph" />
      </div>
      {laid.data && laid.data.nodesLeft + laid.data.edgesLeft > 0 && (
        <WarningNotice>
          Too large to draw whole: {plural(laid.data.nodesLeft, 'node')} and {plural(laid.data.edgesLeft, 'edge')} are left out.
          The tree has every span.
        </WarningNotice>
      )}
      {laid.isPending && <Skeleton lines={8} label="laying out the graph" />}
      {laid.isError && <ErrorNotice title="The graph could not be laid out" error={laid.error} />}
      {laid.data?.nodes.length === 0 && <EmptyState title="Nothing to draw" />}
      {laid.data && laid.data.nodes.length > 0 && (
        <Picture graph={laid.data} selected={selected} hits={hits} onSelect={onSelect} />
      )}
    </div>
  );
}

type PictureProps = { graph: Laid; selected: number; hits: ReadonlySet<number>; onSelect: (index: number) => void };

function Picture({ graph, selected, hits, onSelect }: PictureProps) {
  const id = useId();
  const current = graph.nodeOf[selected] ?? -1;
  const scroller = useRef<HTMLDivElement>(null);
  const chosen = graph.nodes[current];
  useEffect(() => {
    const element = scroller.current;
    if (!element || !chosen) return;
    const { scrollLeft, scrollTop, clientWidth, clientHeight } = element;
    if (chosen.x < scrollLeft || chosen.x + NODE_WIDTH > scrollLeft + clientWidth)
      element.scrollLeft = chosen.x - clientWidth / 3;
    if (chosen.y < scrollTop || chosen.y + NODE_HEIGHT > scrollTop + clientHeight)
      element.scrollTop = chosen.y - clientHeight / 3;
  }, [chosen]);
  /** The first span of a node, or the next one if the node is already selected. */
  const enter = (node: number) => {
    const next = node === current ? graph.nodeOf.indexOf(node, selected + 1) : -1;
    onSelect(next >= 0 ? next : (graph.nodes[node]?.first ?? 0));
  };
  const key = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Enter' && current >= 0) enter(current);
    else {
      const next = neighbour(graph.nodes, current, event.key);
      if (next === null) return;
      onSelect(graph.nodes[next]?.first ?? 0);
    }
    event.preventDefault();
  };
  return (
    <div
      ref={scroller}
      className="graph__picture"
      role="listbox"
      aria-label="Graph of the steps"
      tabIndex={0}
      {...(current >= 0 ? { 'aria-activedescendant': `${id}-${current}` } : {})}
      onKeyDown={key}
    >
      <svg width={graph.width} height={graph.height} role="presentation">
        {graph.edges.map((edge) => {
          const [from, to] = [graph.nodes[edge.from], graph.nodes[edge.to]];
          if (!from || !to) return null;
          const [x1, y1, x2, y2] = [from.x + NODE_WIDTH, from.y + NODE_HEIGHT / 2, to.x, to.y + NODE_HEIGHT / 2];
          const bend = Math.max(30, Math.abs(x2 - x1) / 2);
          return (
            <path
              key={`${edge.from} ${edge.to}`}
              className={`graph__edge ${edge.from === current || edge.to === current ? 'graph__edge--near' : ''}`}
              d={`M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`}
              strokeWidth={1 + Math.min(4, Math.log2(edge.count))}
            />
          );
        })}
        {graph.nodes.map((node, at) => (
          <g
            key={at}
            id={`${id}-${at}`}
            role="option"
            aria-selected={at === current}
            aria-label={`${node.label}, ${plural(node.count, 'span')}${node.errors > 0 ? `, ${plural(node.errors, 'error')}` : ''}`}
            className={`graph__node ${hits.has(node.first) ? 'graph__node--hit' : ''}`}
            transform={`translate(${node.x} ${node.y})`}
            onClick={() => {
              enter(at);
            }}
          >
            <title>{`${node.label}: ${plural(node.count, 'span')}, together ${formatCountExact(node.durationNs)} ns`}</title>
            <rect width={NODE_WIDTH} height={NODE_HEIGHT} rx={6} className="graph__box" />
            <rect width={4} height={NODE_HEIGHT} rx={2} fill={`var(--op-${node.kind})`} />
            <text x={14} y={18} className="graph__label">
              {node.label.length > LABEL_CHARS ? `${node.label.slice(0, LABEL_CHARS - 1)}…` : node.label}
            </text>
            <text x={14} y={35} className="graph__figures">
              {node.count > 1 ? `${formatCountExact(node.count)} × ` : ''}
              {formatDuration(node.durationNs / node.count)}
            </text>
            {node.errors > 0 && (
              <text x={NODE_WIDTH - 10} y={35} textAnchor="end" className="graph__errors">
                {plural(node.errors, 'error')}
              </text>
            )}
          </g>
        ))}
      </svg>
    </div>
  );
}

/** The nearest node in the direction of an arrow; `null` if the key is no arrow or nothing is there. */
function neighbour(nodes: readonly GraphNode[], from: number, key: string): number | null {
  const direction = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[key];
  if (!direction) return null;
  const origin = nodes[from];
  if (!origin) return 0;
  const [dx = 0, dy = 0] = direction;
  let best: number | null = null;
  let least = Infinity;
  nodes.forEach((node, at) => {
    const along = (node.x - origin.x) * dx + (node.y - origin.y) * dy;
    const across = Math.abs((node.x - origin.x) * dy) + Math.abs((node.y - origin.y) * dx);
    if (along <= 0 || along + 3 * across >= least) return;
    [best, least] = [at, along + 3 * across];
  });
  return best;
}
