/**
 * A trace as a tree, built for 100 000 spans: flat arrays instead of nested objects, and no recursion.
 *
 * Nothing is dropped: a span whose parent was not received is a root, and a cycle of parents is cut where it was first met.
 */
import type { SpanSummary } from '../../api/types';
import { addMoney, parseMoney, type Femto } from '../../lib/format';

export type TraceTree = {
  /** Spans in tree order (parents before children, siblings by start). All other arrays are indexed like it. */
  readonly spans: readonly SpanSummary[];
  readonly depth: Int32Array;
  /** Index of the parent, -1 for a root. */
  readonly parent: Int32Array;
  /** Number of spans in the subtree, the span itself included: its descendants are the next `size - 1`. */
  readonly size: Int32Array;
  /** Spans with an error in the subtree, the span itself included. */
  readonly errors: Int32Array;
  /** Cost of the calls in the subtree that count; `null` if none is known. */
  readonly cost: readonly (Femto | null)[];
  /** Tokens of the calls in the subtree that count. */
  readonly inputTokens: Float64Array;
  readonly outputTokens: Float64Array;
  readonly indexOf: ReadonlyMap<string, number>;
  /** From the start of the first span to the end of the last, in nanoseconds; `startNs` can be negative for skewed clocks. */
  readonly startNs: number;
  readonly endNs: number;
  readonly maxDurationNs: number;
  /** Largest own cost of one span, for the colours. */
  readonly maxCost: Femto;
  /** Spans that name a parent which was not received. */
  readonly orphans: number;
};

export function buildTree(received: readonly SpanSummary[]): TraceTree {
  const { order, depthOf, parentOf, orphans } = orderSpans(received);
  const n = order.length;
  const spans = order.map((index) => received[index]).filter((span) => span !== undefined);
  const place = new Int32Array(n);
  order.forEach((index, at) => (place[index] = at));

  const depth = new Int32Array(n);
  const parent = new Int32Array(n).fill(-1);
  const size = new Int32Array(n).fill(1);
  const errors = new Int32Array(n);
  const cost: (Femto | null)[] = new Array<Femto | null>(n).fill(null);
  const inputTokens = new Float64Array(n);
  const outputTokens = new Float64Array(n);
  const indexOf = new Map<string, number>();
  let startNs = Infinity;
  let endNs = -Infinity;
  let maxDurationNs = 0;
  let maxCost = 0n;

  spans.forEach((span, at) => {
    const index = order[at] ?? 0;
    depth[at] = depthOf[index] ?? 0;
    const above = parentOf[index] ?? -1;
    parent[at] = above < 0 ? -1 : (place[above] ?? -1);
    if (!indexOf.has(span.span_id)) indexOf.set(span.span_id, at);
    errors[at] = span.status_code === 'ERROR' ? 1 : 0;
    if (span.counted) {
      const own = parseMoney(span.cost_usd);
      cost[at] = own;
      if (own !== null && own > maxCost) maxCost = own;
      inputTokens[at] = span.input_tokens ?? 0;
      outputTokens[at] = span.output_tokens ?? 0;
    }
    startNs = Math.min(startNs, span.start_ns);
    endNs = Math.max(endNs, span.start_ns + Math.max(0, span.duration_ns));
    maxDurationNs = Math.max(maxDurationNs, span.duration_ns);
  });

  // Children stand after their parents, so one walk backwards carries every sum up.
  for (let at = n - 1; at >= 0; at -= 1) {
    const above = parent[at] ?? -1;
    if (above < 0) continue;
    size[above] = (size[above] ?? 0) + (size[at] ?? 0);
    errors[above] = (errors[above] ?? 0) + (errors[at] ?? 0);
    cost[above] = addMoney(cost[above] ?? null, cost[at] ?? null);
    inputTokens[above] = (inputTokens[above] ?? 0) + (inputTokens[at] ?? 0);
    outputTokens[above] = (outputTokens[above] ?? 0) + (outputTokens[at] ?? 0);
  }
  if (n === 0) [startNs, endNs] = [0, 0];
  return {
    spans,
    depth,
    parent,
    size,
    errors,
    cost,
    inputTokens,
    outputTokens,
    indexOf,
    startNs,
    endNs,
    maxDurationNs,
    maxCost,
    orphans,
  };
}

/** Tree order, depths and parents, by index into `received`. */
function orderSpans(received: readonly SpanSummary[]) {
  const n = received.length;
  const byId = new Map<string, number>();
  received.forEach((span, index) => {
    if (!byId.has(span.span_id)) byId.set(span.span_id, index);
  });
  const sorted = Array.from({ length: n }, (_, index) => index).sort(
    (a, b) => (received[a]?.start_ns ?? 0) - (received[b]?.start_ns ?? 0) || a - b,
  );
  const children = new Map<number, number[]>();
  const roots: number[] = [];
  let orphans = 0;
  for (const index of sorted) {
    const parentId = received[index]?.parent_span_id ?? null;
    const above = parentId === null ? undefined : byId.get(parentId);
    if (parentId !== null && above === undefined) orphans += 1;
    if (above === undefined || above === index) roots.push(index);
    else {
      const siblings = children.get(above);
      if (siblings) siblings.push(index);
      else children.set(above, [index]);
    }
  }

  const order: number[] = [];
  const depthOf = new Int32Array(n);
  const parentOf = new Int32Array(n).fill(-1);
  const seen = new Uint8Array(n);
  const walk = (root: number) => {
    const stack = [root];
    seen[root] = 1;
    for (let index = stack.pop(); index !== undefined; index = stack.pop()) {
      order.push(index);
      const below = children.get(index);
      if (!below) continue;
      for (let at = below.length - 1; at >= 0; at -= 1) {
        const child = below[at];
        if (child === undefined || seen[child]) continue;
        seen[child] = 1;
        depthOf[child] = (depthOf[index] ?? 0) + 1;
        parentOf[child] = index;
        stack.push(child);
      }
    }
  };
  roots.forEach(walk);
  // What is still unseen hangs on a cycle: the earliest of it becomes a root.
  for (const index of sorted) if (!seen[index]) walk(index);
  return { order, depthOf, parentOf, orphans };
}

/** Indexes of the spans that are shown when the spans in `collapsed` hide their descendants. */
export function visibleRows(tree: TraceTree, collapsed: ReadonlySet<number>): Int32Array {
  const n = tree.spans.length;
  const rows = new Int32Array(n);
  let count = 0;
  for (let at = 0; at < n;) {
    rows[count] = at;
    count += 1;
    at += collapsed.has(at) ? (tree.size[at] ?? 1) : 1;
  }
  return rows.subarray(0, count);
}

/** Position in `rows` of a span, by binary search; -1 if it is hidden. */
export function rowOf(rows: Int32Array, index: number): number {
  let low = 0;
  let high = rows.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const value = rows[middle] ?? 0;
    if (value === index) return middle;
    if (value < index) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** `collapsed` without the ancestors of a span, so that it can be seen. */
export function revealed(tree: TraceTree, collapsed: ReadonlySet<number>, index: number): ReadonlySet<number> {
  let next: Set<number> | null = null;
  for (let above = tree.parent[index] ?? -1; above >= 0; above = tree.parent[above] ?? -1) {
    if (!collapsed.has(above)) continue;
    next ??= new Set(collapsed);
    next.delete(above);
  }
  return next ?? collapsed;
}

/** Every span that has children and is at least so deep. */
export function collapsible(tree: TraceTree, minDepth = 0): Set<number> {
  const set = new Set<number>();
  for (let at = 0; at < tree.spans.length; at += 1)
    if ((tree.size[at] ?? 1) > 1 && (tree.depth[at] ?? 0) >= minDepth) set.add(at);
  return set;
}

/** Spans whose name, model, tool, agent, id, error or previews hold the text, whatever the case. */
export function searchSpans(tree: TraceTree, text: string): number[] {
  const wanted = text.trim().toLowerCase();
  if (wanted === '') return [];
  const hits: number[] = [];
  tree.spans.forEach((span, at) => {
    const fields = [span.name, span.response_model, span.request_model, span.tool_name, span.agent_name, span.span_id, span.error_type, span.service_name, span.input_preview, span.output_preview]; // prettier-ignore
    if (fields.some((field) => field?.toLowerCase().includes(wanted))) hits.push(at);
  });
  return hits;
}

/** What kind of step a span is, for its mark and colour. */
export type StepKind = 'chat' | 'tool' | 'agent' | 'retrieval' | 'embeddings' | 'guard' | 'other';

export function stepKind(span: Pick<SpanSummary, 'operation'>): StepKind {
  switch (span.operation) {
    case 'chat':
    case 'text_completion':
    case 'generate_content':
      return 'chat';
    case 'execute_tool':
      return 'tool';
    case 'invoke_agent':
    case 'create_agent':
    case 'invoke_workflow':
      return 'agent';
    case 'retrieval':
    case 'rerank':
      return 'retrieval';
    case 'embeddings':
      return 'embeddings';
    case 'guardrail':
    case 'evaluation':
      return 'guard';
    default:
      return 'other';
  }
}
