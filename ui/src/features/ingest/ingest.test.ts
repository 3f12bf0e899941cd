import { expect, test } from 'vitest';

import { adviceFor, requestFor } from './advice';
import { asTrial, spanIn } from './mappings';
import { priceSnippet, repriceCommand } from './prices';
import { bucketMinutes, ledger, literal, quarantineRecords, rates, within } from './questions';
import { groupId, parseRecord, partialSuccess, ratesChart, readGroups, readLedger, readRefused, total } from './rows';
import { ingestSearch, ingestState, readIngestSearch } from './state';

test('a range becomes a condition that means the same tomorrow', () => {
  expect(within({ from: 'now-6h', to: 'now' }, 'minute')).toBe("minute >= now() - INTERVAL '6 hours'");
  expect(within({ from: 'all', to: 'now' }, 'minute')).toBe('TRUE');
  expect(within({ from: '2026-01-01T00:00:00Z', to: '2026-01-02T00:00:00Z' }, 't')).toBe(
    "t >= TIMESTAMP '2026-01-01T00:00:00.000Z' AND t < TIMESTAMP '2026-01-02T00:00:00.000Z'",
  );
});

test('values are quoted, so that a service name cannot change a question', () => {
  expect(literal("it's")).toBe("'it''s'");
  expect(quarantineRecords({ from: 'all', to: 'now' }, { reason: 'a', signal: 'logs', service: "x' OR '1'='1" })).toContain(
    "service_name = 'x'' OR ''1''=''1'",
  );
  expect(quarantineRecords({ from: 'all', to: 'now' }, { reason: 'a', signal: 'logs', service: null })).toContain(
    'service_name IS NULL',
  );
});

test('bars are neither too many nor too few', () => {
  const now = Date.parse('2026-01-08T00:00:00Z');
  expect(bucketMinutes({ from: 'now-15m', to: 'now' }, now, null)).toBe(1);
  expect(bucketMinutes({ from: 'now-24h', to: 'now' }, now, null)).toBe(10);
  expect(bucketMinutes({ from: 'all', to: 'now' }, now, now - 30 * 864e5)).toBe(360);
  expect(rates({ from: 'all', to: 'now' }, 1)).toContain('sum(accepted) AS records_per_minute');
  expect(rates({ from: 'all', to: 'now' }, 10)).toContain('sum(accepted) / 10.0 AS records_per_minute');
});

test('the ledger is read and summed', () => {
  const lines = readLedger([
    { signal: 'logs', requests: 1, received: 2, stored: 2, quarantined: 0, resent: 0, missing: 0, bytes: 10 },
    { signal: 'traces', requests: 2, received: '5', stored: 3, quarantined: 1, resent: 1, missing: 0, bytes: 20 },
  ]);
  expect(total(lines, 'received')).toBe(7);
  expect(ledger({ from: 'all', to: 'now' })).toContain('sum(accepted) - sum(stored) - sum(quarantined) AS missing');
});

test('minutes without requests are zero', () => {
  const chart = ratesChart(
    [
      { at: '2026-01-01T00:00:00Z', signal: 'traces', n: 4 },
      { at: '2026-01-01T00:20:00Z', signal: 'logs', n: '2.5' },
    ],
    'n',
    10,
  );
  expect(chart.xs).toHaveLength(3);
  expect(chart.series).toEqual([
    { label: 'traces', values: [4, 0, 0] },
    { label: 'logs', values: [0, 0, 2.5] },
  ]);
});

test('records of one request are told apart', () => {
  const rows = [{ wal_position: 9 }, { wal_position: 9 }, { wal_position: 8 }];
  expect(readRefused(rows).map((each) => each.id)).toEqual(['9.0', '9.1', '8.0']);
  expect(readGroups([{ reason: 'r', signal: 's', service_name: null, records: 1 }])[0]?.id).toBe(groupId('r', 's', null));
});

test('a record that was cut is not taken for a whole one', () => {
  expect(parseRecord('{"a":1}')).toEqual({ a: 1 });
  expect(parseRecord('{"a":')).toBeNull();
});

test('a refusal within a success is not taken for one', () => {
  expect(partialSuccess({})).toBeNull();
  expect(partialSuccess({ partialSuccess: {} })).toBeNull();
  expect(partialSuccess({ partialSuccess: { rejectedSpans: '1', errorMessage: 'no' } })).toEqual({ rejected: 1, message: 'no' });
});

test('a record goes out in the request of its signal, with its service', () => {
  expect(requestFor('traces', { name: 'x' }, 'shop')).toEqual({
    path: '/v1/traces',
    body: {
      resourceSpans: [
        {
          resource: { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] },
          scopeSpans: [{ spans: [{ name: 'x' }] }],
        },
      ],
    },
  });
  expect(requestFor('profiles', {}, null)).toBeNull();
  expect(adviceFor('never_heard_of').title).toBe('never heard of');
});

test('a price is written as TOML, with the rates left to the person', () => {
  expect(priceSnippet('vllm', 'a "b"')).toBe(
    '[[prices]]\nprovider = "vllm"\nmodel = "a \\"b\\""\ninput_usd_per_million = ""\noutput_usd_per_million = ""',
  );
  expect(repriceCommand('2026-01-01T00:00:00Z', Date.parse('2026-03-02T00:00:00Z'))).toContain('--from -61d');
});

test('the address holds what is looked at', () => {
  const search = { tab: 'quarantine', from: 'all', reason: 'r~traces', record: '9.0' };
  expect(ingestSearch(ingestState(readIngestSearch({ ...search, other: 'x' })))).toEqual(search);
  expect(ingestSearch(ingestState({}))).toEqual({});
});

test('what is tried is a span, a span with its surroundings, or attributes', () => {
  expect(asTrial({ 'gen_ai.system': 'x' })).toEqual({ attributes: { 'gen_ai.system': 'x' } });
  expect(asTrial({ traceId: 'a', attributes: [] })).toEqual({ span: { traceId: 'a', attributes: [] } });
  expect(asTrial({ span: { name: 'x' }, resource: { attributes: [] }, scope: null })).toEqual({
    span: { name: 'x' },
    resource: { attributes: [] },
  });
  expect(asTrial([])).toBeNull();
});

test('a span is found in an export with its resource and scope', () => {
  const request = {
    resourceSpans: [{ resource: { r: 1 }, scopeSpans: [{ scope: { s: 1 }, spans: [{ spanId: 'a' }, { spanId: 'b' }] }] }],
  };
  expect(spanIn(request, 'b')).toEqual({ span: { spanId: 'b' }, resource: { r: 1 }, scope: { s: 1 } });
  expect(spanIn(request, 'c')).toBeNull();
  expect(spanIn(null, 'c')).toBeNull();
});
