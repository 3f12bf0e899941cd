/** What stands in the address of the ingest page. Pure. */
import type { TimeRange } from '../../lib/time';

export const INGEST_TABS = ['flow', 'quarantine', 'storage', 'prices', 'mappings'] as const;
export type IngestTab = (typeof INGEST_TABS)[number];

export type IngestState = {
  readonly tab: IngestTab;
  readonly range: TimeRange;
  /** Quarantine: the group that is open, and its record. */
  readonly reason: string | null;
  readonly record: string | null;
  /** Storage: the table whose columns are shown. */
  readonly table: string | null;
  /** Mappings: the dialect that is open, what is looked for in its rules, and the span that is tried. */
  readonly dialect: string | null;
  readonly find: string | null;
  readonly span: string | null;
  /** Unpriced: the model that is to be priced. */
  readonly model: string | null;
};

export type IngestSearch = {
  tab?: string;
  from?: string;
  to?: string;
  reason?: string;
  record?: string;
  table?: string;
  dialect?: string;
  find?: string;
  span?: string;
  model?: string;
};

const KEYS = ['tab', 'from', 'to', 'reason', 'record', 'table', 'dialect', 'find', 'span', 'model'] as const;

const FIRST_RANGE: TimeRange = { from: 'now-24h', to: 'now' };

export function readIngestSearch(search: Record<string, unknown>): IngestSearch {
  const found: IngestSearch = {};
  for (const key of KEYS) {
    const value = search[key];
    if (typeof value === 'string' && value !== '') found[key] = value;
  }
  return found;
}

export function ingestState(search: IngestSearch): IngestState {
  return {
    tab: INGEST_TABS.find((tab) => tab === search.tab) ?? 'flow',
    range: { from: search.from ?? FIRST_RANGE.from, to: search.to ?? FIRST_RANGE.to },
    reason: search.reason ?? null,
    record: search.record ?? null,
    table: search.table ?? null,
    dialect: search.dialect ?? null,
    find: search.find ?? null,
    span: search.span ?? null,
    model: search.model ?? null,
  };
}

export function ingestSearch(state: IngestState): IngestSearch {
  const found: IngestSearch = {};
  if (state.tab !== 'flow') found.tab = state.tab;
  if (state.range.from !== FIRST_RANGE.from) found.from = state.range.from;
  if (state.range.to !== FIRST_RANGE.to) found.to = state.range.to;
  for (const key of ['reason', 'record', 'table', 'dialect', 'find', 'span', 'model'] as const) {
    const value = state[key];
    if (value !== null) found[key] = value;
  }
  return found;
}
