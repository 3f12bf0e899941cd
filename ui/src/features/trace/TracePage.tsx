/** The page of one trace: header, then tree, timeline and span panel. */
import { useQuery, type UseQueryResult } from '@tanstack/react-query';

import { ApiError } from '../../api/client';
import { EmptyState, ErrorNotice, Skeleton } from '../../components/Notice';
import { traceQuery } from './queries';
import type { TraceState } from './state';
import './trace-page.css';
import { TraceHeader, type TraceLinks } from './TraceHeader';
import { TraceView } from './TraceView';

type Props = {
  traceId: string;
  state: TraceState;
  onChange: (change: Partial<TraceState>) => void;
  sqlHref: (sql: string) => string;
  links: TraceLinks;
};

export function TracePage({ traceId, state, onChange, sqlHref, links }: Props) {
  const trace = useQuery(traceQuery(traceId));
  if (!trace.data) {
    return (
      <>
        <h1 className="visually-hidden">Trace {traceId}</h1>
        <NoTrace traceId={traceId} query={trace} tracesHref={links.traces} />
      </>
    );
  }
  return (
    <div className="trace-page">
      <TraceHeader trace={trace.data} sqlHref={sqlHref} links={links} />
      <TraceView trace={trace.data} state={state} onChange={onChange} stacked={false} sqlHref={sqlHref} />
    </div>
  );
}

type NoTraceProps = { traceId: string; query: UseQueryResult; tracesHref: string };

/** What stands where the trace is awaited, gone or could not be read. */
function NoTrace({ traceId, query: { isPending, error, refetch }, tracesHref }: NoTraceProps) {
  if (isPending) return <Skeleton lines={16} label="loading the trace" />;
  if (error instanceof ApiError && error.status === 404) {
    return (
      <EmptyState title="This trace is not here">
        <p>
          <code>{traceId}</code> has not arrived, or its time of retention is over.
        </p>
        <p>
          <a href={tracesHref}>Go to the traces</a>
        </p>
      </EmptyState>
    );
  }
  return (
    <div className="trace-page__problem">
      <ErrorNotice title="The trace could not be read" error={error} onRetry={refetch} />
    </div>
  );
}
