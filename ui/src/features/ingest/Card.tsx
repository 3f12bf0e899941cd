/** A part of the page: a heading with the SQL of what stands beneath, and the states that its rows can be in. */
import type { UseQueryResult } from '@tanstack/react-query';
import { useId, type ReactNode } from 'react';

import { ErrorNotice, Skeleton } from '../../components/Notice';
import { SqlLink } from '../../components/SqlLink';
import type { Rows } from './useSql';

type Props = { title: string; sql?: string | null; aside?: ReactNode; children: ReactNode; wide?: boolean };

export function Card({ title, sql = null, aside, children, wide = false }: Props) {
  const id = useId();
  return (
    <section className={`card ${wide ? 'card--wide' : ''}`} aria-labelledby={id}>
      <div className="card__head">
        <h2 id={id} className="card__title">
          {title}
        </h2>
        <SqlLink sql={sql} of={title} />
        <span className="card__aside">{aside}</span>
      </div>
      {children}
    </section>
  );
}

type AnswerProps = {
  of: string;
  query: UseQueryResult<Rows>;
  /** What stands where there are no rows. */
  empty: ReactNode;
  children: (rows: Rows) => ReactNode;
};

/** Rows of a query, or that they are awaited, missing or refused. An error of a later question leaves the last rows standing below it. */
export function Answer({ of, query, empty, children }: AnswerProps) {
  return (
    <>
      {query.isError && (
        <div className="card__notice">
          <ErrorNotice
            title={`${of.slice(0, 1).toUpperCase()}${of.slice(1)} could not be read`}
            error={query.error}
            onRetry={query.refetch}
          />
        </div>
      )}
      {query.data === undefined ? (
        query.isPending && <Skeleton lines={4} label={`loading ${of}`} />
      ) : query.data.length === 0 ? (
        <div className="card__empty">{empty}</div>
      ) : (
        children(query.data)
      )}
    </>
  );
}
