/** The frame of every page: mark, navigation, freshness, theme. */
import type { QueryClient } from '@tanstack/react-query';
import { createRootRouteWithContext, Link, Outlet, retainSearchParams, useRouter } from '@tanstack/react-router';
import { useEffect } from 'react';

import { projectInUrl } from '../api/client';
import { EmptyState, ErrorNotice } from '../components/Notice';
import { ThemeMenu } from '../components/ThemeMenu';
import { Tag } from '../components/Values';
import { Freshness } from '../features/live/Freshness';
import './root.css';

export type RootSearch = { project?: string };

export const rootRoute = createRootRouteWithContext<{ queryClient: QueryClient }>()({
  validateSearch: (search: Record<string, unknown>): RootSearch =>
    typeof search['project'] === 'string' ? { project: search['project'] } : {},
  search: { middlewares: [retainSearchParams(['project'])] },
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
  useLinksWithoutReload();
  return (
    <>
      <a className="frame__skip" href="#main">
        Skip to the content
      </a>
      <header className="frame__bar">
        <Link to="/" className="frame__mark" aria-label="Assay, all traces">
          <Mark />
          <span>Assay</span>
        </Link>
        <nav className="frame__nav" aria-label="Pages">
          <Link to="/" activeOptions={{ exact: true, includeSearch: false }}>
            Traces
          </Link>
          <Link to="/sql" activeOptions={{ includeSearch: false }}>
            SQL
          </Link>
        </nav>
        <div className="frame__end">
          {project !== 'default' && <Tag title="project">{project}</Tag>}
          <Freshness />
          <ThemeMenu />
        </div>
      </header>
      <main id="main" className="frame__main">
        <Outlet />
      </main>
    </>
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
