/** Every page in both themes: no accessibility violation that axe can find, nothing on the console, nothing wider than the screen. */
import AxeBuilder from '@axe-core/playwright';
import { expect, test, type Page } from '@playwright/test';

import { ALL_TIME, one, rows, text, tree } from './support';

const UNPRICED = `SELECT trace_id, span_id FROM spans WHERE counted AND cost_source = 'unpriced' ORDER BY start_time DESC LIMIT 1`;
const CALL = `SELECT trace_id, span_id FROM spans WHERE operation = 'chat' AND input_messages IS NOT NULL ORDER BY start_time DESC LIMIT 1`;

/** A span that is refused: its trace id is zero. */
const REFUSED = {
  resourceSpans: [{ scopeSpans: [{ spans: [{ traceId: '0'.repeat(32), spanId: '1'.repeat(16), name: 'refused' }] }] }],
};

const PAGES: { name: string; open: (page: Page, trace: string, span: string) => Promise<void> }[] = [
  {
    name: 'list',
    open: async (page) => {
      await page.goto(`/?${ALL_TIME}`);
      await expect(rows(page).first()).toBeVisible();
    },
  },
  {
    name: 'list with a peek',
    open: async (page, trace) => {
      await page.goto(`/?${ALL_TIME}&peek=${trace}`);
      await expect(tree(page)).toBeVisible();
      await expect(page.getByRole('tabpanel')).toBeVisible();
    },
  },
  ...[
    ['calls', 'LLM calls'],
    ['sessions', 'Sessions'],
    ['users', 'Users'],
    ['models', 'Models'],
    ['tools', 'Tools'],
    ['errors', 'Errors'],
  ].map(([path = '', title = '']) => ({
    name: `list of ${path}`,
    open: async (page: Page) => {
      await page.goto(`/${path}?${ALL_TIME}`);
      await expect(page.getByRole('grid', { name: title }).getByRole('row', { name: 'Totals' })).toBeVisible();
    },
  })),
  {
    name: 'session',
    open: async (page) => {
      await page.goto(`/sessions?${ALL_TIME}&sort=traces`);
      await page.getByRole('grid', { name: 'Sessions' }).getByRole('rowgroup').getByRole('row').first().click();
      await expect(page.getByRole('list', { name: 'Conversation' }).getByRole('listitem').first()).toBeVisible();
    },
  },
  {
    name: 'user',
    open: async (page) => {
      await page.goto(`/users?${ALL_TIME}&sort=cost_usd`);
      await page.getByRole('grid', { name: 'Users' }).getByRole('rowgroup').getByRole('row').first().click();
      await expect(page.getByRole('region', { name: 'Cost by model' }).getByRole('figure')).toBeVisible();
      await expect(page.getByRole('grid', { name: 'Sessions' })).toBeVisible();
    },
  },
  {
    name: 'command menu',
    open: async (page) => {
      await page.goto(`/?${ALL_TIME}`);
      await expect(rows(page).first()).toBeVisible();
      await page.keyboard.press('Control+k');
      await expect(page.getByRole('dialog', { name: 'Commands' })).toBeVisible();
    },
  },
  {
    name: 'filter as SQL',
    open: async (page) => {
      await page.goto(`/?${ALL_TIME}&q=(has:error%20OR%20model:gpt*)`);
      await page.getByRole('button', { name: 'The filter as SQL' }).click();
      await expect(page.getByRole('region', { name: 'The filter as SQL' }).getByRole('textbox')).toBeVisible();
    },
  },
  {
    name: 'columns and view',
    open: async (page) => {
      await page.goto(`/?${ALL_TIME}`);
      await expect(rows(page).first()).toBeVisible();
      await page.getByRole('button', { name: 'Columns and view' }).click();
      await expect(page.getByRole('dialog', { name: 'Columns and view' })).toBeVisible();
    },
  },
  {
    name: 'list without rows',
    open: async (page) => {
      await page.goto(`/?${ALL_TIME}&q=name:nothing-is-called-so`);
      await expect(page.getByRole('heading', { name: 'No trace matches' })).toBeVisible();
    },
  },
  ...['timeline', 'transcript', 'graph'].map((view) => ({
    name: `trace, ${view}`,
    open: async (page: Page, trace: string, span: string) => {
      await page.goto(`/traces/${trace}?span=${span}&view=${view}&find=chat`);
      await expect(page.getByRole('treeitem').or(page.getByRole('option')).first()).toBeVisible();
      await expect(page.getByRole('tabpanel')).not.toBeEmpty();
    },
  })),
  {
    name: 'trace that is not there',
    open: async (page: Page) => {
      await page.goto(`/traces/${'0'.repeat(31)}1`);
      await expect(page.getByRole('heading', { name: 'This trace is not here' })).toBeVisible();
    },
  },
  {
    name: 'session that is not there',
    open: async (page: Page) => {
      await page.goto('/sessions/nobody-ever-said-this');
      await expect(page.getByRole('heading', { name: 'nobody-ever-said-this' })).toBeVisible();
      await page.waitForLoadState('networkidle');
    },
  },
  {
    name: 'compare',
    open: async (page: Page, trace: string) => {
      await page.goto(`/compare?a=${trace}&b=${trace}`);
      await expect(page.getByRole('option').first()).toBeVisible();
    },
  },
  {
    name: 'compare, choosing',
    open: async (page: Page, trace: string) => {
      await page.goto(`/compare?a=${trace}`);
      await expect(
        page.getByRole('region', { name: 'Traces to compare with' }).getByRole('heading', { name: /Other runs/ }),
      ).toBeVisible();
    },
  },
  ...['Content', 'Tokens & cost', 'Attributes', 'Canonical', 'Logs', 'Notes', 'Raw'].map((tab) => ({
    name: `trace, ${tab}`,
    open: async (page: Page, trace: string, span: string) => {
      await page.goto(`/traces/${trace}?span=${span}`);
      await page.getByRole('tab', { name: tab }).click();
      await expect(page.getByRole('tabpanel')).not.toBeEmpty();
    },
  })),
  {
    name: 'trace, a call without a price',
    open: async (page) => {
      const call = await one(page.request, UNPRICED);
      await page.goto(`/traces/${text(call['trace_id'])}?span=${text(call['span_id'])}`);
      await page.getByRole('tab', { name: 'Tokens & cost' }).click();
      await expect(page.getByRole('link', { name: 'How to price it' })).toBeVisible();
    },
  },
  {
    name: 'sql with a result',
    open: async (page) => {
      await page.goto(`/sql?q=${encodeURIComponent('SELECT trace_id, name, duration_ns FROM spans LIMIT 20')}`);
      await expect(page.getByRole('grid', { name: 'Result' })).toBeVisible();
      await expect(page.getByRole('textbox', { name: 'SQL query' })).toBeVisible();
    },
  },
  {
    name: 'sql with an open cell',
    open: async (page) => {
      await page.goto(`/sql?q=${encodeURIComponent('SELECT attributes FROM spans LIMIT 5')}`);
      await page.getByRole('grid', { name: 'Result' }).getByRole('gridcell').first().dblclick();
      await expect(page.getByRole('region', { name: 'Cell', exact: true })).toBeVisible();
    },
  },
  {
    name: 'sql with a chart',
    open: async (page) => {
      const query = 'SELECT service_name, count(*) AS spans FROM spans GROUP BY 1 LIMIT 5';
      await page.goto(`/sql?q=${encodeURIComponent(query)}&view=chart`);
      await expect(page.getByRole('figure', { name: /^Bars of spans/ })).toBeVisible();
    },
  },
  {
    name: 'ingest',
    open: async (page) => {
      await page.goto('/ingest?from=all');
      await expect(page.getByRole('figure', { name: /^Records per minute/ })).toBeVisible();
      await expect(page.getByRole('row', { name: /^traces/ })).toContainText('rows');
    },
  },
  {
    name: 'ingest, quarantine',
    open: async (page) => {
      await page.request.post('/v1/traces', { data: REFUSED });
      await page.goto('/ingest?tab=quarantine&from=all');
      await expect(page.getByRole('textbox', { name: 'Record as OTLP/JSON' })).toBeVisible();
    },
  },
  {
    name: 'ingest, storage',
    open: async (page) => {
      await page.goto('/ingest?tab=storage');
      await expect(page.getByRole('region', { name: 'Tables' }).getByRole('row', { name: /^spans / })).toBeVisible();
    },
  },
  {
    name: 'ingest, mapping rules',
    open: async (page) => {
      await page.goto('/ingest?tab=mappings');
      await expect(page.getByRole('table', { name: 'Cost' })).toBeVisible();
      await expect(page.getByRole('region', { name: /^Rules of/ })).toBeVisible();
    },
  },
  {
    name: 'ingest, unpriced models',
    open: async (page) => {
      await page.goto('/ingest?tab=prices');
      await expect(page.getByRole('button', { name: 'How to price it' }).first()).toBeVisible();
    },
  },
  {
    name: 'sql with a plan',
    open: async (page) => {
      await page.goto(`/sql?q=${encodeURIComponent('SELECT service_name, count(*) FROM spans GROUP BY 1')}&view=explain`);
      await expect(page.getByRole('region', { name: 'Plan' })).toBeVisible();
    },
  },
  {
    name: 'sql with a plan that is not run',
    open: async (page) => {
      await page.goto(`/sql?q=${encodeURIComponent('SELECT service_name, count(*) FROM spans GROUP BY 1')}&view=plan`);
      await expect(page.getByRole('region', { name: 'Plan' })).toBeVisible();
    },
  },
  {
    name: 'trace, the whole span as text',
    open: async (page, trace, span) => {
      await page.goto(`/traces/${trace}?span=${span}&tab=raw.text`);
      await expect(page.getByRole('region', { name: 'the span as JSON' })).toContainText('trace_id');
    },
  },
  {
    name: 'sql with an error',
    open: async (page) => {
      await page.goto(`/sql?q=${encodeURIComponent('SELECT nope FROM nowhere')}`);
      await expect(page.getByRole('alert')).toBeVisible();
    },
  },
];

for (const colorScheme of ['light', 'dark'] as const) {
  test.describe(colorScheme, () => {
    test.use({ colorScheme, contextOptions: { reducedMotion: 'reduce' } });
    for (const { name, open } of PAGES) {
      test(`${name} has no accessibility violation`, async ({ page, request }) => {
        const call = await one(request, CALL);
        await open(page, text(call['trace_id']), text(call['span_id']));
        const { violations } = await new AxeBuilder({ page }).analyze();
        expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 160)).join(' | ')}`)).toEqual(
          [],
        );
      });
    }
  });
}

for (const width of [390, 1024, 1440, 2560, 3840]) {
  test(`pages fit ${width} px`, async ({ page, request }) => {
    const call = await one(request, CALL);
    await page.setViewportSize({ width, height: 900 });
    for (const path of [
      `/?${ALL_TIME}`,
      `/models?${ALL_TIME}`,
      `/errors?${ALL_TIME}`,
      `/traces/${text(call['trace_id'])}?span=${text(call['span_id'])}`,
      `/compare?a=${text(call['trace_id'])}&b=${text(call['trace_id'])}`,
      '/sql',
      '/ingest',
      '/ingest?tab=quarantine',
      '/ingest?tab=storage',
      '/ingest?tab=prices',
      '/ingest?tab=mappings',
    ]) {
      await page.goto(path);
      await expect(page.getByRole('main')).not.toBeEmpty();
      await page.waitForLoadState('networkidle', { timeout: 3_000 }).catch(() => undefined);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      expect(overflow, path).toBeLessThanOrEqual(0);
    }
  });
}

test('the theme can be switched and stays switched', async ({ page }) => {
  await page.emulateMedia({ colorScheme: 'light' });
  await page.goto('/sql');
  await page.getByRole('button', { name: 'Theme' }).click();
  await page.getByRole('menuitemradio', { name: 'Dark' }).click();
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
  await page.reload();
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
});

test('a server that fails is said where its answer would be, and can be asked again', async ({ page, request }) => {
  const call = await one(request, CALL);
  const [trace, span] = [text(call['trace_id']), text(call['span_id'])];
  for (const [path, answer] of [
    [`/?${ALL_TIME}`, () => rows(page).first()],
    [`/traces/${trace}?span=${span}`, () => tree(page).getByRole('treeitem').first()],
    ['/ingest?from=all', () => page.getByRole('region', { name: 'Ledger', exact: true }).getByRole('row', { name: /^traces/ })],
  ] as const) {
    await page.route('**/api/**', (asked) => asked.abort());
    await page.goto(path);
    await expect(page.getByRole('alert').first()).toContainText('the server does not answer');
    await expect(page.getByText('no connection')).toBeVisible();
    // What is not known is not said to be nothing.
    await expect(page.getByText('nothing in quarantine')).toHaveCount(0);
    const { violations } = await new AxeBuilder({ page }).analyze();
    expect(violations.map(({ id }) => id)).toEqual([]);
    await page.unroute('**/api/**');
    for (const again of await page.getByRole('button', { name: 'Try again' }).all()) await again.click().catch(() => undefined);
    await expect(answer()).toBeVisible();
  }
});

test('an unknown project is empty and shows how to send a first span', async ({ page }) => {
  await page.goto('/?project=nothing-here');
  await expect(page.getByRole('heading', { name: 'Send the first span' })).toBeVisible();
  await expect(page.getByText('OTEL_EXPORTER_OTLP_ENDPOINT').first()).toBeVisible();
  await page.getByRole('tab', { name: 'TypeScript' }).click();
  await expect(page.getByText('auto-instrumentations-node').first()).toBeVisible();
  await expect(page.getByRole('button', { name: 'Send demo traffic' })).toBeVisible();
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map(({ id }) => id)).toEqual([]);
});

test('pages write nothing to the console and ask no other host', async ({ page, request, baseURL }) => {
  const call = await one(request, CALL);
  const noise: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') noise.push(message.text());
  });
  page.on('pageerror', (error) => noise.push(error.message));
  page.on('request', (sent) => {
    if (!sent.url().startsWith(baseURL ?? '') && !sent.url().startsWith('data:') && !sent.url().startsWith('blob:'))
      noise.push(sent.url());
  });
  await page.goto(`/?${ALL_TIME}`);
  await expect(rows(page).first()).toBeVisible();
  await page.goto(`/traces/${text(call['trace_id'])}?span=${text(call['span_id'])}`);
  await expect(page.getByRole('list', { name: 'Messages' })).toBeVisible();
  await page.goto('/sql?q=SELECT%201');
  await expect(page.getByRole('grid', { name: 'Result' })).toBeVisible();
  expect(noise).toEqual([]);
});
