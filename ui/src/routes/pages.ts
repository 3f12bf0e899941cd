/** The pages of the navigation and of the command menu, and what the tab of the browser is called. */
import { useRouterState } from '@tanstack/react-router';
import { useEffect, useMemo } from 'react';

import type { IconName } from '../components/Icon';
import { listState, readListSearch, scopeSearch, type ListSearch } from '../features/lists/state';
import { LIST_PATHS } from './links';

export type Page = {
  readonly to: (typeof LIST_PATHS)[keyof typeof LIST_PATHS] | '/sql' | '/ingest';
  readonly title: string;
  readonly icon: IconName;
  /** It takes the time and the filter of the list before it. */
  readonly list: boolean;
};

export const PAGES: readonly Page[] = [
  { to: LIST_PATHS.traces, title: 'Traces', icon: 'tree', list: true },
  { to: LIST_PATHS.calls, title: 'Calls', icon: 'chat', list: true },
  { to: LIST_PATHS.sessions, title: 'Sessions', icon: 'session', list: true },
  { to: LIST_PATHS.users, title: 'Users', icon: 'user', list: true },
  { to: LIST_PATHS.models, title: 'Models', icon: 'agent', list: true },
  { to: LIST_PATHS.tools, title: 'Tools', icon: 'tool', list: true },
  { to: LIST_PATHS.errors, title: 'Errors', icon: 'error', list: true },
  { to: '/sql', title: 'SQL', icon: 'database', list: false },
  { to: '/ingest', title: 'Ingest', icon: 'download', list: false },
];

/** Time and filter of the list in sight; empty on other pages. */
export function useScope(): ListSearch {
  const location = useRouterState({ select: (state) => state.location });
  return useMemo(
    () =>
      PAGES.some((page) => page.list && page.to === location.pathname)
        ? scopeSearch(listState(readListSearch(location.search)))
        : {},
    [location],
  );
}

/** Names the tab after the page and, on a list, what it is narrowed to. */
export function usePageTitle(): void {
  const location = useRouterState({ select: (state) => state.location });
  useEffect(() => {
    const page = PAGES.find((each) => each.to === location.pathname);
    const q = readListSearch(location.search).q;
    const narrowed = page?.list === true && q !== undefined ? ` · ${q}` : '';
    document.title = `${page?.title ?? titleOfPlace(location.pathname)}${narrowed} · Assay`;
  }, [location]);
}

function titleOfPlace(path: string): string {
  const [, place = '', id = ''] = path.split('/');
  const name = decodeURIComponent(id);
  if (place === 'compare') return 'Compare';
  if (place === 'traces') return `Trace ${name.slice(0, 8)}`;
  if (place === 'sessions') return `Session ${name}`;
  return place === 'users' ? `User ${name}` : 'Assay';
}
