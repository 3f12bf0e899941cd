import { expect, test } from 'vitest';

import { findGaps, makeAxis, momentOf, pan, placeOf, ticks, zoom } from './axis';
import { treeOf } from './trees';

const run = treeOf([
  { id: 'a', duration: 1_000 },
  { id: 'b', parent: 'a', start: 0, duration: 100 },
  { id: 'c', parent: 'a', start: 60, duration: 20 },
  { id: 'd', parent: 'a', start: 700, duration: 100 },
]);

test('idle is when no leaf span works, up to the end of the trace', () => {
  expect(findGaps(run)).toEqual([
    { startNs: 100, endNs: 700 },
    { startNs: 800, endNs: 1_000 },
  ]);
});

test('an axis without compression is the time itself', () => {
  const axis = makeAxis(1_000, []);
  expect([placeOf(axis, 0), placeOf(axis, 250), placeOf(axis, 1_000)]).toEqual([0, 250, 1_000]);
  expect(placeOf(axis, -10)).toBe(-10);
});

test('compressed idle time is short, and every moment has its place and back', () => {
  const axis = makeAxis(1_000, findGaps(run));
  expect(axis.whole.end).toBeLessThan(210);
  expect(placeOf(axis, 100)).toBe(100);
  expect(placeOf(axis, 700) - placeOf(axis, 100)).toBeCloseTo(2.4);
  for (const moment of [0, 50, 400, 700, 799, 1_000]) expect(momentOf(axis, placeOf(axis, moment))).toBeCloseTo(moment);
});

test('ticks keep their distance and none stands in compressed time', () => {
  const axis = makeAxis(1_000, findGaps(run));
  const found = ticks(axis, axis.whole, 800);
  expect(found.length).toBeGreaterThan(4);
  found.forEach((tick, at) => {
    expect(tick.ns > 100 && tick.ns < 700).toBe(false);
    if (at > 0) expect((tick.at - (found[at - 1]?.at ?? 0)) * 800).toBeGreaterThanOrEqual(71);
  });
  expect(ticks(makeAxis(100, []), { start: 0, end: 100 }, 500).map((tick) => tick.ns)).toEqual([0, 20, 40, 60, 80, 100]);
});

test('zooming keeps the moment under the cursor and stays within the trace', () => {
  const whole = { start: 0, end: 1_000_000 };
  const near = zoom(whole, whole, 0.5, 0.25);
  expect(near).toEqual({ start: 125_000, end: 625_000 });
  expect(near.start + (near.end - near.start) * 0.25).toBe(250_000);
  expect(zoom(near, whole, 100, 0.9)).toEqual(whole);
  expect(zoom(whole, whole, 1e-12, 0.5)).toEqual({ start: 499_500, end: 500_500 });
  expect(pan(near, whole, -10)).toEqual({ start: 0, end: 500_000 });
});
