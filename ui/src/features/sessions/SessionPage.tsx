/** One session: its numbers, and the conversation across its traces in the order of time. */
import { useInfiniteQuery } from '@tanstack/react-query';
import { useMemo, useRef, type ReactNode } from 'react';

import type { components } from '../../api/generated/openapi';
import { Button } from '../../components/Button';
import { FigureRow, RowFigure } from '../../components/FigureRow';
import { EmptyState, ErrorNotice, Skeleton } from '../../components/Notice';
import { SqlLink } from '../../components/SqlLink';
import { Duration, Money, StatusMark, Tag, TokenPair } from '../../components/Values';
import { formatFullTime, formatListTime, plural } from '../../lib/format';
import { useNow, useShortcut } from '../../lib/hooks';
import { absoluteRange, type TimeRange } from '../../lib/time';
import { GroupFigures, PageHead } from './PageHead';
import { ofSession, sessionQuery } from './queries';
import { SeriesChart } from './SeriesChart';
import './session-page.css';
import { turnsOf, type Turn } from './turns';

type Props = {
  sessionId: string;
  traceHref: (traceId: string, spanId: string | null) => string;
  userHref: (userId: string) => string;
  /** The traces of the session as a list. */
  listHref: string;
  sessionsHref: string;
  renderMessages: (messages: readonly unknown[], label: string) => ReactNode;
};

export function SessionPage({ sessionId, traceHref, userHref, listHref, sessionsHref, renderMessages }: Props) {
  const session = useInfiniteQuery(sessionQuery(sessionId));
  const traces = useMemo(() => session.data?.pages.flatMap((page) => page.traces) ?? [], [session.data]);
  const turns = useMemo(() => turnsOf(traces), [traces]);
  const list = useRef<HTMLOListElement>(null);
  useShortcut((event) => {
    if (event.key === 'j') step(list.current, 1);
    else if (event.key === 'k') step(list.current, -1);
  });
  const first = session.data?.pages[0];
  const row = first?.session;
  return (
    <article className="session">
      <PageHead
        list="Sessions"
        listHref={sessionsHref}
        name={sessionId}
        of="session"
        ways={[{ title: 'All its traces', href: listHref }]}
      >
        {row && (
          <FigureRow more={<SqlLink sql={first.sql} of="the session" />}>
            <RowFigure title="User">
              {row.user_id ? <a href={userHref(row.user_id)}>{row.user_id}</a> : <span className="faint">unknown</span>}
            </RowFigure>
            <RowFigure title="Began">{formatFullTime(row.first_time)}</RowFigure>
            <RowFigure title="Length">
              <Duration ns={row.duration_ns} />
            </RowFigure>
            <GroupFigures of={row} />
            <RowFigure title="Models">
              {row.models.map((model) => (
                <Tag key={model}>{model}</Tag>
              ))}
            </RowFigure>
          </FigureRow>
        )}
      </PageHead>
      {session.isPending && <Skeleton lines={10} label="loading the session" />}
      {session.isError && traces.length === 0 && (
        <div className="session__problem">
          <ErrorNotice title="The session could not be read" error={session.error} onRetry={session.refetch} />
        </div>
      )}
      {first && traces.length === 0 && <EmptyState title="No trace of this session is left" />}
      {row && row.traces > 1 && (
        <div className="series-charts series-charts--low">
          {(['cost', 'errors'] as const).map((chart) => (
            <SeriesChart key={chart} of={chart} q={ofSession(sessionId)} range={rangeOf(row)} />
          ))}
        </div>
      )}
      <ol className="session__turns" aria-label="Conversation" ref={list}>
        {traces.map((trace, index) => (
          <TurnView
            key={trace.trace_id}
            number={index + 1}
            trace={trace}
            turn={turns[index] ?? { earlier: [], input: [], output: [] }}
            href={traceHref(trace.trace_id, trace.span_id ?? null)}
            renderMessages={renderMessages}
          />
        ))}
      </ol>
      {session.hasNextPage && (
        <div className="session__more">
          <Button
            disabled={session.isFetchingNextPage}
            onClick={() => {
              void session.fetchNextPage();
            }}
          >
            {session.isFetchingNextPage ? 'Reading …' : `Show more of ${plural(row?.traces ?? 0, 'trace')}`}
          </Button>
        </div>
      )}
      {first && (
        <footer className="session__foot">
          <span className="faint">{plural(traces.length, 'trace')} shown</span>
          <SqlLink sql={first.traces_sql} of="the traces" />
        </footer>
      )}
    </article>
  );
}

/** From the first span of the session to the last one. */
function rangeOf(row: { first_time: string; last_time: string }): TimeRange {
  const first = Date.parse(row.first_time);
  // A bound names milliseconds and does not belong to the range.
  return absoluteRange(first, Math.max(Date.parse(row.last_time), first) + 1_000);
}

type SessionTrace = components['schemas']['SessionTrace'];

type TurnProps = {
  number: number;
  trace: SessionTrace;
  turn: Turn;
  href: string;
  renderMessages: Props['renderMessages'];
};

function TurnView({ number, trace, turn, href, renderMessages }: TurnProps) {
  const now = useNow(60_000);
  const name = trace.name ?? trace.trace_id.slice(0, 16);
  const silent = turn.input.length === 0 && turn.output.length === 0;
  return (
    <li className="session-turn" tabIndex={-1} aria-label={`${number}: ${name}`}>
      <header className="session-turn__head">
        <span className="session-turn__number num">{number}</span>
        <StatusMark status={trace.status_code ?? 'UNSET'} errors={trace.error_count} />
        <a className="session-turn__name truncate" href={href}>
          {name}
        </a>
        <time className="session-turn__time num faint" dateTime={trace.start_time} title={formatFullTime(trace.start_time)}>
          {formatListTime(trace.start_time, now)}
        </time>
        <span className="session-turn__numbers">
          <Duration ns={trace.duration_ns} />
          <TokenPair input={trace.input_tokens ?? null} output={trace.output_tokens ?? null} />
          <Money usd={trace.cost_usd ?? null} unpriced={trace.unpriced_calls} />
        </span>
      </header>
      {turn.earlier.length > 0 && (
        <details className="session-turn__earlier">
          <summary>{plural(turn.earlier.length, 'earlier message')} sent again</summary>
          {renderMessages(turn.earlier, `Messages sent again in ${number}`)}
        </details>
      )}
      {silent ? (
        <p className="session-turn__silent faint">
          {trace.input_preview ?? trace.output_preview ?? 'No messages were recorded.'}
        </p>
      ) : (
        renderMessages([...turn.input, ...turn.output.map(asAnswer)], `Messages of ${number}`)
      )}
    </li>
  );
}

/** What comes out without saying who spoke was said by the model. */
function asAnswer(message: unknown): unknown {
  if (typeof message === 'string') return { role: 'assistant', parts: [{ type: 'text', content: message }] };
  return typeof message === 'object' && message !== null && !('role' in message) ? { role: 'assistant', ...message } : message;
}

/** Moves the focus to the next or previous turn. */
function step(list: HTMLElement | null, by: 1 | -1): void {
  const turns = [...(list?.querySelectorAll<HTMLElement>(':scope > .session-turn') ?? [])];
  const at = turns.findIndex((turn) => turn.contains(document.activeElement));
  const next = turns[Math.max(0, Math.min(turns.length - 1, at + by))];
  next?.focus({ preventScroll: true });
  const still = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
  next?.scrollIntoView({ block: 'start', behavior: still ? 'auto' : 'smooth' });
}
