/** How a query is answered: what pruning leaves to read, and each operator with its rows and its share of the time. */
import { useQuery } from '@tanstack/react-query';
import { useMemo, type ReactNode } from 'react';

import { CopyButton } from '../../components/CopyButton';
import { Sideways } from '../../components/Sideways';
import { SqlLink, type SqlParams } from '../../components/SqlLink';
import { Figure, Figures } from '../../components/Figure';
import { SegmentedChoice } from '../../components/SegmentedChoice';
import { ErrorNotice, Skeleton } from '../../components/Notice';
import { formatBytes, formatCountExact, formatDuration, heat } from '../../lib/format';
import './explain-pane.css';
import { operatorName, planRows, saved, type PlanRow } from './plan';
import { EMPTY_ADDRESS, sqlSearch, type View } from './address';
import { explainQuery, type Explanation } from './queries';
import type { Asked } from './runs';

type Props = {
  asked: Asked;
  /** Whether it is run to its end for the figures; else only the plan is made. */
  measured: boolean;
  onView: (view: View) => void;
};

const FORMS = [
  { value: 'plan', label: 'Plan only' },
  { value: 'explain', label: 'Run and measure' },
] as const;

export function ExplainPane({ asked, measured, onView }: Props) {
  const { data, isPending, isError, error } = useQuery(explainQuery(asked.query, asked.params, measured));
  const params = sqlSearch({ ...EMPTY_ADDRESS, params: asked.params });
  return (
    <div className="explain">
      <div className="explain__form">
        <SegmentedChoice label="Explanation" options={FORMS} value={measured ? 'explain' : 'plan'} onChange={onView} />
        <span className="faint">
          {measured
            ? 'run to its end; the figures are of that run, its rows were thrown away'
            : 'the plan as it would run; nothing was read but the lists and statistics of the files'}
        </span>
      </div>
      {isError && <ErrorNotice title="The query could not be explained" error={error} />}
      {isPending && <Skeleton lines={8} label={measured ? 'running the query to measure its operators' : 'making the plan'} />}
      {data && <Pruning pruning={data.pruning} measured={measured} asking={{ sql: data.sql, params }} />}
      {data && <Plan explanation={data} measured={measured} asking={{ sql: data.sql, params }} />}
    </div>
  );
}

/** The statement that gives the figures of the plan. */
type Asking = { readonly sql: string; readonly params: SqlParams };

/** Each figure says where it comes from: the lists of the store, the statistics of the files, or what was counted while it ran. */
function Pruning({ pruning, measured, asking }: { pruning: Explanation['pruning']; measured: boolean; asking: Asking }) {
  const groups = pruning.row_groups ?? null;
  const files = pruning.files_sql ?? null;
  return (
    <Figures label="What is read">
      <Share title="Files" read={pruning.files_read} all={pruning.files} allSql={files} asking={asking} format={formatCountExact}>
        left by the smallest and largest values that the table’s log keeps of each file
      </Share>
      {groups !== null ? (
        <Share
          title="Row groups"
          read={pruning.row_groups_read ?? null}
          all={groups}
          allSql={null}
          asking={asking}
          format={formatCountExact}
        >
          counted while it ran: left by the statistics and filters in the files’ footers
        </Share>
      ) : (
        <Figure title="Row groups read" value={measured ? 'all' : 'not known'} sql={null}>
          {measured ? 'counted while it ran: no condition chose among them' : 'known once it runs: footers are read then'}
        </Figure>
      )}
      <Share
        title="Bytes"
        read={pruning.bytes_read ?? null}
        all={pruning.bytes}
        allSql={files}
        asking={asking}
        format={formatBytes}
      >
        {measured ? 'counted while it ran, out of the sizes of the files' : 'known once it runs; the size is that of the files'}
      </Share>
      <Figure title="Rows in memory" value="as they are" sql={null}>
        what is not in files yet is read whole and not counted here
      </Figure>
    </Figures>
  );
}

type ShareProps = {
  title: string;
  read: number | null;
  all: number;
  /** What gives `all`; `null`: the same as gives `read`. */
  allSql: string | null;
  asking: Asking;
  format: (value: number) => string;
  /** Where the figure comes from. */
  children: ReactNode;
};

function Share({ title, read, all, allSql, asking, format, children }: ShareProps) {
  const spared = saved(read, all);
  return (
    <Figure
      title={`${title} read`}
      value={read === null ? 'not known' : format(read)}
      sql={read === null ? null : asking.sql}
      params={asking.params}
    >
      of {format(all)}
      {allSql !== null && ' '}
      <SqlLink sql={allSql} of={`${title.toLowerCase()} of the tables`} />
      {spared !== null && spared > 0 && `, ${(spared * 100).toFixed(spared > 0.99 && spared < 1 ? 2 : 0)} % spared`}; {children}
    </Figure>
  );
}

function Plan({ explanation, measured, asking }: { explanation: Explanation; measured: boolean; asking: Asking }) {
  const rows = useMemo(() => planRows(explanation.plan), [explanation]);
  return (
    <section className="explain__plan" aria-label="Plan">
      <div className="explain__head">
        <h2>Plan</h2>
        <SqlLink sql={asking.sql} of="the plan" params={asking.params} />
        <span className="faint">the answer comes from the first row{measured && '; time is that of all cores together'}</span>
        <span className="explain__copy">
          <CopyButton text={explanation.text} label="Copy the plan as text" />
        </span>
      </div>
      <Sideways label="Operators">
        <table className="facts explain__table">
          <thead>
            <tr>
              <th>Operator</th>
              {measured && <th className="facts__number">Rows</th>}
              {measured && <th className="facts__number">Time</th>}
              <th>What it does</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <Operator key={row.id} row={row} measured={measured} />
            ))}
          </tbody>
        </table>
      </Sideways>
    </section>
  );
}

function Operator({ row, measured }: { row: PlanRow; measured: boolean }) {
  const metrics = Object.entries(row.metrics);
  return (
    <tr>
      <td className="explain__operator" style={{ paddingLeft: 16 + row.depth * 16 }}>
        {row.depth > 0 && (
          <span className="explain__branch" aria-hidden="true">
            └
          </span>
        )}
        <span className="visually-hidden">level {row.depth + 1}, </span>
        {operatorName(row.operator)}
      </td>
      {measured && (
        <>
          <td className="facts__number">{row.rows === null || row.rows === undefined ? '–' : formatCountExact(row.rows)}</td>
          <td className="facts__number explain__time">
            <span className={`num heat-${heat(row.share, 1)}`}>{formatDuration(row.elapsed_ns)}</span>
            {row.share !== null && (
              <span className="explain__bar" aria-hidden="true">
                <span style={{ width: `${Math.round(row.share * 100)}%` }} />
              </span>
            )}
          </td>
        </>
      )}
      <td className="explain__detail">
        {metrics.length === 0 ? (
          <span className="code">{row.detail}</span>
        ) : (
          <details>
            <summary className="code" title={row.detail}>
              {row.detail === '' ? 'what it counted' : row.detail}
            </summary>
            <dl className="explain__metrics">
              {metrics.map(([name, value]) => (
                <div key={name}>
                  <dt>{name}</dt>
                  <dd className="num">
                    {/(_time|_compute|elapsed|_ns)/.test(name)
                      ? formatDuration(value)
                      : /bytes|size|mem/.test(name)
                        ? formatBytes(value)
                        : formatCountExact(value)}
                  </dd>
                </div>
              ))}
            </dl>
          </details>
        )}
      </td>
    </tr>
  );
}
