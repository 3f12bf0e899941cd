/** One trace beside the list: the same tree and panel, stacked. Its state stands in the address of the list, and the trace opens as it is shown here. */
import { useQuery } from '@tanstack/react-query';

import { IconButton, LinkButton } from '../../components/Button';
import { ErrorNotice, Skeleton } from '../../components/Notice';
import { SqlLink } from '../../components/SqlLink';
import { Duration, Money, StatusMark } from '../../components/Values';
import { plural } from '../../lib/format';
import { traceQuery } from './queries';
import { totalsSql } from './sql';
import { traceSearch, type TraceSearch, type TraceState } from './state';
import './trace-page.css';
import { TraceView } from './TraceView';

type Props = {
  traceId: string;
  state: TraceState;
  onChange: (change: Partial<TraceState>) => void;
  /** A link to the trace as it is shown here. */
  openHref: (search: TraceSearch) => string;
  sqlHref: (sql: string) => string;
  step: Step;
  onClose: () => void;
};

/** To the neighbours in the list; `null` at its ends. */
type Step = { previous: (() => void) | null; next: (() => void) | null };

export function TracePeek({ traceId, state, onChange, openHref, sqlHref, step, onClose }: Props) {
  const trace = useQuery(traceQuery(traceId));
  const summary = trace.data?.head.trace;
  return (
    <section className="peek" aria-label="Peek at a trace">
      <header className="peek__head">
        {summary && <StatusMark status={summary.status_code ?? 'UNSET'} errors={summary.error_count} />}
        <h2 className="peek__title truncate">{summary?.name || traceId.slice(0, 16)}</h2>
        {summary && (
          <div className="peek__numbers">
            <Duration ns={summary.duration_ns} />
            <Money usd={summary.cost_usd ?? null} unpriced={summary.unpriced_calls} />
            <span className="faint">{plural(summary.span_count, 'span')}</span>
            <SqlLink sql={totalsSql(traceId)} of="the totals of the trace" />
          </div>
        )}
        <IconButton
          icon="chevron-up"
          label="Previous trace"
          disabled={step.previous === null}
          onClick={() => step.previous?.()}
        />
        <IconButton icon="chevron-down" label="Next trace" disabled={step.next === null} onClick={() => step.next?.()} />
        <LinkButton icon="expand" href={openHref(traceSearch(state))}>
          Open
        </LinkButton>
        <IconButton icon="close" label="Close the peek" onClick={onClose} />
      </header>
      {trace.isPending && <Skeleton lines={8} label="loading the trace" />}
      {trace.isError && <ErrorNotice title="The trace could not be read" error={trace.error} onRetry={trace.refetch} />}
      {trace.data && <TraceView trace={trace.data} state={state} onChange={onChange} stacked sqlHref={sqlHref} />}
    </section>
  );
}
