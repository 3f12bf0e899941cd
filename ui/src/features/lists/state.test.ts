import { expect, test } from 'vitest';

import { listSearch, listState, readListSearch, scopeSearch } from './state';

test('the address round-trips a state and leaves defaults out', () => {
  expect(listSearch(listState({}))).toEqual({});
  const search = {
    from: 'now-3d',
    to: 'now',
    q: 'status:error',
    sort: 'cost_usd',
    order: 'asc',
    live: '1',
    peek: 'abc.def',
    'peek.tab': 'cost',
    'peek.view': 'graph',
    cols: '*name.320-cost',
    density: 'compact',
    view: 'v1',
  };
  expect(listSearch(listState(search))).toEqual(search);
});

test('what an address says wrongly falls back to the default', () => {
  expect(listState({ from: 'soon', sort: 'a b', order: 'up', density: 'huge' })).toMatchObject({
    from: 'now-24h',
    to: 'now',
    sort: null,
    order: 'desc',
    density: 'normal',
  });
  expect(readListSearch({ q: 3, from: '' })).toEqual({});
});

test('from list to list go the time and the filter, not the columns', () => {
  const state = listState({ from: 'now-3d', to: 'now', q: 'a', sort: 'cost_usd', cols: 'name', peek: 'x' });
  expect(scopeSearch(state)).toEqual({ from: 'now-3d', to: 'now', q: 'a' });
});
