import { expect, test } from 'vitest';

import { pairToolCalls, parseInstructions, parseMessages, parseToolDefinitions } from './messages';

test('a tool result stands beside its call and its own message is gone', () => {
  const messages = pairToolCalls(
    parseMessages([
      { role: 'user', parts: [{ type: 'text', content: 'weather?' }] },
      { role: 'assistant', parts: [{ type: 'tool_call', id: 'c1', name: 'weather', arguments: '{"city":"Kyiv"}' }] },
      { role: 'tool', parts: [{ type: 'tool_call_response', id: 'c1', response: { degrees: 7 } }] },
    ]),
  );
  expect(messages.map((message) => message.role)).toEqual(['user', 'assistant']);
  expect(messages[1]?.parts[0]).toEqual({
    kind: 'tool-call',
    id: 'c1',
    name: 'weather',
    args: { city: 'Kyiv' },
    result: { value: { degrees: 7 } },
  });
});

test('a result without its call stays where it was', () => {
  const [message] = pairToolCalls(
    parseMessages([{ role: 'tool', parts: [{ type: 'tool_call_response', id: 'x', result: 'lost' }] }]),
  );
  expect(message?.parts[0]).toEqual({ kind: 'tool-result', id: 'x', name: null, value: 'lost' });
});

test('ids that repeat in each turn pair within their turn', () => {
  const turn = (answer: string) => [
    { role: 'assistant', parts: [{ type: 'tool_call', id: '0', name: 'f', arguments: {} }] },
    { role: 'tool', parts: [{ type: 'tool_call_response', id: '0', response: answer }] },
  ];
  const results = pairToolCalls(parseMessages([...turn('first'), ...turn('second')])).flatMap((message) =>
    message.parts.map((part) => (part.kind === 'tool-call' ? part.result?.value : part)),
  );
  expect(results).toEqual(['first', 'second']);
});

test('plain content, JSON text and bare text are all messages', () => {
  expect(parseMessages('[{"role":"user","content":"hi"}]')[0]?.parts).toEqual([{ kind: 'text', text: 'hi' }]);
  expect(parseMessages('hello')[0]).toMatchObject({ role: 'unknown', parts: [{ kind: 'text', text: 'hello' }] });
  expect(parseMessages(null)).toEqual([]);
});

test('system instructions are parts without a role', () => {
  expect(parseInstructions([{ type: 'text', content: 'be kind' }])).toEqual([
    { role: 'system', name: null, finishReason: null, parts: [{ kind: 'text', text: 'be kind' }] },
  ]);
});

test('reasoning and media are recognised, the unknown is kept as it is', () => {
  const [message] = parseMessages([
    {
      role: 'assistant',
      finish_reason: 'stop',
      parts: [
        { type: 'reasoning', content: 'hm' },
        { type: 'blob', modality: 'image', mime_type: 'image/png', content: 'AAAA' },
        { type: 'uri', modality: 'image', uri: 'https://example.org/a.png' },
        { type: 'blob', modality: 'audio', content: { $blob: 'abcdef0123456789', bytes: 12 } },
        { type: 'novel', x: 1 },
      ],
    },
  ]);
  expect(message?.finishReason).toBe('stop');
  expect(message?.parts).toEqual([
    { kind: 'reasoning', text: 'hm' },
    { kind: 'media', modality: 'image', mime: 'image/png', source: 'data:image/png;base64,AAAA', note: null },
    { kind: 'media', modality: 'image', mime: null, source: 'https://example.org/a.png', note: null },
    { kind: 'stored', modality: 'audio', mime: null, sha256: 'abcdef0123456789', bytes: 12 },
    { kind: 'other', value: { type: 'novel', x: 1 } },
  ]);
});

test('tool definitions come flat, nested and as JSON text', () => {
  const parameters = { type: 'object' };
  for (const sent of [
    [{ type: 'function', name: 'f', description: 'd', parameters }],
    [{ type: 'function', function: { name: 'f', description: 'd', parameters } }],
    JSON.stringify([{ name: 'f', description: 'd', input_schema: parameters }]),
  ]) {
    expect(parseToolDefinitions(sent)).toEqual([{ name: 'f', description: 'd', parameters }]);
  }
});
