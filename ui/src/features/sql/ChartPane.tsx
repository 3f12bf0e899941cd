/** The chart of a result, and the form that builds it. What is drawn stands in the address and is saved with the query. */
import { useMemo } from 'react';

import type { SqlResult } from '../../api/types';
import { Chart } from '../../components/Chart';
import { EmptyState } from '../../components/Notice';
import { formatCountExact, plural } from '../../lib/format';
import { isNumeric } from './cells';
import { CATEGORIES_MAX, chartData, fits, guessChart, SERIES_MAX, type ChartKind, type ChartSpec } from './chart';
import './chart-pane.css';

const KINDS: Record<ChartKind, string> = {
  line: 'Line',
  bar: 'Bars',
  stacked: 'Stacked bars',
  scatter: 'Points',
  number: 'One number',
};

const NONE_HIDDEN: readonly string[] = [];

type Props = { result: SqlResult; spec: ChartSpec | null; onChange: (spec: ChartSpec) => void };

export function ChartPane({ result, spec, onChange }: Props) {
  const { columns, rows } = result;
  const guess = useMemo(() => guessChart(columns, rows), [columns, rows]);
  const shown = spec && fits(spec, columns) ? spec : guess;
  if (!shown) {
    return (
      <EmptyState title="Nothing to draw">
        <p>A chart needs a column of numbers.</p>
      </EmptyState>
    );
  }
  return (
    <div className="chart-pane">
      <Form columns={columns} spec={shown} onChange={onChange} />
      {spec && !fits(spec, columns) && (
        <p className="chart-pane__note" role="status">
          The chart of this query names columns that the result does not have; this is drawn by default.
        </p>
      )}
      {shown.kind === 'number' ? (
        <Figure result={result} name={shown.y[0] ?? ''} />
      ) : (
        <Drawing result={result} spec={shown} onChange={onChange} />
      )}
    </div>
  );
}

function Drawing({ result, spec, onChange }: { result: SqlResult; spec: ChartSpec; onChange: Props['onChange'] }) {
  const { columns, rows } = result;
  const data = useMemo(() => chartData(columns, rows, spec), [columns, rows, spec]);
  const notes = [
    data.seriesAll > SERIES_MAX && `the ${SERIES_MAX} largest of ${formatCountExact(data.seriesAll)} series`,
    data.xKind === 'category' &&
      data.placesAll > CATEGORIES_MAX &&
      `the first ${CATEGORIES_MAX} of ${formatCountExact(data.placesAll)} bars`,
    data.merged > 0 && `${plural(data.merged, 'row')} added to others with the same ${spec.x}`,
    result.stats.truncated && `only of the ${plural(rows.length, 'row')} that were fetched`,
  ].filter((note) => note !== false);
  if (data.xs.length === 0) {
    return (
      <EmptyState title="Nothing to draw">
        <p>
          No row has a value for both <code>{spec.x}</code> and <code>{spec.y.join(', ')}</code>.
        </p>
      </EmptyState>
    );
  }
  return (
    <>
      {notes.length > 0 && <p className="chart-pane__note">Drawn: {notes.join('; ')}.</p>}
      <Chart
        // A result of other series is another chart: what was hidden in the last one is not hidden here.
        key={`${spec.kind} ${spec.x} ${spec.by ?? ''} ${spec.y.join(' ')}`}
        label={`${KINDS[spec.kind]} of ${spec.y.join(', ')} by ${spec.x}${spec.by === null ? '' : `, a series per ${spec.by}`}; the same rows are in the table`}
        kind={spec.kind === 'number' ? 'bar' : spec.kind}
        xKind={data.xKind}
        xs={data.xs}
        labels={data.labels}
        series={data.series}
        format={formatValue}
        hidden={spec.hidden ?? NONE_HIDDEN}
        onHidden={(hidden) => {
          onChange({ ...spec, hidden });
        }}
      />
    </>
  );
}

function Figure({ result, name }: { result: SqlResult; name: string }) {
  const at = result.columns.findIndex((column) => column.name === name);
  const value: unknown = result.rows[0]?.[at];
  return (
    <div className="chart-pane__figure">
      <p className="chart-pane__value num">
        {typeof value === 'number' ? formatCountExact(value) : typeof value === 'string' ? value : 'null'}
      </p>
      <p className="faint">
        <span className="code">{name}</span>
        {result.rows.length > 1 && ` of the first of ${plural(result.rows.length, 'row')}`}
      </p>
    </div>
  );
}

type FormProps = { columns: SqlResult['columns']; spec: ChartSpec; onChange: (spec: ChartSpec) => void };

function Form({ columns, spec, onChange }: FormProps) {
  const numbers = columns.filter((column) => isNumeric(column.type)).map((column) => column.name);
  const names = columns.map((column) => column.name);
  const setKind = (kind: ChartKind) => {
    const x = spec.x === '' ? (names.find((name) => !spec.y.includes(name)) ?? names[0] ?? '') : spec.x;
    onChange({ ...spec, kind, x, y: kind === 'number' ? spec.y.slice(0, 1) : spec.y });
  };
  return (
    <form
      className="chart-pane__form"
      aria-label="What the chart shows"
      onSubmit={(event) => {
        event.preventDefault();
      }}
    >
      <label className="labelled">
        <span>Chart</span>
        <select
          aria-label="Chart"
          value={spec.kind}
          onChange={(event) => {
            setKind(event.target.value as ChartKind);
          }}
        >
          {Object.entries(KINDS).map(([kind, title]) => (
            <option key={kind} value={kind}>
              {title}
            </option>
          ))}
        </select>
      </label>
      {spec.kind !== 'number' && <Choice label="x" value={spec.x} options={names} onChange={(x) => onChange({ ...spec, x })} />}
      <Measures spec={spec} numbers={numbers} onChange={onChange} />
      {spec.kind !== 'number' && (
        <Choice
          label="Series"
          value={spec.by ?? ''}
          options={['', ...names.filter((name) => name !== spec.x)]}
          onChange={(by) => onChange({ ...spec, by: by === '' ? null : by })}
        />
      )}
    </form>
  );
}

/** The first measure is chosen, more are added: with one it stays a plain choice. */
function Measures({
  spec,
  numbers,
  onChange,
}: {
  spec: ChartSpec;
  numbers: readonly string[];
  onChange: (spec: ChartSpec) => void;
}) {
  const free = numbers.filter((name) => !spec.y.includes(name));
  return (
    <>
      {spec.y.map((name, at) => (
        <Choice
          key={name}
          label={at === 0 ? 'y' : `y ${at + 1}`}
          value={name}
          options={[...(at > 0 ? [''] : []), ...numbers.filter((each) => each === name || !spec.y.includes(each))]}
          onChange={(next) =>
            onChange({
              ...spec,
              y: next === '' ? spec.y.filter((each) => each !== name) : spec.y.map((each) => (each === name ? next : each)),
            })
          }
        />
      ))}
      {spec.kind !== 'number' && free.length > 0 && (
        <Choice label="and" value="" options={['', ...free]} onChange={(name) => onChange({ ...spec, y: [...spec.y, name] })} />
      )}
    </>
  );
}

type ChoiceProps = { label: string; value: string; options: readonly string[]; onChange: (value: string) => void };

function Choice({ label, value, options, onChange }: ChoiceProps) {
  return (
    <label className="labelled">
      <span>{label}</span>
      <select
        aria-label={label}
        value={value}
        onChange={(event) => {
          onChange(event.target.value);
        }}
      >
        {options.map((name, at) => (
          <option key={`${name} ${at}`} value={name}>
            {name === '' ? '–' : name}
          </option>
        ))}
      </select>
    </label>
  );
}

/** A value on an axis or in the legend: short, with enough digits to tell neighbours apart. */
function formatValue(value: number | null): string {
  if (value === null) return '–';
  const size = Math.abs(value);
  if (size >= 1e5) return COMPACT.format(value);
  return value.toLocaleString('en-US', { maximumSignificantDigits: size >= 1 ? 6 : 3 });
}

const COMPACT = new Intl.NumberFormat('en-US', { notation: 'compact', maximumSignificantDigits: 4 });
