import { expect, test } from 'vitest';

import { FIRST_STATE, readFolds, readTraceSearch, traceSearch, traceState, writeFolds } from './state';
import { collapsible } from './tree';
import { treeOf } from './trees';

test('the address holds what differs from the first state and restores it', () => {
  expect(traceSearch(FIRST_STATE)).toEqual({});
  const state = { ...FIRST_STATE, span: '00000000000000aa', view: 'timeline' as const, find: 'refund', open: '00000000000000ab', window: { startNs: 5, endNs: 20 }, gaps: true }; // prettier-ignore
  const search = readTraceSearch(traceSearch(state));
  expect(traceState(search)).toEqual(state);
  expect(traceState({ view: 'nonsense', window: '9-3' })).toEqual(FIRST_STATE);
});

test('folds survive the address: some by their ids, many as all but the open ones', () => {
  const spans = Array.from({ length: 100 }, (_, n) => [
    { id: `${n}1`, parent: 'f', start: n },
    { id: `${n}2`, parent: `${n}1`, start: n },
  ]);
  const tree = treeOf([{ id: 'f' }, ...spans.flat()]);
  expect(writeFolds(tree, new Set())).toBe('');
  expect([...readFolds(tree, writeFolds(tree, new Set([1, 3])))]).toEqual([1, 3]);
  const all = collapsible(tree, 1);
  expect(writeFolds(tree, all)).toBe('all');
  expect(readFolds(tree, 'all')).toEqual(all);
  const most = new Set([...all].slice(1));
  expect(readFolds(tree, writeFolds(tree, most))).toEqual(most);
});
