/**
 * The search box. Tokens are coloured behind a transparent input, keys and values are suggested with their counts, and a filter that the
 * server refuses stays in the box with the reason while the table keeps what it shows.
 */
import { useId, useRef, useState, type KeyboardEvent, type SyntheticEvent } from 'react';

import { ApiError } from '../../api/client';
import { IconButton } from '../../components/Button';
import { Icon } from '../../components/Icon';
import { SqlLink } from '../../components/SqlLink';
import { canonicalFilter, completionAt, tokenise, type Token } from '../../lib/filter';
import { formatCountExact } from '../../lib/format';
import { useShortcut } from '../../lib/hooks';
import './filter-box.css';
import { FilterSql } from './FilterSql';
import { findKey, useFilterKeys, type FilterKey } from './keys';
import { readFilter, type Scope } from './queries';
import { rememberFilter } from './recent';
import { useSuggestions, type Suggestion } from './suggestions';

type Props = {
  scope: Scope;
  /** `range`: the time that SQL asked for; a bound it does not name stays. */
  onApply: (q: string, range?: { from: string | null; to: string | null }) => void;
};

export function FilterBox({ scope, onApply }: Props) {
  const [draft, setDraft] = useState(scope.q);
  const [applied, setApplied] = useState(scope.q);
  const [caret, setCaret] = useState(scope.q.length);
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const [problem, setProblem] = useState<string | null>(null);
  const [checking, setChecking] = useState(false);
  const [asSql, setAsSql] = useState(false);
  const keys = useFilterKeys();
  const input = useRef<HTMLInputElement>(null);
  const paint = useRef<HTMLDivElement>(null);
  const listId = useId();
  const problemId = useId();

  // The address changed elsewhere (a facet, Back): the box follows.
  if (applied !== scope.q) {
    setApplied(scope.q);
    setDraft(scope.q);
    setProblem(null);
  }

  useShortcut((event) => {
    if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    input.current?.focus();
    input.current?.select();
  });

  const completion = completionAt(draft, caret);
  const { list: suggestions, sql: countsSql } = useSuggestions(keys, completion, draft, scope, open);
  const shown = open && !asSql && suggestions.length > 0;

  const submit = async (text: string) => {
    const next = canonicalFilter(text);
    const wrong = tokenise(next).find((token) => problemOf(token, keys) !== null);
    setOpen(false);
    setActive(-1);
    if (wrong) {
      setProblem(`${problemOf(wrong, keys) ?? ''} (at character ${wrong.start + 1}).`);
      return;
    }
    setChecking(true);
    try {
      await readFilter(next);
      setProblem(null);
      setApplied(next);
      setDraft(next);
      rememberFilter(next);
      onApply(next);
    } catch (error) {
      setProblem(error instanceof ApiError ? explain(error) : String(error));
    } finally {
      setChecking(false);
    }
  };

  const accept = (suggestion: Suggestion) => {
    if (suggestion.whole || completion.kind === 'none') {
      setDraft(suggestion.insert);
      void submit(suggestion.insert);
      return;
    }
    const before = draft.slice(0, completion.start);
    const after = draft.slice(completion.end);
    const space = suggestion.more || /^[\s)|]/.test(after) ? '' : ' ';
    const at = before.length + suggestion.insert.length + space.length;
    setDraft(before + suggestion.insert + space + after);
    setCaret(at);
    setActive(-1);
    setOpen(true);
    requestAnimationFrame(() => input.current?.setSelectionRange(at, at));
  };

  const key = (event: KeyboardEvent<HTMLInputElement>) => {
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      setOpen(true);
      const step = event.key === 'ArrowDown' ? 1 : -1;
      setActive((current) =>
        suggestions.length === 0
          ? -1
          : (current + step + suggestions.length + (current < 0 && step < 0 ? 1 : 0)) % suggestions.length,
      );
    } else if ((event.key === 'Enter' || event.key === 'Tab') && shown && suggestions[active]) {
      event.preventDefault();
      accept(suggestions[active]);
    } else if (event.key === 'Enter') {
      event.preventDefault();
      void submit(draft);
    } else if (event.key === 'Escape') {
      event.preventDefault();
      if (shown) setOpen(false);
      else input.current?.blur();
    }
  };

  const moved = (event: SyntheticEvent<HTMLInputElement>) => {
    setCaret(event.currentTarget.selectionStart ?? 0);
  };

  return (
    // The suggestions stay while the focus is on what belongs to them.
    <div
      className="filter"
      onBlur={(event) => {
        if (!event.currentTarget.contains(event.relatedTarget)) setOpen(false);
      }}
    >
      <div className={`filter__box ${problem ? 'filter__box--problem' : ''}`}>
        <Icon name="search" size={14} />
        <div className="filter__stack">
          <div className="filter__paint" ref={paint} aria-hidden="true">
            <Painted text={draft} keys={keys} />
          </div>
          <input
            ref={input}
            className="filter__input"
            role="combobox"
            aria-label="Filter"
            aria-expanded={shown}
            aria-controls={listId}
            aria-autocomplete="list"
            aria-invalid={problem !== null}
            aria-errormessage={problemId}
            {...(shown && active >= 0 ? { 'aria-activedescendant': `${listId}-${active}` } : {})}
            value={draft}
            placeholder="model:gpt-4o status:error cost:>0.01 “refund policy”"
            spellCheck={false}
            autoComplete="off"
            autoCapitalize="off"
            onChange={(event) => {
              setDraft(event.target.value);
              setCaret(event.target.selectionStart ?? event.target.value.length);
              setOpen(true);
              setActive(-1);
              setProblem(null);
            }}
            onKeyDown={key}
            onSelect={moved}
            onFocus={() => {
              setOpen(true);
            }}
            onScroll={(event) => {
              if (paint.current) paint.current.scrollLeft = event.currentTarget.scrollLeft;
            }}
          />
        </div>
        {draft === '' ? (
          <kbd className="filter__key" aria-hidden="true">
            /
          </kbd>
        ) : (
          <IconButton
            icon="close"
            label="Clear the filter"
            onClick={() => {
              setDraft('');
              void submit('');
            }}
          />
        )}
        <button
          type="button"
          className="filter__sql"
          aria-expanded={asSql}
          aria-label="The filter as SQL"
          title="Show and edit the filter as SQL"
          onClick={() => {
            setAsSql(!asSql);
          }}
        >
          SQL
        </button>
      </div>
      {asSql && (
        <FilterSql
          q={applied}
          onClose={() => {
            setAsSql(false);
          }}
          onApply={(q, range) => {
            setAsSql(false);
            rememberFilter(q);
            onApply(q, range);
          }}
        />
      )}
      <div className={shown ? 'filter__suggestions' : 'visually-hidden'}>
        <div id={listId} role="listbox" aria-label="Suggestions" className="filter__list">
          {shown &&
            suggestions.map((suggestion, index) => (
              <div
                key={suggestion.label}
                id={`${listId}-${index}`}
                role="option"
                aria-selected={index === active}
                className="filter__option"
                onMouseDown={(event) => {
                  event.preventDefault();
                  accept(suggestion);
                }}
              >
                <span className="filter__option-label">{suggestion.label}</span>
                <span className="filter__option-note">{suggestion.note}</span>
              </div>
            ))}
        </div>
        {shown && countsSql !== null && (
          <p className="filter__counts">
            counted over the time shown <SqlLink sql={countsSql} of="the suggested values" />
          </p>
        )}
      </div>
      <div id={problemId} className={problem ? 'filter__problem' : 'visually-hidden'} role="status">
        {problem !== null && (
          <>
            <Icon name="error" size={14} />
            <span>
              {problem}{' '}
              <span className="filter__kept">The table still shows {applied === '' ? 'everything' : `“${applied}”`}.</span>
            </span>
          </>
        )}
        {checking && problem === null && 'checking the filter'}
      </div>
    </div>
  );
}

/** What the browser itself can see to be wrong; whether the rest is right, the server says. */
function problemOf(token: Token, keys: readonly FilterKey[]): string | null {
  if (token.problem !== null || token.kind !== 'term' || keys.length === 0) return token.problem;
  return findKey(keys, token.key) ? null : `\`${token.key}\` is not a key`;
}

/** The text of the box in the colours of its tokens; every character keeps its place under the input. */
function Painted({ text, keys }: { text: string; keys: readonly FilterKey[] }) {
  const pieces: React.ReactNode[] = [];
  let at = 0;
  for (const token of tokenise(text)) {
    pieces.push(text.slice(at, token.start));
    const mark = problemOf(token, keys) === null ? '' : ' token--problem';
    pieces.push(
      token.kind === 'term' ? (
        <span key={token.start} className={`token token--term${token.negated ? ' token--not' : ''}${mark}`}>
          <span className="token__key">{text.slice(token.start, token.valueStart)}</span>
          <span className="token__value">{text.slice(token.valueStart, token.end)}</span>
        </span>
      ) : (
        <span key={token.start} className={`token token--${token.kind}${mark}`}>
          {text.slice(token.start, token.end)}
        </span>
      ),
    );
    at = token.end;
  }
  pieces.push(text.slice(at));
  return <>{pieces}</>;
}

function explain(error: ApiError): string {
  const where = error.position ? ` (at character ${formatCountExact(error.position.column)})` : '';
  return `${error.message}${where}${error.hint ? `; ${error.hint}` : ''}.`;
}
