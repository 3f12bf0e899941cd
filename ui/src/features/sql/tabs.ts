/** The open queries of the workbench: drafts, kept in this browser. Pure. */
import type { Param, SqlAddress, View } from './address';
import { EMPTY_ADDRESS, PARAM_TYPES, VIEWS } from './address';
import { CHART_KINDS, type ChartSpec } from './chart';

export type Tab = {
  readonly id: string;
  /** Given by a person or by the saved query; `null`: the query names itself. */
  readonly name: string | null;
  readonly text: string;
  /** What was run last, as in the address. */
  readonly ran: string | null;
  readonly params: readonly Param[];
  readonly view: View;
  readonly chart: ChartSpec | null;
  readonly sort: SqlAddress['sort'];
  /** Absent in tabs that were stored before there was one. */
  readonly cell?: SqlAddress['cell'];
  readonly saved: string | null;
};

export type Tabs = { readonly tabs: readonly Tab[]; readonly active: string };

/** What stands in the first tab of a first visit. */
export const FIRST_QUERY = `-- calls and cost per model
SELECT request_model, count(*) AS calls, sum(input_tokens) AS input_tokens,
       sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd
FROM llm_calls
GROUP BY request_model
ORDER BY calls DESC`;

export function newTab(id: string, text: string): Tab {
  const { params, view, chart, sort, cell, saved } = EMPTY_ADDRESS;
  return { id, text, name: null, ran: null, params, view, chart, sort, cell, saved };
}

export function activeTab(state: Tabs): Tab {
  const tab = state.tabs.find((each) => each.id === state.active) ?? state.tabs[0];
  if (!tab) throw new Error('there is always a tab');
  return tab;
}

export function addressOf(tab: Tab): SqlAddress {
  const { ran, params, view, chart, sort, cell = null, saved } = tab;
  return { query: ran, params, view, chart, sort, cell, saved };
}

export function change(state: Tabs, id: string, values: Partial<Omit<Tab, 'id'>>): Tabs {
  return { ...state, tabs: state.tabs.map((tab) => (tab.id === id ? { ...tab, ...values } : tab)) };
}

export function open(state: Tabs, tab: Tab): Tabs {
  return { tabs: [...state.tabs, tab], active: tab.id };
}

/** Without a tab. The one beside it becomes active; instead of the last one stands `instead`. */
export function close(state: Tabs, id: string, instead: Tab): Tabs {
  const at = state.tabs.findIndex((tab) => tab.id === id);
  const tabs = state.tabs.filter((tab) => tab.id !== id);
  const next = tabs[Math.min(at, tabs.length - 1)];
  if (!next) return { tabs: [instead], active: instead.id };
  return { tabs, active: state.active === id ? next.id : state.active };
}

/**
 * What an address that came from elsewhere (a link, Back) does to the tabs: it goes to the tab that shows it, else it takes the place of a
 * tab with nothing to lose, else it opens a new one.
 */
export function arrive(state: Tabs, address: SqlAddress & { query: string }, id: string): Tabs {
  const { query, params, view, chart, sort, cell, saved } = address;
  const values = { text: query, ran: query, params, view, chart, sort, cell, saved };
  const shown = state.tabs.find((tab) => tab.text === query);
  if (shown) return { ...change(state, shown.id, values), active: shown.id };
  const active = activeTab(state);
  const pristine = active.text.trim() === '' || active.text === active.ran || active.text === FIRST_QUERY;
  if (pristine) return change(state, active.id, { ...values, name: active.saved === saved ? active.name : null });
  return open(state, { ...newTab(id, query), ...values });
}

/** What a tab is called: its name, else the first line of its query that is more than a comment mark. */
export function title(tab: Tab): string {
  if (tab.name !== null) return tab.name;
  const line = tab.text
    .split('\n')
    .map((each) => each.replace(/^\s*--\s*/, '').trim())
    .find((each) => each !== '');
  return line ?? 'New query';
}

/** Whether stored tabs can be taken as they are. */
export function isTabs(value: unknown): value is Tabs {
  if (!isRecord(value) || typeof value['active'] !== 'string' || !Array.isArray(value['tabs'])) return false;
  const tabs: unknown[] = value['tabs'];
  return tabs.length > 0 && tabs.every(isTab) && tabs.some((tab) => tab.id === value['active']);
}

function isTab(tab: unknown): tab is Tab {
  return (
    isRecord(tab) &&
    typeof tab['id'] === 'string' &&
    typeof tab['text'] === 'string' &&
    isTextOrNull(tab['name']) &&
    isTextOrNull(tab['ran']) &&
    isTextOrNull(tab['saved']) &&
    VIEWS.some((view) => view === tab['view']) &&
    Array.isArray(tab['params']) &&
    tab['params'].every(isParam) &&
    (tab['chart'] === null || isChart(tab['chart'])) &&
    (tab['cell'] === undefined || tab['cell'] === null || (isRecord(tab['cell']) && typeof tab['cell']['column'] === 'string')) &&
    (tab['sort'] === null || (isRecord(tab['sort']) && typeof tab['sort']['column'] === 'string'))
  );
}

export function isParam(value: unknown): value is Param {
  return (
    isRecord(value) &&
    typeof value['name'] === 'string' &&
    typeof value['value'] === 'string' &&
    PARAM_TYPES.some((type) => type === value['type'])
  );
}

export function isChart(value: unknown): value is ChartSpec {
  return (
    isRecord(value) &&
    CHART_KINDS.some((kind) => kind === value['kind']) &&
    typeof value['x'] === 'string' &&
    Array.isArray(value['y']) &&
    value['y'].every((name) => typeof name === 'string') &&
    isTextOrNull(value['by']) &&
    (value['hidden'] === undefined ||
      (Array.isArray(value['hidden']) && value['hidden'].every((name) => typeof name === 'string')))
  );
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || typeof value === 'string';
}
