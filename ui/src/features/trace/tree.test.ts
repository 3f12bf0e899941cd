import { expect, test } from 'vitest';

import { buildTree, collapsible, costText, headAt, idAt, indexOfId, isoTime, kindAt, revealed, rowOf, searchSpans, visibleRows, type TraceTree } from './tree'; // prettier-ignore
import { columnsOf, spanId, treeOf } from './trees';

const names = (tree: TraceTree, rows?: Int32Array) =>
  [...(rows ?? Array.from({ length: tree.count }, (_, at) => at))].map((at) => idAt(tree, at).replace(/^0+/, ''));
const at = (tree: TraceTree, name: string) => indexOfId(tree, spanId(name));

test('children follow their parent in order of start, whatever the order of arrival', () => {
  const tree = treeOf([
    { id: 'c2', parent: 'a', start: 30 },
    { id: 'd', parent: 'c1', start: 15 },
    { id: 'a' },
    { id: 'c1', parent: 'a', start: 10 },
  ]);
  expect(names(tree)).toEqual(['a', 'c1', 'd', 'c2']);
  expect([...tree.depth]).toEqual([0, 1, 2, 1]);
  expect([...tree.size]).toEqual([4, 2, 1, 1]);
  expect([...tree.parent]).toEqual([-1, 0, 1, 0]);
});

test('a span without its parent is a root and counted as an orphan', () => {
  const tree = treeOf([{ id: 'a' }, { id: 'e', parent: 'missing', start: 5 }, { id: 'f', parent: 'e', start: 6 }]);
  expect(names(tree)).toEqual(['a', 'e', 'f']);
  expect([...tree.depth]).toEqual([0, 0, 1]);
  expect(tree.orphans).toBe(1);
});

test('a child that began before its parent still stands below it', () => {
  const tree = treeOf([{ id: 'c', parent: 'a', start: 1 }, { id: 'a', start: 5 }, { id: 'b', parent: 'c', start: 7 }]); // prettier-ignore
  expect(names(tree)).toEqual(['a', 'c', 'b']);
});

test('a cycle of parents loses no span and ends', () => {
  const tree = treeOf([
    { id: 'a', parent: 'b' },
    { id: 'b', parent: 'a', start: 1 },
    { id: 'e', parent: 'e', start: 2 },
    { id: 'c', parent: 'b', start: 3 },
  ]);
  expect(names(tree).sort()).toEqual(['a', 'b', 'c', 'e']);
});

test('sums hold what counts, exactly, and errors rise to the root', () => {
  const tree = treeOf([
    { id: 'a', cost_usd: '0.3', input_tokens: 99 },
    { id: 'b', parent: 'a', start: 1, cost_usd: '0.1', input_tokens: 10, output_tokens: 3, counted: true },
    { id: 'c', parent: 'a', start: 2, cost_usd: '12345.900000000000001', input_tokens: 5, counted: true, status_code: 'ERROR' },
    { id: 'd', parent: 'a', start: 3 },
  ]);
  expect(costText(tree, 0)).toBe('$12346.000000000000001');
  expect([tree.inputTokens[0], tree.outputTokens[0], tree.errors[0]]).toEqual([15, 3, 1]);
  expect(costText(tree, at(tree, 'd'))).toBe('–');
});

test('collapsing hides the subtree and revealing opens only the way to a span', () => {
  const tree = treeOf([
    { id: 'a' },
    { id: 'b', parent: 'a', start: 1 },
    { id: 'c', parent: 'b', start: 2 },
    { id: 'd', parent: 'a', start: 3 },
    { id: 'e', parent: 'd', start: 4 },
  ]);
  const all = collapsible(tree);
  expect(names(tree, visibleRows(tree, all))).toEqual(['a']);
  expect(names(tree, visibleRows(tree, collapsible(tree, 1)))).toEqual(['a', 'b', 'd']);
  const open = revealed(tree, all, at(tree, 'c'));
  expect(names(tree, visibleRows(tree, open))).toEqual(['a', 'b', 'c', 'd']);
  expect(rowOf(visibleRows(tree, open), at(tree, 'd'))).toBe(3);
  expect(rowOf(visibleRows(tree, open), at(tree, 'e'))).toBe(-1);
});

test('search looks at names, models, tools and ids and ignores case', () => {
  const tree = treeOf([
    { id: 'a', name: 'Refund POLICY' },
    { id: 'b', parent: 'a', start: 1, response_model: 'gpt-4o' },
  ]);
  expect(searchSpans(tree, 'policy')).toEqual([0]);
  expect(searchSpans(tree, 'GPT-4')).toEqual([1]);
  expect(searchSpans(tree, spanId('b'))).toEqual([1]);
  expect(searchSpans(tree, ' ')).toEqual([]);
});

test('a running span lasts until the last thing known, and says that it runs', () => {
  const tree = treeOf([{ id: 'a', duration: 0, running: true }, { id: 'b', parent: 'a', start: 5, duration: 20, operation: 'execute_tool' }]); // prettier-ignore
  expect(tree.durations[0]).toBe(25);
  expect(headAt(tree, 0)).toMatchObject({ running: true, span_id: spanId('a') });
  expect(kindAt(tree, 1)).toBe('tool');
});

test('an id is found only where one begins', () => {
  const tree = treeOf([{ id: 'a000000000000000' }, { id: '00000000000000ab', start: 1 }]);
  expect(indexOfId(tree, '00000000000000ab')).toBe(1);
  expect(indexOfId(tree, '0000000000000000')).toBe(-1);
});

test('times keep their nanoseconds', () => {
  expect(isoTime('1793000000000000001', 1_000_000_008)).toBe('2026-10-26T07:33:21.000000009Z');
});

test('an empty trace has an empty tree', () => {
  expect(treeOf([])).toMatchObject({ count: 0, endNs: 0, orphans: 0 });
});

test('100 000 spans in one chain are built without recursion', () => {
  const chain = Array.from({ length: 100_000 }, (_, n) => ({ id: String(n), ...(n === 0 ? {} : { parent: String(n - 1) }), start: n, counted: true, cost_usd: '0.000001' })); // prettier-ignore
  const columns = columnsOf(chain);
  const began = performance.now();
  const tree = buildTree(columns);
  expect(performance.now() - began).toBeLessThan(5_000);
  const rows = visibleRows(tree, new Set([50_000]));
  expect(rows.length).toBe(50_001);
  expect(costText(tree, 0)).toBe('$0.1');
}, 60_000);
