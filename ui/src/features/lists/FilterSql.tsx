/** The filter as SQL: what it says, changed by hand, and back into a filter. */
import { useQuery } from '@tanstack/react-query';
import { useId, useRef, useState, type KeyboardEvent } from 'react';

import { ApiError } from '../../api/client';
import { Button } from '../../components/Button';
import { CopyButton } from '../../components/CopyButton';
import { Icon } from '../../components/Icon';
import { Skeleton } from '../../components/Notice';
import { useSqlHref } from '../../components/SqlLink';
import './filter-sql.css';
import { filterFromSql, readFilter } from './queries';

type Range = { from: string | null; to: string | null };

type Props = { q: string; onApply: (q: string, range: Range) => void; onClose: () => void };

export function FilterSql({ q, onApply, onClose }: Props) {
  const read = useQuery({ queryKey: ['filter-sql', q], queryFn: () => readFilter(q), staleTime: Infinity, retry: false });
  return (
    <section className="filter-sql" aria-label="The filter as SQL">
      {read.isPending && <Skeleton lines={2} label="reading the filter" />}
      {read.isError && <p className="filter-sql__problem">{read.error.message}</p>}
      {read.data && <Editor key={read.data.sql} sql={read.data.sql ?? ''} onApply={onApply} onClose={onClose} />}
    </section>
  );
}

function Editor({ sql, onApply, onClose }: { sql: string; onApply: Props['onApply']; onClose: () => void }) {
  const [text, setText] = useState(sql);
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  const fieldId = useId();
  const problemId = useId();
  const href = useSqlHref();
  const apply = async () => {
    if (text.trim() === '') {
      onApply('', { from: null, to: null });
      return;
    }
    setBusy(true);
    try {
      const { q, from, to } = await filterFromSql(text);
      onApply(q, { from, to });
    } catch (error) {
      setProblem(error instanceof ApiError ? explain(error) : String(error));
      if (error instanceof ApiError && error.position) select(field.current, text, error.position, error.found);
    } finally {
      setBusy(false);
    }
  };
  const key = (event: KeyboardEvent) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      void apply();
    } else if (event.key === 'Escape') {
      event.preventDefault();
      event.stopPropagation();
      onClose();
    }
  };
  return (
    <>
      <label className="filter-sql__label" htmlFor={fieldId}>
        <code>WHERE</code> condition over <code>spans</code>. Paste a whole <code>SELECT</code> and its condition becomes the
        filter.
      </label>
      <textarea
        ref={field}
        id={fieldId}
        className="filter-sql__text code"
        rows={Math.min(10, Math.max(3, text.split('\n').length, Math.ceil(text.length / 90)))}
        value={text}
        spellCheck={false}
        aria-invalid={problem !== null}
        aria-describedby={problemId}
        placeholder="status_code = 'ERROR' AND duration_ns > 2000000000"
        onChange={(event) => {
          setText(event.target.value);
          setProblem(null);
        }}
        onKeyDown={key}
      />
      <p id={problemId} role="status" className={problem === null ? 'visually-hidden' : 'filter-sql__problem'}>
        {problem !== null && (
          <>
            <Icon name="error" size={14} />
            <span>{problem}</span>
          </>
        )}
      </p>
      <div className="filter-sql__ways">
        <Button look="primary" disabled={busy || text === sql} onClick={() => void apply()}>
          Turn into a filter
        </Button>
        <a
          className="button button--plain"
          href={href(`SELECT * FROM spans${text.trim() === '' ? '' : `\nWHERE ${text}`}\nLIMIT 100`)}
        >
          Open in the workbench
        </a>
        <CopyButton text={text} label="Copy the SQL" />
        <Button look="quiet" className="filter-sql__close" onClick={onClose}>
          Close
        </Button>
      </div>
    </>
  );
}

function explain(error: ApiError): string {
  return `${error.message}${error.hint === null ? '' : `; ${error.hint}`}.`;
}

/** Selects what the server named, so that it can be typed over. */
function select(
  field: HTMLTextAreaElement | null,
  text: string,
  position: { line: number; column: number },
  found: string | null,
): void {
  const before = text.split('\n').slice(0, position.line - 1);
  const start = before.reduce((sum, line) => sum + line.length + 1, 0) + position.column - 1;
  field?.focus();
  field?.setSelectionRange(start, start + (found?.length ?? 1));
}
