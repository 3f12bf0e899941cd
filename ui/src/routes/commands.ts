/** What the command menu offers: a jump to what was pasted, the pages, the page in sight, and the theme. */
import { useQuery } from '@tanstack/react-query';
import { useRouter } from '@tanstack/react-router';
import { useCallback } from 'react';

import type { CommandGroup } from '../components/command/CommandMenu';
import { useOfferedCommands, type Command } from '../components/command/commands';
import { spanIdIn, traceIdIn } from '../components/command/search';
import { copyText } from '../components/CopyButton';
import { savedViewsQuery } from '../features/lists/saved';
import { permalink, setClock, useClock } from '../lib/clock';
import { quoteValue } from '../lib/filter';
import { setTheme, useTheme } from '../lib/theme';
import { viewHref } from './links';
import { PAGES, useScope } from './pages';

/** `open`: whether the menu is in sight; what it needs from the server is asked for only then. */
export function useCommandGroups(open: boolean, openHelp: () => void): (typed: string) => readonly CommandGroup[] {
  const router = useRouter();
  const offered = useOfferedCommands();
  const { resolved } = useTheme();
  const { zone } = useClock();
  const scope = useScope();
  const views = useQuery({ ...savedViewsQuery(), enabled: open }).data;
  return useCallback(
    (typed: string) => {
      const pages = PAGES.map((page): Command => ({
        id: `page ${page.to}`,
        title: `Go to ${page.title}`,
        icon: page.icon,
        run: () => void router.navigate({ to: page.to, search: page.list ? scope : {} }),
      }));
      const always: readonly Command[] = [
        {
          id: 'theme',
          title: resolved === 'dark' ? 'Light theme' : 'Dark theme',
          icon: resolved === 'dark' ? 'sun' : 'moon',
          words: 'colour mode night day',
          run: () => {
            setTheme(resolved === 'dark' ? 'light' : 'dark');
          },
        },
        {
          id: 'zone',
          title: zone === 'utc' ? 'Times in the local zone' : 'Times in UTC',
          icon: 'clock',
          words: 'timezone',
          run: () => {
            setClock({ zone: zone === 'utc' ? 'local' : 'utc' });
          },
        },
        {
          id: 'copy-link',
          title: 'Copy a link to this page',
          icon: 'link',
          words: 'permalink address share url',
          run: () => {
            // A browser that refuses says so itself.
            copyText(permalink(window.location.href)).catch(() => undefined);
          },
        },
        { id: 'help', title: 'Keyboard shortcuts', icon: 'info', keys: '?', words: 'help keys', run: openHelp },
      ];
      return [
        { title: 'Jump', found: true, commands: jumps(typed, router) },
        { title: 'Pages', commands: pages },
        {
          title: 'Saved views',
          commands: (views ?? []).map((view) => ({
            id: `view ${view.id}`,
            title: view.name,
            icon: 'bookmark',
            words: `view ${view.kind}`,
            run: () => {
              router.history.push(viewHref(router, view));
            },
          })),
        },
        { title: 'On this page', commands: offered.flat() },
        { title: 'Everywhere', commands: always },
        { title: 'Search', found: true, commands: searches(typed, router) },
      ];
    },
    [router, offered, resolved, zone, scope, views, openHelp],
  );
}

type Router = ReturnType<typeof useRouter>;

/** What a text can be taken for: the id of a trace or of a span. */
function jumps(typed: string, router: Router): readonly Command[] {
  const traceId = traceIdIn(typed);
  const spanId = spanIdIn(typed);
  if (traceId !== null) {
    return [
      {
        id: 'trace',
        title: `Open trace ${traceId}`,
        icon: 'tree',
        run: () => void router.navigate({ to: '/traces/$traceId', params: { traceId }, search: {} }),
      },
    ];
  }
  if (spanId === null) return [];
  return [
    {
      id: 'span',
      title: `Find the trace of span ${spanId}`,
      icon: 'search',
      run: () => void router.navigate({ to: '/', search: { from: 'all', to: 'now', q: `span:${spanId}` } }),
    },
  ];
}

function searches(typed: string, router: Router): readonly Command[] {
  const words = typed.trim();
  if (words.length < 2 || traceIdIn(typed) !== null) return [];
  return [
    {
      id: 'search',
      title: `Search all traces for “${words}”`,
      icon: 'search',
      run: () => void router.navigate({ to: '/', search: { from: 'all', to: 'now', q: quoteValue(words) } }),
    },
  ];
}
