import { expect, test } from 'vitest';

import { rowOf, rowStarts } from './lines';

function rows(text: string, columns: number): string[] {
  const starts = rowStarts(text, columns);
  return Array.from({ length: starts.length - 1 }, (_, row) => text.slice(starts[row], starts[row + 1]));
}

test('rows end at line breaks, at a space that is near, else where they are full', () => {
  expect(rows('', 10)).toEqual(['']);
  expect(rows('one\ntwo\n', 10)).toEqual(['one\n', 'two\n', '']);
  expect(rows('0123456789\nx', 10)).toEqual(['0123456789\n', 'x']);
  expect(rows('some words to wrap', 10)).toEqual(['some ', 'words to ', 'wrap']);
  expect(rows('x'.repeat(25), 10)).toEqual(['x'.repeat(10), 'x'.repeat(10), 'x'.repeat(5)]);
});

test('rows put together are the text, none is too long, and a surrogate pair stays whole', () => {
  const text = `${'a word and 😀 another, '.repeat(300)}\n\n${'😀'.repeat(200)}${'\n'.repeat(50)}end`;
  for (const columns of [2, 7, 80]) {
    // `encodeURIComponent` refuses half a pair.
    const found = rows(text, columns);
    expect(found.join('')).toBe(text);
    for (const row of found) {
      expect(row.replace('\n', '').length).toBeLessThanOrEqual(columns);
      expect(encodeURIComponent(row)).not.toBe('');
    }
  }
});

test('an offset is found in its row', () => {
  const starts = rowStarts('ab\ncd\nef', 10);
  expect([0, 2, 3, 5, 6, 7, 8].map((offset) => rowOf(starts, offset))).toEqual([0, 0, 1, 1, 2, 2, 2]);
});
