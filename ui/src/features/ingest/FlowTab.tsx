/** What comes in, how fast, and whether the books balance. */
import { useMemo, useState } from 'react';

import { Chart } from '../../components/Chart';
import { Sideways } from '../../components/Sideways';
import { Figure, Figures } from '../../components/Figure';
import { Icon } from '../../components/Icon';
import { SqlLink } from '../../components/SqlLink';
import { formatAgo, formatBytes, formatCount, formatCountExact, formatFullTime, plural } from '../../lib/format';
import { useNow } from '../../lib/hooks';
import { resolveBound, type TimeRange } from '../../lib/time';
import { Answer, Card } from './Card';
import { bucketMinutes, freshness, held, ledger, quarantined, rates } from './questions';
import { ratesChart, readLedger, total, type LedgerLine } from './rows';
import { number, text, useSql, type Rows } from './useSql';

export function FlowTab({ range, quarantineHref }: { range: TimeRange; quarantineHref: string }) {
  const now = useNow(1_000);
  const fresh = useSql(freshness(), 2_000);
  const first = text(fresh.data?.[0]?.['first_received']);
  const last = text(fresh.data?.[0]?.['last_received']);
  const [openedAt] = useState(() => Date.now());
  const minutes = bucketMinutes(range, openedAt, first === null ? null : Date.parse(first));
  const domain = useMemo(() => domainOf(range, openedAt), [range, openedAt]);
  const ratesSql = rates(range, minutes);
  // All time needs to know when it began; should that not be known, a day is shown.
  const rate = useSql(fresh.isPending ? null : ratesSql);
  const ledgerSql = ledger(range);
  const lines = useSql(ledgerSql);
  const books = useMemo(() => (lines.data ? readLedger(lines.data) : null), [lines.data]);
  const quarantineSql = quarantined(range);
  const refused = useSql(quarantineSql);
  const refusedCount = number(refused.data?.[0]?.['records']);
  const received = books ? total(books, 'received') : null;
  return (
    <>
      <Figures label="At a glance">
        <Figure
          title="Last received"
          sql={freshness()}
          failed={fresh.isError}
          value={fresh.data ? (last === null ? 'never' : formatAgo(Date.parse(last), now)) : null}
        >
          {last !== null && formatFullTime(last)}
        </Figure>
        <Figure title="Records" sql={ledgerSql} failed={lines.isError} value={received === null ? null : formatCount(received)}>
          {received !== null && `${formatCountExact(received)} received`}
        </Figure>
        <Figure
          title="Requests"
          sql={ledgerSql}
          failed={lines.isError}
          value={books ? formatCount(total(books, 'requests')) : null}
        >
          {books && `${formatBytes(total(books, 'bytes'))} after inflating`}
        </Figure>
        <Figure
          title="Refused"
          sql={quarantineSql}
          failed={refused.isError}
          tone={refusedCount !== null && refusedCount > 0 ? 'warning' : 'plain'}
          value={refusedCount === null ? null : formatCountExact(refusedCount)}
        >
          {refusedCount !== null && refusedCount > 0 ? <a href={quarantineHref}>why, and what to do</a> : 'nothing in quarantine'}
        </Figure>
        <Figure
          title="Ledger"
          sql={ledgerSql}
          failed={lines.isError}
          tone={books ? (isBalanced(books) ? 'good' : 'error') : 'plain'}
          value={books ? (isBalanced(books) ? 'balances' : 'does not balance') : null}
        >
          stored + refused + resent
        </Figure>
      </Figures>
      <div className="ingest__pair">
        <Card title="Records per minute" sql={ratesSql} aside={minutes > 1 ? `mean over ${minutes} min` : null}>
          <Answer of="the rate" query={rate} empty="Nothing was received in this time.">
            {(rows) => (
              <Rate
                rows={rows}
                measure="records_per_minute"
                title="Records per minute"
                format={formatRate}
                domain={domain}
                minutes={minutes}
              />
            )}
          </Answer>
        </Card>
        <Card title="Bytes per minute" sql={ratesSql} aside="requests after inflating">
          <Answer of="the rate" query={rate} empty="Nothing was received in this time.">
            {(rows) => (
              <Rate
                rows={rows}
                measure="bytes_per_minute"
                title="Bytes per minute"
                format={formatByteRate}
                domain={domain}
                minutes={minutes}
                unit="bytes"
              />
            )}
          </Answer>
        </Card>
      </div>
      <LedgerCard range={range} books={books} query={lines} sql={ledgerSql} />
    </>
  );
}

/** What the charts show of x; all of it if the range has no beginning. */
function domainOf(range: TimeRange, nowMs: number): readonly [number, number] | null {
  const from = range.from === 'all' ? null : resolveBound(range.from, nowMs);
  const to = resolveBound(range.to, nowMs);
  return from === null || to === null ? null : [from / 1000, to / 1000];
}

/** Of few bars, time before the first one: a single bar as wide as the page says nothing. */
function aroundOf(xs: readonly number[], step: number): readonly [number, number] | null {
  const end = (xs[xs.length - 1] ?? 0) + step;
  return xs.length === 0 ? null : [Math.min(xs[0] ?? 0, end - BARS_MIN * step), end];
}

const BARS_MIN = 12;

function isBalanced(books: readonly LedgerLine[]): boolean {
  return books.every((line) => line.missing === 0);
}

const formatRate = (value: number | null) =>
  value === null ? '–' : value >= 100 ? formatCount(Math.round(value)) : value.toPrecision(3).replace(/\.?0+$/, '');
const formatByteRate = (value: number | null) => (value === null ? '–' : formatBytes(Math.round(value)));

type RateProps = {
  rows: Rows;
  measure: string;
  title: string;
  format: (value: number | null) => string;
  domain: readonly [number, number] | null;
  minutes: number;
  unit?: 'bytes';
};

function Rate({ rows, measure, title, format, domain, minutes, unit }: RateProps) {
  const data = useMemo(() => ratesChart(rows, measure, minutes), [rows, measure, minutes]);
  const shown = useMemo(() => domain ?? aroundOf(data.xs, minutes * 60), [domain, data.xs, minutes]);
  return (
    <div className="ingest__chart">
      <Chart
        label={`${title}, stacked by signal; the ledger below has the sums`}
        kind="stacked"
        xKind="time"
        xs={data.xs}
        labels={[]}
        series={data.series}
        format={format}
        domain={shown}
        step={minutes * 60}
        {...(unit ? { unit } : {})}
      />
    </div>
  );
}

type LedgerProps = { range: TimeRange; books: readonly LedgerLine[] | null; query: ReturnType<typeof useSql>; sql: string };

function LedgerCard({ range, books, query, sql }: LedgerProps) {
  const heldSql = held(range);
  const rows = useSql(heldSql);
  const inTables = (signal: string) => {
    if (!rows.data) return null;
    return number(rows.data.find((row) => row['signal'] === signal)?.['rows']) ?? 0;
  };
  return (
    <Card title="Ledger" sql={sql} aside="received = stored + refused + resent" wide>
      <Answer of="the ledger" query={query} empty="Nothing was received in this time.">
        {() => (
          <Sideways label="Sums by signal">
            <table className="facts">
              <thead>
                <tr>
                  <th>Signal</th>
                  <th className="facts__number">Requests</th>
                  <th className="facts__number">Received</th>
                  <th className="facts__number">Stored</th>
                  <th className="facts__number">Refused</th>
                  <th className="facts__number">Resent</th>
                  <th>Balance</th>
                  <th>
                    In the tables <SqlLink sql={heldSql} of="rows in the tables" />
                  </th>
                  <th className="facts__number">Bytes</th>
                </tr>
              </thead>
              <tbody>
                {books?.map((line) => (
                  <tr key={line.signal}>
                    <td>{line.signal}</td>
                    <td className="facts__number">{formatCountExact(line.requests)}</td>
                    <td className="facts__number">{formatCountExact(line.received)}</td>
                    <td className="facts__number">{formatCountExact(line.stored)}</td>
                    <td className="facts__number">{formatCountExact(line.quarantined)}</td>
                    <td className="facts__number">{formatCountExact(line.resent)}</td>
                    <td>
                      <Verdict
                        difference={line.missing}
                        right="balances"
                        wrong={(by) => `${plural(by, 'record')} unaccounted for`}
                      />
                    </td>
                    <td>
                      <InTables stored={line.stored} held={inTables(line.signal)} failed={rows.isError} />
                    </td>
                    <td className="facts__number">{formatBytes(line.bytes)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Sideways>
        )}
      </Answer>
      <p className="card__note">
        A line per request is written with its rows, so the sums hold to the last record. Resent records were stored before: a
        client that lost the answer sends again. Rows that retention has dropped are in the ledger and no longer in the tables.
      </p>
    </Card>
  );
}

function InTables({ stored, held: rows, failed }: { stored: number; held: number | null; failed: boolean }) {
  if (failed) return <span className="faint">could not be counted</span>;
  if (rows === null) return <span className="faint">counting</span>;
  return (
    <Verdict
      difference={rows - stored}
      right={`${formatCountExact(rows)} rows`}
      wrong={() =>
        `${formatCountExact(rows)} rows, ${rows < stored ? `${formatCountExact(stored - rows)} fewer` : `${formatCountExact(rows - stored)} more`}`
      }
    />
  );
}

/** Never by colour alone: a sign and words. */
function Verdict({ difference, right, wrong }: { difference: number; right: string; wrong: (by: number) => string }) {
  return difference === 0 ? (
    <span className="verdict verdict--good">
      <Icon name="check" size={14} /> {right}
    </span>
  ) : (
    <span className="verdict verdict--warning">
      <Icon name="warning" size={14} /> {wrong(Math.abs(difference))}
    </span>
  );
}
