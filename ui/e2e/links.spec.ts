/** The address holds the state of every page: it survives a reload, and in a fresh browser it shows the same. */
import { expect, test, type Page } from '@playwright/test';

import { ALL_TIME, filter, grid, one, rows, text, tree } from './support';

const CALL = `SELECT trace_id, span_id FROM spans WHERE operation = 'chat' AND input_messages IS NOT NULL AND counted ORDER BY start_time DESC LIMIT 1`;

type Place = {
  name: string;
  /** Goes there and changes what can be changed, by hand. */
  act: (page: Page, trace: string, span: string) => Promise<void>;
  /** What must be the same wherever the address is opened. */
  see: (page: Page) => Promise<void>;
};

const PLACES: readonly Place[] = [
  {
    name: 'a list',
    act: async (page) => {
      await page.goto(`/?${ALL_TIME}`);
      await expect(rows(page).first()).toBeVisible();
      await filter(page).fill('has:error');
      await filter(page).press('Enter');
      await page.getByRole('columnheader', { name: 'Cost' }).getByRole('button').click();
      await page.getByRole('button', { name: 'Columns and view' }).click();
      const view = page.getByRole('dialog', { name: 'Columns and view' });
      await view.getByText('Compact').click();
      await view.getByRole('checkbox', { name: 'Service' }).click();
      await view.getByRole('button', { name: 'Pin Cost to the left' }).click();
      await page.keyboard.press('Escape');
      await expect(page).toHaveURL(/cols=/);
    },
    see: async (page) => {
      await expect(rows(page).first()).toBeVisible();
      await expect(filter(page)).toHaveValue('has:error');
      await expect(page.getByRole('columnheader', { name: 'Cost' })).toHaveAttribute('aria-sort', 'descending');
      await expect(page.getByRole('columnheader', { name: 'Service' })).toBeHidden();
      await expect(page.getByRole('columnheader').first()).toContainText('Cost');
      await expect(page.locator('.table--compact')).toBeVisible();
    },
  },
  {
    name: 'a peek, its span and its tab',
    act: async (page) => {
      await page.goto(`/calls?${ALL_TIME}`);
      await page.getByRole('grid', { name: 'LLM calls' }).getByRole('rowgroup').getByRole('row').first().click();
      const peek = page.getByRole('region', { name: 'Peek at a trace' });
      await expect(tree(page)).toBeVisible();
      await peek.getByRole('tab', { name: 'Attributes' }).click();
      await expect(page).toHaveURL(/peek\.tab=attributes/);
    },
    see: async (page) => {
      const peek = page.getByRole('region', { name: 'Peek at a trace' });
      await expect(peek.getByRole('tab', { name: 'Attributes' })).toHaveAttribute('aria-selected', 'true');
      await expect(peek.getByRole('treeitem', { selected: true })).toBeVisible();
    },
  },
  {
    name: 'a trace: view, span, tab, folds, search',
    act: async (page, trace, span) => {
      await page.goto(`/traces/${trace}?span=${span}`);
      await expect(tree(page).getByRole('treeitem').first()).toBeVisible();
      await page.getByRole('tab', { name: 'Logs' }).click();
      await page.getByRole('button', { name: 'The whole trace' }).click();
      await page.keyboard.press('/');
      await page.keyboard.type('chat');
      await page.getByRole('radio', { name: 'Timeline' }).or(page.getByRole('tab', { name: 'Timeline' })).or(page.getByRole('button', { name: 'Timeline' })).first().click(); // prettier-ignore
      await expect(page).toHaveURL(/view=timeline/);
      await expect(page).toHaveURL(/find=chat/);
    },
    see: async (page) => {
      await expect(page.getByRole('button', { name: 'The whole trace' })).toHaveAttribute('aria-pressed', 'true');
      await expect(
        page
          .getByRole('searchbox')
          .or(page.getByRole('textbox', { name: /Search|Find/ }))
          .first(),
      ).toHaveValue('chat');
      await expect(page.getByRole('treeitem', { selected: true })).toBeVisible();
    },
  },
  {
    name: 'the attributes that are looked for',
    act: async (page, trace, span) => {
      await page.goto(`/traces/${trace}?span=${span}&tab=attributes`);
      await page.getByRole('textbox', { name: 'Filter attributes' }).pressSequentially('gen_ai.usage');
      await expect(page).toHaveURL(/tab=attributes\.gen_ai\.usage/);
    },
    see: async (page) => {
      await expect(page.getByRole('textbox', { name: 'Filter attributes' })).toHaveValue('gen_ai.usage');
      await expect(page.getByRole('group', { name: 'Span attributes' })).toContainText(/\d+ of \d+/);
    },
  },
  {
    name: 'the rules of a mapping that are looked for',
    act: async (page) => {
      await page.goto('/ingest?tab=mappings');
      await page.getByRole('textbox', { name: 'Find a column or attribute' }).pressSequentially('tokens');
      await page.getByRole('list', { name: 'Dialects' }).getByRole('link').nth(1).click();
      await expect(page).toHaveURL(/find=tokens/);
    },
    see: async (page) => {
      await expect(page.getByRole('textbox', { name: 'Find a column or attribute' })).toHaveValue('tokens');
      await expect(page.getByRole('list', { name: 'Dialects' }).getByRole('link').nth(1)).toHaveAttribute('aria-current', 'true');
    },
  },
  {
    name: 'a transcript: the agents that are unfolded in it',
    act: async (page) => {
      const nested = await one(
        page.request,
        `SELECT trace_id FROM spans WHERE operation = 'invoke_agent' AND service_name = 'research-agent' GROUP BY 1 HAVING count(*) > 1 LIMIT 1`,
      );
      await page.goto(`/traces/${text(nested['trace_id'])}?view=transcript`);
      const transcript = page.getByRole('tree', { name: 'Transcript' });
      await transcript.locator('[aria-expanded=false]').first().click();
      await transcript.getByRole('treeitem').first().click();
      await expect(page).toHaveURL(/open=[0-9a-f]{16}/);
    },
    see: async (page) => {
      const transcript = page.getByRole('tree', { name: 'Transcript' });
      await expect(transcript.locator('[aria-level="2"][aria-expanded=true]').first()).toBeVisible();
      await expect(transcript.getByRole('treeitem').first()).toHaveAttribute('aria-selected', 'true');
    },
  },
  {
    name: 'a graph of spans and the folds of the tree',
    act: async (page, trace) => {
      await page.goto(`/traces/${trace}`);
      await tree(page).focus();
      await page.keyboard.press('ArrowLeft');
      await expect(page).toHaveURL(/fold=/);
      await page.getByRole('button', { name: 'Graph' }).click();
      await page.getByRole('button', { name: 'A node for each span' }).click();
      await expect(page).toHaveURL(/graph=spans/);
    },
    see: async (page) => {
      await expect(page.getByRole('button', { name: 'A node for each span' })).toHaveAttribute('aria-pressed', 'true');
      await expect(page.getByRole('button', { name: 'Unfold all' })).toBeVisible();
    },
  },
  {
    name: 'a query: its chart, its settings and what the legend hides',
    act: async (page) => {
      const query = 'SELECT service_name, count(*) AS spans, sum(duration_ns) AS ns FROM spans GROUP BY 1 ORDER BY 1 LIMIT 8';
      await page.goto(`/sql?q=${encodeURIComponent(query)}&view=chart&chart=line&x=service_name&y=spans,ns`);
      await page.getByRole('figure').getByRole('button', { name: 'ns', exact: true }).click();
      await page.getByLabel('Chart', { exact: true }).selectOption('Bars');
      await expect(page).toHaveURL(/chart=bar.*hide=ns/);
    },
    see: async (page) => {
      const chart = page.getByRole('figure', { name: /^Bars of spans, ns/ });
      await expect(chart.getByRole('button', { name: 'ns', exact: true })).toHaveAttribute('aria-pressed', 'false');
      await expect(chart.getByRole('button', { name: 'spans', exact: true })).toHaveAttribute('aria-pressed', 'true');
    },
  },
  {
    name: 'a query: the cell that is open',
    act: async (page) => {
      const query = 'SELECT trace_id, span_id, name, attributes FROM spans ORDER BY trace_id, span_id LIMIT 60';
      await page.goto(`/sql?q=${encodeURIComponent(query)}`);
      const result = page.getByRole('grid', { name: 'Result' });
      await result.focus();
      for (const key of ['PageDown', 'ArrowDown', 'End', 'Enter']) await page.keyboard.press(key);
      await expect(page).toHaveURL(/cell=\d+\.attributes/);
      await result.focus();
      await page.keyboard.press('ArrowDown');
    },
    see: async (page) => {
      const row = Number(/cell=(\d+)\./.exec(page.url())?.[1]);
      expect(row).toBeGreaterThan(2);
      await expect(
        page.getByRole('region', { name: 'Cell', exact: true }).getByRole('tab', { name: `Row ${row}` }),
      ).toBeVisible();
      await expect(page.getByRole('grid', { name: 'Result' }).locator(`[aria-rowindex="${row + 1}"]`)).toBeVisible();
    },
  },
  {
    name: 'a query: its order and its parameter',
    act: async (page) => {
      const query = 'SELECT service_name, count(*) AS n FROM spans WHERE length(service_name) > $longer GROUP BY 1';
      await page.goto(`/sql?q=${encodeURIComponent(query)}&p.longer:number=8`);
      await page.getByRole('grid', { name: 'Result' }).getByRole('columnheader', { name: 'n', exact: true }).click();
      await expect(page).toHaveURL(/sort=-n/);
    },
    see: async (page) => {
      await expect(page.getByLabel('$longer', { exact: true })).toHaveValue('8');
      await expect(page.getByRole('grid', { name: 'Result' }).getByRole('columnheader', { name: 'n', exact: true })).toHaveAttribute('aria-sort', 'descending'); // prettier-ignore
    },
  },
  {
    name: 'a query: its chart',
    act: async (page) => {
      const query = 'SELECT service_name, count(*) AS spans, sum(cost_usd) AS cost FROM spans GROUP BY 1 ORDER BY 1 LIMIT 8';
      await page.goto(`/sql?q=${encodeURIComponent(query)}`);
      await expect(page.getByRole('grid', { name: 'Result' })).toBeVisible();
      await page.getByRole('button', { name: 'Chart', exact: true }).click();
      await expect(page).toHaveURL(/view=chart/);
    },
    see: async (page) => {
      await expect(page.getByRole('figure', { name: /^Bars of/ })).toBeVisible();
    },
  },
  {
    name: 'a plan that is not run',
    act: async (page) => {
      await page.goto('/sql');
      await page.getByRole('button', { name: 'Plan', exact: true }).click();
      await expect(page).toHaveURL(/view=plan/);
    },
    see: async (page) => {
      await expect(page.getByRole('region', { name: 'Plan' })).toBeVisible();
      await expect(page.getByText('not run', { exact: true })).toBeVisible();
    },
  },
  {
    name: 'a user: range, order and columns of the sessions',
    act: async (page) => {
      await page.goto(`/users?${ALL_TIME}&sort=cost_usd`);
      await page.getByRole('grid', { name: 'Users' }).getByRole('rowgroup').getByRole('row').first().click();
      await page.getByRole('grid', { name: 'Sessions' }).getByRole('columnheader', { name: 'Cost' }).getByRole('button').click();
      await expect(page).toHaveURL(/sort=cost_usd/);
      const header = page.getByRole('grid', { name: 'Sessions' }).getByRole('columnheader', { name: 'Cost' }).getByRole('button');
      await header.focus();
      await page.keyboard.press('Alt+ArrowLeft');
      await expect(page).toHaveURL(/cols=/);
    },
    see: async (page) => {
      const headers = page.getByRole('grid', { name: 'Sessions' }).getByRole('columnheader');
      await expect(headers.filter({ hasText: 'Cost' })).toHaveAttribute('aria-sort', 'descending');
      await expect(headers.last()).toContainText('Tokens');
    },
  },
  {
    name: 'a tab of the ingest page',
    act: async (page) => {
      await page.goto('/ingest');
      await page.getByRole('tab', { name: /Storage/ }).or(page.getByRole('link', { name: /Storage/ })).first().click(); // prettier-ignore
      await expect(page).toHaveURL(/tab=storage/);
    },
    see: async (page) => {
      await expect(page.getByRole('region', { name: 'Tables' })).toBeVisible();
    },
  },
];

for (const { name, act, see } of PLACES) {
  test(`the address holds ${name}`, async ({ page, request, browser, baseURL }) => {
    const call = await one(request, CALL);
    await act(page, text(call['trace_id']), text(call['span_id']));
    await see(page);
    const address = page.url();
    await page.reload();
    await see(page);
    expect(page.url()).toBe(address);
    // Another person: nothing is stored.
    const other = await browser.newContext(baseURL === undefined ? {} : { baseURL });
    const fresh = await other.newPage();
    await fresh.goto(address);
    await see(fresh);
    expect(fresh.url()).toBe(address);
    await other.close();
  });
}

test('a copied link shows another person the times that its sender saw', async ({ page, browser }) => {
  const berlin = await browser.newContext({ timezoneId: 'Europe/Berlin', permissions: ['clipboard-read', 'clipboard-write'] });
  const sender = await berlin.newPage();
  // With an end that does not move, both draw the same buckets.
  const until = new Date();
  const since = new Date(until.getTime() - 3650 * 86_400_000);
  await sender.goto(`/?from=${since.toISOString()}&to=${until.toISOString()}`);
  await expect(rows(sender).first()).toBeVisible();
  await expect(sender).not.toHaveURL(/zone=/);
  const seen = await grid(sender).locator('time').allInnerTexts();
  const bucket = await sender.getByRole('slider', { name: 'Traces over time' }).getAttribute('aria-valuetext');
  await sender.keyboard.press('Control+k');
  await sender.keyboard.type('Copy a link');
  await sender.keyboard.press('Enter');
  const copied = () => sender.evaluate(() => navigator.clipboard.readText());
  await expect.poll(copied).toMatch(/zone=Europe%2FBerlin/);

  const tokyo = await browser.newContext({ timezoneId: 'Asia/Tokyo' });
  const reader = await tokyo.newPage();
  await reader.goto(await copied());
  await expect(rows(reader).first()).toBeVisible();
  expect(await grid(reader).locator('time').allInnerTexts()).toEqual(seen);
  await expect(reader.getByRole('slider', { name: 'Traces over time' })).toHaveAttribute('aria-valuetext', text(bucket));
  await expect(reader).toHaveURL(/zone=Europe%2FBerlin/);
  // The button of a trace copies the same way; and the reader can go back to their own time.
  await grid(sender).getByRole('link').first().click();
  await sender.getByRole('button', { name: 'Copy a link to this view' }).click();
  await expect.poll(copied).toMatch(/\/traces\/.*zone=Europe%2FBerlin/);
  await reader.goto(await copied());
  const started = await sender.locator('.trace-header time').innerText();
  await expect(reader.locator('.trace-header time')).toHaveText(started);
  expect(started).toMatch(/UTC\+[12]$/);
  await reader.goto(`/?${ALL_TIME}&zone=Europe/Berlin`);
  await reader.getByRole('button', { name: 'Columns and view' }).click();
  await reader.getByRole('dialog', { name: 'Columns and view' }).getByText('Local', { exact: true }).click();
  await expect(reader).not.toHaveURL(/zone=/);
  expect(await grid(reader).locator('time').allInnerTexts()).not.toEqual(seen);
  await Promise.all([berlin.close(), tokyo.close(), page.close()]);
});

test('a link can fix its moments, so that it shows the same rows tomorrow', async ({ page }) => {
  await page.goto('/?from=now-30d&to=now');
  await expect(rows(page).first()).toBeVisible();
  await page.keyboard.press('Control+k');
  await page.keyboard.type('Fix the time');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/from=\d{4}-\d{2}-\d{2}T.*to=\d{4}-\d{2}-\d{2}T/);
  await expect(rows(page).first()).toBeVisible();
});

test('a link can ask for a theme, which is shown and not kept', async ({ page }) => {
  await page.emulateMedia({ colorScheme: 'light' });
  await page.goto(`/?${ALL_TIME}&theme=dark`);
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
  await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Models' }).click();
  await expect(page).toHaveURL(/theme=dark/);
  // Who chooses for themselves is not asked by the address any more.
  await page.getByRole('button', { name: 'Theme' }).click();
  await page.getByRole('menuitemradio', { name: 'Light' }).click();
  await expect(page).not.toHaveURL(/theme=/);
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'light');
  await page.goto(`/?${ALL_TIME}&theme=dark`);
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'dark');
  await page.goto('/sql');
  await expect(page.locator('html')).toHaveAttribute('data-theme', 'light');
});

test('the zone and the way of writing times travel with the address, the theme does not', async ({ page, browser }) => {
  await page.goto(`/?${ALL_TIME}`);
  await expect(rows(page).first()).toBeVisible();
  await page.getByRole('button', { name: 'Columns and view' }).click();
  const view = page.getByRole('dialog', { name: 'Columns and view' });
  await view.getByText('UTC', { exact: true }).click();
  await expect(page).toHaveURL(/zone=utc/);
  await page.getByRole('button', { name: 'Columns and view' }).click();
  await view.getByText('5 min ago').click();
  await expect(page).toHaveURL(/times=ago/);
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Theme' }).click();
  await page.getByRole('menuitemradio', { name: 'Dark' }).click();
  await expect(grid(page).locator('time').first()).toContainText('ago');

  // A reader elsewhere sees what was sent, on this page and on the next one; their own choice stays theirs.
  const other = await browser.newContext({ timezoneId: 'Asia/Tokyo', colorScheme: 'light' });
  const fresh = await other.newPage();
  await fresh.goto(page.url());
  await expect(grid(fresh).locator('time').first()).toContainText('ago');
  await expect(fresh.locator('html')).not.toHaveAttribute('data-theme', 'dark');
  await grid(fresh).getByRole('link').first().click();
  await expect(fresh).toHaveURL(/\/traces\/.*zone=utc/);
  await expect(fresh.locator('.trace-header time')).toContainText(/UTC|Z|\d{2}:\d{2}/);
  await fresh.goto(`/?${ALL_TIME}`);
  await expect(rows(fresh).first()).toBeVisible();
  await expect(fresh).not.toHaveURL(/zone=|times=/);

  // Who has chosen for themselves finds their choice in every address.
  await page.goto(`/models?${ALL_TIME}`);
  await expect(page).toHaveURL(/zone=utc&times=ago|times=ago&zone=utc/);
  await other.close();
});
