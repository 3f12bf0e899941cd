import { expect, test } from 'vitest';

import { canonicalFilter, completionAt, quoteValue, termValues, toggleTermValue, tokenise, withTermValues } from './filter';

const shape = (text: string) =>
  tokenise(text).map((token) => `${token.negated ? '-' : ''}${token.kind === 'term' ? `${token.key}=` : ''}${token.value}`);

test('terms, negation, comparisons and free text are told apart', () => {
  expect(shape('service:shop -status:error cost:>0.01 "refund policy" hello')).toEqual([
    'service=shop',
    '-status=error',
    'cost=>0.01',
    '"refund policy"',
    'hello',
  ]);
});

test('quotes keep spaces and escaped quotes within one value', () => {
  expect(shape('user:"Ada \\"L\\" x" model:a|"b c"')).toEqual(['user="Ada \\"L\\" x"', 'model=a|"b c"']);
});

test('a time or an address in free text is not an unknown key', () => {
  expect(tokenise('12:30').at(0)?.kind).toBe('text');
});

test('an open quotation mark and an unknown key are named', () => {
  expect(tokenise('name:"abc').at(0)?.problem).toBe('the quotation mark is not closed');
  expect(tokenise('modle:gpt').at(0)?.problem).toBe('`modle` is not a key');
  expect(tokenise('attr.http.route:/x').at(0)?.problem).toBeNull();
  expect(tokenise('op:chat').at(0)?.problem).toBeNull();
});

test('a lone minus and an empty value do not break the cut', () => {
  expect(shape('- a')).toEqual(['-', 'a']);
  expect(shape('model: x')).toEqual(['model=', 'x']);
});

test('the caret decides between key and value suggestions', () => {
  expect(completionAt('ser', 3)).toEqual({ kind: 'key', prefix: 'ser', start: 0, end: 3 });
  expect(completionAt('-ser', 4)).toEqual({ kind: 'key', prefix: 'ser', start: 1, end: 4 });
  expect(completionAt('model:gp', 8)).toEqual({ kind: 'value', key: 'model', prefix: 'gp', start: 6, end: 8 });
  expect(completionAt('model:a|cl x', 10)).toEqual({ kind: 'value', key: 'model', prefix: 'cl', start: 8, end: 10 });
  expect(completionAt('a ', 2)).toEqual({ kind: 'key', prefix: '', start: 2, end: 2 });
});

test('values with marks of the language are quoted', () => {
  expect(['gpt-4o', 'a b', 'x"y', '*', '>5', 'a|b', ''].map(quoteValue)).toEqual([
    'gpt-4o',
    '"a b"',
    '"x\\"y"',
    '"*"',
    '">5"',
    '"a|b"',
    '""',
  ]);
});

test('toggling a value edits its own term and leaves the rest', () => {
  const once = toggleTermValue('"free text" service:a', 'service', 'b c');
  expect(once).toBe('"free text" service:a|"b c"');
  expect(termValues(once, 'service')).toEqual(['a', 'b c']);
  expect(toggleTermValue(once, 'service', 'a')).toBe('"free text" service:"b c"');
  expect(withTermValues(once, 'service', [])).toBe('"free text"');
  expect(withTermValues('-service:a', 'service', ['b'])).toBe('-service:a service:b');
});

test('spacing does not make another filter', () => {
  expect(canonicalFilter('  a:b   "c  d" ')).toBe('a:b "c  d"');
});
