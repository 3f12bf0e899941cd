/**
 * A trace of 100 000 spans, sent through the public OTLP port: it opens, scrolls and zooms in the time of a frame and within the memory.
 *
 * A frame is what the page's main thread works for it, in its own CPU time: what else the machine does must not fail the test. The time by
 * the clock is printed beside it.
 */
import { expect, test, type Browser, type Page } from '@playwright/test';

import { longestTask, mainThread, send, tree, type TestSpan } from './support';

const SPANS = 100_000;
const OPEN_MS = 2_000;
/** Beside other work, which a test must bear, the same frame takes up to twice its own time: cores and their caches are shared. */
const FRAME_MS = process.env['ASSAY_OPTIMISED'] === undefined ? 32 : 16;
const HEAP_BYTES = 500 * 1024 * 1024;
const STEPS = 80;
const COMPARED_SPANS = 20_000;
const TASK_MS = 200;

/** Agents that call a model and a search in turn, as a long batch does; every hundredth search fails. */
function batchOfRuns(count: number): TestSpan[] {
  const MS = 1_000_000;
  const spans: TestSpan[] = [{ name: 'batch of runs', start: 0, duration: count * 10 * MS, attributes: { 'gen_ai.operation.name': 'invoke_agent' } }]; // prettier-ignore
  for (let run = 0; spans.length < count; run += 1) {
    const agent = spans.length;
    const start = run * 100 * MS;
    spans.push({ name: `invoke_agent worker ${run % 8}`, parent: 0, start, duration: 90 * MS, attributes: { 'gen_ai.operation.name': 'invoke_agent' } }); // prettier-ignore
    for (let turn = 0; turn < 4; turn += 1) {
      const at = start + turn * 20 * MS;
      spans.push({
        name: 'chat gpt-4o-mini', parent: agent, start: at, duration: 8 * MS,
        attributes: {
          'gen_ai.operation.name': 'chat', 'gen_ai.provider.name': 'openai', 'gen_ai.request.model': 'gpt-4o-mini',
          'gen_ai.response.id': `r${spans.length}`, 'gen_ai.usage.input_tokens': 500 + turn, 'gen_ai.usage.output_tokens': 40 + turn,
        },
      }); // prettier-ignore
      const search = spans.length;
      spans.push({ name: 'execute_tool search', parent: agent, start: at + 9 * MS, duration: 7 * MS, failed: (run * 4 + turn) % 100 === 99, attributes: { 'gen_ai.operation.name': 'execute_tool', 'gen_ai.tool.name': 'search' } }); // prettier-ignore
      spans.push({ name: 'GET', parent: search, start: at + 10 * MS, duration: 5 * MS });
    }
  }
  return spans.slice(0, count);
}

/** 95th percentile of what the page's main thread works for a frame while `act` runs, milliseconds: own CPU time, and by the clock. */
async function frames(browser: Browser, page: Page, act: (step: number) => Promise<void>) {
  const own = await mainThread(browser, page, async () => {
    for (let step = 0; step < STEPS; step += 1) {
      await act(step);
      await page.evaluate(() => new Promise((shown) => requestAnimationFrame(() => setTimeout(shown))));
    }
  });
  // A frame lasts until the next one begins.
  const begins = own.filter((event) => event.name === 'ProxyMain::BeginMainFrame').map((event) => event.ts);
  expect(begins.length).toBeGreaterThan(STEPS / 2);
  const cpu = begins.map(() => 0);
  const clock = begins.map(() => 0);
  let frame = -1;
  for (const task of own.filter((event) => event.name === 'ThreadControllerImpl::RunTask')) {
    // A task belongs to the frame that began in it or before it.
    while (frame + 1 < begins.length && (begins[frame + 1] ?? 0) < task.ts + (task.dur ?? 0)) frame += 1;
    if (frame < 0) continue;
    cpu[frame] = (cpu[frame] ?? 0) + (task.tdur ?? 0) / 1000;
    clock[frame] = (clock[frame] ?? 0) + (task.dur ?? 0) / 1000;
  }
  const p95 = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length * 0.95)] ?? 0;
  return { cpu: p95(cpu), clock: p95(clock), frames: begins.length };
}

test('a trace of 100 000 spans opens, scrolls and zooms without a wait', async ({ browser, page, request }) => {
  test.setTimeout(600_000);
  const project = `large-${Date.now()}`;
  const traceId = await send(request, project, batchOfRuns(SPANS));
  const cdp = await page.context().newCDPSession(page);

  let answeredMs = 0;
  const asked = Date.now();
  page.on('requestfinished', (done) => {
    if (done.url().endsWith('/columns')) answeredMs = Date.now() - asked;
  });
  await page.goto(`/traces/${traceId}?project=${project}`);
  const items = tree(page).getByRole('treeitem');
  await expect(items.first()).toBeVisible({ timeout: 300_000 });
  const openedMs = Date.now() - asked;
  console.log(`opened in ${openedMs} ms, of which the server took ${answeredMs} ms`);
  expect(await items.count()).toBeLessThan(120);
  // A debug build answers slowly; what the page itself adds is the same with any server.
  expect(openedMs - answeredMs).toBeLessThan(OPEN_MS);
  if (process.env['ASSAY_OPTIMISED'] !== undefined) expect(openedMs).toBeLessThan(OPEN_MS);

  await page.waitForLoadState('networkidle');
  const box = await tree(page).boundingBox();
  if (!box) throw new Error('the tree has no size');
  await page.mouse.move(box.x + box.width - 60, box.y + 200);
  const scrolled = await frames(browser, page, (step) => page.mouse.wheel(0, step % 10 === 9 ? 2_000 : 260));
  await page.keyboard.down('Control');
  const zoomed = await frames(browser, page, (step) => page.mouse.wheel(0, step % 20 < 10 ? -120 : 120));
  await page.keyboard.up('Control');
  for (const [what, { cpu, clock, frames: n }] of Object.entries({ scrolled, zoomed })) {
    console.log(`${what}: p95 of ${n} frames ${cpu.toFixed(1)} ms of the main thread, ${clock.toFixed(1)} ms by the clock`);
    expect(cpu, what).toBeGreaterThan(0);
    expect(cpu, what).toBeLessThanOrEqual(FRAME_MS);
  }

  await tree(page).focus();
  await page.keyboard.press('End');
  await expect(tree(page).getByRole('treeitem', { selected: true })).toBeVisible();
  expect(await items.count()).toBeLessThan(120);
  await page.getByRole('button', { name: 'Next error' }).click();
  await expect(tree(page).getByRole('treeitem', { selected: true }).getByRole('img', { name: 'error' })).toBeVisible();

  await cdp.send('HeapProfiler.collectGarbage');
  // Arrays are kept beside the heap and belong to it all the same.
  const usage = (await cdp.send('Runtime.getHeapUsage')) as { usedSize: number; backingStorageSize?: number };
  const bytes = usage.usedSize + (usage.backingStorageSize ?? 0);
  console.log(`heap of the page ${(bytes / 1024 / 1024).toFixed(0)} MB`);
  expect(bytes).toBeLessThan(HEAP_BYTES);
});

test('two traces of 20 000 spans are aligned without holding up the page', async ({ browser, page, request }) => {
  test.setTimeout(300_000);
  const project = `compared-${Date.now()}`;
  const runs = batchOfRuns(COMPARED_SPANS);
  const a = await send(request, project, runs);
  // Every seventh search of the other run is missing.
  const b = await send(
    request,
    project,
    runs.map((span, at) => (at % 49 === 3 ? { ...span, name: 'execute_tool look up' } : span)),
  );
  await page.goto(`/compare?a=${a}&project=${project}`);
  await expect(page.getByRole('region', { name: 'Traces to compare with' })).toBeVisible();
  const rows = page.getByRole('listbox', { name: 'Spans of both traces' }).getByRole('option');
  // From the choice of the second trace on: reading it, aligning both, drawing the rows.
  const longestMs = await longestTask(browser, page, async () => {
    await page.getByLabel('Trace id or address of trace B').fill(b);
    await page.getByRole('button', { name: 'Compare' }).click();
    await expect(rows.first()).toBeVisible({ timeout: 120_000 });
    await page.getByRole('button', { name: 'Only what differs' }).click();
    await expect(page.getByRole('status').filter({ hasText: / of / })).toContainText(/^[1-9][\d,]* of 2\d,\d{3} rows/);
  });
  console.log(`longest task of the page while two traces of ${COMPARED_SPANS} spans were compared: ${longestMs.toFixed(0)} ms`);
  expect(longestMs).toBeLessThan(TASK_MS);
  expect(await rows.count()).toBeLessThan(120);
});
