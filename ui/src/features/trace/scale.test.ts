import { expect, test } from 'vitest';

import { pan, place, ticks, zoom } from './scale';

const whole = { startNs: 0, endNs: 1_000_000 };

test('a span lies where its time is, cut at the window', () => {
  expect(place(whole, 250_000, 500_000)).toEqual({ left: 0.25, width: 0.5 });
  expect(place({ startNs: 500_000, endNs: 1_000_000 }, 250_000, 500_000)).toEqual({ left: 0, width: 0.5 });
  expect(place({ startNs: 800_000, endNs: 1_000_000 }, 250_000, 500_000)).toBeNull();
  expect(place(whole, 100, -50)?.width).toBe(0);
});

test('a trace without extent fills its window', () => {
  expect(place({ startNs: 5, endNs: 5 }, 5, 0)).toEqual({ left: 0, width: 1 });
  expect(ticks({ startNs: 5, endNs: 5 }, 800)).toEqual([]);
});

test('grid lines are round and not too many', () => {
  expect(ticks(whole, 350)).toEqual([0, 200_000, 400_000, 600_000, 800_000, 1_000_000]);
  expect(ticks({ startNs: 130_000, endNs: 330_000 }, 130).every((tick) => tick % 100_000 === 0)).toBe(true);
});

test('zooming keeps the moment under the pointer and stops at the whole trace', () => {
  const closer = zoom(whole, whole, 0.5, 0.5);
  expect(closer).toEqual({ startNs: 250_000, endNs: 750_000 });
  expect(zoom(closer, whole, 100, 0.1)).toEqual(whole);
  expect(zoom(whole, whole, 1e-9, 0).endNs).toBe(1_000);
});

test('panning stops at the ends', () => {
  expect(pan({ startNs: 0, endNs: 400_000 }, whole, 0.5)).toEqual({ startNs: 200_000, endNs: 600_000 });
  expect(pan({ startNs: 0, endNs: 400_000 }, whole, -0.5)).toEqual({ startNs: 0, endNs: 400_000 });
});
