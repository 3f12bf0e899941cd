import { expect, test } from 'vitest';

import type { SpanSummary } from '../../api/types';
import { formatMoneyExact } from '../../lib/format';
import { buildTree, collapsible, revealed, rowOf, searchSpans, visibleRows } from './tree';

function span(id: string, parent: string | null, startNs: number, more: Partial<SpanSummary> = {}): SpanSummary {
  const nothing = {
    service_name: null, scope_name: null, operation: null, error_type: null, provider: null, request_model: null, response_model: null,
    input_tokens: null, output_tokens: null, cache_read_tokens: null, cache_write_tokens: null, reasoning_tokens: null, cost_usd: null,
    reported_cost_usd: null, uncounted_reason: null, tool_name: null, agent_name: null, session_id: null, user_id: null,
    input_preview: null, output_preview: null, streaming: null, time_to_first_token_ns: null,
  }; // prettier-ignore
  return {
    ...nothing,
    span_id: id, parent_span_id: parent, name: `span ${id}`, span_kind: 'INTERNAL', start_time: '2026-11-21T00:00:00Z', start_ns: startNs,
    duration_ns: 10, status_code: 'UNSET', counted: false, event_count: 0,
    ...more,
  } as SpanSummary; // prettier-ignore
}

const ids = (tree: ReturnType<typeof buildTree>, rows?: Int32Array) =>
  (rows ? [...rows] : tree.spans.map((_, at) => at)).map((at) => tree.spans[at]?.span_id);

test('children follow their parent in order of start, whatever the order of arrival', () => {
  const tree = buildTree([span('c2', 'a', 30), span('g', 'c1', 15), span('a', null, 0), span('c1', 'a', 10)]);
  expect(ids(tree)).toEqual(['a', 'c1', 'g', 'c2']);
  expect([...tree.depth]).toEqual([0, 1, 2, 1]);
  expect([...tree.size]).toEqual([4, 2, 1, 1]);
});

test('a span without its parent is a root and counted as an orphan', () => {
  const tree = buildTree([span('a', null, 0), span('x', 'missing', 5), span('y', 'x', 6)]);
  expect(ids(tree)).toEqual(['a', 'x', 'y']);
  expect([...tree.depth]).toEqual([0, 0, 1]);
  expect(tree.orphans).toBe(1);
});

test('a cycle of parents loses no span and ends', () => {
  const tree = buildTree([span('a', 'b', 0), span('b', 'a', 1), span('self', 'self', 2), span('c', 'b', 3)]);
  expect(ids(tree).sort()).toEqual(['a', 'b', 'c', 'self']);
});

test('sums hold what counts, exactly, and errors rise to the root', () => {
  const tree = buildTree([
    span('root', null, 0, { cost_usd: '0.3', input_tokens: 99, counted: false }),
    span('call', 'root', 1, { cost_usd: '0.1', input_tokens: 10, output_tokens: 3, counted: true }),
    span('call2', 'root', 2, { cost_usd: '0.2', input_tokens: 5, counted: true, status_code: 'ERROR' }),
    span('tool', 'root', 3),
  ]);
  expect(formatMoneyExact(tree.cost[0] ?? null)).toBe('$0.3');
  expect([tree.inputTokens[0], tree.outputTokens[0], tree.errors[0]]).toEqual([15, 3, 1]);
  expect(tree.cost[3]).toBeNull();
});

test('collapsing hides the subtree and revealing opens only the way to a span', () => {
  const tree = buildTree([span('a', null, 0), span('b', 'a', 1), span('c', 'b', 2), span('d', 'a', 3), span('e', 'd', 4)]);
  const all = collapsible(tree);
  expect(ids(tree, visibleRows(tree, all))).toEqual(['a']);
  expect(ids(tree, visibleRows(tree, collapsible(tree, 1)))).toEqual(['a', 'b', 'd']);
  const open = revealed(tree, all, tree.indexOf.get('c') ?? -1);
  expect(ids(tree, visibleRows(tree, open))).toEqual(['a', 'b', 'c', 'd']);
  expect(rowOf(visibleRows(tree, open), tree.indexOf.get('d') ?? -1)).toBe(3);
  expect(rowOf(visibleRows(tree, open), tree.indexOf.get('e') ?? -1)).toBe(-1);
});

test('search looks at names, models and previews and ignores case', () => {
  const tree = buildTree([
    span('a', null, 0, { input_preview: 'Refund POLICY' }),
    span('b', 'a', 1, { response_model: 'gpt-4o' }),
  ]);
  expect(searchSpans(tree, 'policy')).toEqual([0]);
  expect(searchSpans(tree, 'GPT-4')).toEqual([1]);
  expect(searchSpans(tree, ' ')).toEqual([]);
});

test('an empty trace has an empty tree', () => {
  expect(buildTree([])).toMatchObject({ startNs: 0, endNs: 0, orphans: 0 });
});

test('100 000 spans in one chain are built without recursion', () => {
  const chain = Array.from({ length: 100_000 }, (_, at) =>
    span(`s${at}`, at === 0 ? null : `s${at - 1}`, at, { counted: true, cost_usd: '0.000001' }),
  );
  const tree = buildTree(chain);
  const rows = visibleRows(tree, new Set([50_000]));
  expect(rows.length).toBe(50_001);
  expect(formatMoneyExact(tree.cost[0] ?? null)).toBe('$0.1');
}, 60_000);
