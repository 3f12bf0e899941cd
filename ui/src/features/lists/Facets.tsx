/** Values of the most asked-for keys with their counts; a click adds the value to the filter or takes it away. */
import { useQuery } from '@tanstack/react-query';
import { Fragment } from 'react';

import { Icon } from '../../components/Icon';
import { Skeleton } from '../../components/Notice';
import { SqlLink } from '../../components/SqlLink';
import { termValues, toggleTermValue } from '../../lib/filter';
import { formatCount, formatCountExact } from '../../lib/format';
import { useStored } from '../../lib/hooks';
import './facets.css';
import { facetQuery, type Scope } from './queries';

const FACETS = [
  { key: 'status', title: 'Status' },
  { key: 'service', title: 'Service' },
  { key: 'model', title: 'Model' },
  { key: 'operation', title: 'Operation' },
  { key: 'tool', title: 'Tool' },
  { key: 'error', title: 'Error' },
  { key: 'provider', title: 'Provider' },
  { key: 'agent', title: 'Agent' },
  { key: 'env', title: 'Environment' },
] as const;
type Facet = (typeof FACETS)[number];

/** Open at first: what most people look for. A closed facet asks nothing of the server. */
const OPEN = ['status', 'service', 'model'];

const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every((each) => typeof each === 'string');

type Props = { scope: Scope; onApply: (q: string) => void };

export function Facets({ scope, onApply }: Props) {
  const [open, setOpen] = useStored('assay.open-facets', OPEN, isTexts);
  return (
    <aside className="facets" aria-label="Quick filters">
      {FACETS.map((facet) => {
        const isOpen = open.includes(facet.key);
        const chosen = termValues(scope.q, facet.key);
        return (
          <Fragment key={facet.key}>
            <h2 className="facets__title">
              <button
                type="button"
                className="facets__toggle"
                aria-expanded={isOpen}
                onClick={() => {
                  setOpen(isOpen ? open.filter((key) => key !== facet.key) : [...open, facet.key]);
                }}
              >
                <Icon name={isOpen ? 'chevron-down' : 'chevron-right'} size={11} />
                {facet.title}
                {chosen.length > 0 && <span className="facets__chosen num">{chosen.length}</span>}
              </button>
            </h2>
            {isOpen && <Values facet={facet} chosen={chosen} scope={scope} onApply={onApply} />}
          </Fragment>
        );
      })}
    </aside>
  );
}

function Values({ facet: { key, title }, chosen, scope, onApply }: Props & { facet: Facet; chosen: readonly string[] }) {
  const { data, isPending, isError } = useQuery(facetQuery(key, scope));
  const values = (data?.values ?? []).filter((each) => each.value !== '');
  const missing = chosen.filter((value) => !values.some((each) => same(each.value, value)));
  const max = Math.max(1, ...values.map((each) => each.count));
  return (
    <section className="facets__group" aria-label={title}>
      {isPending && <Skeleton lines={3} label={`loading ${title}`} />}
      {isError && <p className="facets__none">could not be read</p>}
      {data && values.length === 0 && missing.length === 0 && <p className="facets__none">none in this range</p>}
      <ul>
        {[...missing.map((value) => ({ value, count: 0 })), ...values].map(({ value, count }) => {
          const on = chosen.some((each) => same(each, value));
          return (
            <li key={value}>
              <button
                type="button"
                className="facets__value"
                aria-pressed={on}
                title={`${value}: ${formatCountExact(count)} spans`}
                onClick={() => {
                  const written = chosen.find((each) => same(each, value)) ?? (key === 'status' ? value.toLowerCase() : value);
                  onApply(toggleTermValue(scope.q, key, written));
                }}
              >
                <span className="facets__bar" style={{ width: `${(100 * count) / max}%` }} />
                <span className="facets__name truncate">{value}</span>
                <span className="facets__count num">{formatCount(count)}</span>
              </button>
            </li>
          );
        })}
      </ul>
      {values.length > 0 && (
        <div className="facets__sql">
          <SqlLink sql={data?.sql} of={`the values of ${title.toLowerCase()}`} />
        </div>
      )}
    </section>
  );
}

function same(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}
