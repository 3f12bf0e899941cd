import { expect, test } from 'vitest';

import { readTurn, transcriptItems, type Content } from './transcript';
import { indexOfId } from './tree';
import { spanId, treeOf } from './trees';

const call = { counted: true, operation: 'chat' };
const run = treeOf([
  { id: 'a', operation: 'invoke_agent' },
  { id: 'b', parent: 'a', start: 1, ...call },
  { id: 'c', parent: 'a', start: 2, operation: 'execute_tool', tool_name: 'search' },
  { id: 'd', parent: 'a', start: 3, operation: 'invoke_agent' },
  { id: 'e', parent: 'd', start: 4, ...call },
  { id: 'f', parent: 'd', start: 5, ...call, counted: false, uncounted_reason: 'wrapper' },
  { id: '1', parent: 'a', start: 6, ...call },
  { id: '2', parent: 'a', start: 7 },
]);
const at = (name: string) => indexOfId(run, spanId(name));
const none: ReadonlySet<number> = new Set();

test('turns stand in order with the tools they caused, agents within agents are folded', () => {
  const items = transcriptItems(run, none, none, 0);
  expect(items.map((item) => [item.kind, item.at])).toEqual([['agent', at('a')], ['turn', at('b')], ['agent', at('d')], ['turn', at('1')]]); // prettier-ignore
  expect(items[1]).toMatchObject({ tools: [at('c')], level: 0 });
  expect(items[2]).toMatchObject({ turns: 1, open: false, folds: true });
});

test('a folded agent opens on request, and where the selection is', () => {
  const kinds = (open: ReadonlySet<number>, selected: number) =>
    transcriptItems(run, open, none, selected).map((item) => item.at);
  expect(kinds(new Set([at('d')]), 0)).toContain(at('e'));
  expect(kinds(none, at('e'))).toContain(at('e'));
  expect(transcriptItems(run, none, new Set([at('a')]), 0)).toHaveLength(1);
});

const nothing: Content = { input_messages: null, output_messages: null, tool_arguments: null, tool_result: null, input_value: null, output_value: null, input_preview: null, output_preview: null, left_bytes: 0 }; // prettier-ignore

test('reasoning stands beside the call it caused, the call beside its run', () => {
  const content = {
    ...nothing,
    input_messages: [
      { role: 'user', parts: [{ type: 'text', content: 'old' }] },
      { role: 'assistant', parts: [{ type: 'text', content: 'so' }] },
      { role: 'user', parts: [{ type: 'text', content: 'new' }] },
    ],
    output_messages: [
      {
        role: 'assistant',
        parts: [
          { type: 'reasoning', content: 'think' },
          { type: 'tool_call', id: 'x2', name: 'search', arguments: { q: 2 } },
          { type: 'text', content: 'then' },
          { type: 'tool_call', id: 'x1', name: 'search', arguments: { q: 1 } },
        ],
      },
    ],
  };
  const runs = [
    { at: 7, callId: 'x1', name: 'search', content: { ...nothing, tool_result: 'one' } },
    { at: 8, callId: 'x2', name: 'search', content: { ...nothing, tool_result: 'two' } },
    { at: 9, callId: null, name: 'other', content: undefined },
  ];
  const turn = readTurn(content, runs);
  expect(turn.asked).toEqual([{ kind: 'text', text: 'new' }]);
  expect(turn.exchanges.map(({ said, calls }) => [said.map((part) => part.kind), calls.map(({ run: place, result }) => [place, result])])).toEqual([
    [['reasoning'], [[8, 'two']]],
    [['text'], [[7, 'one'], [9, undefined]]],
  ]); // prettier-ignore
});

test('a turn without messages shows its previews', () => {
  const turn = readTurn({ ...nothing, input_preview: 'in', output_preview: 'out' }, []);
  expect(turn.asked).toEqual([{ kind: 'text', text: 'in' }]);
  expect(turn.exchanges[0]?.said).toEqual([{ kind: 'text', text: 'out' }]);
});
