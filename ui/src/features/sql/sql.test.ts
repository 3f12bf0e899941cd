import { expect, test } from 'vitest';

import { asJson, asTsv, cellText, sortedRows } from '../../lib/table';
import { bindings, EMPTY_ADDRESS, paramsFor, readSqlSearch, sqlAddress, sqlSearch, type SqlAddress } from './address';
import { asStructure, cellLink, columnWidth, isNumeric } from './cells';
import { chartData, fits, guessChart } from './chart';
import { isHistory, remembered } from './history';
import { lex, offsetOf, parameterNames, statements, toRun } from './lex';
import { operatorName, planRows, saved as spared } from './plan';
import { markOf, meant } from './problems';
import { bodyOf, differs, readBody } from './saved';
import { scopeOf, wantedAt } from './scope';
import { activeTab, arrive, change, close, isTabs, newTab, open, title, type Tabs } from './tabs';

const TRACE = '0123456789abcdef0123456789abcdef';
const SPAN = '0123456789abcdef';

test('ids lead to their trace, and to their span where the row names both', () => {
  const columns = [{ name: 'trace_id' }, { name: 'span_id' }, { name: 'session_id' }, { name: 'last_trace_id' }];
  expect(cellLink(columns, [TRACE, SPAN], 0)).toBe(`/traces/${TRACE}`);
  expect(cellLink(columns, [TRACE, SPAN], 1)).toBe(`/traces/${TRACE}?span=${SPAN}`);
  expect(cellLink(columns, [null, null, 's-1', TRACE], 3)).toBe(`/traces/${TRACE}`);
  expect(cellLink(columns, [null, null, 's/1 ?'], 2)).toBe('/sessions/s%2F1%20%3F');
  expect(cellLink([{ name: 'user_id' }], ['a@b.c'], 0)).toBe('/users/a%40b.c?from=all&to=now');
  expect(cellLink([{ name: 'user_id' }], [''], 0)).toBeNull();
  expect(cellLink([{ name: 'span_id' }], [SPAN], 0)).toBeNull();
  expect(cellLink(columns, ['javascript:alert(1)', SPAN], 0)).toBeNull();
});

test('cells keep null apart from text and quote what a spreadsheet would split', () => {
  expect(cellText(null)).toBe('');
  expect(cellText({ a: 1 })).toBe('{"a":1}');
  expect(asTsv(['a', 'b'], [['x\ty', 1]])).toBe('a\tb\n"x\ty"\t1');
  expect(asTsv(null, [['x', null]])).toBe('x\t');
  expect(['Int64', 'Decimal128(28, 15)', 'Float64', 'Utf8', 'Timestamp(ns)'].map(isNumeric)).toEqual([
    true,
    true,
    true,
    false,
    false,
  ]);
  expect(columnWidth('x', [['y'.repeat(1000)]], 0)).toBe(380);
});

test('JSON loses no value where names repeat', () => {
  expect(JSON.parse(asJson(['a', 'a'], [[1, null]]))).toEqual([{ a: 1, a_2: null }]);
});

test('decimals sort as numbers, unknown values stand last either way', () => {
  const rows = [['0.9'], [null], ['0.10'], ['12']];
  expect(sortedRows(rows, true, { column: 0, descending: false })).toEqual([2, 0, 3, 1]);
  expect(sortedRows(rows, true, { column: 0, descending: true })).toEqual([3, 0, 2, 1]);
});

test('text that is JSON opens as a tree, other text does not', () => {
  expect(asStructure('{"a":[1]}')).toEqual({ a: [1] });
  expect(asStructure('[broken')).toBeUndefined();
  expect(asStructure('12')).toBeUndefined();
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

test('semicolons and parameters in strings and comments are none', () => {
  const text = `-- a; $no\nSELECT ';' AS "x;y", $tag$ ; $1 $tag$, $user /* ; */;\n\nSELECT $1, $user`;
  expect(statements(text).map((each) => each.text.slice(0, 10))).toEqual(["SELECT ';'", 'SELECT $1,']);
  expect(parameterNames(text)).toEqual(['user', '1']);
  expect(lex("'open string").map((token) => token.kind)).toEqual(['string']);
});

test('Run takes the selection, else the statement at the cursor', () => {
  const text = 'SELECT 1;\nSELECT 2;\n';
  expect(toRun(text, { from: 3, to: 3 })?.text).toBe('SELECT 1');
  expect(toRun(text, { from: 9, to: 9 })?.text).toBe('SELECT 1');
  expect(toRun(text, { from: 12, to: 12 })).toEqual({ from: 10, to: 18, text: 'SELECT 2' });
  expect(toRun(text, { from: 20, to: 20 })?.text).toBe('SELECT 2');
  expect(toRun(text, { from: 16, to: 18 })?.text).toBe('2');
  expect(toRun(' -- nothing', { from: 0, to: 0 })).toBeNull();
});

test('a place is found by line and character, beyond the basic plane too', () => {
  expect(offsetOf('ab\ncd', { line: 2, column: 2 })).toBe(4);
  expect(offsetOf("'🙂' x", { line: 1, column: 5 })).toBe(5);
  expect(offsetOf('ab', { line: 9, column: 9 })).toBe(2);
});

test('a refusal marks its word, and what was meant replaces only that', () => {
  const query = 'SELECT s.modell FROM spans s';
  const refusal = {
    message: 'no column `modell`',
    hint: 'did you mean `request_model`?',
    found: 'modell',
    position: { line: 1, column: 8 },
  };
  const mark = markOf(refusal, query, 100);
  expect(mark).toMatchObject({ from: 109, to: 115, fix: 'request_model' });
  expect(markOf({ ...refusal, position: null }, query, 0)).toBeNull();
  expect(meant('try again in a moment')).toBeNull();
});

test('completion knows the tables, aliases and names of a query', () => {
  const scope = scopeOf(
    'WITH slow AS (SELECT name AS n FROM spans) SELECT l.model, count(*) AS calls FROM llm_calls AS l, slow JOIN system.files f ON true WHERE x',
  );
  expect(scope.sources).toEqual([
    { table: 'spans', alias: 'spans' },
    { table: 'llm_calls', alias: 'l' },
    { table: 'slow', alias: 'slow' },
    { table: 'system.files', alias: 'f' },
  ]);
  expect(scope.ctes).toEqual(['slow']);
  expect(scope.names).toEqual(['n', 'calls']);
});

test.each([
  ['SELECT * FROM sp', { kind: 'table' }],
  ['SELECT * FROM spans, ', { kind: 'table' }],
  ['SELECT a, b', { kind: 'any' }],
  ['SELECT l.', { kind: 'member', of: 'l' }],
  ['SELECT * FROM system.', { kind: 'member', of: 'system' }],
  ['SELECT count(*) AS c', { kind: 'nothing' }],
  ["… WHERE provider = '", { kind: 'value', column: 'provider', from: 20 }],
  ["… WHERE x IN ('a', 'b", { kind: 'value', column: 'x', from: 20 }],
  ["… WHERE lower('", { kind: 'nothing' }],
  ['-- FROM ', { kind: 'nothing' }],
])('after %s completion offers what fits', (before, wanted) => {
  expect(wantedAt(before)).toEqual(wanted);
});

test('the address holds query, parameters, chart and order, and gives them back', () => {
  const address: SqlAddress = {
    query: 'SELECT $n',
    params: [
      { name: 'n', type: 'number', value: '3' },
      { name: 'user', type: 'text', value: 'a b' },
    ],
    view: 'chart',
    chart: { kind: 'bar', x: 'day', y: ['cost, usd', '100%'], by: 'model', hidden: ['gpt, or so'] },
    cell: { row: 4, column: 'a.b' },
    sort: { column: 'calls', descending: true },
    saved: null,
  };
  expect(sqlAddress(readSqlSearch({ ...sqlSearch(address), project: 'other' }))).toEqual(address);
  expect(sqlSearch(EMPTY_ADDRESS)).toEqual({});
});

test('numbered parameters are bound as a list, named ones by name, each by its type', () => {
  expect(bindings([])).toBeUndefined();
  expect(
    bindings([
      { name: '2', type: 'text', value: '7' },
      { name: '1', type: 'number', value: '7' },
    ]),
  ).toEqual([7, '7']);
  expect(
    bindings([
      { name: 'ok', type: 'boolean', value: 'true' },
      { name: 'n', type: 'number', value: '' },
    ]),
  ).toEqual({ ok: true, n: null });
  expect(paramsFor(['limit', 'user'], [{ name: 'user', type: 'text', value: 'u' }])).toEqual([
    { name: 'limit', type: 'number', value: '' },
    { name: 'user', type: 'text', value: 'u' },
  ]);
});

test('a link takes the tab that shows it, or one with nothing to lose, or opens another', () => {
  const start: Tabs = { tabs: [newTab('1', 'SELECT 1')], active: '1' };
  const link = { ...EMPTY_ADDRESS, query: 'SELECT 2' };
  const draft = arrive(start, link, '2');
  expect(draft.tabs.map((tab) => tab.text)).toEqual(['SELECT 1', 'SELECT 2']);
  expect(activeTab(draft).id).toBe('2');
  expect(arrive(draft, { ...EMPTY_ADDRESS, query: 'SELECT 1' }, '3').active).toBe('1');
  const ran = change(start, '1', { ran: 'SELECT 1' });
  expect(arrive(ran, link, '2').tabs.map((tab) => tab.text)).toEqual(['SELECT 2']);
});

test('there is always a tab, and a closed one gives way to its neighbour', () => {
  const two = open({ tabs: [newTab('1', 'a')], active: '1' }, newTab('2', 'b'));
  expect(close(two, '2', newTab('3', '')).active).toBe('1');
  expect(close({ tabs: [newTab('1', 'a')], active: '1' }, '1', newTab('3', ''))).toEqual({
    tabs: [newTab('3', '')],
    active: '3',
  });
  expect(isTabs(two)).toBe(true);
  expect(isTabs({ tabs: [], active: '' })).toBe(false);
  expect(isTabs({ tabs: [{ id: '1' }], active: '1' })).toBe(false);
  expect(title(newTab('1', '\n-- cost per day\nSELECT'))).toBe('cost per day');
});

const CALLS = [
  { name: 'day', type: 'Timestamp(ns)' },
  { name: 'model', type: 'Utf8' },
  { name: 'cost_usd', type: 'Decimal128(28, 15)' },
];

test('a chart is guessed: time along x, a name as series, one row as a number', () => {
  const rows = [
    ['2026-01-01T00:00:00Z', 'a', '1.5'],
    ['2026-01-02T00:00:00Z', 'a', '2'],
  ];
  expect(guessChart(CALLS, rows)).toEqual({ kind: 'stacked', x: 'day', y: ['cost_usd'], by: 'model' });
  expect(guessChart(CALLS.slice(1), rows)).toEqual({ kind: 'bar', x: 'model', y: ['cost_usd'], by: null });
  expect(guessChart(CALLS.slice(2), [['1']])?.kind).toBe('number');
  expect(guessChart(CALLS.slice(0, 2), rows)).toBeNull();
});

test('missing rows are gaps, not zeros; what shares a place is added and said', () => {
  const rows = [
    ['2026-01-02T00:00:00Z', 'a', '2'],
    ['2026-01-01T00:00:00Z', 'b', '1'],
    ['2026-01-02T00:00:00Z', 'a', '3'],
    ['2026-01-03T00:00:00Z', 'a', null],
  ];
  const spec = { kind: 'line', x: 'day', y: ['cost_usd'], by: 'model' } as const;
  const data = chartData(CALLS, rows, spec);
  expect(data.xs).toHaveLength(2);
  expect(data.series).toEqual([
    { label: 'a', values: [null, 5] },
    { label: 'b', values: [1, null] },
  ]);
  expect(data.merged).toBe(1);
  expect(fits(spec, CALLS)).toBe(true);
  expect(fits({ ...spec, by: 'gone' }, CALLS)).toBe(false);
});

test('more series than colours are cut to the largest, and how many there are is known', () => {
  const rows = Array.from({ length: 40 }, (_, at) => ['2026-01-01T00:00:00Z', `m${at}`, at]);
  const data = chartData(CALLS, rows, { kind: 'bar', x: 'day', y: ['cost_usd'], by: 'model' });
  expect(data.series).toHaveLength(12);
  expect(data.seriesAll).toBe(40);
  expect(data.series.map((each) => each.label)).toContain('m39');
});

test('a saved query keeps text, parameters and chart, and knows when it was changed', () => {
  const tab = {
    text: 'SELECT $n',
    params: [{ name: 'n', type: 'number', value: '3' }] as const,
    chart: { kind: 'bar', x: 'a', y: ['b'], by: null } as const,
  };
  const read = readBody(bodyOf(tab));
  expect(read).toEqual({ query: tab.text, params: tab.params, chart: tab.chart });
  const saved = { id: '1', name: 'x', updatedAt: '', query: tab.text, params: tab.params, chart: tab.chart };
  expect(differs(tab, saved)).toBe(false);
  expect(differs({ ...tab, chart: null }, saved)).toBe(true);
  expect(readBody({ query: 'q', params: [{ name: 'a', default: 7 }, 1] })?.params).toEqual([
    { name: 'a', type: 'text', value: '7' },
  ]);
  expect(readBody({ list: 'traces' })).toBeNull();
});

test('a plan is read from its answer down, with shares of time and rows', () => {
  const node = (id: number, parent: number | null, elapsed_ns: number | null, rows: number | null) => ({
    id,
    parent,
    operator: `N${id}Exec`,
    detail: '',
    elapsed_ns,
    rows,
    metrics: {},
  });
  const rows = planRows([node(0, null, 10, 1), node(2, 1, 30, 50), node(1, 0, 60, 100), node(3, 1, null, null)]);
  expect(rows.map((row) => [row.id, row.depth, row.share])).toEqual([
    [0, 0, 0.1],
    [1, 1, 0.6],
    [2, 2, 0.3],
    [3, 2, null],
  ]);
  expect(rows[1]?.rowShare).toBe(1);
  expect(operatorName('DataSourceExec')).toBe('DataSource');
  expect(spared(3, 12)).toBe(0.75);
  expect(spared(null, 12)).toBeNull();
});
