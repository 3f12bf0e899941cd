/** Status, service and model with their counts; a click adds the value to the filter or takes it away. */
import { useQuery } from '@tanstack/react-query';

import { Skeleton } from '../../components/Notice';
import { termValues, toggleTermValue, withTermValues } from '../../lib/filter';
import { formatCount, formatCountExact } from '../../lib/format';
import './facets.css';
import { facetQuery, type Scope } from './queries';

const FACETS = [
  { key: 'status', field: 'status_code', title: 'Status' },
  { key: 'service', field: 'service_name', title: 'Service' },
  { key: 'model', field: 'request_model', title: 'Model' },
  { key: 'operation', field: 'operation', title: 'Operation' },
] as const;

export function Facets({ scope, onApply }: { scope: Scope; onApply: (q: string) => void }) {
  return (
    <aside className="facets" aria-label="Quick filters">
      {FACETS.map((facet) => (
        <Facet key={facet.field} facet={facet} scope={scope} onApply={onApply} />
      ))}
    </aside>
  );
}

type FacetProps = { facet: (typeof FACETS)[number]; scope: Scope; onApply: (q: string) => void };

function Facet({ facet: { key, field, title }, scope, onApply }: FacetProps) {
  const chosen = termValues(scope.q, key);
  // Counts are those without this facet's own choice, so that other values stay in reach.
  const { data, isPending } = useQuery(facetQuery(field, { ...scope, q: withTermValues(scope.q, key, []) }));
  const values = (data?.values ?? []).flatMap(({ value, count }) =>
    value === null || value === undefined || value === '' ? [] : [{ value, count }],
  );
  const missing = chosen.filter((value) => !values.some((each) => same(each.value, value)));
  const max = Math.max(1, ...values.map((each) => each.count));
  return (
    <section className="facets__group" aria-label={title}>
      <h2 className="facets__title">{title}</h2>
      {isPending && <Skeleton lines={3} label={`loading ${title}`} />}
      {!isPending && values.length === 0 && missing.length === 0 && <p className="facets__none">none in this range</p>}
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
    </section>
  );
}

function same(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}
