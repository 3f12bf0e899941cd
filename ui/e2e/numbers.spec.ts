/**
 * Every number on every page can show its SQL, and that SQL gives the number.
 *
 * A page is walked block by block: a block is what one "SQL" link speaks for. What the block shows exactly (in full, or in full when it is
 * pointed at) must be among the values of the rows that the linked query gives when it is run like any other query. Figures that a page adds up
 * itself (strips, charts, sums of a table) are added up from the rows.
 */
import { expect, test, type APIRequestContext, type Locator, type Page } from '@playwright/test';

import { ALL_TIME, one, sql, text, tree, type Row } from './support';

/** The query behind a link to the workbench. */
async function queryOf(link: Locator): Promise<string> {
  const href = text(await link.getAttribute('href'));
  const query = new URL(href, 'http://any').searchParams.get('q');
  expect(query, href).not.toBeNull();
  return query ?? '';
}

/** A number without separators and trailing zeros: `1,200` is `1200`, `0.500` is `0.5`. */
function plain(written: string): string {
  const bare = written.replace(/[,$−]/g, (sign) => (sign === '−' ? '-' : ''));
  return bare.includes('.') ? bare.replace(/\.?0+$/, '') : bare;
}

/** Percentiles are estimated from sketches, which are merged in the order in which parts of the answer are ready: they differ a little from run to run. */
const ESTIMATED = /^p\d+_ns$|^tokens_per_second$/;
const ESTIMATE_SHARE = 0.1;

/** Every value of the rows that is a number, written plainly. */
function valuesOf(rows: readonly Row[]): Set<string> {
  const values = rows.flatMap((row) => Object.values(row));
  return new Set(
    values.flatMap((value) =>
      typeof value === 'number' || (typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value)) ? [plain(String(value))] : [],
    ),
  );
}

/**
 * The numbers that a block shows exactly: titles of short forms (`1,234`, `56 ns`, `$0.0123 US dollars`, `3 input, 4 output tokens`, `3 of 12`),
 * and whole numbers written out.
 */
async function exactNumbers(block: Locator): Promise<string[]> {
  const found = await block.evaluateAll((elements) =>
    elements.flatMap((element) =>
      [...element.querySelectorAll<HTMLElement>('.num, .right, .facts__number, .facets__value')].flatMap((each) => {
        const title = each.getAttribute('title') ?? each.querySelector('[title]')?.getAttribute('title') ?? null;
        return [title ?? each.textContent];
      }),
    ),
  );
  const forms = [
    /^(-?[\d,]+)$/,
    /^(-?[\d,]+) ns$/,
    /^\$(-?[\d,.]+) US dollars/,
    /^([\d,]+) input, ([\d,]+) output tokens$/,
    /^([\d,]+) of ([\d,]+)$/,
    /^([\d.]+) tokens per second$/,
    /: ([\d,]+) spans$/,
  ];
  return found.flatMap((written) => {
    for (const form of forms) {
      const match = form.exec(written.trim());
      if (match) return match.slice(1).map(plain);
    }
    return [];
  });
}

/** `1.54 s` and the like as nanoseconds, as exact as it is written. */
function nanoseconds(written: string): number {
  const match = /^([\d.]+) (ns|µs|ms|s)/.exec(written);
  return Number(match?.[1]) * ({ ns: 1, µs: 1e3, ms: 1e6, s: 1e9 }[match?.[2] ?? ''] ?? Number.NaN);
}

/** Checks that all exact numbers of a block are given by the SQL of its link. Zero is said of what is absent. */
async function check(request: APIRequestContext, block: Locator, link: Locator, atLeast = 1): Promise<readonly Row[]> {
  // The link is drawn with its block: waiting for it is waiting for the numbers.
  const query = await queryOf(link);
  const shown = await exactNumbers(block);
  const rows = await sql(request, query);
  const given = valuesOf(rows);
  const estimates = rows.flatMap((row) => Object.entries(row).flatMap(([name, value]) => (ESTIMATED.test(name) && typeof value === 'number' ? [value] : []))); // prettier-ignore
  const isGiven = (number: string) =>
    number === '0' ||
    given.has(number) ||
    estimates.some((value) => Math.abs(value - Number(number)) <= ESTIMATE_SHARE * Math.max(value, Number(number)));
  expect(shown.length, `numbers of the block of ${query}`).toBeGreaterThanOrEqual(atLeast);
  expect(
    shown.filter((number) => !isGiven(number)),
    query,
  ).toEqual([]);
  return rows;
}

const sqlOf = (at: Page | Locator, name: string | RegExp) => at.getByRole('link', { name: typeof name === 'string' ? `SQL of ${name}` : name, exact: true }); // prettier-ignore
const region = (page: Page, name: string | RegExp) => page.getByRole('region', { name, exact: true });
const group = (page: Page, name: string | RegExp) => page.getByRole('group', { name, exact: true });
const sum = (rows: readonly Row[], column: string) => rows.reduce((total, row) => total + Number(row[column] ?? 0), 0);

for (const [path, title, columns] of [
  ['', 'Traces', 4],
  ['calls', 'LLM calls', 3],
  ['sessions', 'Sessions', 4],
  ['users', 'Users', 4],
  ['models', 'Models', 4],
  ['tools', 'Tools', 4],
  ['errors', 'Errors', 3],
] as const) {
  test(`the numbers of the list of ${path === '' ? 'traces' : path}: rows, totals, strips, facets`, async ({ page, request }) => {
    await page.setViewportSize({ width: 2200, height: 1000 });
    await page.goto(`/${path}?${ALL_TIME}`);
    const grid = page.getByRole('grid', { name: title, exact: true });
    const totals = grid.getByRole('row', { name: 'Totals' });
    await expect(totals).toBeVisible();
    await check(request, totals, sqlOf(totals, 'the totals'), columns);
    await check(request, grid.getByRole('rowgroup'), sqlOf(page, `the ${title.toLowerCase()}`), 20);

    // A strip shows what its buckets add up to.
    const buckets = await sql(request, await queryOf(sqlOf(page, 'traces over time')));
    const strip = (name: string) => page.getByRole('figure').filter({ has: page.getByText(name, { exact: true }) });
    await expect(strip('Traces').locator('.strip__figure')).toHaveText(sum(buckets, 'traces').toLocaleString('en-US'));
    await expect(strip('Errors').locator('.strip__figure')).toHaveText(sum(buckets, 'errors').toLocaleString('en-US'));
    const cost = await strip('Cost').locator('.strip__figure [title]').getAttribute('title');
    expect(Number(plain(text(cost)))).toBeCloseTo(sum(buckets, 'cost_usd'), 9);
    // The typical latency is the middle one of those of the buckets.
    const medians = buckets.flatMap((bucket) => (typeof bucket['p50_ns'] === 'number' ? [bucket['p50_ns']] : [])).sort((a, b) => a - b); // prettier-ignore
    const typical = nanoseconds(await strip('Latency').locator('.strip__figure').innerText());
    const middle = medians[medians.length >> 1] ?? 0;
    expect(Math.abs(typical - middle)).toBeLessThanOrEqual(ESTIMATE_SHARE * middle);
    const groups = page.locator('.facets__group').filter({ has: page.locator('.facets__value') });
    await expect(groups.first()).toBeVisible();
    for (const group of await groups.all()) await check(request, group, sqlOf(group, /^SQL of the values of/));
  });
}

test('the counts of suggested values, by mouse and by keyboard', async ({ page, request }) => {
  await page.goto(`/?${ALL_TIME}`);
  const box = page.getByRole('combobox', { name: 'Filter' });
  await box.fill('service:');
  const options = page.getByRole('listbox', { name: 'Suggestions' }).getByRole('option');
  await expect(options.first()).toContainText(/\d spans?$/);
  const counts = sqlOf(page, 'the suggested values');
  const rows = await sql(request, await queryOf(counts));
  for (const option of await options.all()) {
    const [, value, count] = /^(.+?)([\d,]+) spans?$/.exec(text(await option.textContent())) ?? [];
    const row = rows.find((each) => Object.values(each).includes(value ?? ''));
    expect(Object.values(row ?? {}).map(String), value).toContain(plain(text(count)));
  }
  // The suggestions stay while one goes on to the link.
  while (!(await counts.evaluate((link) => link === document.activeElement))) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(/\/sql\?/);
  await page.goto(`/?${ALL_TIME}`);
  await box.fill('service:');
  await counts.click();
  await expect(page).toHaveURL(/\/sql\?/);
});

test('the matches of a search in a trace', async ({ page, request }) => {
  const { trace_id } = await one(request, `SELECT trace_id FROM spans WHERE input_messages ILIKE '%refund%' GROUP BY 1 HAVING count(*) > 1 ORDER BY max(start_time) DESC LIMIT 1`); // prettier-ignore
  for (const find of ['e', 'chat', 'refund', 'no such text']) {
    await page.goto(`/traces/${text(trace_id)}?find=${encodeURIComponent(find)}`);
    const hits = page.getByRole('search').getByRole('status');
    await expect(hits).toHaveText(/ of \d+$|^no match$/);
    const rows = await sql(request, await queryOf(sqlOf(page.getByRole('search'), 'the matches')));
    const shown = /of ([\d,]+)$/.exec(await hits.innerText())?.[1];
    expect(rows.length, find).toBe(Number(plain(shown ?? '0')));
    for (const row of rows) expect(row['matches']).toBe(rows.length);
  }
});

test('the figures of a plan', async ({ page, request }) => {
  const query = `SELECT name, count(*) FROM spans WHERE duration_ns > $least GROUP BY name`;
  await page.goto(`/sql?q=${encodeURIComponent(query)}&p.least:number=5&view=explain`);
  const read = region(page, 'What is read');
  const [files] = await sql(request, await queryOf(sqlOf(read, 'files of the tables')));
  await expect(read).toContainText(`of ${Number(files?.['files']).toLocaleString('en-US')} SQL`);
  expect(await queryOf(sqlOf(read, 'bytes of the tables'))).toBe(await queryOf(sqlOf(read, 'files of the tables')));
  // The link has the parameters of the query, and the same plan comes as rows.
  await sqlOf(region(page, 'Plan'), 'the plan').click();
  await expect(page.getByRole('grid', { name: 'Result' })).toContainText('AggregateExec');
  await expect(page).toHaveURL(/EXPLAIN(\+|%20)ANALYZE/);
  await expect(page).toHaveURL(/p\.least(:|%3A)number=5/);
});

test('the numbers of a session and of its turns', async ({ page, request }) => {
  const { session_id } = await one(
    request,
    `SELECT session_id FROM spans WHERE session_id LIKE 'conv_%' AND counted GROUP BY session_id HAVING count(DISTINCT trace_id) > 2 ORDER BY session_id LIMIT 1`,
  );
  await page.goto(`/sessions/${text(session_id)}`);
  const turns = page.getByRole('list', { name: 'Conversation' });
  await expect(turns.getByRole('listitem').first()).toBeVisible();
  await check(request, page.locator('.figure-row'), sqlOf(page, 'the session'), 5);
  await check(request, turns.locator('.session-turn__numbers'), sqlOf(page, 'the traces'), 6);
});

test('the numbers and the charts of a user', async ({ page, request }) => {
  const { user_id } = await one(
    request,
    'SELECT user_id FROM spans WHERE user_id IS NOT NULL AND session_id IS NOT NULL AND cost_usd > 0 GROUP BY user_id ORDER BY count(*) DESC LIMIT 1',
  );
  await page.goto(`/users/${encodeURIComponent(text(user_id))}?${ALL_TIME}`);
  await expect(region(page, 'Cost by model').getByRole('figure')).toBeVisible();
  const [user] = await check(request, page.locator('.session__head'), sqlOf(page, 'the user'), 5);
  const grid = page.getByRole('grid', { name: 'Sessions' });
  await expect(grid.getByRole('row', { name: 'Totals' })).toBeVisible();
  await check(request, grid.getByRole('row', { name: 'Totals' }), sqlOf(grid, 'the totals'), 4);
  await check(request, grid.getByRole('rowgroup'), sqlOf(page, 'the sessions'), 6);
  // What a chart draws adds up to the figure above it.
  for (const [title, figure] of [['LLM calls', 'llm_calls'], ['Errors', 'errors'], ['Cost by model', 'cost_usd']] as const) {
    const points = await sql(request, await queryOf(region(page, title).getByRole('link', { name: /^SQL of/ })));
    const value = Object.keys(points[0] ?? {}).find((name) => name === 'value' || name === figure) ?? '';
    expect(sum(points, value), `${title}: ${JSON.stringify(points[0])}`).toBeCloseTo(Number(user?.[figure] ?? 0), 9);
  } // prettier-ignore
  const latency = await sql(request, await queryOf(sqlOf(region(page, 'Call duration, p95'), /^SQL of/)));
  expect(latency.length).toBeGreaterThan(0);
});

test('the numbers of a trace: header, span, tokens, cost, subtree, peek', async ({ page, request }) => {
  const call = await one(
    request,
    `SELECT trace_id, span_id FROM spans WHERE operation = 'chat' AND counted AND cost_usd > 0 AND trace_id IN (SELECT trace_id FROM spans GROUP BY 1 HAVING count(*) > 8 AND count(*) FILTER (WHERE operation = 'invoke_agent' AND parent_span_id IS NULL) > 0) ORDER BY start_time DESC LIMIT 1`,
  );
  const [trace, span] = [text(call['trace_id']), text(call['span_id'])];
  await page.goto(`/traces/${trace}?span=${span}&tab=cost`);
  await expect(group(page, 'Cost').getByRole('row').first()).toBeVisible();
  const header = page.locator('.trace-header');
  await check(request, header, sqlOf(header, 'the totals of the trace'), 6);
  const panel = page.locator('.span-panel');
  await check(request, panel.locator('.span-panel__facts'), panel.getByRole('link', { name: 'SQL', exact: true }), 3);
  await check(request, group(page, 'Tokens'), sqlOf(panel, 'tokens'), 2);
  await check(request, group(page, 'Cost'), sqlOf(panel, 'cost'), 2);
  // The tree: each row is a span of the trace, what it sums up is a subtree. Timeline and transcript show the same spans.
  const rows = await check(request, tree(page).getByRole('treeitem'), sqlOf(page, 'the rows'), 8);
  await page.getByRole('button', { name: 'Transcript' }).click();
  const transcript = page.getByRole('tree', { name: 'Transcript' });
  await expect(transcript.getByRole('treeitem').nth(1)).toBeVisible();
  await check(request, transcript.locator('.transcript__figures'), sqlOf(page, 'the rows'), 4);
  await page.getByRole('button', { name: 'Graph' }).click();
  for (const expanded of [false, true]) {
    await page.getByRole('button', { name: expanded ? 'A node for each span' : 'A node for each step' }).click();
    const nodes = page.getByRole('listbox', { name: 'Graph of the steps' }).getByRole('option');
    await expect(nodes.first()).toBeVisible();
    const steps = await sql(request, await queryOf(sqlOf(page, 'the graph')));
    if (expanded) expect(steps.length).toBe(rows.length);
    for (const title of await nodes.locator('title').allTextContents()) {
      const [, step, spans = '', ns = ''] = /^(.*): ([\d,]+) spans?, together ([\d,]+) ns$/.exec(title) ?? [];
      const found = steps.filter((each) => each['step'] === step && plain(String(each['duration_ns'])) === plain(ns));
      expect(found.length, title).toBeGreaterThan(0);
      if (!expanded) expect(plain(String(found[0]?.['spans'])), title).toBe(plain(spans));
    }
  }
  await page.getByRole('button', { name: 'Tree', exact: true }).click();
  await tree(page).getByRole('treeitem').first().click();
  const subtree = page.getByRole('group', { name: /^Subtree of/ });
  await expect(subtree.getByRole('row').first()).toBeVisible();
  await check(request, subtree, sqlOf(subtree, /^SQL of subtree/), 3);

  await page.goto(`/?${ALL_TIME}&peek=${trace}`);
  const peek = page.getByRole('region', { name: 'Peek at a trace' });
  await expect(peek.locator('.peek__numbers')).toBeVisible();
  await check(request, peek.locator('.peek__numbers'), sqlOf(peek, 'the totals of the trace'), 2);
});

test('the numbers of a comparison', async ({ page, request }) => {
  const traces = await sql(request, `SELECT trace_id FROM traces WHERE service_name = 'code-assistant' AND llm_call_count > 1 ORDER BY start_time DESC LIMIT 2`); // prettier-ignore
  await page.goto(`/compare?a=${text(traces[0]?.['trace_id'])}&b=${text(traces[1]?.['trace_id'])}`);
  await expect(page.getByRole('option').first()).toBeVisible();
  const rows = await sql(request, await queryOf(sqlOf(page, 'the totals of both traces')));
  const [a, b] = traces.map((trace) => rows.find((row) => row['trace_id'] === trace['trace_id']));
  for (const [name, column] of [['Input tokens', 'input_tokens'], ['Output tokens', 'output_tokens'], ['Model calls', 'llm_call_count'], ['Tool calls', 'tool_call_count'], ['Errors', 'error_count'], ['Spans', 'span_count']] as const) {
    const total = page.locator('.compare__total').filter({ has: page.getByText(name, { exact: true }) });
    const written = (row: Row | undefined) => Number(row?.[column] ?? 0).toLocaleString('en-US');
    await expect(total).toContainText(`${written(a)} → ${written(b)}`);
  } // prettier-ignore
  const both = page.getByRole('listbox', { name: 'Spans of both traces' });
  await check(request, both, sqlOf(page, 'the rows of both traces'), 8);

  await page.goto(`/compare?a=${text(traces[0]?.['trace_id'])}`);
  const others = region(page, 'Traces to compare with');
  // The list is there once the trace is read.
  await expect(others.getByRole('heading', { name: /^Other runs of / })).toBeVisible();
  await expect(others.getByRole('listitem').first()).toBeVisible();
  await check(request, others, sqlOf(others, 'these traces'), 4);
});

test('how long ago the last span came is given by its SQL, on every page', async ({ page, request }) => {
  for (const path of ['/', '/sql', '/ingest', '/models']) {
    await page.goto(path);
    const last = page.getByRole('banner').getByRole('link', { name: /^last span/ });
    const query = await queryOf(last);
    await expect(async () => {
      const { last_received_at: told } = (await (await request.get('/api/v1/status')).json()) as Row;
      const { last_received_at: given } = await one(request, query);
      expect(Date.parse(text(given))).toBe(Date.parse(text(told)));
    }).toPass({ timeout: 20_000 });
  }
});

test('the numbers of the ingest page: flow, ledger, storage, prices', async ({ page, request }) => {
  // Other journeys send meanwhile: a block is read and asked again until both are of the same moment.
  const steady = (act: () => Promise<unknown>) => expect(async () => void (await act())).toPass({ timeout: 60_000 });
  await page.goto('/ingest?from=all');
  const ledger = region(page, 'Ledger');
  await expect(ledger.getByRole('row', { name: /^traces/ })).toBeVisible();
  await steady(async () => {
    await page.reload();
    await expect(ledger.getByRole('row', { name: /^traces/ })).toBeVisible();
    const lines = await check(request, ledger.locator('tbody tr td:nth-child(-n+6)'), sqlOf(ledger, 'Ledger'), 0);
    for (const line of lines) {
      const row = ledger.getByRole('row', { name: new RegExp(`^${text(line['signal'])}`) });
      for (const column of ['requests', 'received', 'stored'].filter((each) => each in line))
        await expect(row).toContainText(Number(line[column]).toLocaleString('en-US'), { timeout: 500 });
    }
  });
  for (const name of ['Last received', 'Records', 'Requests', 'Refused', 'Ledger', 'Records per minute', 'Bytes per minute']) {
    const rows = await sql(request, await queryOf(sqlOf(page, name).first()));
    expect(rows.length, name).toBeGreaterThanOrEqual(name === 'Refused' ? 0 : 1);
  }

  await page.goto('/ingest?tab=storage&table=spans');
  const tables = region(page, 'Tables');
  await steady(async () => {
    await page.reload();
    await expect(tables.getByRole('row', { name: /^spans / })).toBeVisible();
    await check(request, tables.locator('tbody'), sqlOf(tables, 'Tables'), 10);
  });
  for (const name of ['Write-ahead log', 'Not yet in the lake', 'Rows in memory', 'Rows in files', 'On disk', 'Background work', 'runs by kind'])
    expect((await sql(request, await queryOf(sqlOf(page, name)))).length, name).toBeGreaterThan(0); // prettier-ignore
  const files = await sql(request, await queryOf(sqlOf(page, 'Rows in files')));
  expect(sum(files, 'rows')).toBeGreaterThan(0);

  const parts = region(page, 'Bytes by column of spans');
  const columns = await sql(request, await queryOf(sqlOf(parts, 'Bytes by column of spans')));
  const total = sum(columns, 'compressed_bytes');
  expect(total).toBeGreaterThan(0);
  const work = region(page, 'Background work');
  await steady(async () => {
    await page.reload();
    await expect(work.getByRole('row').nth(1)).toBeVisible();
    await check(request, work.locator('tbody'), sqlOf(work, 'Background work'), 3);
  });

  await page.goto('/ingest?tab=mappings');
  const cost = page.getByRole('table', { name: 'Cost' });
  await expect(cost.getByRole('row').nth(2)).toBeVisible();
  const lines = await check(request, cost, sqlOf(page, 'what it would cost'), 2);
  await expect(cost).toContainText(`$${text(lines.find((line) => line['usage_kind'] === 'input')?.['cost_usd'])}`);

  await page.goto('/ingest?tab=prices');
  const unpriced = region(page, 'Models without a price');
  await expect(unpriced.getByRole('row').nth(1)).toBeVisible();
  await check(request, unpriced, sqlOf(unpriced, 'Models without a price'), 3);
});

test('the numbers of the quarantine', async ({ page, request }) => {
  const project = `refused-${Date.now()}`;
  const span = {
    traceId: '0'.repeat(32),
    kind: 1,
    startTimeUnixNano: '1700000000000000000',
    endTimeUnixNano: '1700000000000000001',
    status: {},
  };
  const spans = Array.from({ length: 3 }, (_, at) => ({ ...span, spanId: `${at + 1}`.padStart(16, '0'), name: `refused ${at}` }));
  const sent = await request.post('/v1/traces', {
    headers: { 'x-assay-project': project },
    data: { resourceSpans: [{ scopeSpans: [{ spans }] }] },
  });
  expect(sent.status()).toBe(200);
  await page.goto(`/ingest?tab=quarantine&from=all&project=${project}`);
  const reasons = page.getByRole('list', { name: 'Reasons' });
  await expect(reasons.getByRole('listitem').first()).toBeVisible();
  const link = page.getByRole('main').getByRole('link', { name: /^SQL of Refused records$/ });
  const query = await queryOf(link);
  const given = await request.post('/api/v1/sql', {
    data: { query },
    headers: { accept: 'application/json', 'x-assay-project': project },
  });
  const { columns, rows } = (await given.json()) as { columns: { name: string }[]; rows: unknown[][] };
  expect(rows[0]?.[columns.findIndex((column) => column.name === 'records')]).toBe(3);
  await expect(reasons.getByRole('listitem').first()).toContainText('3');
});
