import { expect, test } from 'vitest';

import { differs, readBody, viewSearch, type SavedView } from './saved';
import { listState } from './state';

test('a view keeps what the list shows, not what is peeked at or live', () => {
  const state = listState({ q: 'a', from: 'now-3d', to: 'now', peek: 'x', live: '1', view: 'v', cols: 'name' });
  expect(viewSearch(state)).toEqual({ q: 'a', from: 'now-3d', to: 'now', cols: 'name' });
});

test('a body of another shape is no view', () => {
  expect(readBody({ list: 'traces', search: { q: 'a', more: 1 } })).toEqual({ kind: 'traces', search: { q: 'a' } });
  for (const body of [null, 'x', {}, { list: 'things', search: {} }, { list: 'traces', search: null }])
    expect(readBody(body)).toBeNull();
});

test('a changed filter makes the list differ from its view, a peek does not', () => {
  const view: SavedView = { id: 'v', name: 'n', kind: 'traces', search: { q: 'a' }, isDefault: false };
  expect(differs(view, listState({ q: 'a', peek: 'x', view: 'v' }))).toBe(false);
  expect(differs(view, listState({ q: 'b' }))).toBe(true);
});
