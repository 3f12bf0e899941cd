/** Numbers with their names, in a row that wraps: the head of a page about one thing. */
import type { ReactNode } from 'react';

import './figures.css';

/** `more`: what follows them, such as a link to their SQL. */
export function Figures({ more, children }: { more?: ReactNode; children: ReactNode }) {
  return (
    <div className="figures">
      <dl className="figures__list">{children}</dl>
      {more}
    </div>
  );
}

export function Figure({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="figures__one">
      <dt>{title}</dt>
      <dd>{children}</dd>
    </div>
  );
}
