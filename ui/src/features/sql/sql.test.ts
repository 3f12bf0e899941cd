import { expect, test } from 'vitest';

import { asTsv, cellLink, cellText, columnWidth, isNumeric } from './cells';
import { isHistory, remembered } from './history';

const TRACE = '0123456789abcdef0123456789abcdef';
const SPAN = '0123456789abcdef';

test('ids lead to their trace, and to their span where the row names both', () => {
  const columns = [{ name: 'trace_id' }, { name: 'span_id' }];
  expect(cellLink(columns, [TRACE, SPAN], 0)).toBe(`/traces/${TRACE}`);
  expect(cellLink(columns, [TRACE, SPAN], 1)).toBe(`/traces/${TRACE}?span=${SPAN}`);
  expect(cellLink([{ name: 'span_id' }], [SPAN], 0)).toBeNull();
  expect(cellLink(columns, ['javascript:alert(1)', SPAN], 0)).toBeNull();
});

test('cells keep null apart from text and quote what a spreadsheet would split', () => {
  expect(cellText(null)).toBe('');
  expect(cellText({ a: 1 })).toBe('{"a":1}');
  expect(asTsv([{ name: 'a' }, { name: 'b' }], [['x\ty', 1]])).toBe('a\tb\n"x\ty"\t1');
  expect(['Int64', 'Decimal128(28, 15)', 'Float64', 'Utf8', 'Timestamp(ns)'].map(isNumeric)).toEqual([
    true,
    true,
    true,
    false,
    false,
  ]);
  expect(columnWidth('x', [['y'.repeat(1000)]], 0)).toBe(380);
});

test('history holds each query once, newest first', () => {
  const history = remembered(remembered(remembered([], 'a', 1), 'b', 2), ' a ', 3);
  expect(history).toEqual([
    { query: 'a', at: 3 },
    { query: 'b', at: 2 },
  ]);
  expect(remembered(history, '  ', 4)).toEqual(history);
  expect(isHistory(history)).toBe(true);
  expect(isHistory([{ query: 1 }])).toBe(false);
});
