import { expect, test } from 'vitest';

import {
  bothFilters,
  canonicalFilter,
  completionAt,
  quoteValue,
  termValues,
  toggleTermValue,
  tokenise,
  withTermValues,
} from './filter';

const shape = (text: string) =>
  tokenise(text).map((token) => {
    if (token.kind === 'or' || token.kind === 'close') return token.kind;
    const sign = token.negated ? '-' : '';
    return sign + (token.kind === 'open' ? 'open' : token.kind === 'term' ? `${token.key}=${token.value}` : token.value);
  });
const problems = (text: string) => tokenise(text).map((token) => token.problem);

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

test('an open quotation mark is named', () => {
  expect(problems('name:"abc')).toEqual(['the quotation mark is not closed']);
});

test('OR, parentheses and negated groups are tokens of their own', () => {
  expect(shape('(a OR -b) -(model:x OR "(c)") order')).toEqual([
    'open', 'a', 'or', '-b', 'close', '-open', 'model=x', 'or', '"(c)"', 'close', 'order',
  ]); // prettier-ignore
  expect(shape('or ORDER')).toEqual(['or', 'ORDER']);
  expect(tokenise('or')[0]?.kind).toBe('text');
});

test('what parentheses and OR lack is named where it stands', () => {
  expect(problems('(a')).toEqual(['the parenthesis is not closed', null]);
  expect(problems('a)')).toEqual([null, 'no parenthesis is open here']);
  expect(problems('()')).toEqual([null, 'there is nothing between the parentheses']);
  expect(problems('a OR')).toEqual([null, '`OR` needs a term on both sides']);
  expect(problems('(OR a)')[1]).toBe('`OR` needs a term on both sides');
  expect(problems('(a OR b) OR -(c)')).toEqual(Array(9).fill(null));
});

test('a term beside a top-level OR keeps what the OR means', () => {
  expect(withTermValues('a OR b', 'model', ['x'])).toBe('(a OR b) model:x');
  expect(termValues('model:x OR b', 'model')).toEqual([]);
  expect(withTermValues('(model:x OR b) model:y', 'model', [])).toBe('(model:x OR b)');
  expect(bothFilters('a OR b', 'user:u')).toBe('(a OR b) user:u');
  expect(bothFilters('', 'user:u')).toBe('user:u');
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
  expect(completionAt('(', 1)).toEqual({ kind: 'key', prefix: '', start: 1, end: 1 });
  expect(completionAt('(st)', 3)).toEqual({ kind: 'key', prefix: 'st', start: 1, end: 3 });
  expect(completionAt('"a b', 3)).toEqual({ kind: 'none' });
});

test('values with marks of the language are quoted', () => {
  expect(['gpt-4o', 'a b', 'x"y', '*', '>5', 'a|b', 'f(x)', 'OR', ''].map(quoteValue)).toEqual([
    'gpt-4o',
    '"a b"',
    '"x\\"y"',
    '"*"',
    '">5"',
    '"a|b"',
    '"f(x)"',
    '"OR"',
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
  expect(canonicalFilter('(  a   OR b ) -( c)d')).toBe('(a OR b) -(c) d');
});
