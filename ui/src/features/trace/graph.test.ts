import { expect, test } from 'vitest';

import { makeGraph, NODES_MAX } from './graph';
import { treeOf } from './trees';

const run = treeOf([
  { id: 'a', operation: 'invoke_agent', agent_name: 'boss' },
  { id: 'b', parent: 'a', start: 1 },
  { id: 'c', parent: 'b', start: 2, operation: 'chat', response_model: 'm' },
  { id: 'd', parent: 'a', start: 3, operation: 'execute_tool', tool_name: 'search', status_code: 'ERROR' },
  { id: 'e', parent: 'a', start: 4, operation: 'execute_tool', tool_name: 'search' },
]);

test('steps of the same kind and name are one node, plain spans are passed over', () => {
  const graph = makeGraph(run, false);
  expect(graph.nodes.map(({ label, count, errors }) => [label, count, errors])).toEqual([['boss', 1, 0], ['m', 1, 0], ['search', 2, 1]]); // prettier-ignore
  expect(graph.edges).toEqual([{ from: 0, to: 2, count: 2 }, { from: 0, to: 1, count: 1 }]); // prettier-ignore
  expect([...graph.nodeOf]).toEqual([0, -1, 1, 2, 2]);
});

test('expanded, each step has its own node, and none covers another', () => {
  const { nodes } = makeGraph(run, true);
  expect(nodes).toHaveLength(4);
  expect(new Set(nodes.map(({ x, y }) => `${x} ${y}`)).size).toBe(4);
});

test('a trace without steps shows its spans', () => {
  expect(makeGraph(treeOf([{ id: 'a' }, { id: 'b', parent: 'a', start: 1 }]), false).nodes).toHaveLength(2);
});

test('what is over the cap is left out and counted', () => {
  const many = treeOf([
    { id: 'a' },
    ...Array.from({ length: NODES_MAX + 9 }, (_, n) => ({ id: `${n}1`, parent: 'a', start: n + 1 })),
  ]);
  const graph = makeGraph(many, true);
  expect([graph.nodes.length, graph.nodesLeft]).toEqual([NODES_MAX, 10]);
});
