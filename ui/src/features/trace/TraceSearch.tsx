/** Search within the trace: names at once, contents as the server finds them. Enter and Shift+Enter go to the next and previous match. */
import { useRef } from 'react';

import { IconButton } from '../../components/Button';
import { Icon } from '../../components/Icon';
import { SqlLink } from '../../components/SqlLink';
import { formatCountExact } from '../../lib/format';
import { useShortcut } from '../../lib/hooks';

type Props = {
  hits: readonly number[];
  text: string;
  /** What gives the matches; `null`: nothing is looked for. */
  sql: string | null;
  searching: boolean;
  selected: number;
  onSearch: (text: string) => void;
  onSelect: (index: number) => void;
};

export function TraceSearch({ hits, text, sql, searching, selected, onSearch, onSelect }: Props) {
  const input = useRef<HTMLInputElement>(null);
  const at = hits.indexOf(selected);
  const go = (back: boolean) => {
    const next = back
      ? (hits.findLast((hit) => hit < selected) ?? hits[hits.length - 1])
      : (hits.find((hit) => hit > selected) ?? hits[0]);
    if (next !== undefined) onSelect(next);
  };
  useShortcut((event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === '/') input.current?.focus();
    else if (event.key === 'n' || event.key === 'N') go(event.shiftKey);
    else return;
    event.preventDefault();
  });
  return (
    <div className="trace-view__search" role="search">
      <Icon name="search" size={14} />
      <input
        ref={input}
        aria-label="Search in this trace"
        placeholder="Search in this trace"
        value={text}
        spellCheck={false}
        onChange={(event) => {
          onSearch(event.target.value);
        }}
        onKeyDown={(event) => {
          if (event.key === 'Enter') go(event.shiftKey);
          else if (event.key === 'Escape') {
            onSearch('');
            event.currentTarget.blur();
          } else return;
          event.preventDefault();
        }}
      />
      {text.trim() !== '' && (
        <>
          <span className="trace-view__hits num" role="status">
            {hits.length === 0
              ? searching
                ? 'searching'
                : 'no match'
              : `${at < 0 ? '–' : formatCountExact(at + 1)} of ${formatCountExact(hits.length)}${searching ? '…' : ''}`}
          </span>
          <SqlLink sql={sql} of="the matches" />
          <IconButton
            icon="chevron-up"
            label="Previous match"
            disabled={hits.length === 0}
            onClick={() => {
              go(true);
            }}
          />
          <IconButton
            icon="chevron-down"
            label="Next match"
            disabled={hits.length === 0}
            onClick={() => {
              go(false);
            }}
          />
        </>
      )}
    </div>
  );
}
