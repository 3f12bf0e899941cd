import { crc32, deflateSync } from 'node:zlib';

import { expect, test } from '@playwright/test';

import { one, openList, send, sql, text, tree } from './support';

/** A call with messages, tokens and a price. */
const CALL = `SELECT trace_id, span_id, input_tokens, output_tokens, cost_usd, request_model FROM spans
  WHERE operation = 'chat' AND counted AND cost_usd IS NOT NULL AND input_messages IS NOT NULL AND output_messages IS NOT NULL
  ORDER BY start_time DESC LIMIT 1`;

test('a failing run is found from the list and its cause is on screen', async ({ page, request }) => {
  await openList(page, 'q=status:error');
  await page.getByRole('grid', { name: 'Traces' }).getByRole('link').first().click();
  await expect(tree(page)).toBeVisible();
  await page.getByRole('button', { name: 'Next error' }).click();
  await expect(page).toHaveURL(/span=[0-9a-f]{16}/);
  const spanId = new URL(page.url()).searchParams.get('span') ?? '';
  const failed = await one(request, `SELECT status_code, error_message, status_message FROM spans WHERE span_id = '${spanId}'`);
  expect(failed['status_code']).toBe('ERROR');
  const said = failed['error_message'] ?? failed['status_message'];
  if (typeof said === 'string' && said !== '')
    await expect(page.locator('.span-panel__error')).toContainText(said.trim().slice(0, 40));
});

test('the cost of a call is explained to the last digit, line by line', async ({ page, request }) => {
  const call = await one(request, CALL);
  const lines = await sql(
    request,
    `SELECT usage_kind, units, cost_usd, price FROM cost_lines WHERE span_id = '${text(call['span_id'])}' AND trace_id = '${text(call['trace_id'])}'`,
  );
  expect(lines.length).toBeGreaterThan(0);
  await page.goto(`/traces/${text(call['trace_id'])}?span=${text(call['span_id'])}`);
  await page.getByRole('tab', { name: 'Tokens & cost' }).click();
  const cost = page.getByRole('group', { name: 'Cost', exact: true });
  for (const line of lines) {
    const row = cost
      .getByRole('row')
      .filter({ hasText: text(line['price']) })
      .filter({ hasText: Number(line['units']).toLocaleString('en-US') });
    await expect(row.filter({ hasText: `$${text(line['cost_usd']).replace(/\.?0+$/, '')}` }).first()).toBeVisible();
  }
  await expect(cost.getByRole('row', { name: /This span/ })).toContainText(`$${text(call['cost_usd']).replace(/\.?0+$/, '')}`);
  await expect(page.getByRole('group', { name: 'Tokens', exact: true })).toContainText(
    Number(call['input_tokens']).toLocaleString('en-US'),
  );
});

test('messages are rendered by role, attributes as received, canonical values with their rules', async ({ page, request }) => {
  const call = await one(request, CALL);
  await page.goto(`/traces/${text(call['trace_id'])}?span=${text(call['span_id'])}`);
  const messages = page.getByRole('list', { name: 'Messages' });
  await expect(messages.getByText('user', { exact: true }).first()).toBeVisible();
  await expect(messages.getByText('assistant', { exact: true }).first()).toBeVisible();
  await page.getByRole('tab', { name: 'Attributes' }).click();
  await expect(page.getByRole('group', { name: 'Resource attributes' })).toContainText('service.name');
  await page.getByRole('tab', { name: 'Canonical' }).click();
  const row = page.getByRole('row').filter({ has: page.getByRole('cell', { name: 'input_tokens', exact: true }) });
  await expect(row.getByRole('cell').nth(1)).toHaveText(String(Number(call['input_tokens'])));
  await expect(row.getByRole('cell').nth(2)).not.toBeEmpty();
});

test('a tool call stands beside the result with its id', async ({ page, request }) => {
  const call = await one(
    request,
    `SELECT trace_id, span_id FROM spans WHERE input_messages LIKE '%"tool_call"%' AND input_messages LIKE '%"tool_call_response"%' ORDER BY start_time DESC LIMIT 1`,
  );
  await page.goto(`/traces/${text(call['trace_id'])}?span=${text(call['span_id'])}`);
  const pair = page.locator('.part-call').first();
  await expect(pair).toBeVisible();
  await expect(pair.getByText('result', { exact: true })).toBeVisible();
});

test('the keyboard walks and folds the tree, and search goes from match to match', async ({ page, request }) => {
  const big = await one(
    request,
    `SELECT trace_id, count(*) AS n FROM spans GROUP BY trace_id HAVING count(*) BETWEEN 5 AND 400 AND count(*) = count(DISTINCT span_id) ORDER BY n DESC LIMIT 1`,
  );
  await page.goto(`/traces/${text(big['trace_id'])}`);
  const items = tree(page).getByRole('treeitem');
  await expect(items.first()).toBeVisible();
  await tree(page).focus();
  await page.keyboard.press('j');
  await expect(items.nth(1)).toHaveAttribute('aria-selected', 'true');
  await page.keyboard.press('ArrowUp');
  await expect(items.first()).toHaveAttribute('aria-selected', 'true');
  const before = await items.count();
  await page.keyboard.press('ArrowLeft');
  await expect(items.first()).toHaveAttribute('aria-expanded', 'false');
  expect(await items.count()).toBeLessThan(before);
  await page.keyboard.press('ArrowRight');
  await expect(items).toHaveCount(before);

  const name = text(
    (await one(request, `SELECT name FROM spans WHERE trace_id = '${text(big['trace_id'])}' ORDER BY start_time DESC LIMIT 1`))[
      'name'
    ],
  );
  await page.keyboard.press('/');
  await page.keyboard.type(name);
  await page.keyboard.press('Enter');
  await expect(page.getByText(/^\d+ of \d+$/)).toBeVisible();
  await expect(tree(page).getByRole('treeitem', { selected: true })).toContainText(name.slice(0, 12));
});

test('a permalink opens the same span, and the OTLP download is OTLP', async ({ page, request }) => {
  const call = await one(request, CALL);
  await page.goto(`/traces/${text(call['trace_id'])}?span=${text(call['span_id'])}`);
  await expect(tree(page).getByRole('treeitem', { selected: true })).toBeVisible();
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'OTLP' }).click();
  const stream = await (await download).createReadStream();
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  const [line = ''] = Buffer.concat(chunks).toString('utf8').split('\n');
  expect((JSON.parse(line) as { resourceSpans?: unknown[] }).resourceSpans?.length).toBeGreaterThan(0);
  await page.getByRole('link', { name: 'Open as SQL' }).click();
  await expect(page.getByRole('grid', { name: 'Result' })).toBeVisible();
});

test('a span that has begun is there before it ends, and ends in sight', async ({ page, request }) => {
  const project = `running-${Date.now()}`;
  const [trace, span] = [`${Date.now()}`.padStart(32, 'a'), `${Date.now()}`.padStart(16, 'b')];
  const begun = BigInt(Date.now()) * 1_000_000n;
  const post = async (one: Record<string, unknown>) => {
    const sent = await request.post('/v1/traces', {
      headers: { 'x-assay-project': project },
      data: { resourceSpans: [{ resource: { attributes: [] }, scopeSpans: [{ scope: { name: 'journey' }, spans: [{ traceId: trace, name: 'a long job', kind: 1, startTimeUnixNano: `${begun}`, status: {}, ...one }] }] }] },
    }); // prettier-ignore
    expect(sent.status(), await sent.text()).toBe(200);
  };
  // As the Logfire SDK announces a span: one of no duration, below the one that has begun.
  await post({
    spanId: `${Date.now()}`.padStart(16, 'c'),
    parentSpanId: span,
    endTimeUnixNano: `${begun}`,
    attributes: [{ key: 'logfire.span_type', value: { stringValue: 'pending_span' } }],
  });
  await page.goto(`/?project=${project}`);
  await page.getByRole('link', { name: 'a long job' }).click();
  const row = tree(page).getByRole('treeitem', { name: /a long job/ });
  await expect(row).toHaveCount(1);
  await expect(row).toContainText('running');
  await expect(page.getByText(/still running; this page follows/)).toBeVisible();
  await post({ spanId: span, endTimeUnixNano: `${begun + 4_200_000_000n}`, attributes: [] });
  await expect(row).toContainText('4.20 s');
  await expect(page.getByText(/still running/)).toBeHidden();
});

test('the timeline fits, zooms where the pointer is, compresses idle time on request and has an overview', async ({
  page,
  request,
}) => {
  const project = `timeline-${Date.now()}`;
  const S = 1_000_000_000;
  const trace = await send(request, project, [
    { name: 'session', start: 0, duration: 100 * S },
    { name: 'first', parent: 0, start: 0, duration: S },
    { name: 'last', parent: 0, start: 99 * S, duration: S },
  ]);
  await page.goto(`/traces/${trace}?project=${project}&view=timeline`);
  await expect(tree(page).getByRole('treeitem')).toHaveCount(3);
  const ticks = page.locator('.span-tree__tick');
  const last = async () => text(await ticks.last().textContent());
  expect(await ticks.first().textContent()).toBe('0');
  const whole = await last();
  expect(whole).toMatch(/^(1 m|[89]\d\.0 s)/);
  // Zoom at the left edge: the beginning stays, the end comes nearer.
  const box = await tree(page).boundingBox();
  if (!box) throw new Error('the timeline has no size');
  await page.mouse.move(box.x + box.width * 0.3, box.y + 60);
  await page.keyboard.down('Control');
  await page.mouse.wheel(0, -600);
  await page.keyboard.up('Control');
  await expect.poll(last).not.toBe(whole);
  await expect(page).toHaveURL(/window=\d+-\d+/);
  const [from, to] = (new URL(page.url()).searchParams.get('window') ?? '').split('-').map(Number);
  expect(from).toBeLessThan(5 * S);
  expect(to).toBeLessThan(40 * S);
  await page.getByRole('button', { name: 'Fit' }).click();
  await expect.poll(last).toBe(whole);
  // In the overview the window is drawn anew.
  const strip = await page.locator('.overview').boundingBox();
  if (!strip) throw new Error('there is no overview');
  await page.mouse.move(strip.x + strip.width * 0.5, strip.y + 10);
  await page.mouse.down();
  await page.mouse.move(strip.x + strip.width * 0.75, strip.y + 10, { steps: 4 });
  await page.mouse.up();
  await expect(page).toHaveURL(/window=(49|50|51)\d{9}-/);
  await tree(page).focus();
  await page.keyboard.press('0');
  await expect(page).not.toHaveURL(/window=/);
  const gaps = page.getByRole('button', { name: /^Compress .* idle/ });
  await gaps.click();
  await expect(page.getByRole('button', { name: 'Idle time compressed' })).toHaveAttribute('aria-pressed', 'true');
  await expect(page).toHaveURL(/gaps=1/);
});

test('logs of the trace stand beside their span, and lead to it', async ({ page, request }) => {
  const project = `logs-${Date.now()}`;
  const trace = await send(request, project, [{ name: 'request' }, { name: 'work', parent: 0 }]);
  const at = `${BigInt(Date.now()) * 1_000_000n}`;
  const record = (span: number, words: string) => ({ timeUnixNano: at, severityText: 'WARN', body: { stringValue: words }, traceId: trace, spanId: span.toString(16).padStart(16, '0') }); // prettier-ignore
  const sent = await request.post('/v1/logs', {
    headers: { 'x-assay-project': project },
    data: { resourceLogs: [{ resource: { attributes: [] }, scopeLogs: [{ scope: { name: 'journey' }, logRecords: [record(1, 'the queue is long'), record(2, 'trying again')] }] }] },
  }); // prettier-ignore
  expect(sent.status()).toBe(200);
  await page.goto(`/traces/${trace}?project=${project}&tab=logs`);
  const panel = page.getByRole('tabpanel');
  await expect(panel).toContainText('the queue is long');
  await expect(panel).not.toContainText('trying again');
  await page.getByRole('button', { name: 'The whole trace' }).click();
  await expect(panel).toContainText('trying again');
});

test('a trace that is not there says so', async ({ page }) => {
  await page.goto(`/traces/${'0'.repeat(31)}1`);
  await expect(page.getByRole('heading', { name: 'This trace is not here' })).toBeVisible();
});

test('every sum of the cost tab has SQL that gives it', async ({ page, request }) => {
  const root = await one(
    request,
    `SELECT trace_id, span_id FROM spans WHERE operation = 'invoke_agent' AND parent_span_id IS NULL AND trace_id IN (SELECT trace_id FROM spans WHERE counted AND cost_usd > 0) ORDER BY start_time DESC LIMIT 1`,
  );
  await page.goto(`/traces/${text(root['trace_id'])}?span=${text(root['span_id'])}&tab=cost`);
  const subtree = page.getByRole('group', { name: /Subtree of/ });
  const cost = await subtree.getByRole('row', { name: /Cost/ }).getByRole('cell').nth(1).textContent();
  const href = await subtree.getByRole('link', { name: /^SQL of/ }).getAttribute('href');
  const query = new URL(text(href), page.url()).searchParams.get('q') ?? '';
  const sums = await one(request, query);
  expect(`$${text(sums['cost_usd'])}`).toBe(cost);
});

test('a note stays with its span', async ({ page, request }) => {
  const call = await one(request, CALL);
  const said = `seen **${Date.now()}**`;
  await page.goto(`/traces/${text(call['trace_id'])}?span=${text(call['span_id'])}&tab=notes`);
  await page.getByLabel('New note').fill(said);
  await page.getByRole('button', { name: 'Add to the span' }).click();
  const note = page.getByRole('article', { name: 'Note' }).filter({ hasText: said.replaceAll('*', '') });
  await expect(note).toBeVisible();
  await page.reload();
  await note.getByRole('button', { name: 'Edit' }).click();
  await page.getByLabel('Text of the note').fill(`${said} again`);
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(note).toContainText('again');
  await note.getByRole('button', { name: 'Delete' }).click();
  await expect(note).toHaveCount(0);
});

test('a long message is cut, says its size and can be had whole', async ({ page, request }) => {
  const project = `cut-${Date.now()}`;
  const message = `Begin. ${'All the same words again. '.repeat(20_000)}The end.`;
  const traceId = await send(request, project, [
    {
      name: 'chat',
      attributes: {
        'gen_ai.operation.name': 'chat',
        'gen_ai.input.messages': JSON.stringify([{ role: 'user', parts: [{ type: 'text', content: message }] }]),
      },
    },
  ]);
  await page.goto(`/traces/${traceId}?project=${project}`);
  await expect(page.getByRole('note').filter({ hasText: 'Shown in part' })).toContainText('508 KB');
  const download = page.waitForEvent('download');
  await page.getByRole('list', { name: 'Messages' }).getByRole('button', { name: 'Download' }).click();
  const stream = await (await download).createReadStream();
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  expect(Buffer.concat(chunks).toString('utf8')).toBe(message);
});

test('a message is drawn once, when what draws it is there: nothing moves under the pointer', async ({ page, request }) => {
  const project = `drawn-${Date.now()}`;
  const traceId = await send(request, project, [
    {
      name: 'chat',
      attributes: {
        'gen_ai.operation.name': 'chat',
        'gen_ai.input.messages': JSON.stringify([{ role: 'user', parts: [{ type: 'text', content: '1. one\n2. two' }] }]),
      },
    },
  ]);
  await page.route(/\/assets\/MarkdownBody-/, async (route) => {
    await new Promise((come) => setTimeout(come, 1_500));
    await route.continue();
  });
  const messages = page.getByRole('list', { name: 'Messages' });
  await page.goto(`/traces/${traceId}?project=${project}`, { waitUntil: 'commit' });
  await messages.waitFor();
  expect(await messages.getByRole('listitem').filter({ hasText: /^one$/ }).count()).toBe(1);
});

test('the transcript puts turns in order and leads to their spans', async ({ page, request }) => {
  const run = await one(
    request,
    `SELECT trace_id FROM spans WHERE service_name = 'code-assistant' GROUP BY trace_id HAVING count(*) FILTER (WHERE operation = 'execute_tool') > 1 LIMIT 1`,
  );
  await page.goto(`/traces/${text(run['trace_id'])}?view=transcript`);
  const transcript = page.getByRole('tree', { name: 'Transcript' });
  await expect(transcript.getByRole('treeitem').nth(1)).toContainText('user');
  await transcript.locator('.turn__run').first().click();
  await expect(page).toHaveURL(/span=[0-9a-f]{16}/);
  await expect(page.getByRole('region', { name: /^Span execute_tool/ })).toBeVisible();
});

test('two runs are compared side by side, aligned, with what differs', async ({ page, request }) => {
  const project = `compare-${Date.now()}`;
  const run = (more: { name: string; parent: number }[], failed = false) => [
    { name: 'run' },
    { name: 'plan', parent: 0 },
    ...more,
    { name: 'search', parent: 0, failed },
    { name: 'answer', parent: 0 },
  ];
  const a = await send(request, project, run([]));
  const b = await send(request, project, run([{ name: 'look up', parent: 0 }], true));
  await page.goto(`/traces/${a}?project=${project}`);
  await page.getByRole('link', { name: 'Compare' }).click();
  await page.getByLabel('Trace id or address of trace B').fill(`http://somewhere/traces/${b}`);
  await page.getByRole('button', { name: 'Compare' }).click();
  const rows = page.getByRole('listbox', { name: 'Spans of both traces' }).getByRole('option');
  await expect(rows).toHaveCount(5);
  await expect(rows.nth(2)).toContainText('only B');
  await page.getByRole('button', { name: 'Only what differs' }).click();
  await expect(rows).toHaveCount(2);
  await rows.nth(1).click();
  await expect(page.getByRole('region', { name: /^Span search of trace [AB]$/ })).toHaveCount(2);
  await page.reload();
  await expect(page.getByRole('region', { name: /^Span search of trace [AB]$/ })).toHaveCount(2);
  await page.getByRole('button', { name: 'Swap the traces' }).click();
  await expect(rows.first()).toContainText('only A');
});

/** A grey picture of noise, as PNG: large enough to be kept beside the rows. */
function picture(side: number): Buffer {
  const rows = Buffer.alloc(side * (side + 1));
  for (let at = 0; at < rows.length; at += 1) rows[at] = at % (side + 1) === 0 ? 0 : Math.floor(Math.random() * 256);
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(side, 0);
  head.writeUInt32BE(side, 4);
  head[8] = 8;
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk('IHDR', head), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]);
}

test('an image, a sound and a file of a message are shown and can be kept', async ({ page, request }) => {
  const project = `media-${Date.now()}`;
  const png = picture(96);
  const wav = Buffer.concat([Buffer.from('RIFF\x24\x40\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\0\x40\0\0', 'latin1'), Buffer.alloc(16_384, 128)]); // prettier-ignore
  const pdf = Buffer.concat([Buffer.from('%PDF-1.4\n'), Buffer.alloc(8_000, 32)]);
  const part = (modality: string, mime: string, content: Buffer) => ({ type: 'blob', modality, mime_type: mime, content: content.toString('base64') }); // prettier-ignore
  const parts = [part('image', 'image/png', png), part('audio', 'audio/wav', wav), part('file', 'application/pdf', pdf)];
  const traceId = await send(request, project, [
    { name: 'chat', attributes: { 'gen_ai.operation.name': 'chat', 'gen_ai.input.messages': JSON.stringify([{ role: 'user', parts }]) } },
  ]); // prettier-ignore
  await page.goto(`/traces/${traceId}?project=${project}`);
  const image = page.getByRole('img', { name: 'sent with the message' });
  await expect(image).toBeVisible();
  expect(await image.evaluate((element) => (element as HTMLImageElement).naturalWidth)).toBe(96);
  await expect(page.locator('audio[aria-label="audio of the message"]')).toBeVisible();
  const kept = page.getByRole('figure').getByRole('link', { name: 'Download' });
  await expect(kept).toHaveCount(3);
  for (const [at, [content, name]] of [[png, /\.png$/], [wav, /\.wav$/], [pdf, /\.pdf$/]].entries() as Iterable<[number, [Buffer, RegExp]]>) {
    const download = page.waitForEvent('download');
    await kept.nth(at).click();
    expect((await download).suggestedFilename()).toMatch(name);
    const chunks: Buffer[] = [];
    for await (const chunk of await (await download).createReadStream()) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).equals(content)).toBe(true);
  } // prettier-ignore
});

test('a price leads to its rates, and a call without one says why and what to do', async ({ page, request }) => {
  const call = await one(request, CALL);
  await page.goto(`/traces/${text(call['trace_id'])}?span=${text(call['span_id'])}&tab=cost`);
  const cost = page.getByRole('group', { name: 'Cost', exact: true });
  await cost.getByRole('link', { name: /gpt|claude|gemini|\// }).first().click(); // prettier-ignore
  await expect(page.getByRole('grid', { name: 'Result' })).toContainText('usd_per_million');
  const unpriced = await one(
    request,
    `SELECT trace_id, span_id, coalesce(response_model, request_model) AS model FROM llm_calls WHERE cost_source = 'unpriced' AND counted AND coalesce(response_model, request_model) IS NOT NULL AND span_id IS NOT NULL LIMIT 1`,
  );
  await page.goto(`/traces/${text(unpriced['trace_id'])}?span=${text(unpriced['span_id'])}&tab=cost`);
  await expect(cost).toContainText(`a price for ${text(unpriced['model'])}`);
  await cost.getByRole('link', { name: 'How to price it' }).click();
  await expect(page).toHaveURL(/tab=prices/);
  await expect(page.locator('.facts__row--open')).toContainText(text(unpriced['model']));
});
