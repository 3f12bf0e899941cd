/** The SQL workbench. */
import { expect, test, type Page } from '@playwright/test';

import { one, text } from './support';

const editor = (page: Page) => page.getByRole('textbox', { name: 'SQL query' });
const result = (page: Page) => page.getByRole('grid', { name: 'Result' });

async function write(page: Page, query: string) {
  await editor(page).click();
  await page.keyboard.press('Control+a');
  await page.keyboard.insertText(query);
}

test('a query in the address runs, its ids lead to traces', async ({ page }) => {
  await page.goto(`/sql?q=${encodeURIComponent('SELECT trace_id, span_id, name FROM spans LIMIT 3')}`);
  await expect(result(page).getByRole('row')).toHaveCount(4);
  await result(page).getByRole('link').first().click();
  await expect(page.getByRole('tree', { name: 'Spans' })).toBeVisible();
});

test('Ctrl+Enter runs what is written and history keeps it', async ({ page }) => {
  await page.goto('/sql');
  await write(page, 'SELECT 40 + 2 AS answer');
  await page.keyboard.press('Control+Enter');
  await expect(result(page).getByRole('gridcell', { name: '42' })).toBeVisible();
  await expect(page).toHaveURL(/q=SELECT/);
  await page.reload();
  await page.getByRole('tab', { name: 'History' }).click();
  await expect(page.getByRole('list', { name: 'History' }).getByRole('button', { name: /SELECT 40 \+ 2/ })).toBeVisible();
});

test('Ctrl+Enter runs the statement at the cursor, or what is selected', async ({ page }) => {
  await page.goto('/sql');
  await write(page, 'SELECT 1 AS first;\nSELECT 2 AS second');
  await page.keyboard.press('Control+Enter');
  await expect(result(page).getByRole('columnheader', { name: 'second' })).toBeVisible();
  await page.keyboard.press('Control+Home');
  await page.keyboard.press('Control+Enter');
  await expect(result(page).getByRole('columnheader', { name: 'first' })).toBeVisible();
});

test('what was probably meant is one click away', async ({ page }) => {
  await page.goto('/sql');
  await write(page, 'SELECT count(*) AS n FROM spanz');
  await page.keyboard.press('Control+Enter');
  await expect(page.locator('.cm-lintRange-error')).toHaveText('spanz');
  await page.getByRole('button', { name: 'Write spans and run' }).click();
  await expect(result(page).getByRole('columnheader', { name: 'n' })).toBeVisible();
  await expect(editor(page)).toContainText('FROM spans');
});

test('parameters are asked for, bound, and stand in the address', async ({ page, request }) => {
  const found = await one(
    request,
    `SELECT service_name, count(*) AS n FROM spans WHERE service_name IS NOT NULL GROUP BY 1 LIMIT 1`,
  );
  await page.goto('/sql');
  await write(page, 'SELECT count(*) AS n FROM spans WHERE service_name = $service');
  await page.getByLabel('$service', { exact: true }).fill(text(found['service_name']));
  await page.keyboard.press('Enter');
  await expect(result(page).getByRole('gridcell')).toHaveText(String(found['n']));
  await expect(page).toHaveURL(/p\.service=/);
  await page.evaluate(() => localStorage.clear());
  await page.reload();
  await expect(result(page).getByRole('gridcell')).toHaveText(String(found['n']));
});

test('queries stay open in tabs, each with its result', async ({ page }) => {
  await page.goto('/sql');
  await write(page, 'SELECT 11 AS a');
  await page.keyboard.press('Control+Enter');
  await expect(result(page).getByRole('gridcell', { name: '11' })).toBeVisible();
  await page.getByRole('button', { name: 'New query' }).click();
  await write(page, 'SELECT 22 AS b');
  await page.keyboard.press('Control+Enter');
  await expect(result(page).getByRole('gridcell', { name: '22' })).toBeVisible();
  await page.getByRole('button', { name: 'SELECT 11 AS a', exact: true }).click();
  await expect(result(page).getByRole('gridcell', { name: '11' })).toBeVisible();
  await page.getByRole('button', { name: 'Close SELECT 11 AS a' }).click();
  await expect(result(page).getByRole('gridcell', { name: '22' })).toBeVisible();
});

test('a result is sorted, walked and copied with the keyboard, and a cell opens whole', async ({ page, context }) => {
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.goto(
    `/sql?q=${encodeURIComponent(`SELECT * FROM (VALUES (1, '{"deep":{"er":7}}'), (3, 'x'), (2, 'y')) AS t(n, body)`)}`,
  );
  await result(page).getByRole('columnheader', { name: 'n', exact: true }).click();
  await expect(result(page).getByRole('gridcell').first()).toHaveText('3');
  await expect(page).toHaveURL(/sort=-n/);
  await result(page).focus();
  await page.keyboard.press('Shift+ArrowDown');
  await page.keyboard.press('Control+c');
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe('3\n2');
  await page.keyboard.press('End');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('region', { name: 'Cell', exact: true })).toContainText('er: 7');
  await page.getByRole('button', { name: 'Copy', exact: true }).click();
  await page.getByRole('menuitem', { name: 'Row as JSON' }).click();
  expect(JSON.parse(await page.evaluate(() => navigator.clipboard.readText()))).toEqual({ n: 1, body: '{"deep":{"er":7}}' });
});

test('a result becomes a chart that a link restores', async ({ page }) => {
  const query = `SELECT time_bucket(INTERVAL '1 day', start_time) AS day, service_name, count(*) AS spans FROM spans GROUP BY 1, 2`;
  await page.goto(`/sql?q=${encodeURIComponent(query)}`);
  await page.getByRole('button', { name: 'Chart', exact: true }).click();
  await expect(page.getByRole('figure', { name: /Stacked bars of spans by day/ })).toBeVisible();
  await page.getByLabel('Chart', { exact: true }).selectOption('Line');
  await page.getByLabel('Series', { exact: true }).selectOption('–');
  await expect(page).toHaveURL(/chart=line/);
  await page.evaluate(() => localStorage.clear());
  await page.reload();
  await expect(page.getByRole('figure', { name: 'Line of spans by day; the same rows are in the table' })).toBeVisible();
});

test('a query is saved with its parameter and chart, shared by a link, changed and deleted', async ({ page }) => {
  const project = `saved-${Math.random().toString(36).slice(2, 10)}`;
  await page.goto(`/sql?project=${project}`);
  await write(page, `SELECT name, n FROM (VALUES ('a', 1), ('b', 2)) AS t(name, n) WHERE n <= $most`);
  await page.getByLabel('$most', { exact: true }).fill('2');
  await page.getByLabel('Type of $most').selectOption('number');
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  await page.getByRole('button', { name: 'Chart', exact: true }).click();
  await page.getByLabel('Chart', { exact: true }).selectOption('Line');
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  await page.getByLabel('Name', { exact: true }).fill('Few things');
  await page.keyboard.press('Enter');
  await expect(page.getByText('Saved as Few things')).toBeVisible();
  await expect(page).toHaveURL(/saved=/);
  const id = new URL(page.url()).searchParams.get('saved') ?? '';

  // Someone else opens the link.
  await page.evaluate(() => localStorage.clear());
  await page.goto(`/sql?project=${project}&saved=${id}`);
  await expect(page.getByRole('figure', { name: /^Line of n by name/ })).toBeVisible();
  await expect(page.getByLabel('$most', { exact: true })).toHaveValue('2');
  await expect(page.getByRole('button', { name: 'Saved', exact: true })).toBeVisible();

  await page.getByLabel('$most', { exact: true }).fill('1');
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  await page.getByRole('button', { name: 'Save over “Few things”' }).click();
  await expect(page.getByRole('button', { name: 'Saved', exact: true })).toBeVisible();

  await page.getByRole('tab', { name: 'Saved' }).click();
  const list = page.getByRole('list', { name: 'Saved queries' });
  await expect(list.getByRole('button', { name: /^Few things/ })).toBeVisible();
  await list.getByRole('button', { name: 'More of Few things' }).click();
  await page.getByRole('menuitem', { name: 'Delete', exact: true }).press('ArrowRight');
  await page.getByRole('menuitem', { name: 'Delete it for everyone' }).click();
  await expect(page.getByText('Queries that you save are here')).toBeVisible();
});

test('a query is formatted', async ({ page }) => {
  await page.goto('/sql');
  await write(page, 'select a,b from (values (1,2)) as t(a,b) where a=$x');
  await page.getByRole('button', { name: 'Format' }).click();
  await expect(editor(page)).toContainText('SELECT');
  await expect(editor(page)).toContainText('WHERE');
});

test('an error names what is wrong and the editor marks its place', async ({ page }) => {
  await page.goto('/sql');
  await write(page, 'SELECT trace_id\nFROM spanz');
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  const alert = page.getByRole('alert');
  await expect(alert).toContainText('spanz');
  await write(page, 'SELECT trace_id\nFRMO spans WHERE');
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  await expect(alert).toBeVisible();
  await expect(page.locator('.cm-lintRange-error, .cm-lintPoint-error')).toHaveCount(1);
});

test('completion follows the tables and aliases of the query', async ({ page }) => {
  await page.goto('/sql');
  await expect(page.getByRole('region', { name: 'Views' })).toBeVisible();
  await write(page, 'SELECT  FROM cost_lines AS c WHERE c.usage');
  await page.keyboard.press('Control+Space');
  await expect(page.getByRole('option', { name: /usage_kind/ }).first()).toBeVisible();
  await page.keyboard.press('Escape');
  await write(page, "SELECT count(*) FROM spans WHERE operation = ''");
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.type('ch');
  await expect(page.getByRole('option', { name: /^chat/ }).first()).toBeVisible();
});

test('completion knows tables, columns and functions', async ({ page }) => {
  await page.goto('/sql');
  await expect(page.getByRole('region', { name: 'Views' })).toBeVisible();
  await write(page, 'SELECT ');
  await page.keyboard.type('input_tok');
  await expect(page.getByRole('option', { name: /input_tokens/ }).first()).toBeVisible();
  await page.keyboard.press('Escape');
});

test('the schema browser documents columns', async ({ page }) => {
  await page.goto('/sql');
  const schema = page.getByRole('complementary', { name: /^Schema/ });
  await schema.getByLabel('Filter tables and columns').fill('time_to_first_token_ns');
  await expect(schema.getByRole('button', { name: /time_to_first_token_ns/ }).first()).toHaveAttribute('title', /first token/i);
});

for (const [format, start] of [
  ['CSV', 'answer'],
  ['JSON', '{'],
  ['NDJSON', '{"answer":42}'],
  ['Arrow', null],
  ['Parquet', 'PAR1'],
] as const) {
  test(`a result downloads as ${format}`, async ({ page }) => {
    await page.goto(`/sql?q=${encodeURIComponent('SELECT 42 AS answer')}`);
    await expect(result(page)).toBeVisible();
    await page.getByRole('button', { name: 'Download' }).click();
    const download = page.waitForEvent('download');
    await page.getByRole('menuitem', { name: format, exact: true }).click();
    const stream = await (await download).createReadStream();
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    expect(body.length).toBeGreaterThan(0);
    if (start !== null) expect(body.toString('latin1').startsWith(start)).toBe(true);
  });
}

test('a plan is explained: what was read, each operator with rows and time', async ({ page }) => {
  const query = `SELECT request_model, count(*) AS calls FROM spans WHERE counted GROUP BY 1 ORDER BY 2 DESC LIMIT 5`;
  await page.goto(`/sql?q=${encodeURIComponent(query)}&view=explain`);
  await expect(page.getByRole('region', { name: 'What is read' })).toContainText('Files read');
  const plan = page.getByRole('region', { name: 'Plan' }).getByRole('row');
  await expect(plan.filter({ hasText: /Aggregate/ }).first()).toContainText(/\d (ns|µs|ms|s)/);
  await page.getByRole('button', { name: 'Table', exact: true }).click();
  await expect(result(page)).toBeVisible();
});

test('what is wrong is marked while nobody types', async ({ page }) => {
  await page.goto('/sql');
  await write(page, 'SELECT modell FROM spans');
  await expect(page.locator('.cm-lintRange-error')).toHaveText('modell');
  await write(page, 'SELECT name FROM spans');
  await expect(page.locator('.cm-lintRange-error')).toHaveCount(0);
});

test('a query that runs elsewhere is seen and stopped', async ({ page, request }) => {
  const slow =
    'SELECT count(*) FROM spans a, spans b, spans c, spans d WHERE a.duration_ns + b.duration_ns + c.duration_ns < d.duration_ns';
  const mark = `stopped_${Math.random().toString(36).slice(2, 8)}`;
  const answer = request.post('/api/v1/sql', { data: { query: `${slow} /* ${mark} */` } });
  await page.goto('/sql');
  await page.getByRole('button', { name: 'Running', exact: true }).click();
  const line = page.getByRole('list', { name: 'Running queries' }).getByRole('listitem').filter({ hasText: mark });
  await expect(line).toBeVisible();
  await line.getByRole('button').click();
  await expect(line).toHaveCount(0);
  expect((await answer).ok()).toBe(false);
});

test('a query that takes long can be cancelled', async ({ page }) => {
  await page.goto('/sql');
  await write(
    page,
    'SELECT count(*) FROM spans a, spans b, spans c, spans d WHERE a.duration_ns + b.duration_ns + c.duration_ns < d.duration_ns',
  );
  await page.getByRole('button', { name: 'Run', exact: true }).click();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await expect(page.getByRole('heading', { name: 'Cancelled' })).toBeVisible();
});
