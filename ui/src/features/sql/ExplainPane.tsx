/** How a query is answered: what pruning leaves to read, and each operator with its rows and its share of the time. */
import { useQuery } from '@tanstack/react-query';
import { useMemo } from 'react';

import { CopyButton } from '../../components/CopyButton';
import { Sideways } from '../../components/Sideways';
import { Figure, Figures } from '../../components/Figure';
import { ErrorNotice, Skeleton } from '../../components/Notice';
import { formatBytes, formatCountExact, formatDuration, heat } from '../../lib/format';
import './explain-pane.css';
import { operatorName, planRows, saved, type PlanRow } from './plan';
import { explainQuery, type Explanation } from './queries';
import type { Asked } from './runs';

export function ExplainPane({ asked }: { asked: Asked }) {
  const { data, isPending, isError, error } = useQuery(explainQuery(asked.query, asked.params, true));
  if (isError) {
    return (
      <div className="explain">
        <ErrorNotice title="The query could not be explained" error={error} />
      </div>
    );
  }
  if (isPending) return <Skeleton lines={8} label="running the query to measure its operators" />;
  return (
    <div className="explain">
      <Pruning pruning={data.pruning} />
      <Plan explanation={data} />
    </div>
  );
}

function Pruning({ pruning }: { pruning: Explanation['pruning'] }) {
  const groups = pruning.row_groups ?? null;
  return (
    <Figures label="What was read">
      <Share title="Files" read={pruning.files_read} all={pruning.files} format={formatCountExact} />
      {groups === null ? (
        <Figure title="Row groups" value="all" sql={null}>
          no condition chose among them
        </Figure>
      ) : (
        <Share title="Row groups" read={pruning.row_groups_read ?? null} all={groups} format={formatCountExact} />
      )}
      <Share title="Bytes" read={pruning.bytes_read ?? null} all={pruning.bytes} format={formatBytes} />
    </Figures>
  );
}

type ShareProps = { title: string; read: number | null; all: number; format: (value: number) => string };

function Share({ title, read, all, format }: ShareProps) {
  const spared = saved(read, all);
  return (
    <Figure title={`${title} read`} value={read === null ? 'unknown' : format(read)} sql={null}>
      of {format(all)}
      {spared !== null && spared > 0 && `, ${(spared * 100).toFixed(spared > 0.999 ? 2 : 0)} % spared`}
    </Figure>
  );
}

function Plan({ explanation }: { explanation: Explanation }) {
  const rows = useMemo(() => planRows(explanation.plan), [explanation]);
  return (
    <section className="explain__plan" aria-label="Plan">
      <div className="explain__head">
        <h2>Plan</h2>
        <span className="faint">the answer comes from the first row; time is that of all cores together</span>
        <span className="explain__copy">
          <CopyButton text={explanation.text} label="Copy the plan as text" />
        </span>
      </div>
      <Sideways label="Operators">
        <table className="facts explain__table">
          <thead>
            <tr>
              <th>Operator</th>
              <th className="facts__number">Rows</th>
              <th className="facts__number">Time</th>
              <th>What it does</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <Operator key={row.id} row={row} />
            ))}
          </tbody>
        </table>
      </Sideways>
    </section>
  );
}

function Operator({ row }: { row: PlanRow }) {
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
      <td className="facts__number">{row.rows === null || row.rows === undefined ? '–' : formatCountExact(row.rows)}</td>
      <td className="facts__number explain__time">
        <span className={`num heat-${heat(row.share, 1)}`}>{formatDuration(row.elapsed_ns)}</span>
        {row.share !== null && (
          <span className="explain__bar" aria-hidden="true">
            <span style={{ width: `${Math.round(row.share * 100)}%` }} />
          </span>
        )}
      </td>
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
