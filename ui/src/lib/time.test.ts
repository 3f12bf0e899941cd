import { expect, test } from 'vitest';

import { setClock } from './clock';
import { absoluteRange, ALL_TIME, describeRange, fixedRange, isRange, panned, parseRange, resolveBound, zoomedOut } from './time';

const NOW = new Date(2026, 10, 21, 15, 30, 0).getTime();
const local = (...parts: [number, number, number, number?, number?]) =>
  new Date(parts[0], parts[1], parts[2], parts[3] ?? 0, parts[4] ?? 0);

test('short and long durations mean the same range', () => {
  for (const text of ['25m', '25 min', 'last 25 minutes', ' 25M '])
    expect(parseRange(text, NOW)).toEqual({ from: 'now-25m', to: 'now' });
  expect(parseRange('3d', NOW)).toEqual({ from: 'now-3d', to: 'now' });
  expect(parseRange('1.5h', NOW)).toEqual({ from: 'now-1.5h', to: 'now' });
  expect(parseRange('last week', NOW)).toEqual({ from: 'now-1w', to: 'now' });
  expect(parseRange('all', NOW)).toEqual(ALL_TIME);
});

test('what is not a range is refused, not guessed', () => {
  for (const text of ['', 'm', '25', '0m', 'soon', '5 parsecs', '2026-13-01', '12:00 to 11:00'])
    expect(parseRange(text, NOW)).toBeNull();
});

test('a date is that whole local day', () => {
  const day = parseRange('2026-11-20', NOW);
  expect(day?.from).toBe(local(2026, 10, 20).toISOString());
  expect(day?.to).toBe(local(2026, 10, 21).toISOString());
});

test('a bare end time is on the day of the start', () => {
  expect(parseRange('2026-11-20 10:00 to 12:15', NOW)).toEqual({
    from: local(2026, 10, 20, 10).toISOString(),
    to: local(2026, 10, 20, 12, 15).toISOString(),
  });
});

test('a zone in the text is honoured', () => {
  expect(parseRange('2026-11-20T10:00:00Z .. 2026-11-20T10:30:00+02:00', NOW)).toBeNull();
  expect(parseRange('2026-11-20T10:00:00Z .. 2026-11-20T13:30:00+02:00', NOW)?.to).toBe('2026-11-20T11:30:00.000Z');
});

test('bounds resolve against now', () => {
  expect(resolveBound('now-15m', NOW)).toBe(NOW - 900_000);
  expect(resolveBound('-3d', NOW)).toBe(NOW - 3 * 864e5);
  expect(resolveBound('junk', NOW)).toBeNull();
  expect(isRange({ from: 'now', to: 'now-1h' }, NOW)).toBe(false);
});

test('ranges are described in words', () => {
  expect(describeRange({ from: 'now-1h', to: 'now' })).toBe('Last hour');
  expect(describeRange({ from: 'now-25m', to: 'now' })).toBe('Last 25m');
  expect(describeRange({ from: local(2026, 10, 20, 10).toISOString(), to: local(2026, 10, 20, 12).toISOString() })).toBe(
    '2026-11-20 10:00 – 12:00',
  );
});

test('with UTC chosen, dates without a zone are in UTC and read so', () => {
  setClock({ zone: 'utc' });
  const range = parseRange('2026-11-20 10:00 to 12:15', NOW);
  expect(range).toEqual({ from: '2026-11-20T10:00:00.000Z', to: '2026-11-20T12:15:00.000Z' });
  expect(describeRange(range ?? ALL_TIME)).toBe('2026-11-20 10:00 – 12:15');
  expect(parseRange('2026-11-20', NOW)?.to).toBe('2026-11-21T00:00:00.000Z');
  setClock({ zone: 'local' });
});

test('a range moves by its own width and widens, but not into the future', () => {
  expect(panned({ from: 'now-1h', to: 'now' }, -1, NOW)).toEqual(absoluteRange(NOW - 2 * 36e5, NOW - 36e5));
  expect(panned({ from: 'now-1h', to: 'now' }, 1, NOW)).toBeNull();
  expect(panned(absoluteRange(NOW - 36e5, NOW - 18e5), 1, NOW)).toEqual(absoluteRange(NOW - 18e5, NOW));
  expect(zoomedOut({ from: 'now-1h', to: 'now' }, NOW)).toEqual(absoluteRange(NOW - 3 * 36e5, NOW));
  expect(panned(ALL_TIME, -1, NOW)).toBeNull();
});

test('a range that is fixed no longer moves; all time keeps its open start', () => {
  expect(fixedRange({ from: 'now-1h', to: 'now' }, NOW)).toEqual({
    from: new Date(NOW - 36e5).toISOString(),
    to: new Date(NOW).toISOString(),
  });
  expect(fixedRange(ALL_TIME, NOW)).toEqual({ from: 'all', to: new Date(NOW).toISOString() });
});
