/**
 * Two traces side by side: which span of one answers to which of the other.
 *
 * Children of spans that belong together are paired by what they are (kind and name), in order: the n-th `execute_tool search` with the n-th,
 * as far as that crosses no other pair. What has no partner stands alone with its subtree. Nothing is recursive, and siblings cost n log n.
 * It runs in a worker (`align.worker.ts`).
 */
import { costAt, ERROR, has, kindAt, textAt, type TraceTree } from './tree';

export type Aligned = {
  readonly count: number;
  /** Place in the first and second trace, -1 where there is no partner. */
  readonly a: Int32Array;
  readonly b: Int32Array;
  readonly depth: Int32Array;
  /** 1 where only one trace has the row, or both have it with another outcome, cost or length. */
  readonly differs: Uint8Array;
  /** Rows with a partner. */
  readonly pairs: number;
};

/** Larger traces are not aligned: it would hold what both are several times over. */
export const ALIGN_SPANS_MAX = 200_000;

/** Durations that differ by less than a fifth, or by less than this, are taken for alike. */
const ALIKE_NS = 5_000_000;

type Task = { readonly a: number; readonly b: number; readonly depth: number };

export function alignTrees(a: TraceTree, b: TraceTree): Aligned {
  const rows: Task[] = [];
  const stack: Task[] = pairs(a, roots(a), b, roots(b), 0).reverse();
  for (let task = stack.pop(); task !== undefined; task = stack.pop()) {
    rows.push(task);
    const below = pairs(a, task.a < 0 ? [] : children(a, task.a), b, task.b < 0 ? [] : children(b, task.b), task.depth + 1);
    for (let at = below.length - 1; at >= 0; at -= 1) {
      const next = below[at];
      if (next) stack.push(next);
    }
  }
  return {
    count: rows.length,
    a: Int32Array.from(rows, (row) => row.a),
    b: Int32Array.from(rows, (row) => row.b),
    depth: Int32Array.from(rows, (row) => row.depth),
    differs: Uint8Array.from(rows, (row) => (areAlike(a, row.a, b, row.b) ? 0 : 1)),
    pairs: rows.reduce((sum, row) => sum + (row.a >= 0 && row.b >= 0 ? 1 : 0), 0),
  };
}

function areAlike(a: TraceTree, left: number, b: TraceTree, right: number): boolean {
  if (left < 0 || right < 0) return false;
  const [one, other] = [a.durations[left] ?? 0, b.durations[right] ?? 0];
  const apart = Math.abs(one - other);
  return (
    has(a, left, ERROR) === has(b, right, ERROR) &&
    costAt(a, left) === costAt(b, right) &&
    (apart <= ALIKE_NS || apart <= Math.max(one, other) / 5)
  );
}

function roots(tree: TraceTree): number[] {
  const found: number[] = [];
  for (let at = 0; at < tree.count; at += tree.size[at] ?? 1) found.push(at);
  return found;
}

function children(tree: TraceTree, parent: number): number[] {
  const found: number[] = [];
  const end = parent + (tree.size[parent] ?? 1);
  for (let at = parent + 1; at < end; at += tree.size[at] ?? 1) found.push(at);
  return found;
}

/** Siblings of both sides in one order, partners together. */
function pairs(a: TraceTree, left: readonly number[], b: TraceTree, right: readonly number[], depth: number): Task[] {
  const waiting = new Map<string, number[]>();
  right.forEach((at, place) => {
    const key = keyOf(b, at);
    const places = waiting.get(key);
    if (places) places.push(place);
    else waiting.set(key, [place]);
  });
  const taken = new Map<string, number>();
  const wanted = left.map((at) => {
    const key = keyOf(a, at);
    const nth = taken.get(key) ?? 0;
    const place = waiting.get(key)?.[nth] ?? -1;
    if (place >= 0) taken.set(key, nth + 1);
    return place;
  });
  const kept = longestRising(wanted);
  const merged: Task[] = [];
  let next = 0;
  left.forEach((at, index) => {
    const partner = kept.has(index) ? (wanted[index] ?? -1) : -1;
    // What the second trace has before the partner comes first.
    for (; partner >= 0 && next < partner; next += 1) merged.push({ a: -1, b: right[next] ?? -1, depth });
    merged.push({ a: at, b: partner < 0 ? -1 : (right[partner] ?? -1), depth });
    if (partner >= 0) next = partner + 1;
  });
  for (; next < right.length; next += 1) merged.push({ a: -1, b: right[next] ?? -1, depth });
  return merged;
}

function keyOf(tree: TraceTree, at: number): string {
  return `${kindAt(tree, at)} ${textAt(tree, 'tool_name', at) ?? textAt(tree, 'agent_name', at) ?? textAt(tree, 'name', at) ?? ''}`;
}

/** Indexes of a longest rising run among the values that are not negative (patience sorting). */
function longestRising(values: readonly number[]): ReadonlySet<number> {
  const tails: number[] = [];
  const before = new Int32Array(values.length).fill(-1);
  values.forEach((value, index) => {
    if (value < 0) return;
    let low = 0;
    let high = tails.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((values[tails[middle] ?? 0] ?? 0) < value) low = middle + 1;
      else high = middle;
    }
    before[index] = low > 0 ? (tails[low - 1] ?? -1) : -1;
    tails[low] = index;
  });
  const kept = new Set<number>();
  for (let at = tails[tails.length - 1] ?? -1; at >= 0; at = before[at] ?? -1) kept.add(at);
  return kept;
}
