import { expect, test } from 'vitest';

import { listSearch, listState, readListSearch } from './state';

test('the address round-trips a state and leaves defaults out', () => {
  expect(listSearch(listState({}))).toEqual({});
  const search = { from: 'now-3d', to: 'now', q: 'status:error', sort: 'cost_usd', order: 'asc', live: '1', peek: 'abc' };
  expect(listSearch(listState(search))).toEqual(search);
});

test('what an address says wrongly falls back to the default', () => {
  expect(listState({ from: 'soon', sort: 'colour', order: 'up' })).toMatchObject({
    from: 'now-24h',
    to: 'now',
    sort: 'start_time',
    order: 'desc',
  });
  expect(readListSearch({ q: 3, from: '' })).toEqual({});
});
