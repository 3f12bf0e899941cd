import { expect, test } from '@playwright/test';

import { filter, grid, one, openList, rows, send, sendMany, text } from './support';

test('the list shows the newest traces and loads more at its end', async ({ page, request }) => {
  await openList(page);
  const total = Number((await one(request, 'SELECT count(DISTINCT trace_id) AS n FROM spans'))['n']);
  await expect(page.getByText('all loaded').or(page.getByText(/\d loaded/))).toBeVisible();
  await grid(page).focus();
  await expect(async () => {
    await page.keyboard.press('End');
    await expect(page.getByText('all loaded')).toBeVisible({ timeout: 500 });
  }).toPass();
  await expect(grid(page)).toHaveAttribute('aria-rowcount', String(total + 1));
});

test('slash focuses the filter, keys and values are suggested, Enter applies', async ({ page }) => {
  await openList(page);
  await page.keyboard.press('/');
  await expect(filter(page)).toBeFocused();
  await page.keyboard.type('stat');
  await expect(page.getByRole('option', { name: /^status:/ })).toBeVisible();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await expect(filter(page)).toHaveValue('status:');
  await page.getByRole('option', { name: /^ERROR/ }).click();
  await expect(filter(page)).toHaveValue('status:ERROR ');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/q=status%3AERROR/);
  await expect(rows(page).first().getByRole('img', { name: /error/ })).toBeVisible();
});

test('a wrong filter says why in the box and keeps the table', async ({ page }) => {
  await openList(page);
  const before = await rows(page).count();
  await filter(page).fill('cost:>plenty');
  await filter(page).press('Enter');
  await expect(page.getByText(/The table still shows everything/)).toBeVisible();
  await expect(filter(page)).toHaveAttribute('aria-invalid', 'true');
  await expect(filter(page)).toHaveValue('cost:>plenty');
  expect(await rows(page).count()).toBe(before);
  await filter(page).fill('modle:x');
  await filter(page).press('Enter');
  await expect(page.getByText(/`modle` is not a key/)).toBeVisible();
});

test('a facet narrows the list by one click and leaves it by another', async ({ page, request }) => {
  await openList(page);
  const { service_name } = await one(
    request,
    'SELECT service_name FROM spans WHERE service_name IS NOT NULL GROUP BY service_name ORDER BY count(*) DESC LIMIT 1',
  );
  const name = text(service_name);
  const value = page.getByRole('complementary', { name: 'Quick filters' }).getByRole('button', { name, exact: false }).first();
  await value.click();
  await expect(filter(page)).toHaveValue(`service:${name}`);
  await expect(value).toHaveAttribute('aria-pressed', 'true');
  const answer = await request.get('/api/v1/traces', { params: { q: `service:"${name}"`, limit: 1 } });
  const { traces } = (await answer.json()) as { traces: { trace_id: string }[] };
  await expect(rows(page).first().getByRole('link').first()).toHaveAttribute('href', new RegExp(text(traces[0]?.trace_id)));
  await value.click();
  await expect(filter(page)).toHaveValue('');
});

test('headers sort, and the order stands in the address', async ({ page, request }) => {
  await openList(page);
  await page.getByRole('columnheader', { name: 'Duration' }).getByRole('button').click();
  await expect(page).toHaveURL(/sort=duration_ns/);
  await expect(page.getByRole('columnheader', { name: 'Duration' })).toHaveAttribute('aria-sort', 'descending');
  const answer = await request.get('/api/v1/traces', { params: { sort: 'duration_ns', order: 'desc', limit: 1 } });
  const { traces } = (await answer.json()) as { traces: { trace_id: string }[] };
  await expect(rows(page).first().getByRole('link').first()).toHaveAttribute('href', new RegExp(text(traces[0]?.trace_id)));
});

test('columns are chosen, pinned, moved and resized, and a link keeps them', async ({ page }) => {
  await openList(page);
  const head = (name: string) => grid(page).getByRole('columnheader', { name });
  await page.getByRole('button', { name: 'Columns and view' }).click();
  await page.getByRole('checkbox', { name: 'Service' }).uncheck();
  await page.getByRole('button', { name: 'Pin Cost to the left' }).click();
  await page.getByRole('radio', { name: 'Compact' }).check({ force: true });
  await page.keyboard.press('Escape');
  await expect(head('Service')).toBeHidden();
  await expect(grid(page).getByRole('columnheader').first()).toContainText('Cost');
  await head('Duration').getByRole('button').focus();
  await page.keyboard.press('Alt+ArrowLeft');
  await page.getByRole('separator', { name: 'Width of Trace' }).focus();
  await page.keyboard.press('ArrowRight');
  await expect(page).toHaveURL(/cols=\*cost_usd-start_time-name\.256-duration_ns-models/);
  await expect(page).toHaveURL(/density=compact/);
  await page.reload();
  await expect(rows(page).first()).toBeVisible();
  await expect(grid(page).getByRole('columnheader').first()).toContainText('Cost');
  await expect(grid(page).getByRole('columnheader').nth(3)).toContainText('Duration');
});

test('a header is dragged to another place', async ({ page }) => {
  await openList(page);
  const box = async (name: string) => {
    const found = await grid(page).getByRole('columnheader', { name }).boundingBox();
    if (!found) throw new Error(`no column ${name}`);
    return found;
  };
  const from = await box('Cost');
  const to = await box('Service');
  await page.mouse.move(from.x + from.width - 20, from.y + 14);
  await page.mouse.down();
  await page.mouse.move(to.x + to.width / 2, to.y + 14, { steps: 8 });
  await page.mouse.move(to.x + 6, to.y + 14);
  await page.mouse.up();
  await expect(page).toHaveURL(/cols=start_time-name-cost_usd-service_name/);
  await expect(page).not.toHaveURL(/sort=/);
});

test('the command menu goes to pages and jumps to a trace that is pasted', async ({ page, request }) => {
  await openList(page);
  const { trace_id } = await one(request, 'SELECT trace_id FROM spans ORDER BY start_time LIMIT 1');
  await page.keyboard.press('Control+k');
  const box = page.getByRole('combobox', { name: 'Command, page or trace id' });
  await expect(box).toBeFocused();
  await box.fill('sql');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/sql/);
  await page.keyboard.press('Control+k');
  await box.fill(`00-${text(trace_id)}-00f067aa0ba902b7-01`);
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(new RegExp(`/traces/${text(trace_id)}`));
});

test('a question mark shows what the keyboard can do', async ({ page }) => {
  await openList(page);
  await page.keyboard.press('?');
  await expect(page.getByRole('dialog', { name: 'Keyboard' })).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog')).toBeHidden();
});

test('free-form time is understood and nonsense is refused in place', async ({ page }) => {
  await openList(page);
  await page.getByRole('button', { name: /^Time range/ }).click();
  await page.getByLabel('Any range').fill('soonish');
  await page.getByRole('button', { name: 'Apply' }).click();
  await expect(page.getByText('is not a range')).toBeVisible();
  await page.getByLabel('Any range').fill('3d');
  await page.getByRole('button', { name: 'Apply' }).click();
  await expect(page).toHaveURL(/from=now-3d/);
  await expect(page.getByRole('button', { name: 'Time range: Last 3d' })).toBeVisible();
});

test('dragging over a strip narrows the time', async ({ page }) => {
  await openList(page, 'sort=start_time');
  const chart = page.locator('.strip .u-over').first();
  const box = await chart.boundingBox();
  if (!box) throw new Error('the strip is not drawn');
  await page.mouse.move(box.x + box.width * 0.6, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.98, box.y + box.height / 2, { steps: 5 });
  await page.mouse.up();
  await expect(page).not.toHaveURL(/from=1971/);
  await expect(page).toHaveURL(/from=\d{4}-/);
});

test('a strip is read and narrowed with the keyboard alone', async ({ page, request }) => {
  await openList(page);
  const strip = page.getByRole('slider', { name: 'Traces over time' });
  await strip.focus();
  await page.keyboard.press('Home');
  await expect(strip).toHaveAttribute('aria-valuenow', '0');
  const first = await strip.getAttribute('aria-valuetext');
  await page.keyboard.press('ArrowRight');
  await expect(strip).not.toHaveAttribute('aria-valuetext', text(first));
  await page.keyboard.press('Shift+End');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/from=\d{4}-.*to=\d{4}-/);
  await expect(rows(page).first()).toBeVisible();
  const from = new URL(page.url()).searchParams.get('from') ?? '';
  const { n } = await one(request, `SELECT count(*) AS n FROM traces WHERE start_time >= TIMESTAMP '${from}'`);
  await expect(page.getByRole('row', { name: 'Totals' })).toContainText(`${Number(n).toLocaleString('en-US')} traces`);
});

test('arrow keys move, space peeks, Escape closes, Enter opens', async ({ page }) => {
  await openList(page);
  await grid(page).focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press(' ');
  const peek = page.getByRole('region', { name: 'Peek at a trace' });
  await expect(peek.getByRole('tree', { name: 'Spans' })).toBeVisible();
  await expect(page).toHaveURL(/peek=[0-9a-f]{32}/);
  const first = page.url();
  await page.keyboard.press('j');
  await expect(page).not.toHaveURL(first);
  await peek.getByRole('button', { name: 'Previous trace' }).click();
  await expect(page).toHaveURL(first);
  await grid(page).focus();
  await page.keyboard.press('Escape');
  await expect(peek).toBeHidden();
  await grid(page).focus();
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/traces\/[0-9a-f]{32}/);
});

test('the SQL of the list runs in the SQL page and gives the same traces', async ({ page }) => {
  await openList(page);
  const href = await rows(page).first().getByRole('link').first().getAttribute('href');
  await page.getByRole('link', { name: 'SQL of the traces', exact: true }).click();
  await expect(page).toHaveURL(/\/sql\?q=/);
  const result = page.getByRole('grid', { name: 'Result' });
  await expect(result.getByRole('link').first()).toHaveAttribute('href', text(href));
});

test('live mode announces a trace that arrives and shows it on request', async ({ page, request }) => {
  const project = `live-${Date.now()}`;
  const first = await send(request, project, [{ name: 'the first' }]);
  await page.goto(`/?project=${project}&live=1`);
  await expect(page.getByRole('link', { name: 'the first' })).toHaveAttribute('href', new RegExp(first));
  await send(request, project, [{ name: 'the second' }]);
  const announced = page.getByRole('button', { name: /1 new trace/ });
  await expect(announced).toBeVisible();
  await expect(page.getByRole('link', { name: 'the second' })).toBeHidden();
  await announced.click();
  await expect(page.getByRole('link', { name: 'the second' })).toBeVisible();
  await expect(page.getByText(/last span/)).toBeVisible();
});

test('more new traces than a page has are counted', async ({ page, request }) => {
  const project = `live-many-${Date.now()}`;
  await send(request, project, [{ name: 'the first' }]);
  await page.goto(`/?project=${project}&live=1`);
  await expect(page.getByRole('link', { name: 'the first' })).toBeVisible();
  await sendMany(request, project, 130);
  await expect(page.getByRole('button', { name: '130 new traces', exact: true })).toBeVisible();
  // More come on top of those that were announced already.
  await sendMany(request, project, 20);
  await expect(page.getByRole('button', { name: '150 new traces', exact: true })).toBeVisible();
  await expect(rows(page)).toHaveCount(1);
  await page.keyboard.press('.');
  await expect(page.getByRole('row', { name: 'Totals' })).toContainText('151 traces');
});

test('a list is saved as a view, opened again, made the first page and deleted', async ({ page, request }) => {
  const project = `views-${Date.now()}`;
  await send(request, project, [{ name: 'something' }]);
  await page.goto(`/?project=${project}&q=name:something&density=compact`);
  await expect(page.getByRole('link', { name: 'something' })).toBeVisible();
  const views = page.getByRole('button', { name: /^Saved views/ });
  await views.click();
  await page.getByLabel('This list as a new view').fill('Mine');
  await page.getByRole('button', { name: 'Save', exact: true }).click();
  await expect(page).toHaveURL(/view=/);
  await expect(views).toHaveText('Mine');
  await page.keyboard.press('/');
  await filter(page).fill('name:some*');
  await filter(page).press('Enter');
  await expect(page.getByRole('button', { name: 'Saved views: Mine, changed' })).toBeVisible();
  await views.click();
  await page.getByRole('button', { name: 'Make Mine the first page' }).click();
  await expect(page.getByRole('button', { name: /Mine is the first page/ })).toHaveAttribute('aria-pressed', 'true');

  await page.goto(`/?project=${project}`);
  await expect(page).toHaveURL(/q=name%3Asomething/);
  await expect(page).toHaveURL(/density=compact/);
  await page.keyboard.press('Control+k');
  await page.getByRole('combobox', { name: 'Command, page or trace id' }).fill('mine');
  await expect(page.getByRole('option', { name: 'Mine', exact: true })).toBeVisible();
  await page.keyboard.press('Escape');
  await views.click();
  await page.getByRole('button', { name: 'Delete Mine' }).click();
  await page.getByRole('button', { name: 'Yes, delete Mine' }).click();
  await expect(page.getByText('Keep this list')).toBeVisible();
});
