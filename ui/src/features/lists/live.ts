/** Live mode: counts what has arrived since the table was read, and leaves the table alone. */
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';

import type { KindInfo } from './kinds';
import { newestQuery, type ListQuestion } from './queries';
import { text, type Row } from './row';

/** Where "new" begins: the newest row known when the question was first answered. */
type Baseline = { readonly question: string; readonly latest: string };

export function useFresh(
  info: KindInfo,
  question: ListQuestion,
  shown: readonly Row[],
  live: boolean,
): { count: number; reset: () => void } {
  const enabled = live && info.live;
  const newest = useQuery(newestQuery(info.kind, question, enabled));
  const [round, setRound] = useState(0);
  const [baseline, setBaseline] = useState<Baseline | null>(null);
  const asked = [info.kind, question.from, question.to, question.q, question.sort, question.order, round].join('\n');
  const byTime = question.sort === 'start_time' && question.order === 'desc';
  if (enabled && newest.data && shown.length > 0 && baseline?.question !== asked) {
    setBaseline({ question: asked, latest: latestOf(byTime ? shown : newest.data.rows) });
  }
  if (!enabled || !newest.data || baseline?.question !== asked) return { count: 0, reset: () => undefined };
  return {
    count: countNew(info, shown, newest.data.rows, baseline.latest),
    reset: () => {
      setRound(round + 1);
    },
  };
}

/** Rows that the table does not show and that began after `latest`. */
export function countNew(info: Pick<KindInfo, 'id'>, shown: readonly Row[], newest: readonly Row[], latest: string): number {
  const known = new Set(shown.map((row) => info.id(row)));
  return newest.filter((row) => !known.has(info.id(row)) && (text(row, 'start_time') ?? '') > latest).length;
}

function latestOf(rows: readonly Row[]): string {
  return rows.reduce((latest, row) => {
    const start = text(row, 'start_time') ?? '';
    return start > latest ? start : latest;
  }, '');
}
