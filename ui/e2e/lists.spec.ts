/** The other lists, the session page and the user page: what they show is what SQL says. */
import { expect, test, type Page } from '@playwright/test';

import { ALL_TIME, filter, one, send, text } from './support';

const list = (page: Page, name: string) => page.getByRole('grid', { name });
const listRows = (page: Page, name: string) => list(page, name).getByRole('rowgroup').getByRole('row');

const KINDS = [
  { path: 'calls', title: 'LLM calls' },
  { path: 'sessions', title: 'Sessions' },
  { path: 'users', title: 'Users' },
  { path: 'models', title: 'Models' },
  { path: 'tools', title: 'Tools' },
  { path: 'errors', title: 'Errors' },
] as const;

for (const { path, title } of KINDS) {
  test(`the list of ${path} shows rows, sorts, and its SQL runs`, async ({ page, request }) => {
    await page.goto(`/${path}?${ALL_TIME}`);
    await expect(listRows(page, title).first()).toBeVisible();
    await expect(list(page, title).getByRole('row', { name: 'Totals' })).toContainText(/\d/);
    const header = list(page, title).getByRole('columnheader', { name: 'Cost' }).or(list(page, title).getByRole('columnheader', { name: 'Traces' })).first(); // prettier-ignore
    await header.getByRole('button').click();
    await expect(page).toHaveURL(/sort=|order=/);
    await expect(header).toHaveAttribute('aria-sort', /ending/);
    const href = await page.getByRole('link', { name: `SQL of the ${title.toLowerCase()}`, exact: true }).getAttribute('href');
    const query = new URL(href ?? '', 'http://any').searchParams.get('q');
    const ran = await request.post('/api/v1/sql', { data: { query } });
    expect(ran.status(), await ran.text()).toBe(200);
  });
}

test('the totals of a list are what their SQL gives', async ({ page, request }) => {
  await page.goto(`/calls?${ALL_TIME}`);
  const totals = list(page, 'LLM calls').getByRole('row', { name: 'Totals' });
  const href = await totals.getByRole('link', { name: 'SQL of the totals' }).getAttribute('href');
  const query = new URL(href ?? '', 'http://any').searchParams.get('q') ?? '';
  const [row] = [await one(request, query)];
  await expect(totals).toContainText(`${Number(row['rows']).toLocaleString('en-US')} calls`);
});

test('a call opens in the peek with its span, and the next one follows', async ({ page }) => {
  await page.goto(`/calls?${ALL_TIME}`);
  await list(page, 'LLM calls').focus();
  await page.keyboard.press(' ');
  await expect(page.getByRole('region', { name: 'Peek at a trace' }).getByRole('tree', { name: 'Spans' })).toBeVisible();
  await expect(page).toHaveURL(/peek=[0-9a-f]{32}\.[0-9a-f]{16}/);
  const before = page.url();
  await page.getByRole('button', { name: 'Next trace' }).click();
  await expect(page).not.toHaveURL(before);
});

test('from list to list go the time and the filter', async ({ page }) => {
  await page.goto(`/?${ALL_TIME}&q=has:error`);
  await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Models' }).click();
  await expect(page).toHaveURL(/\/models\?.*q=has%3Aerror/);
  await expect(filter(page)).toHaveValue('has:error');
});

test('a session shows its conversation across traces, once', async ({ page, request }) => {
  const { session_id, n } = await one(
    request,
    `SELECT session_id, count(DISTINCT trace_id) AS n FROM spans WHERE session_id LIKE 'conv_%' GROUP BY session_id
     HAVING count(DISTINCT trace_id) > 2 ORDER BY n DESC, session_id LIMIT 1`,
  );
  await page.goto(`/sessions?${ALL_TIME}&q=session:${text(session_id)}`);
  await listRows(page, 'Sessions').first().click();
  await expect(page).toHaveURL(new RegExp(`/sessions/${text(session_id)}`));
  const turns = page
    .getByRole('list', { name: 'Conversation' })
    .getByRole('listitem')
    .filter({ has: page.locator('.session-turn__head') });
  await expect(turns).toHaveCount(Number(n));
  await expect(page.getByText('sent again').first()).toBeVisible();
  await turns.first().getByRole('link').first().click();
  await expect(page).toHaveURL(/\/traces\/[0-9a-f]{32}/);
});

test('a user shows cost and errors over time and their sessions', async ({ page, request }) => {
  const { user_id } = await one(
    request,
    `SELECT user_id FROM spans WHERE user_id IS NOT NULL AND session_id IS NOT NULL GROUP BY user_id ORDER BY count(*) DESC LIMIT 1`,
  );
  await page.goto(`/users/${encodeURIComponent(text(user_id))}?${ALL_TIME}`);
  for (const title of ['Cost by model', 'Errors', 'LLM calls', 'Call duration, p95'])
    await expect(page.getByRole('region', { name: title }).getByRole('figure')).toBeVisible();
  await expect(listRows(page, 'Sessions').first()).toBeVisible();
  await page.getByRole('navigation', { name: 'Of this user' }).getByRole('link', { name: 'Traces' }).click();
  await expect(filter(page)).toHaveValue(new RegExp('^user:'));
});

const liveCall = (session: string, model: string, failed = false) => ({
  name: `chat ${model}`,
  failed,
  attributes: {
    'gen_ai.operation.name': 'chat',
    'gen_ai.provider.name': 'openai',
    'gen_ai.request.model': model,
    'gen_ai.conversation.id': session,
    'gen_ai.usage.input_tokens': 10,
    'gen_ai.usage.output_tokens': 2,
    'user.id': `user of ${session}`,
    'error.type': failed ? `Error${model}` : '',
  },
});
const liveTool = (tool: string) => ({
  name: `execute_tool ${tool}`,
  parent: 0,
  attributes: { 'gen_ai.operation.name': 'execute_tool', 'gen_ai.tool.name': tool },
});

for (const { path, title, news } of [
  { path: 'sessions', title: 'Sessions', news: '1 new session, 1 changed' },
  { path: 'users', title: 'Users', news: '1 new user, 1 changed' },
  { path: 'models', title: 'Models', news: '1 new model, 1 changed' },
  { path: 'tools', title: 'Tools', news: '1 new tool, 1 changed' },
  { path: 'errors', title: 'Errors', news: '1 new error group, 1 changed' },
]) {
  test(`live mode announces what is new among the ${path} and moves nothing`, async ({ page, request }) => {
    const project = `live-${path}-${Date.now()}`;
    await send(request, project, [liveCall('first', 'gpt-4o', true), liveTool('search')]);
    await page.goto(`/${path}?project=${project}&live=1`);
    await expect(listRows(page, title)).toHaveCount(1);
    const totals = list(page, title).getByRole('row', { name: 'Totals' });
    await expect(totals).toContainText(/^1 \w+/);
    const before = await listRows(page, title).first().innerText();
    await send(request, project, [liveCall('first', 'gpt-4o', true), liveTool('search')]);
    await send(request, project, [liveCall('second', 'gpt-4o-mini', true), liveTool('fetch')]);
    const announced = page.getByRole('button', { name: news, exact: true });
    await expect(announced).toBeVisible();
    // Under the cursor nothing moved; the totals say that they are older than what has come.
    expect(await listRows(page, title).first().innerText()).toBe(before);
    await expect(totals).toContainText('now 2');
    await expect(page.getByText(/last span (now|\d+ s ago)/)).toBeVisible();
    await page.keyboard.press('.');
    await expect(listRows(page, title)).toHaveCount(2);
    await expect(announced).toBeHidden();
    await expect(totals).not.toContainText('now');
  });
}
