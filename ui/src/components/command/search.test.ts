import { expect, test } from 'vitest';

import type { Command } from './commands';
import { findCommands, spanIdIn, traceIdIn } from './search';

const command = (title: string, words = ''): Command => ({ id: title, title, icon: 'link', words, run: () => undefined });
const COMMANDS = [
  command('Go to traces'),
  command('Start live mode'),
  command('Dark theme', 'colour night'),
  command('Go to tools'),
];
const found = (typed: string) => findCommands(COMMANDS, typed).map((each) => each.title);

test('every word must be found, the start of a word counts more', () => {
  expect(found('')).toHaveLength(4);
  expect(found('go to')).toEqual(['Go to traces', 'Go to tools']);
  expect(found('night')).toEqual(['Dark theme']);
  expect(found('t')[0]).not.toBe('Start live mode');
  expect(found('go dark')).toEqual([]);
  expect(found('(')).toEqual([]);
});

test('a trace id is found in what people paste', () => {
  const id = '4bf92f3577b34da6a3ce929d0e0e4736';
  expect(traceIdIn(id)).toBe(id);
  expect(traceIdIn(`00-${id.toUpperCase()}-00f067aa0ba902b7-01`)).toBe(id);
  expect(traceIdIn(`https://host/traces/${id}?span=1`)).toBe(id);
  expect(traceIdIn('0'.repeat(32))).toBeNull();
  expect(traceIdIn(`${id}0`)).toBeNull();
  expect(spanIdIn(' 00f067aa0ba902b7 ')).toBe('00f067aa0ba902b7');
  expect(spanIdIn(id)).toBeNull();
});
