/** Where rows lie: the write-ahead log, memory, the files of each table, their columns, and the work that moves them. */
import { useState } from 'react';

import { Sideways } from '../../components/Sideways';
import { Figure, Figures } from '../../components/Figure';
import { SqlLink } from '../../components/SqlLink';
import { Tag } from '../../components/Values';
import { formatAgo, formatBytes, formatCountExact, formatDuration, formatFullTime, UNKNOWN } from '../../lib/format';
import { useNow } from '../../lib/hooks';
import { Answer, Card } from './Card';
import { columns, jobKinds, jobs, tables, wal } from './questions';
import type { IngestState } from './state';
import './storage.css';
import { number, text, useSql, type Rows } from './useSql';

type Props = { state: IngestState; hrefOf: (change: Partial<IngestState>) => string };

export function StorageTab({ state, hrefOf }: Props) {
  const all = useSql(tables(), 5_000);
  const first = text(all.data?.[0]?.['table_name']);
  const table = state.table ?? first;
  return (
    <>
      <Glance tables={all.data} failed={all.isError} />
      <Card title="Tables" sql={tables()} aside="this project; versions and times of all together" wide>
        <Answer of="the tables" query={all} empty="There are no tables.">
          {(rows) => <Tables rows={rows} open={table} hrefOf={hrefOf} />}
        </Answer>
      </Card>
      <div className="ingest__pair">
        {table !== null && <Columns key={table} table={table} />}
        <Jobs />
      </div>
    </>
  );
}

function Glance({ tables: rows, failed }: { tables: Rows | undefined; failed: boolean }) {
  const log = useSql(wal(), 2_000);
  const now = useNow(1_000);
  const line = log.data?.[0];
  const bytes = number(line?.['bytes']);
  const most = number(line?.['bytes_max']);
  const share = bytes !== null && most !== null && most > 0 ? bytes / most : null;
  const oldest = text(line?.['oldest_received_at']);
  const waiting = line ? (number(line['last_position']) ?? 0) - (number(line['flushed_position']) ?? 0) : null;
  const sum = (column: string) => rows?.reduce((total, row) => total + (number(row[column]) ?? 0), 0) ?? null;
  const hotRows = sum('hot_rows');
  return (
    <Figures label="At a glance">
      <Figure
        title="Write-ahead log"
        sql={wal()}
        tone={share !== null && share > 0.8 ? 'error' : share !== null && share > 0.5 ? 'warning' : 'plain'}
        failed={log.isError}
        value={bytes === null ? null : formatBytes(bytes)}
      >
        {share !== null && most !== null && (
          <>
            {(share * 100).toFixed(share < 0.1 ? 1 : 0)} % of {formatBytes(most)}, {formatCountExact(number(line?.['segments']))}{' '}
            files
          </>
        )}
      </Figure>
      <Figure
        title="Not yet in the lake"
        sql={wal()}
        failed={log.isError}
        value={waiting === null ? null : `${formatCountExact(waiting)} requests`}
      >
        {line && (oldest === null ? 'all rows are in files' : `the oldest from ${formatAgo(Date.parse(oldest), now)}`)}
      </Figure>
      <Figure title="Rows in memory" sql={tables()} failed={failed} value={hotRows === null ? null : formatCountExact(hotRows)}>
        {rows && `${formatBytes(sum('hot_bytes') ?? 0)}; queries see them`}
      </Figure>
      <Figure title="Rows in files" sql={tables()} failed={failed} value={rows ? formatCountExact(sum('rows')) : null}>
        {rows && `${formatCountExact(sum('files'))} files`}
      </Figure>
      <Figure title="On disk" sql={tables()} failed={failed} value={rows ? formatBytes(sum('bytes') ?? 0) : null}>
        of this project, without the log
      </Figure>
    </Figures>
  );
}

function Tables({ rows, open, hrefOf }: { rows: Rows; open: string | null; hrefOf: Props['hrefOf'] }) {
  const now = useNow(5_000);
  const most = Math.max(1, ...rows.map((row) => number(row['bytes']) ?? 0));
  const ago = (value: unknown) => {
    const at = text(value);
    return at === null ? (
      <span className="faint">{UNKNOWN}</span>
    ) : (
      <span title={formatFullTime(at)}>{formatAgo(Date.parse(at), now)}</span>
    );
  };
  return (
    <Sideways label="Files and rows">
      <table className="facts">
        <thead>
          <tr>
            <th>Table</th>
            <th className="facts__number">Files</th>
            <th className="facts__number">Rows</th>
            <th className="facts__number">Bytes</th>
            <th className="storage__share">
              <span className="visually-hidden">Share</span>
            </th>
            <th className="facts__number">In memory</th>
            <th className="facts__number">Version</th>
            <th>Flushed</th>
            <th>Compacted</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const name = text(row['table_name']) ?? '';
            const bytes = number(row['bytes']) ?? 0;
            return (
              <tr key={name} className={name === open ? 'facts__row--open' : ''}>
                <td>
                  <a className="code" href={hrefOf({ table: name })} aria-current={name === open ? 'true' : undefined}>
                    {name}
                  </a>
                </td>
                <td className="facts__number">{formatCountExact(number(row['files']))}</td>
                <td className="facts__number">{formatCountExact(number(row['rows']))}</td>
                <td className="facts__number">{formatBytes(bytes)}</td>
                <td className="storage__share" aria-hidden="true">
                  <Bar share={bytes / most} />
                </td>
                <td className="facts__number">{formatCountExact(number(row['hot_rows']))}</td>
                <td className="facts__number">{formatCountExact(number(row['version']))}</td>
                <td className="num">{ago(row['last_flush_at'])}</td>
                <td className="num">{ago(row['last_compaction_at'])}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Sideways>
  );
}

function Bar({ share }: { share: number }) {
  return (
    <span className="storage__bar">
      <span style={{ width: `${Math.max(share > 0 ? 1 : 0, Math.round(share * 100))}%` }} />
    </span>
  );
}

const COLUMNS_AT_ONCE = 12;

function Columns({ table }: { table: string }) {
  const sql = columns(table);
  const query = useSql(sql, 30_000);
  const [all, setAll] = useState(false);
  return (
    <Card title={`Bytes by column of ${table}`} sql={sql}>
      <Answer
        of="the columns"
        query={query}
        empty="No file holds rows of this table yet: what is in memory is not in columns on disk."
      >
        {(rows) => {
          const total = rows.reduce((sum, row) => sum + (number(row['compressed_bytes']) ?? 0), 0);
          const most = Math.max(1, ...rows.map((row) => number(row['compressed_bytes']) ?? 0));
          return (
            <>
              <Sideways label="Columns and their bytes">
                <table className="facts">
                  <thead>
                    <tr>
                      <th>Column</th>
                      <th className="facts__number">On disk</th>
                      <th className="facts__number">Share</th>
                      <th className="storage__share">
                        <span className="visually-hidden">Share as a bar</span>
                      </th>
                      <th className="facts__number">Packed</th>
                    </tr>
                  </thead>
                  <tbody>
                    {rows.slice(0, all ? rows.length : COLUMNS_AT_ONCE).map((row) => {
                      const packed = number(row['compressed_bytes']) ?? 0;
                      const whole = number(row['uncompressed_bytes']) ?? 0;
                      return (
                        <tr key={text(row['column_name'])}>
                          <td className="code">{text(row['column_name'])}</td>
                          <td className="facts__number">{formatBytes(packed)}</td>
                          <td className="facts__number">{total === 0 ? UNKNOWN : `${((packed / total) * 100).toFixed(1)} %`}</td>
                          <td className="storage__share" aria-hidden="true">
                            <Bar share={packed / most} />
                          </td>
                          <td className="facts__number">{packed === 0 ? UNKNOWN : `${(whole / packed).toFixed(1)} ×`}</td>
                        </tr>
                      );
                    })}
                  </tbody>
                </table>
              </Sideways>
              {rows.length > COLUMNS_AT_ONCE && (
                <p className="card__note">
                  <button
                    type="button"
                    className="button button--plain"
                    onClick={() => {
                      setAll(!all);
                    }}
                  >
                    {all ? 'Show the largest' : `Show all ${rows.length}`}
                  </button>
                </p>
              )}
            </>
          );
        }}
      </Answer>
    </Card>
  );
}

function Jobs() {
  const kinds = useSql(jobKinds(), 5_000);
  const latest = useSql(jobs(), 5_000);
  const now = useNow(5_000);
  return (
    <Card title="Background work" sql={jobs()} aside="all projects, since the start of the process">
      <Answer of="the background work" query={latest} empty="Nothing was flushed or compacted since the start of the process.">
        {(rows) => (
          <>
            <p className="storage__kinds">
              {kinds.data?.map((kind) => (
                <Tag key={text(kind['kind'])} tone={(number(kind['failed']) ?? 0) > 0 ? 'error' : 'plain'}>
                  {text(kind['kind'])} {formatCountExact(number(kind['runs']))}
                  {(number(kind['failed']) ?? 0) > 0 && `, ${formatCountExact(number(kind['failed']))} failed`}
                </Tag>
              ))}
              <SqlLink sql={jobKinds()} of="runs by kind" />
            </p>
            <div className="facts__scroll storage__jobs" role="region" aria-label="Runs" tabIndex={0}>
              <table className="facts">
                <thead>
                  <tr>
                    <th>Work</th>
                    <th>Table</th>
                    <th>Began</th>
                    <th className="facts__number">Took</th>
                    <th className="facts__number">Rows</th>
                    <th className="facts__number">Bytes</th>
                  </tr>
                </thead>
                <tbody>
                  {rows.map((row, at) => (
                    <Job
                      key={`${text(row['started_at'])} ${text(row['kind'])} ${text(row['table_name'])} ${at}`}
                      row={row}
                      now={now}
                    />
                  ))}
                </tbody>
              </table>
            </div>
          </>
        )}
      </Answer>
    </Card>
  );
}

function Job({ row, now }: { row: Rows[number]; now: number }) {
  const began = text(row['started_at']);
  const error = text(row['error']);
  const took = number(row['duration_ms']);
  return (
    <>
      <tr>
        <td>
          {text(row['kind'])} {text(row['status']) === 'failed' && <Tag tone="error">failed</Tag>}
        </td>
        <td className="code">{text(row['table_name']) ?? UNKNOWN}</td>
        <td className="num" title={began === null ? undefined : formatFullTime(began)}>
          {began === null ? UNKNOWN : formatAgo(Date.parse(began), now)}
        </td>
        <td className="facts__number">{took === null ? UNKNOWN : formatDuration(took * 1e6)}</td>
        <td className="facts__number">{formatCountExact(number(row['rows']))}</td>
        <td className="facts__number">{number(row['bytes']) === null ? UNKNOWN : formatBytes(number(row['bytes']) ?? 0)}</td>
      </tr>
      {error !== null && (
        <tr className="storage__error">
          <td colSpan={6}>{error}</td>
        </tr>
      )}
    </>
  );
}
