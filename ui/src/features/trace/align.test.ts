import { expect, test } from 'vitest';

import { alignTrees } from './align';
import type { TraceTree } from './tree';
import { idAt } from './tree';
import { treeOf, type TestSpan } from './trees';

const short = (tree: TraceTree, at: number) => (at < 0 ? '·' : idAt(tree, at).replace(/^0+/, ''));

function rows(left: readonly TestSpan[], right: readonly TestSpan[]): string[] {
  const [a, b] = [treeOf(left), treeOf(right)];
  const aligned = alignTrees(a, b);
  return Array.from({ length: aligned.count }, (_, row) => `${aligned.depth[row] ?? 0} ${short(a, aligned.a[row] ?? -1)}=${short(b, aligned.b[row] ?? -1)}`); // prettier-ignore
}

const step = (id: string, name: string, start: number, parent = 'a'): TestSpan => ({ id, name, start, parent });

test('equal traces pair every span', () => {
  const spans = [{ id: 'a', name: 'run' }, step('b', 'chat', 1), step('c', 'search', 2), step('d', 'chat', 3)];
  expect(rows(spans, spans)).toEqual(['0 a=a', '1 b=b', '1 c=c', '1 d=d']);
});

test('what only one has stands alone with its subtree, in its place', () => {
  const left = [
    { id: 'a', name: 'run' },
    step('b', 'chat', 1),
    step('c', 'search', 2),
    step('d', 'get', 3, 'c'),
    step('e', 'chat', 4),
  ];
  const right = [{ id: 'a', name: 'run' }, step('b', 'chat', 1), step('f', 'look up', 2), step('e', 'chat', 4)];
  expect(rows(left, right)).toEqual(['0 a=a', '1 b=b', '1 c=·', '2 d=·', '1 ·=f', '1 e=e']);
});

test('steps in another order keep the longest common order', () => {
  const left = [{ id: 'a', name: 'run' }, step('b', 'x', 1), step('c', 'y', 2), step('d', 'z', 3)];
  const right = [{ id: 'a', name: 'run' }, step('d', 'z', 1), step('b', 'x', 2), step('c', 'y', 3)];
  expect(rows(left, right)).toEqual(['0 a=a', '1 ·=d', '1 b=b', '1 c=c', '1 d=·']);
});

test('traces that share nothing stand below each other, and an empty one is no trouble', () => {
  expect(rows([{ id: 'a', name: 'one' }], [{ id: 'b', name: 'two' }])).toEqual(['0 a=·', '0 ·=b']);
  expect(rows([], [{ id: 'b' }])).toEqual(['0 ·=b']);
});

test('50 000 siblings are aligned quickly', () => {
  const many = [{ id: 'a', name: 'run' }, ...Array.from({ length: 50_000 }, (_, n) => step(`${n}1`, `step ${n % 7}`, n + 1))];
  const [a, b] = [treeOf(many), treeOf(many.filter((_, at) => at % 5 !== 4))];
  const began = performance.now();
  expect(alignTrees(a, b).count).toBeGreaterThan(50_000);
  expect(performance.now() - began).toBeLessThan(2_000);
}, 60_000);
