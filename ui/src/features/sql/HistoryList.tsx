/** The queries that ran in this browser, newest first. */
import { useState } from 'react';

import { formatAgo } from '../../lib/format';
import { useNow } from '../../lib/hooks';
import type { HistoryEntry } from './history';

type Props = { history: readonly HistoryEntry[]; onPick: (query: string) => void; onClear: () => void };

export function HistoryList({ history, onPick, onClear }: Props) {
  const now = useNow(30_000);
  const [filter, setFilter] = useState('');
  const wanted = filter.trim().toLowerCase();
  const shown = history.filter((entry) => wanted === '' || entry.query.toLowerCase().includes(wanted));
  if (history.length === 0) return <p className="library__none">Queries that you run are kept here, in this browser.</p>;
  return (
    <>
      <input
        className="library__filter"
        aria-label="Search the history"
        placeholder="Search the history"
        value={filter}
        spellCheck={false}
        onChange={(event) => {
          setFilter(event.target.value);
        }}
      />
      <ul className="library__list" aria-label="History">
        {shown.map((entry) => (
          <li key={entry.query}>
            <button
              type="button"
              className="library__query"
              title={entry.query}
              onClick={() => {
                onPick(entry.query);
              }}
            >
              <span className="code library__text">{entry.query.replace(/\s+/g, ' ')}</span>
              <span className="library__when">{formatAgo(entry.at, now)}</span>
            </button>
          </li>
        ))}
        {shown.length === 0 && <li className="library__none">No query matches.</li>}
        <li>
          <button type="button" className="button button--quiet library__clear" onClick={onClear}>
            Clear the history
          </button>
        </li>
      </ul>
    </>
  );
}
