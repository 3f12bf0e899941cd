import { afterEach, expect, test } from 'vitest';

import { clockOf, clockSearch, fieldsOf, momentOf, setClock, wallDate, zoneName } from './clock';

afterEach(() => {
  setClock({ zone: 'local', style: 'moment' });
});

test('a zone that a link names is that of its times, in winter and in summer', () => {
  setClock({ zone: 'Europe/Berlin' });
  const winter = new Date('2026-01-31T23:30:05.250Z');
  expect(fieldsOf(winter)).toEqual({ year: 2026, month: 1, day: 1, hour: 0, minute: 30, second: 5, ms: 250 });
  expect(zoneName(winter)).toBe('UTC+1');
  expect(zoneName(new Date('2026-07-01T00:00:00Z'))).toBe('UTC+2');
  setClock({ zone: 'Asia/Kolkata' });
  expect(zoneName(winter)).toBe('UTC+5:30');
  expect(wallDate(winter.getTime()).getHours()).toBe(5);
});

test('what clocks of a zone show leads back to the moment, on both sides of a change of clocks', () => {
  setClock({ zone: 'America/New_York' });
  for (const iso of [
    '2026-03-08T06:59:59Z',
    '2026-03-08T07:00:00Z',
    '2026-11-01T04:30:00Z',
    '2026-11-01T07:30:00Z',
    '1999-12-31T23:59:59.999Z',
  ]) {
    const at = new Date(iso);
    expect(momentOf(fieldsOf(at)), iso).toBe(at.getTime());
  }
  setClock({ zone: 'utc' });
  expect(momentOf({ year: 2026, month: 10, day: 32, hour: 0, minute: 0, second: 0, ms: 0 })).toBe(Date.UTC(2026, 11, 2));
});

test('the address says how times read, names what it knows and leaves out what is common', () => {
  expect(clockSearch({ zone: 'local', style: 'moment' })).toEqual({});
  expect(clockSearch({ zone: 'Asia/Tokyo', style: 'ago' })).toEqual({ zone: 'Asia/Tokyo', times: 'ago' });
  expect(clockOf({ zone: 'Asia/Tokyo' })).toEqual({ zone: 'Asia/Tokyo' });
  expect(clockOf({ zone: 'Nowhere/Else', times: 'sometimes' })).toEqual({});
});
