/**
 * A text of any size, of which only the rows in sight are in the page. It is wrapped by counting characters, so that every row has the same
 * height and its place is known without drawing what stands above it.
 *
 * Browsers do not lay out boxes of more than some 30 million pixels: above `TALL_PX_MAX` a pixel of the scroll bar stands for more than a
 * pixel of the text, and the wheel and the keys move the text itself.
 */
import { useCallback, useEffect, useMemo, useRef, useState, type KeyboardEvent, type ReactNode } from 'react';

import { formatBytes, formatCountExact } from '../lib/format';
import { useSize } from '../lib/hooks';
import { rowOf, rowStarts } from '../lib/lines';
import { IconButton } from './Button';
import { CopyButton } from './CopyButton';
import './whole-text.css';

const ROW_PX = 19;
const OVERSCAN = 12;
const TALL_PX_MAX = 12_000_000;
const COLUMNS_MIN = 20;
/** As wide as a letter of the code font at its size here; measured once it is drawn. */
const LETTER_PX = 7.2;

type Props = {
  text: string;
  /** What it is: the name of the region. */ label: string;
  /** Its size, if it is known better than by its characters. */ bytes?: number | null;
};
type Match = { readonly from: number; readonly to: number };

export function WholeText({ text, label, bytes = null }: Props) {
  const [measure, { width, height }] = useSize<HTMLDivElement>();
  const scroller = useRef<HTMLDivElement | null>(null);
  const place = useCallback(
    (element: HTMLDivElement | null) => {
      scroller.current = element;
      measure(element);
    },
    [measure],
  );
  const columns = width === 0 ? 0 : Math.max(COLUMNS_MIN, Math.floor((width - 24) / (LETTER_PX * letterWidth(text))));
  const starts = useMemo(() => (columns === 0 ? null : rowStarts(text, columns)), [text, columns]);
  const rows = starts === null ? 0 : starts.length - 1;
  const total = rows * ROW_PX;
  const tall = Math.min(total, TALL_PX_MAX);
  const scale = tall > height && tall < total ? (total - height) / (tall - height) : 1;
  const [top, setTop] = useState(0);
  const moveTo = (wanted: number) => {
    const next = Math.max(0, Math.min(total - height, wanted));
    setTop(next);
    if (scroller.current) scroller.current.scrollTop = next / scale;
  };
  const scrolled = () => {
    const at = scroller.current?.scrollTop ?? 0;
    // The place that `moveTo` chose is finer than the scroll bar can tell.
    if (Math.abs(at - top / scale) >= 1) setTop(at * scale);
  };
  const latest = useRef({ moveTo, top, scale });
  useEffect(() => {
    latest.current = { moveTo, top, scale };
  });
  useEffect(() => {
    const element = scroller.current;
    if (!element) return;
    const wheel = (event: WheelEvent) => {
      if (latest.current.scale === 1 || event.ctrlKey) return;
      event.preventDefault();
      latest.current.moveTo(latest.current.top + event.deltaY * (event.deltaMode === 1 ? ROW_PX : 1));
    };
    element.addEventListener('wheel', wheel, { passive: false });
    return () => {
      element.removeEventListener('wheel', wheel);
    };
  }, []);
  const key = (event: KeyboardEvent) => {
    const to: Record<string, number> = { ArrowDown: top + ROW_PX, ArrowUp: top - ROW_PX, PageDown: top + height - ROW_PX, PageUp: top - height + ROW_PX, Home: 0, End: total }; // prettier-ignore
    const wanted = event.ctrlKey || event.metaKey || event.altKey ? undefined : to[event.key];
    if (wanted === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    moveTo(wanted);
  };
  const [match, setMatch] = useState<Match | null>(null);
  const show = (found: Match | null) => {
    setMatch(found);
    if (found && starts) moveTo(rowOf(starts, found.from) * ROW_PX - height / 3);
  };
  const first = Math.max(0, Math.floor(top / ROW_PX) - OVERSCAN);
  const last = Math.min(rows, Math.ceil((top + height) / ROW_PX) + OVERSCAN);
  return (
    <div className="whole">
      <div className="whole__bar">
        <span className="num">
          {formatBytes(bytes ?? text.length)}, {formatCountExact(rows)} rows
        </span>
        <Find text={text} label={label} match={match} onMatch={show} />
        <CopyButton text={text} label={`Copy ${label}`} />
      </div>
      <div
        ref={place}
        className="whole__scroller"
        role="region"
        aria-label={label}
        tabIndex={0}
        onScroll={scrolled}
        onKeyDown={key}
      >
        <div style={{ height: tall }} className="whole__tall">
          {starts && (
            <pre className="whole__rows" style={{ transform: `translateY(${top / scale - (top - first * ROW_PX)}px)` }}>
              {Array.from({ length: Math.max(0, last - first) }, (_, at) => (
                <Row key={first + at} text={text} from={starts[first + at] ?? 0} to={starts[first + at + 1] ?? 0} match={match} />
              ))}
            </pre>
          )}
        </div>
      </div>
    </div>
  );
}

/** One row, with the part of a match that falls in it. */
function Row({ text, from, to, match }: { text: string; from: number; to: number; match: Match | null }): ReactNode {
  const line = text.slice(from, to).replace(/\n$/, '');
  if (!match || match.to <= from || match.from >= to) return `${line}\n`;
  const [begin, end] = [Math.max(0, match.from - from), Math.min(line.length, match.to - from)];
  return (
    <>
      {line.slice(0, begin)}
      <mark>{line.slice(begin, end)}</mark>
      {`${line.slice(end)}\n`}
    </>
  );
}

type FindProps = { text: string; label: string; match: Match | null; onMatch: (match: Match | null) => void };

/** The browser's own search sees only what is drawn. */
function Find({ text, label, match, onMatch }: FindProps) {
  const [words, setWords] = useState('');
  const [missing, setMissing] = useState(false);
  const find = (backwards: boolean) => {
    if (words === '') return;
    const found = findText(text, words, match, backwards);
    setMissing(found === null);
    onMatch(found);
  };
  return (
    <form
      className="whole__find"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        find(false);
      }}
    >
      <input
        aria-label={`Find in ${label}`}
        placeholder="Find"
        value={words}
        spellCheck={false}
        aria-invalid={missing}
        onChange={(event) => {
          setWords(event.target.value);
          setMissing(false);
        }}
        onKeyDown={(event) => {
          event.stopPropagation();
        }}
      />
      <IconButton
        icon="chevron-up"
        label="Previous match"
        disabled={words === ''}
        onClick={() => {
          find(true);
        }}
      />
      <IconButton
        icon="chevron-down"
        label="Next match"
        disabled={words === ''}
        onClick={() => {
          find(false);
        }}
      />
      <span role="status" className="faint">
        {missing ? 'not found' : match ? `at ${Math.round((100 * match.from) / text.length)} %` : ''}
      </span>
    </form>
  );
}

/** The next place after a match, or the one before it, going round at the ends; upper and lower case are alike. */
function findText(text: string, words: string, after: Match | null, backwards: boolean): Match | null {
  const pattern = new RegExp(words.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&'), 'gi');
  if (backwards) {
    let before: Match | null = null;
    let latest: Match | null = null;
    for (const found of text.matchAll(pattern)) {
      latest = { from: found.index, to: found.index + found[0].length };
      if (found.index < (after?.from ?? 0)) before = latest;
      else if (before !== null) break;
    }
    return before ?? latest;
  }
  pattern.lastIndex = after?.to ?? 0;
  const found = pattern.exec(text) ?? pattern.exec(text);
  return found && { from: found.index, to: found.index + found[0].length };
}

/** Letters of some scripts take two columns: judged by the beginning. */
function letterWidth(text: string): number {
  const sample = text.slice(0, 2_000);
  const wide = sample.match(/[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60]/g)?.length ?? 0;
  return wide * 5 > sample.length ? 2 : 1;
}
