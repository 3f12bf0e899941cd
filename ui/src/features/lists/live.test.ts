import { expect, test } from 'vitest';

import { KIND_INFO } from './kinds';
import { countNews, describeNews, isKnown } from './live';

const session = (id: string, first: number, last: number, traces = 1) => ({
  session_id: id,
  first_time: `2026-11-21T10:00:0${first}Z`,
  last_time: `2026-11-21T10:00:0${last}Z`,
  traces,
  llm_calls: traces,
});

test('what began since is new, what has gone on since is changed, wherever it stands', () => {
  const shown = [session('a', 1, 3), session('b', 1, 2)];
  const before = { known: new Set(['a', 'b']), latest: '2026-11-21T10:00:03Z' };
  const newest = [session('new', 5, 6), session('a', 1, 5, 2), session('old', 0, 5), session('below', 0, 1), session('b', 1, 2)];
  expect(countNews(KIND_INFO.sessions, shown, newest, before)).toEqual({ added: 1, changed: 2 });
  expect(countNews(KIND_INFO.sessions, shown, shown, before)).toEqual({ added: 0, changed: 0 });
});

test('a group without a moment is new if it was not known, and changed if it has grown', () => {
  const model = (name: string, calls: number) => ({ provider: 'openai', model: name, llm_calls: calls });
  const before = { known: new Set(['openai/seen', 'openai/further down']), latest: '' };
  const newest = [model('seen', 4), model('further down', 1), model('unheard of', 1)];
  expect(countNews(KIND_INFO.models, [model('seen', 3)], newest, before)).toEqual({ added: 1, changed: 1 });
  // A range that moves on loses calls at its far end: that is no news.
  expect(countNews(KIND_INFO.models, [model('seen', 5)], [model('seen', 4)], before)).toEqual({ added: 0, changed: 0 });
});

test('news is said with what it is about', () => {
  const said = (added: number, changed: number, noun: string, more = false) => describeNews({ added, changed, more }, noun);
  expect(said(0, 0, 'session')).toBe('');
  expect(said(1, 0, 'session')).toBe('1 new session');
  expect(said(2, 1, 'session')).toBe('2 new sessions, 1 changed');
  expect(said(0, 1, 'error group')).toBe('1 error group changed');
  expect(said(130, 0, 'trace')).toBe('130 new traces');
  expect(said(1_200, 800, 'session', true)).toBe('1,200+ new sessions, 800+ changed');
});

test('rows are looked at until one that was there before; groups without a moment to the end', () => {
  const since = '2026-11-21T10:00:03Z';
  expect(isKnown(KIND_INFO.sessions, session('new', 4, 5), since)).toBe(false);
  expect(isKnown(KIND_INFO.sessions, session('old', 1, 3), since)).toBe(true);
  // At the first look nothing is news yet.
  expect(isKnown(KIND_INFO.sessions, session('any', 4, 5), '')).toBe(true);
  expect(isKnown(KIND_INFO.models, { provider: 'openai', model: 'any', llm_calls: 4 }, '')).toBe(false);
});
