import { expect, test, type Page } from '@playwright/test';

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
  await page.getByRole('button', { name: 'History' }).click();
  await expect(page.getByRole('menuitem', { name: /SELECT 40 \+ 2/ })).toBeVisible();
});

test('an error names what is wrong and the editor marks its place', async ({ page }) => {
  await page.goto('/sql');
  await write(page, 'SELECT trace_id\nFROM spanz');
  await page.getByRole('button', { name: 'Run' }).click();
  const alert = page.getByRole('alert');
  await expect(alert).toContainText('spanz');
  await write(page, 'SELECT trace_id\nFRMO spans WHERE');
  await page.getByRole('button', { name: 'Run' }).click();
  await expect(alert).toBeVisible();
  await expect(page.locator('.cm-lintRange-error, .cm-lintPoint-error')).toHaveCount(1);
});

test('completion knows tables, columns and functions', async ({ page }) => {
  await page.goto('/sql');
  await write(page, 'SELECT ');
  await page.keyboard.type('input_tok');
  await expect(page.getByRole('option', { name: /input_tokens/ }).first()).toBeVisible();
  await page.keyboard.press('Escape');
});

test('the schema browser documents columns', async ({ page }) => {
  await page.goto('/sql');
  const schema = page.getByRole('complementary', { name: 'Schema' });
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

test('a query that takes long can be cancelled', async ({ page }) => {
  await page.goto('/sql');
  await write(
    page,
    'SELECT count(*) FROM spans a, spans b, spans c, spans d WHERE a.duration_ns + b.duration_ns + c.duration_ns < d.duration_ns',
  );
  await page.getByRole('button', { name: 'Run' }).click();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await expect(page.getByRole('heading', { name: 'Cancelled' })).toBeVisible();
});
