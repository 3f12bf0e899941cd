import { expect, test } from 'vitest';

import { KIND_INFO } from './kinds';
import { countNews, describeNews } from './live';

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
  expect(describeNews({ added: 0, changed: 0 }, 'session', 100)).toBe('');
  expect(describeNews({ added: 1, changed: 0 }, 'session', 100)).toBe('1 new session');
  expect(describeNews({ added: 2, changed: 1 }, 'session', 100)).toBe('2 new sessions, 1 changed');
  expect(describeNews({ added: 0, changed: 1 }, 'error group', 100)).toBe('1 error group changed');
  expect(describeNews({ added: 100, changed: 0 }, 'trace', 100)).toBe('100 or more new traces');
});
