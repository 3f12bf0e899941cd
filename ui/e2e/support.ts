/** What the journeys share: asking the server for facts, so that the page is compared with them and not with remembered numbers. */
import { expect, type APIRequestContext, type Browser, type Page } from '@playwright/test';

export type Row = Record<string, unknown>;

/** Rows of a query, as objects. */
export async function sql(request: APIRequestContext, query: string): Promise<Row[]> {
  const response = await request.post('/api/v1/sql', { data: { query }, headers: { accept: 'application/json' } });
  expect(response.status(), await response.text()).toBe(200);
  const { columns, rows } = (await response.json()) as { columns: { name: string }[]; rows: unknown[][] };
  return rows.map((row) => Object.fromEntries(columns.map((column, at) => [column.name, row[at]])));
}

/** The first row, which must exist: the server was filled beforehand. */
export async function one(request: APIRequestContext, query: string): Promise<Row> {
  const [row] = await sql(request, query);
  if (!row) throw new Error(`no row: ${query}`);
  return row;
}

export function text(value: unknown): string {
  if (typeof value !== 'string') throw new Error(`expected text, found ${JSON.stringify(value)}`);
  return value;
}

export type TestSpan = {
  readonly name: string;
  readonly parent?: number;
  /** Nanoseconds since the start of the trace; default: a microsecond after the span before. */
  readonly start?: number;
  /** Nanoseconds. */
  readonly duration?: number;
  readonly failed?: boolean;
  readonly attributes?: Readonly<Record<string, string | number>>;
};

const anyValue = (value: string | number) => (typeof value === 'number' ? { intValue: String(value) } : { stringValue: value });

/**
 * Sends one trace to a project of its own, so that journeys which send do not disturb those which read. Answers the trace id.
 * `parent` is the place of the parent in the list.
 */
export async function send(request: APIRequestContext, project: string, spans: readonly TestSpan[]): Promise<string> {
  const traceId = Array.from({ length: 32 }, () => Math.floor(Math.random() * 16).toString(16)).join('');
  const id = (at: number) => (at + 1).toString(16).padStart(16, '0');
  const start = BigInt(Date.now()) * 1_000_000n;
  const otlp = spans.map(({ name, parent, failed, attributes = {}, ...span }, at) => {
    const from = start + BigInt(span.start ?? at * 1_000);
    return {
      traceId,
      spanId: id(at),
      ...(parent === undefined ? {} : { parentSpanId: id(parent) }),
      name,
      kind: 1,
      startTimeUnixNano: `${from}`,
      endTimeUnixNano: `${from + BigInt(span.duration ?? 900)}`,
      status: failed === true ? { code: 2, message: 'it failed' } : {},
      attributes: Object.entries(attributes).map(([key, value]) => ({ key, value: anyValue(value) })),
    };
  });
  for (let at = 0; at < otlp.length; at += 5_000) {
    const scopeSpans = [{ scope: { name: 'journey' }, spans: otlp.slice(at, at + 5_000) }];
    await sendSpans(request, project, scopeSpans);
  }
  return traceId;
}

/** One request, sent again while the server has no room, as an exporter does: other journeys send much at the same time. */
async function sendSpans(request: APIRequestContext, project: string, scopeSpans: readonly unknown[]): Promise<void> {
  const post = () =>
    request.post('/v1/traces', {
      headers: { 'x-assay-project': project },
      data: { resourceSpans: [{ resource: { attributes: [] }, scopeSpans }] },
    });
  let sent = await post();
  for (let again = 0; sent.status() === 503 && again < 60; again += 1) {
    await new Promise((come) => setTimeout(come, 1_000 * Number(sent.headers()['retry-after'] ?? 1)));
    sent = await post();
  }
  expect(sent.status(), await sent.text()).toBe(200);
}

/** Sends so many traces of one span in one request. */
export async function sendMany(request: APIRequestContext, project: string, count: number): Promise<void> {
  const hex = (digits: number) => Array.from({ length: digits }, () => Math.floor(Math.random() * 16).toString(16)).join('');
  const start = BigInt(Date.now()) * 1_000_000n;
  const spans = Array.from({ length: count }, (_, at) => ({
    traceId: hex(32),
    spanId: hex(16),
    name: `one of ${count}`,
    kind: 1,
    startTimeUnixNano: `${start + BigInt(at)}`,
    endTimeUnixNano: `${start + BigInt(at) + 900n}`,
    status: {},
  }));
  await sendSpans(request, project, [{ scope: { name: 'journey' }, spans }]);
}

/** Everything that was ever received: captures were recorded at some time in the past. */
export const ALL_TIME = 'from=all&to=now';

/** Opens the list and waits for rows. */
export async function openList(page: Page, search = ''): Promise<void> {
  await page.goto(`/?${ALL_TIME}${search === '' ? '' : `&${search}`}`);
  await expect(rows(page).first()).toBeVisible();
}

export const grid = (page: Page) => page.getByRole('grid', { name: 'Traces' });
export const rows = (page: Page) => grid(page).getByRole('rowgroup').getByRole('row');
export const filter = (page: Page) => page.getByRole('combobox', { name: 'Filter' });
export const tree = (page: Page) => page.getByRole('tree', { name: 'Spans' });

export type TraceEvent = { readonly name: string; readonly ph: string; readonly pid: number; readonly tid: number; readonly ts: number; readonly dur?: number; readonly tdur?: number }; // prettier-ignore

/** What the page's main thread did while `act` ran, in order of time. */
export async function mainThread(browser: Browser, page: Page, act: () => Promise<void>): Promise<readonly TraceEvent[]> {
  await browser.startTracing(page, { categories: ['toplevel', 'cc', 'blink', 'devtools.timeline'] });
  await act();
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString()) as { traceEvents: TraceEvent[] };
  // The thread that lays out is the page's main thread.
  const thread = (event: TraceEvent) => `${event.pid} ${event.tid}`;
  const layouts = new Map<string, number>();
  for (const event of traceEvents) if (event.name === 'Layout') layouts.set(thread(event), (layouts.get(thread(event)) ?? 0) + 1);
  const main = [...layouts].sort(([, a], [, b]) => b - a)[0]?.[0];
  expect(main, 'something was laid out').toBeDefined();
  return traceEvents.filter((event) => event.ph === 'X' && thread(event) === main).sort((a, b) => a.ts - b.ts);
}

/** The longest task of the page's main thread while `act` ran, in its own processor time, milliseconds: other work of the machine is not in it. */
export async function longestTask(browser: Browser, page: Page, act: () => Promise<void>): Promise<number> {
  const events = await mainThread(browser, page, act);
  const tasks = events.filter((event) => event.name === 'ThreadControllerImpl::RunTask');
  expect(tasks.length).toBeGreaterThan(0);
  return tasks.reduce((longest, task) => Math.max(longest, (task.tdur ?? 0) / 1000), 0);
}
