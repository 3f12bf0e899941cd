/** A number that matters, with its name, what it means and the SQL that gives it. */
import type { ReactNode } from 'react';

import './figure.css';
import { SqlLink, type SqlParams } from './SqlLink';

type Props = {
  title: string;
  /** `null`: not known yet; with `failed`, not known at all. */
  value: ReactNode | null;
  failed?: boolean;
  sql: string | null;
  /** Of the query, as the address of the workbench names them. */
  params?: SqlParams;
  tone?: 'plain' | 'good' | 'warning' | 'error';
  children?: ReactNode;
};

export function Figure({ title, value, failed = false, sql, params = {}, tone = 'plain', children }: Props) {
  return (
    <div className={`figure figure--${tone}`}>
      <p className="figure__title">
        {title} <SqlLink sql={sql} of={title} params={params} />
      </p>
      <p className="figure__value num">
        {value ?? (failed ? <span className="faint">–</span> : <span className="figure__wait" aria-label="loading" role="img" />)}
      </p>
      {children !== undefined && value !== null && <p className="figure__more">{children}</p>}
    </div>
  );
}

export function Figures({ label, children }: { label: string; children: ReactNode }) {
  return (
    <section className="figures" aria-label={label}>
      {children}
    </section>
  );
}
