/** How attributes become columns: the rules of each dialect, and what they make of a span. */
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';

import '../../components/labelled.css';
import { Sideways } from '../../components/Sideways';
import { ErrorNotice, Prose, Skeleton } from '../../components/Notice';
import { plural } from '../../lib/format';
import { Card } from './Card';
import './mappings.css';
import { mappingsQuery, type Mappings } from './mappings';
import type { IngestState } from './state';
import { TryMapping } from './TryMapping';

type Props = {
  state: IngestState;
  onChange: (change: Partial<IngestState>) => void;
  hrefOf: (change: Partial<IngestState>) => string;
};

export function MappingsTab({ state, onChange, hrefOf }: Props) {
  const { data, isPending, isError, error } = useQuery(mappingsQuery());
  const open = data?.dialects.find((each) => each.name === state.dialect) ?? data?.dialects[0];
  return (
    <>
      <TryMapping key={state.span ?? ''} span={state.span} />
      <Card
        title="Rules by dialect"
        aside="in the order in which they are asked; the first that finds something fills the column"
        wide
      >
        {isError && (
          <div className="card__notice">
            <ErrorNotice title="The rules could not be read" error={error} />
          </div>
        )}
        {isPending && <Skeleton lines={8} label="loading the rules" />}
        {data && open && (
          <div className="mappings">
            <ul className="mappings__dialects" aria-label="Dialects">
              {data.dialects.map((dialect) => (
                <li key={dialect.name}>
                  <a
                    className="mappings__dialect"
                    href={hrefOf({ dialect: dialect.name })}
                    aria-current={dialect === open ? 'true' : undefined}
                  >
                    <span className="code">{dialect.name}</span>
                  </a>
                </li>
              ))}
            </ul>
            <Rules
              key={open.name}
              dialect={open}
              filter={state.find ?? ''}
              onFilter={(text) => {
                onChange({ find: text === '' ? null : text });
              }}
            />
          </div>
        )}
      </Card>
    </>
  );
}

type RulesProps = {
  dialect: Mappings['dialects'][number];
  /** What is looked for at first; `onFilter` is told what is looked for next. */
  filter: string;
  onFilter: (text: string) => void;
};

function Rules({ dialect, filter: first, onFilter }: RulesProps) {
  const [filter, setFilter] = useState(first);
  const wanted = filter.trim().toLowerCase();
  const rules = dialect.rules.filter(
    (rule) =>
      wanted === '' ||
      rule.column.toLowerCase().includes(wanted) ||
      rule.name.toLowerCase().includes(wanted) ||
      rule.from.some((place) => place.toLowerCase().includes(wanted)),
  );
  return (
    <section className="mappings__rules" aria-label={`Rules of ${dialect.name}`}>
      <div className="mappings__head">
        <p>
          <Prose text={dialect.doc} />
        </p>
        <input
          className="text-field"
          aria-label="Find a column or attribute"
          placeholder="column or attribute"
          value={filter}
          spellCheck={false}
          onChange={(event) => {
            setFilter(event.target.value);
            onFilter(event.target.value);
          }}
        />
      </div>
      <Sideways label="Columns and where they come from">
        <table className="facts">
          <thead>
            <tr>
              <th>Column</th>
              <th>From</th>
              <th>How</th>
            </tr>
          </thead>
          <tbody>
            {rules.map((rule, at) => (
              <tr key={`${rule.name} ${at}`}>
                <td className="code" title={rule.name}>
                  {rule.column}
                </td>
                <td className="code mappings__from">{rule.from.join(', ')}</td>
                <td className="mappings__doc">
                  {rule.doc ? <Prose text={rule.doc} /> : <span className="faint">as it is</span>}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Sideways>
      {rules.length === 0 && <p className="card__note">None of {plural(dialect.rules.length, 'rule')} matches.</p>}
    </section>
  );
}
