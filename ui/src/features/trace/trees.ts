/** Makes trees from short descriptions, for tests. */
import type { SpanColumns } from '../../api/types';
import { buildTree, NUMBERS, TEXTS, type NumberName, type TextName, type TraceTree } from './tree';

export type TestSpan = { readonly id: string; readonly parent?: string | null; readonly start?: number; readonly duration?: number; readonly counted?: boolean; readonly running?: boolean } & Readonly<Partial<Record<TextName, string>>> & Readonly<Partial<Record<NumberName, number>>>; // prettier-ignore

/** Short names of spans become ids of 16 digits. */
export const spanId = (name: string): string => name.padStart(16, '0');

/** The columns that the server would send for these spans. */
export function columnsOf(spans: readonly TestSpan[]): SpanColumns {
  const sorted = spans.map((span, at) => ({ span, at })).sort((a, b) => (a.span.start ?? 0) - (b.span.start ?? 0) || a.at - b.at);
  const list = sorted.map(({ span }) => span);
  const place = new Map<string, number>();
  list.forEach((span, at) => place.has(span.id) || place.set(span.id, at));
  const rowsWith = (wanted: (span: TestSpan) => boolean | undefined) => list.flatMap((span, at) => (wanted(span) ? [at] : []));
  const text = (name: TextName) => {
    const rows = rowsWith((span) => span[name] !== undefined);
    const words = [...new Set(rows.map((at) => list[at]?.[name] ?? ''))];
    return { rows, words, values: rows.map((at) => words.indexOf(list[at]?.[name] ?? '')) };
  };
  const number = (name: NumberName) => {
    const rows = rowsWith((span) => span[name] !== undefined);
    return { rows, values: rows.map((at) => list[at]?.[name] ?? 0) };
  };
  return {
    count: list.length,
    start_unix_nano: '1793000000000000000',
    span_ids: list.map((span) => spanId(span.id)).join(''),
    parents: list.map((span) => (span.parent === undefined || span.parent === null ? -1 : (place.get(span.parent) ?? -2))),
    start_ns: list.map((span) => span.start ?? 0),
    duration_ns: list.map((span) => span.duration ?? 10),
    running: rowsWith((span) => span.running),
    counted: rowsWith((span) => span.counted),
    ...(Object.fromEntries(TEXTS.map((name) => [name, text(name)])) as Pick<SpanColumns, TextName>),
    ...(Object.fromEntries(NUMBERS.map((name) => [name, number(name)])) as Pick<SpanColumns, NumberName>),
  };
}

export function treeOf(spans: readonly TestSpan[]): TraceTree {
  return buildTree(columnsOf(spans.map((span) => ({ name: `span ${span.id}`, ...span }))));
}
