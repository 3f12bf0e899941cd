/** Live mode: counts what has arrived or changed since the table was read, and leaves the table alone. */
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';

import { formatCountExact } from '../../lib/format';
import type { KindInfo } from './kinds';
import { newestQuery, type ListPage, type ListQuestion } from './queries';
import { text, type Row } from './row';

/** Rows the table does not show, and rows it shows with older figures. `more`: there may be more of both than were counted. */
export type News = { readonly added: number; readonly changed: number; readonly more: boolean };

export type Fresh = News & {
  /** The totals as they are now; `null` while they are not known or nothing has come. */
  readonly totals: Row | null;
  readonly reset: () => void;
};

/** Where "new" begins: what the first answer of live mode told, for one question. */
type Baseline = { readonly question: string; readonly known: ReadonlySet<string>; readonly latest: string };

const NONE: Fresh = { added: 0, changed: 0, more: false, totals: null, reset: () => undefined };

/** `received`: when the server received its last record. While that stands still nothing can be new, and nothing is asked. */
export function useFresh(
  info: KindInfo,
  question: ListQuestion,
  shown: readonly Row[],
  page: ListPage | undefined,
  received: string | null,
  live: boolean,
): Fresh {
  const [round, setRound] = useState(0);
  const [baseline, setBaseline] = useState<Baseline | null>(null);
  const asked = [info.kind, question.from, question.to, question.q, question.sort, question.order, round].join('\n');
  const since = baseline?.question === asked ? baseline.latest : '';
  const newest = useQuery(
    newestQuery(info.kind, question, info.news.sort, received, since, (row) => isKnown(info, row, since), live),
  );
  if (live && newest.data && page && baseline?.question !== asked)
    setBaseline(baselineOf(info, question, shown, page, newest.data.rows, asked));
  if (!live || !newest.data || baseline?.question !== asked) return NONE;
  return {
    ...countNews(info, shown, newest.data.rows, baseline),
    more: newest.data.more,
    totals: newest.data.totals,
    reset: () => {
      setRound(round + 1);
    },
  };
}

/**
 * A table that holds every row, or the newest ones, knows what is new by itself. Any other one cannot tell a new row from one that is further
 * down, so that what there was when live mode began counts as known.
 */
function baselineOf(
  info: KindInfo,
  question: ListQuestion,
  shown: readonly Row[],
  page: ListPage,
  newest: readonly Row[],
  asked: string,
): Baseline {
  const moments = newest.some((row) => text(row, info.news.sort) !== null);
  const tells = page.next_cursor === null || (moments && question.sort === info.news.sort && question.order === 'desc');
  const from = tells ? shown : newest;
  return {
    question: asked,
    known: new Set(from.map((row) => info.id(row))),
    latest: from.reduce((latest, row) => (after(row[info.news.sort], latest) ? (text(row, info.news.sort) ?? '') : latest), ''),
  };
}

/** Rows that are neither in the table nor known before, and rows of the table that have grown. */
export function countNews(
  info: Pick<KindInfo, 'id' | 'news'>,
  shown: readonly Row[],
  newest: readonly Row[],
  before: Pick<Baseline, 'known' | 'latest'>,
): Omit<News, 'more'> {
  const { sort, grows } = info.news;
  const inTable = new Map(shown.map((row) => [info.id(row), row]));
  let added = 0;
  let changed = 0;
  for (const row of newest) {
    const old = inTable.get(info.id(row));
    if (old === undefined) {
      // A moment tells more than an id: what has gone on since is news wherever it stands, and new only if it began since.
      if (text(row, sort) === null) added += before.known.has(info.id(row)) ? 0 : 1;
      else if (after(row[sort], before.latest)) {
        if (after(text(row, 'first_time') ?? row[sort], before.latest)) added += 1;
        else changed += 1;
      }
    } else if (grows.some((key) => after(row[key], old[key]))) changed += 1;
  }
  return { added, changed };
}

/** Whether a moment or a number is beyond another. */
function after(value: unknown, than: unknown): boolean {
  if (typeof value === 'string') return value > (typeof than === 'string' ? than : '');
  return typeof value === 'number' && value > (typeof than === 'number' ? than : 0);
}

/** Whether a row, in the order of news, was there before, so that all below it was. Groups without a moment have no such order. */
export function isKnown(info: Pick<KindInfo, 'news'>, row: Row, since: string): boolean {
  const at = text(row, info.news.sort);
  return at !== null && (since === '' || at <= since);
}

/** `2 new sessions, 1 changed`; `2,000+ new traces` if there may be more. */
export function describeNews({ added, changed, more }: News, noun: string): string {
  const said = (count: number) => `${formatCountExact(count)}${more ? '+' : ''}`;
  const parts = [
    ...(added > 0 ? [`${said(added)} new ${noun}${added === 1 ? '' : 's'}`] : []),
    ...(changed > 0
      ? [added > 0 ? `${said(changed)} changed` : `${said(changed)} ${noun}${changed === 1 ? '' : 's'} changed`]
      : []),
  ];
  return parts.join(', ');
}
