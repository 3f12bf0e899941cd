/** Queries under way and their outcomes, one per tab. They go on while another tab is shown. */
import { useCallback, useEffect, useRef, useState } from 'react';

import type { SqlResult } from '../../api/types';
import type { Param } from './address';
import { cancelQuery, newQueryId, runSql } from './queries';

/** What was asked: the text, where in the editor it stood, and the values bound. */
export type Asked = { readonly query: string; readonly from: number; readonly params: readonly Param[] };

export type Outcome =
  | { readonly kind: 'idle' }
  /** Only its plan is wanted: it does not run. */
  | { readonly kind: 'planned'; readonly asked: Asked }
  | { readonly kind: 'running'; readonly asked: Asked; readonly since: number; readonly queryId: string }
  | { readonly kind: 'done'; readonly asked: Asked; readonly result: SqlResult }
  | { readonly kind: 'failed'; readonly asked: Asked; readonly error: unknown }
  | { readonly kind: 'cancelled'; readonly asked: Asked };

const IDLE: Outcome = { kind: 'idle' };

export function useRuns() {
  const [outcomes, setOutcomes] = useState<ReadonlyMap<string, Outcome>>(new Map());
  const controllers = useRef(new Map<string, AbortController>());
  const ids = useRef(new Map<string, string>());
  useEffect(() => {
    const open = controllers.current;
    return () => {
      for (const controller of open.values()) controller.abort();
    };
  }, []);

  const run = useCallback(async (tab: string, asked: Asked) => {
    controllers.current.get(tab)?.abort();
    const controller = new AbortController();
    controllers.current.set(tab, controller);
    const settle = (outcome: Outcome) => {
      // A later run of the same tab has taken its place.
      if (controllers.current.get(tab) !== controller) return;
      setOutcomes((current) => new Map(current).set(tab, outcome));
    };
    const queryId = newQueryId();
    ids.current.set(tab, queryId);
    settle({ kind: 'running', asked, since: Date.now(), queryId });
    try {
      settle({ kind: 'done', asked, result: await runSql(asked.query, asked.params, queryId, controller.signal) });
    } catch (error) {
      settle(controller.signal.aborted ? { kind: 'cancelled', asked } : { kind: 'failed', asked, error });
    }
  }, []);

  const plan = useCallback((tab: string, asked: Asked) => {
    controllers.current.get(tab)?.abort();
    controllers.current.delete(tab);
    setOutcomes((current) => new Map(current).set(tab, { kind: 'planned', asked }));
  }, []);

  const cancel = useCallback((tab: string) => {
    controllers.current.get(tab)?.abort();
    const id = ids.current.get(tab);
    // Closing the connection stops the query too, but a proxy between may keep it open.
    if (id !== undefined) cancelQuery(id).catch(() => undefined);
  }, []);

  const forget = useCallback((tab: string) => {
    controllers.current.get(tab)?.abort();
    controllers.current.delete(tab);
    setOutcomes((current) => {
      const next = new Map(current);
      next.delete(tab);
      return next;
    });
  }, []);

  return { outcomeOf: (tab: string): Outcome => outcomes.get(tab) ?? IDLE, run, plan, cancel, forget };
}
