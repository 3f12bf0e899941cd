/**
 * A trace as a graph: one node for each step (with how often it ran) or one for each span, laid out in columns by depth.
 *
 * Only steps are nodes: calls, tools, agents, retrievals; plain spans between them are passed over, unless there is nothing else. Computed in
 * a worker; what is over the caps is left out and counted.
 */
import { ERROR, has, kindAt, textAt, type StepKind, type TraceTree } from './tree';

export const NODES_MAX = 2_000;
export const EDGES_MAX = 4_000;
export const NODE_WIDTH = 190;
export const NODE_HEIGHT = 44;
const COLUMN_PX = 250;
const ROW_PX = 60;
const MARGIN_PX = 20;

export type GraphNode = {
  readonly kind: StepKind;
  readonly label: string;
  /** Spans of the node, the first of them, and those that failed. */
  readonly count: number;
  readonly first: number;
  readonly errors: number;
  readonly durationNs: number;
  readonly x: number;
  readonly y: number;
};

export type Graph = {
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly { readonly from: number; readonly to: number; readonly count: number }[];
  /** Node of each span, -1 for none. */
  readonly nodeOf: Int32Array;
  readonly width: number;
  readonly height: number;
  /** What the caps left out. */
  readonly nodesLeft: number;
  readonly edgesLeft: number;
};

type Draft = {
  kind: StepKind;
  label: string;
  count: number;
  first: number;
  errors: number;
  durationNs: number;
  depth: number;
  parent: number;
};

export function makeGraph(tree: TraceTree, expanded: boolean): Graph {
  const steps = tree.kinds.some((_, at) => kindAt(tree, at) !== 'other');
  const nodeOf = new Int32Array(tree.count).fill(-1);
  const drafts: Draft[] = [];
  const byKey = new Map<string, number>();
  const edges = new Map<number, number>();
  const left = new Set<string>();
  for (let at = 0; at < tree.count; at += 1) {
    const kind = kindAt(tree, at);
    if (steps && kind === 'other') continue;
    const label = labelOf(tree, at, kind);
    let above = tree.parent[at] ?? -1;
    while (above >= 0 && (nodeOf[above] ?? -1) < 0) above = tree.parent[above] ?? -1;
    const parent = above < 0 ? -1 : (nodeOf[above] ?? -1);
    const key = expanded ? String(at) : `${kind} ${label}`;
    let node = byKey.get(key);
    if (node === undefined) {
      if (drafts.length >= NODES_MAX) {
        left.add(key);
        continue;
      }
      node = drafts.length;
      byKey.set(key, node);
      drafts.push({ kind, label, count: 0, first: at, errors: 0, durationNs: 0, depth: parent < 0 ? 0 : (drafts[parent]?.depth ?? 0) + 1, parent }); // prettier-ignore
    }
    nodeOf[at] = node;
    const draft = drafts[node];
    if (draft) {
      draft.count += 1;
      draft.errors += has(tree, at, ERROR) ? 1 : 0;
      draft.durationNs += tree.durations[at] ?? 0;
    }
    if (parent >= 0 && parent !== node) {
      const edge = parent * NODES_MAX + node;
      edges.set(edge, (edges.get(edge) ?? 0) + 1);
    }
  }
  const rows = rowsOf(drafts);
  const shown = [...edges].sort((one, other) => other[1] - one[1]).slice(0, EDGES_MAX);
  const nodes = drafts.map(({ kind, label, count, first, errors, durationNs, depth }, node) => ({
    kind, label, count, first, errors, durationNs, x: MARGIN_PX + depth * COLUMN_PX, y: MARGIN_PX + (rows[node] ?? 0) * ROW_PX,
  })); // prettier-ignore
  return {
    nodes,
    edges: shown.map(([edge, count]) => ({ from: Math.floor(edge / NODES_MAX), to: edge % NODES_MAX, count })),
    nodeOf,
    width: nodes.reduce((most, node) => Math.max(most, node.x), 0) + NODE_WIDTH + MARGIN_PX,
    height: nodes.reduce((most, node) => Math.max(most, node.y), 0) + NODE_HEIGHT + MARGIN_PX,
    nodesLeft: left.size,
    edgesLeft: edges.size - shown.length,
  };
}

/** Rows of a tidy tree over each node's first parent: leaves one below the other, parents in the middle of their children. */
function rowsOf(drafts: readonly Draft[]): Float64Array {
  const rows = new Float64Array(drafts.length);
  const children = drafts.map((): number[] => []);
  drafts.forEach((draft, node) => children[draft.parent]?.push(node));
  // Leaves are counted in the order of the trace: a parent's children stand together.
  let next = 0;
  const stack = drafts.flatMap((draft, node) => (draft.parent < 0 ? [node] : [])).reverse();
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    const below = children[node] ?? [];
    if (below.length === 0) rows[node] = next++;
    else stack.push(...[...below].reverse());
  }
  // A node's first parent is older than the node, so one walk backwards finds all middles.
  for (let node = drafts.length - 1; node >= 0; node -= 1) {
    const below = children[node] ?? [];
    if (below.length > 0) rows[node] = ((rows[below[0] ?? 0] ?? 0) + (rows[below[below.length - 1] ?? 0] ?? 0)) / 2;
  }
  return rows;
}

function labelOf(tree: TraceTree, at: number, kind: StepKind): string {
  const own =
    kind === 'tool'
      ? textAt(tree, 'tool_name', at)
      : kind === 'agent'
        ? textAt(tree, 'agent_name', at)
        : kind === 'chat'
          ? (textAt(tree, 'response_model', at) ?? textAt(tree, 'request_model', at))
          : null;
  return own ?? textAt(tree, 'name', at) ?? kind;
}
