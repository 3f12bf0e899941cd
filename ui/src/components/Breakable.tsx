/** A name of a column or attribute that may be broken, but only after a dot, a line or a slash, never within a word. */
import { Fragment } from 'react';

export function Breakable({ text }: { text: string }) {
  return text.split(/(?<=[._/])/).map((part, at) => (
    <Fragment key={at}>
      {at > 0 && <wbr />}
      {part}
    </Fragment>
  ));
}
