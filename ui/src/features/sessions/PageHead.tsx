/** What the pages of a session and of a user have in common: the way back, the name, where else it leads, and the figures of a group of calls. */
import type { ReactNode } from 'react';

import { CopyButton } from '../../components/CopyButton';
import { RowFigure } from '../../components/FigureRow';
import { Count, Money, TokenPair } from '../../components/Values';
import './session-page.css';

type HeadProps = {
  /** The list it is one of, and its address. */
  list: string;
  listHref: string;
  name: string;
  /** `session`, `user`: what the name is the name of. */
  of: string;
  /** Lists of what belongs to it. */
  ways: readonly { title: string; href: string }[];
  end?: ReactNode;
  children: ReactNode;
};

export function PageHead({ list, listHref, name, of, ways, end, children }: HeadProps) {
  return (
    <header className="session__head">
      <div className="session__title">
        <a href={listHref}>{list}</a>
        <span className="faint" aria-hidden="true">
          /
        </span>
        <h1 className="truncate">{name}</h1>
        <CopyButton text={name} label={`Copy the ${of} id`} />
        <nav className="session__ways" aria-label={`Of this ${of}`}>
          {ways.map(({ title, href }) => (
            <a key={title} href={href}>
              {title}
            </a>
          ))}
        </nav>
        {end}
      </div>
      {children}
    </header>
  );
}

type Group = {
  readonly traces: number;
  readonly llm_calls: number;
  readonly errors: number;
  readonly input_tokens?: number | null;
  readonly output_tokens?: number | null;
  readonly cost_usd?: string | null;
  readonly unpriced_calls: number;
};

/** Traces, calls, errors, tokens and cost, as both lists have them. */
export function GroupFigures({ of }: { of: Group }) {
  return (
    <>
      <RowFigure title="Traces">
        <Count value={of.traces} />
      </RowFigure>
      <RowFigure title="LLM calls">
        <Count value={of.llm_calls} />
      </RowFigure>
      <RowFigure title="Errors">
        <span className={of.errors > 0 ? 'session__errors num' : 'num faint'}>{of.errors}</span>
      </RowFigure>
      <RowFigure title="Tokens in → out">
        <TokenPair input={of.input_tokens ?? null} output={of.output_tokens ?? null} />
      </RowFigure>
      <RowFigure title="Cost">
        <Money usd={of.cost_usd ?? null} unpriced={of.unpriced_calls} />
      </RowFigure>
    </>
  );
}
