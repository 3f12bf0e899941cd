import { expect, test } from 'vitest';

import {
  defaultLayout,
  fitting,
  formatLayout,
  moveColumn,
  parseLayout,
  pinColumn,
  resizeColumn,
  shiftColumn,
  toggleColumn,
} from './columns';

const COLUMNS = [
  { id: 'time', width: 100 },
  { id: 'name', width: 200, grow: 1 },
  { id: 'model', width: 100, spare: 1 },
  { id: 'user_id', width: 100, optional: true },
  { id: 'cost', width: 80, spare: 2 },
];
const layout = defaultLayout(COLUMNS);
const text = (each = layout) => formatLayout(each, COLUMNS);

test('the address round-trips a layout and says nothing of the default', () => {
  expect(text()).toBeNull();
  expect(text(parseLayout('*name.320-cost', COLUMNS))).toBe('*name.320-cost');
});

test('an address that names columns wrongly still gives a table', () => {
  expect(parseLayout('colour-name.1-name-$', COLUMNS)).toEqual([{ id: 'name', width: null, pinned: false }]);
  expect(parseLayout('name.9999', COLUMNS)[0]?.width).toBe(1200);
  expect(parseLayout('', COLUMNS)).toEqual(layout);
});

test('pinned columns come first, and what is dropped among them is pinned', () => {
  const pinned = pinColumn(layout, 'model', true);
  expect(text(pinned)).toBe('*model-time-name-cost');
  expect(text(moveColumn(pinned, 'cost', 'model'))).toBe('*cost-*model-time-name');
  expect(text(moveColumn(pinned, 'model', null))).toBe('time-name-cost-model');
  expect(text(moveColumn(pinned, 'model', 'model'))).toBe(text(pinned));
});

test('a shift swaps neighbours and does not cross the pinning', () => {
  expect(text(shiftColumn(layout, 'name', -1))).toBe('name-time-model-cost');
  expect(shiftColumn(layout, 'time', -1)).toBe(layout);
  const pinned = pinColumn(layout, 'time', true);
  expect(shiftColumn(pinned, 'name', -1)).toBe(pinned);
});

test('a column shown again stands where its kind puts it; the last one cannot be hidden', () => {
  expect(text(toggleColumn(layout, 'user_id', COLUMNS))).toBe('time-name-model-user_id-cost');
  const one = parseLayout('name', COLUMNS);
  expect(toggleColumn(one, 'name', COLUMNS)).toBe(one);
});

test('a width has bounds and can be given back', () => {
  expect(resizeColumn(layout, 'time', 3)[0]?.width).toBe(44);
  expect(resizeColumn(resizeColumn(layout, 'time', 300), 'time', null)).toEqual(layout);
});

test('spare columns give way in a narrow table, others stay', () => {
  const ids = (room: number) => fitting(COLUMNS, room).map((each) => each.id);
  expect(ids(600)).toEqual(['time', 'name', 'model', 'user_id', 'cost']);
  expect(ids(500)).toEqual(['time', 'name', 'model', 'user_id']);
  expect(ids(50)).toEqual(['time', 'name', 'user_id']);
});
