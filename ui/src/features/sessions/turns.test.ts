import { expect, test } from 'vitest';

import { turnsOf } from './turns';

const said = (role: string, text: string) => ({ role, parts: [{ type: 'text', content: text }] });
const system = said('system', 'Be brief.');

test('a history that is sent again is counted, not repeated', () => {
  const first = { input_messages: [system, said('user', 'Hi')], output_messages: [said('assistant', 'Hello')] };
  const second = {
    input_messages: [system, said('user', 'Hi'), { role: 'assistant', content: 'Hello' }, said('user', 'And now?')],
    output_messages: [said('assistant', 'Now this')],
  };
  const [one, two] = turnsOf([first, second]);
  expect(one).toEqual({ earlier: [], input: first.input_messages, output: first.output_messages });
  expect(two?.earlier).toHaveLength(3);
  expect(two?.input).toEqual([said('user', 'And now?')]);
});

test('what is asked a second time is still shown', () => {
  const trace = { input_messages: [said('user', 'Hi')], output_messages: [said('assistant', 'Hello')] };
  expect(turnsOf([trace, trace])[1]?.input).toEqual([said('user', 'Hi')]);
});

test('JSON text, plain text and nothing are read', () => {
  const [turn, none] = turnsOf([{ input_messages: JSON.stringify([said('user', 'Hi')]), output_messages: 'done' }, {}]);
  expect(turn).toEqual({ earlier: [], input: [said('user', 'Hi')], output: ['done'] });
  expect(none).toEqual({ earlier: [], input: [], output: [] });
});
