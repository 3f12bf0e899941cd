/** Numbers with their names, in a row that wraps: the head of a page about one thing. */
import type { ReactNode } from 'react';

import './figure-row.css';

/** `more`: what follows them, such as a link to their SQL. */
export function FigureRow({ more, children }: { more?: ReactNode; children: ReactNode }) {
  return (
    <div className="figure-row">
      <dl className="figure-row__list">{children}</dl>
      {more}
    </div>
  );
}

export function RowFigure({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="figure-row__one">
      <dt>{title}</dt>
      <dd>{children}</dd>
    </div>
  );
}
