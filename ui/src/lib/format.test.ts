import { expect, test } from 'vitest';

import {
  addMoney,
  formatAgo,
  formatBytes,
  formatCount,
  formatDuration,
  formatListTime,
  formatMoney,
  formatMoneyExact,
  heat,
  parseMoney,
  plural,
} from './format';

test('durations keep three significant digits and never round up into a wrong unit', () => {
  const cases: [number | null, string][] = [
    [null, '–'],
    [0, '0 ns'],
    [850, '850 ns'],
    [12_345, '12.3 µs'],
    [999_499_000, '999 ms'],
    [999_900_000, '1.00 s'],
    [1_240_000_000, '1.24 s'],
    [59_990_000_000, '1 m 00 s'],
    [125_000_000_000, '2 m 05 s'],
    [3_720_000_000_000, '1 h 02 m'],
    [-5_000_000, '−5.00 ms'],
  ];
  for (const [ns, text] of cases) expect(formatDuration(ns)).toBe(text);
});

test('unknown money is a dash and free is zero', () => {
  expect(formatMoney(null)).toBe('–');
  expect(formatMoney('0')).toBe('$0');
  expect(formatMoney('0.000000000000000')).toBe('$0');
});

test('small money keeps its significant digits, large money its cents', () => {
  expect(formatMoney('0.000001234567')).toBe('$0.0000012');
  expect(formatMoney('0.0123456')).toBe('$0.0123');
  expect(formatMoney('1234.5678')).toBe('$1,234.57');
  expect(formatMoney('-0.5')).toBe('−$0.500');
});

test('money is summed exactly where floats are not', () => {
  const sum = ['0.1', '0.2', '0.000000000000001'].map(parseMoney).reduce(addMoney, null);
  expect(formatMoneyExact(sum)).toBe('$0.300000000000001');
});

test('a sum of unknowns is unknown, not zero', () => {
  expect(addMoney(null, null)).toBeNull();
  expect(parseMoney('1e-7')).toBeNull();
});

test('counts shorten without losing their magnitude', () => {
  expect([0, 950, 1234, 34_400, 999_600, 1_250_000].map(formatCount)).toEqual(['0', '950', '1.2k', '34k', '1.00M', '1.25M']);
  expect(plural(1, 'span')).toBe('1 span');
  expect(plural(1200, 'span')).toBe('1,200 spans');
  expect([512, 1536, 12 * 1024 * 1024].map(formatBytes)).toEqual(['512 B', '1.50 KB', '12.0 MB']);
});

test('times name the day only where it is another one', () => {
  const now = new Date(2026, 10, 21, 15, 0, 0).getTime();
  expect(formatListTime(new Date(2026, 10, 21, 14, 5, 3, 120).toISOString(), now)).toBe('14:05:03.120');
  expect(formatListTime(new Date(2026, 10, 20, 14, 5, 3).toISOString(), now)).toBe('20 Nov 14:05:03');
  expect(formatListTime('nonsense', now)).toBe('–');
  expect(formatAgo(now - 2_000, now)).toBe('2 s ago');
  expect(formatAgo(now + 5_000, now)).toBe('now');
});

test('heat is relative to the largest value', () => {
  expect([0, 1, 10, 50, 100].map((value) => heat(value, 100))).toEqual([0, 0, 2, 3, 4]);
  expect(heat(null, 100)).toBe(0);
});
