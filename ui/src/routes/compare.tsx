/** `/compare?a=…&b=…`: two traces side by side. */
import { createRoute, useNavigate, useRouter } from '@tanstack/react-router';
import { useCallback } from 'react';

import { useSqlHref } from '../components/SqlLink';
import { ComparePage, type CompareState } from '../features/trace/ComparePage';
import { rootRoute } from './root';

type CompareSearch = Partial<Record<'a' | 'b' | 'span' | 'tab' | 'only', string>>;

const KEYS = ['a', 'b', 'span', 'tab', 'only'] as const;

export const compareRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/compare',
  validateSearch: (search: Record<string, unknown>): CompareSearch => {
    const read: CompareSearch = {};
    for (const key of KEYS) {
      const value = search[key];
      if (typeof value === 'string' && value !== '') read[key] = value;
    }
    return read;
  },
  head: () => ({ meta: [{ title: 'Compare · Assay' }] }),
  component: Compare,
});

function Compare() {
  const { a, b, span, tab, only } = compareRoute.useSearch();
  const state: CompareState = {
    a: a ?? null,
    b: b ?? null,
    span: span ?? null,
    tab: tab ?? 'content',
    differing: only === 'differing',
  };
  const navigate = useNavigate({ from: '/compare' });
  const router = useRouter();
  const sqlHref = useSqlHref();
  const traceHref = useCallback(
    (traceId: string) => router.buildLocation({ to: '/traces/$traceId', params: { traceId }, search: {} }).href,
    [router],
  );
  return (
    <ComparePage
      state={state}
      onChange={(change) => {
        const next = { ...state, ...change };
        const search: CompareSearch = {
          ...(next.a === null ? {} : { a: next.a }),
          ...(next.b === null ? {} : { b: next.b }),
          ...(next.span === null ? {} : { span: next.span }),
          ...(next.tab === 'content' ? {} : { tab: next.tab }),
          ...(next.differing ? { only: 'differing' } : {}),
        };
        // Other traces are another place; another row is not.
        void navigate({ search, replace: !('a' in change || 'b' in change) });
      }}
      sqlHref={sqlHref}
      traceHref={traceHref}
    />
  );
}
