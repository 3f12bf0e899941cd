import { expect, test } from 'vitest';

import { prettyJson } from './pretty';

test('text is laid out as JSON.stringify does it', () => {
  for (const value of [{}, [], { a: [1, { b: 'x, {y}: "z"\\' }], c: {}, d: [], e: null }, 'text', [[[]]]])
    expect(prettyJson(JSON.stringify(value))).toBe(JSON.stringify(value, null, 2));
});

test('numbers keep every digit', () => {
  expect(prettyJson('{"id":18446744073709551615,"cost":0.10}')).toBe('{\n  "id": 18446744073709551615,\n  "cost": 0.10\n}');
});
