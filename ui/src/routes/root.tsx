/** The frame of every page: mark, navigation, command menu, freshness, theme. */
import type { QueryClient } from '@tanstack/react-query';
import { createRootRouteWithContext, Link, Outlet, retainSearchParams, useRouter, useRouterState } from '@tanstack/react-router';
import { useCallback, useEffect, useRef, useState } from 'react';

import { projectInUrl } from '../api/client';
import { CommandMenu } from '../components/command/CommandMenu';
import { Icon } from '../components/Icon';
import { EmptyState, ErrorNotice } from '../components/Notice';
import { SqlHrefProvider, type SqlParams } from '../components/SqlLink';
import { ThemeMenu } from '../components/ThemeMenu';
import { Tag } from '../components/Values';
import { Freshness } from '../features/live/Freshness';
import { clock, clockOf, clockSearch, showClock, useClock, type ClockSearch } from '../lib/clock';
import { useShortcut } from '../lib/hooks';
import { showTheme, useTheme } from '../lib/theme';
import { useCommandGroups } from './commands';
import { sqlHref } from './links';
import { PAGES, usePageTitle, useScope } from './pages';
import './root.css';
import { ShortcutHelp } from './ShortcutHelp';

/** `theme` is never written by the pages: who wants a link to be seen in one adds it. */
export type RootSearch = { project?: string; theme?: string } & ClockSearch;

/** What every page keeps of the address it came from. */
const KEPT = ['project', 'zone', 'times', 'theme'] as const;

export const rootRoute = createRootRouteWithContext<{ queryClient: QueryClient }>()({
  validateSearch: (search: Record<string, unknown>): RootSearch => {
    const read: RootSearch = {};
    for (const key of KEPT) {
      const value = search[key];
      if (typeof value === 'string' && value !== '') read[key] = value;
    }
    return read;
  },
  search: { middlewares: [retainSearchParams([...KEPT])] },
  component: Frame,
  notFoundComponent: () => (
    <EmptyState title="There is no such page">
      <p>
        <Link to="/">Go to the traces</Link>
      </p>
    </EmptyState>
  ),
  errorComponent: ({ error }) => (
    <div className="frame__problem">
      <ErrorNotice title="This page failed" error={error} />
    </div>
  ),
});

function Frame() {
  const project = projectInUrl();
  const router = useRouter();
  const { zone } = useClock();
  const [commandsOpen, setCommandsOpen] = useState(false);
  const [helpOpen, setHelpOpen] = useState(false);
  const hrefOfSql = useCallback((sql: string, params?: SqlParams) => sqlHref(router, sql, params), [router]);
  const openHelp = useCallback(() => {
    setHelpOpen(true);
  }, []);
  const groups = useCommandGroups(commandsOpen, openHelp);
  useLinksWithoutReload();
  useClockInAddress();
  useThemeInAddress();
  usePageTitle();
  useCommandKey(() => {
    setCommandsOpen((open) => !open);
  });
  useShortcut((event) => {
    if (event.key === '?') setHelpOpen(true);
  });
  return (
    <SqlHrefProvider value={hrefOfSql}>
      <a className="frame__skip" href="#main">
        Skip to the content
      </a>
      <header className="frame__bar">
        <Link to="/" className="frame__mark" aria-label="Assay, all traces">
          <Mark />
          <span>Assay</span>
        </Link>
        <Navigation />
        <div className="frame__end">
          {project !== 'default' && <Tag title="project">{project}</Tag>}
          <Freshness />
          <button
            type="button"
            className="frame__command"
            aria-label="Commands"
            aria-haspopup="dialog"
            onClick={() => {
              setCommandsOpen(true);
            }}
          >
            <Icon name="command" size={14} />
            <kbd aria-hidden="true">{IS_MAC ? '⌘K' : 'Ctrl K'}</kbd>
          </button>
          <ThemeMenu />
        </div>
      </header>
      {/* Times are written anew when the zone changes. */}
      <main id="main" className="frame__main" key={zone}>
        <Outlet />
      </main>
      <CommandMenu open={commandsOpen} onOpenChange={setCommandsOpen} groups={groups} />
      <ShortcutHelp open={helpOpen} onOpenChange={setHelpOpen} />
    </SqlHrefProvider>
  );
}

const IS_MAC = /Mac|iPhone|iPad/.test(navigator.userAgent);

/** The pages; lists take the time and the filter with them. */
function Navigation() {
  const scope = useScope();
  const path = useRouterState({ select: (state) => state.location.pathname });
  const nav = useRef<HTMLElement>(null);
  // Where the pages do not fit in a line, the current one is scrolled to.
  useEffect(() => {
    nav.current?.querySelector('.active')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }, [path]);
  return (
    <nav className="frame__nav" aria-label="Pages" ref={nav}>
      {PAGES.map((page) => (
        <Link
          key={page.to}
          to={page.to}
          search={page.list ? scope : {}}
          activeOptions={{ exact: page.to === '/', includeSearch: false }}
        >
          {page.title}
        </Link>
      ))}
    </nav>
  );
}

/** A hallmark: the cartouche an assayer strikes, with a balance for an A. */
function Mark() {
  return (
    <svg width="22" height="22" viewBox="0 0 24 24" aria-hidden="true">
      <path d="M7 1.500h10L22.500 7v10L17 22.500H7L1.500 17V7z" fill="var(--accent)" />
      <path
        d="M7.200 17 12 6.500 16.800 17M9 13.200h6"
        fill="none"
        stroke="var(--on-accent)"
        strokeWidth="1.900"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    </svg>
  );
}

/** Ctrl K or ⌘ K, also from within a text field. */
function useCommandKey(open: () => void): void {
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() !== 'k' || !(event.metaKey || event.ctrlKey) || event.shiftKey || event.altKey) return;
      event.preventDefault();
      open();
    };
    window.addEventListener('keydown', listen);
    return () => {
      window.removeEventListener('keydown', listen);
    };
  }, [open]);
}

/** Ordinary links deep in a feature (a session, an id in a result) change the page without loading it anew. */
function useLinksWithoutReload(): void {
  const router = useRouter();
  useEffect(() => {
    const follow = (event: MouseEvent) => {
      if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
        return;
      const link = event.target instanceof Element ? event.target.closest('a') : null;
      if (!link || link.target !== '' || link.hasAttribute('download') || link.origin !== window.location.origin) return;
      if (link.pathname.startsWith('/api/') || (link.hash !== '' && link.pathname === window.location.pathname)) return;
      event.preventDefault();
      router.history.push(link.pathname + link.search);
    };
    document.addEventListener('click', follow);
    return () => {
      document.removeEventListener('click', follow);
    };
  }, [router]);
}

/** The address says how times read. Where it and the clock differ, the one that changed last is right. */
function useClockInAddress(): void {
  const router = useRouter();
  const { zone, style } = useClock();
  const { zone: zoneSaid, times: timesSaid } = rootRoute.useSearch();
  const said = useRef<string | null>(null);
  useEffect(() => {
    const saying = `${zoneSaid ?? ''} ${timesSaid ?? ''}`;
    const arrived = said.current !== saying;
    said.current = saying;
    if (arrived) showClock(clockOf({ ...(zoneSaid ? { zone: zoneSaid } : {}), ...(timesSaid ? { times: timesSaid } : {}) }));
    const wanted = clockSearch(clock());
    if (wanted.zone === zoneSaid && wanted.times === timesSaid) return;
    const search = (before: object) => ({ ...before, zone: wanted.zone, times: wanted.times });
    void router.navigate({ to: '.', search: search as never, replace: true });
  }, [router, zone, style, zoneSaid, timesSaid]);
}

/** A theme in the address is shown; once the person chooses another one, the address no longer asks for it. */
function useThemeInAddress(): void {
  const router = useRouter();
  const { choice } = useTheme();
  const { theme } = rootRoute.useSearch();
  const said = useRef<string | undefined>(undefined);
  useEffect(() => {
    const arrived = said.current !== theme;
    said.current = theme;
    if (theme === undefined || theme === choice) return;
    if (arrived && (theme === 'light' || theme === 'dark')) {
      showTheme(theme);
      return;
    }
    const search = (before: object) => ({ ...before, theme: undefined });
    void router.navigate({ to: '.', search: search as never, replace: true });
  }, [router, choice, theme]);
}
