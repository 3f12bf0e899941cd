/** The ingest page: what comes in adds up, what was refused is understood and mended. */
import { expect, test, type APIRequestContext, type Page } from '@playwright/test';

import { one, send } from './support';

const hex = (length: number) => Array.from({ length }, () => Math.floor(Math.random() * 16).toString(16)).join('');

/** Sends one good span and one whose trace id is zero; answers the name of the service. */
async function sendRefused(request: APIRequestContext, project: string): Promise<string> {
  const service = `shop-${hex(4)}`;
  const now = `${BigInt(Date.now()) * 1_000_000n}`;
  const span = { kind: 1, startTimeUnixNano: now, endTimeUnixNano: now, status: {} };
  const sent = await request.post('/v1/traces', {
    headers: { 'x-assay-project': project },
    data: {
      resourceSpans: [
        {
          resource: { attributes: [{ key: 'service.name', value: { stringValue: service } }] },
          scopeSpans: [
            {
              scope: { name: 'journey' },
              spans: [
                { ...span, traceId: hex(32), spanId: hex(16), name: 'good' },
                { ...span, traceId: '0'.repeat(32), spanId: hex(16), name: 'pay the order' },
              ],
            },
          ],
        },
      ],
    },
  });
  expect(sent.status()).toBe(200);
  return service;
}

const record = (page: Page) => page.getByRole('textbox', { name: 'Record as OTLP/JSON' });

test('quarantine to fix: the reason is read, the record mended and sent again', async ({ page, request }) => {
  const project = `mend-${hex(8)}`;
  const service = await sendRefused(request, project);
  await page.goto(`/ingest?project=${project}`);
  await page.getByRole('link', { name: 'why, and what to do' }).click();
  await expect(page.getByRole('heading', { name: 'The trace id is all zeros' })).toBeVisible();
  await expect(page.getByRole('list', { name: 'Reasons' })).toContainText(service);
  await expect(record(page)).toHaveValue(/pay the order/);

  await page.getByRole('button', { name: 'Send it again' }).click();
  await expect(page.getByText('Refused again.')).toBeVisible();

  const traceId = hex(32);
  await record(page).fill((await record(page).inputValue()).replace('0'.repeat(32), traceId));
  await page.getByRole('button', { name: 'Send it again' }).click();
  await page.getByRole('link', { name: 'Open its trace' }).click();
  await expect(page).toHaveURL(new RegExp(`/traces/${traceId}\\?.*span=`));
  await expect(page.getByRole('tree', { name: 'Spans' })).toContainText('pay the order');
});

test('the ledger balances, and its numbers are those that its SQL gives in the workbench', async ({ page, request }) => {
  const project = `ledger-${hex(8)}`;
  await send(request, project, [{ name: 'root' }, { name: 'step', parent: 0 }, { name: 'step', parent: 0 }]);
  await sendRefused(request, project);
  await page.goto(`/ingest?project=${project}&from=all`);
  const row = page.getByRole('region', { name: 'Ledger', exact: true }).getByRole('row', { name: /^traces/ });
  await expect(row).toContainText('balances');
  await expect(row.getByRole('cell')).toHaveText(['traces', '2', '5', '4', '1', '0', 'balances', '4 rows', /B$/]);
  await page.getByRole('link', { name: 'SQL of Ledger' }).last().click();
  const result = page.getByRole('grid', { name: 'Result' });
  await expect(result.getByRole('gridcell')).toHaveText(['traces', '2', '5', '4', '1', '0', '0', /\d+/]);
});

test('models without a price are listed with their volume and the way to a price', async ({ page, request }) => {
  const model = await one(
    request,
    `SELECT coalesce(response_model, request_model) AS model, count(*) AS calls FROM llm_calls
     WHERE cost_source = 'unpriced' GROUP BY provider, 1 ORDER BY 2 DESC, 1 LIMIT 1`,
  );
  await page.goto('/ingest?tab=prices');
  const row = page
    .getByRole('row')
    .filter({ hasText: String(model['model']) })
    .first();
  await expect(row).toContainText(Number(model['calls']).toLocaleString('en-US'));
  await row.getByRole('button', { name: 'How to price it' }).click();
  await expect(page.getByRole('region', { name: /^A price for/ })).toContainText(`model = "${String(model['model'])}"`);
});

test('storage: log, tables, columns and jobs, each with the SQL that gives it', async ({ page, request }) => {
  await page.goto('/ingest?tab=storage&table=spans');
  await expect(page.getByRole('region', { name: 'At a glance' })).toContainText(/Write-ahead log/);
  const { hot_rows: hot, rows } = await one(request, `SELECT hot_rows, rows FROM system.tables WHERE table_name = 'spans'`);
  const spans = page.getByRole('region', { name: 'Tables' }).getByRole('row', { name: /^spans / });
  expect(Number(hot) + Number(rows)).toBeGreaterThan(0);
  await expect(spans).toBeVisible();
  await expect(page.getByRole('region', { name: 'Bytes by column of spans' })).toBeVisible();
  await expect(page.getByRole('region', { name: 'Background work' })).toContainText(/flush|Nothing was flushed/);
  await page.getByRole('link', { name: 'SQL of Tables' }).click();
  await expect(page.getByRole('grid', { name: 'Result' }).getByRole('gridcell', { name: 'ingest_ledger' })).toBeVisible();
});

test('mapping rules are looked up and tried on attributes and on a call that was received', async ({ page, request }) => {
  await page.goto('/ingest?tab=mappings');
  const answer = page.getByRole('region', { name: 'Try a span' });
  await expect(answer.getByRole('row', { name: /^input_tokens 1200/ })).toBeVisible();
  await expect(answer.getByRole('table', { name: 'Cost' })).toContainText('input');
  const box = page.getByRole('textbox', { name: 'Span or attributes as JSON' });
  await box.fill('{"nothing.known": 1}');
  await page.getByRole('button', { name: 'Try', exact: true }).click();
  await expect(answer).toContainText('Not a call of a model');
  await box.fill('{broken');
  await page.getByRole('button', { name: 'Try', exact: true }).click();
  await expect(page.getByRole('alert')).toContainText('this is not JSON');
  const call = await one(request, 'SELECT request_model FROM llm_calls ORDER BY start_time DESC LIMIT 1');
  await page.getByRole('button', { name: 'Take the latest call' }).click();
  await expect(answer).toContainText('A call of a model');
  if (typeof call['request_model'] === 'string')
    await expect(answer.getByRole('row', { name: /^request_model / })).toContainText(call['request_model']);

  await page.getByRole('list', { name: 'Dialects' }).getByRole('link').first().click();
  await expect(page).toHaveURL(/dialect=/);
  await page.getByLabel('Find a column or attribute').fill('input_tokens');
  await expect(
    page
      .getByRole('region', { name: /^Rules of/ })
      .getByRole('row')
      .nth(1),
  ).toContainText('input_tokens');
});

test('a project that received nothing says so', async ({ page }) => {
  await page.goto(`/ingest?project=nothing-${hex(8)}`);
  await expect(page.getByText('never')).toBeVisible();
  await expect(page.getByText('Nothing was received in this time.').first()).toBeVisible();
  await page.getByRole('link', { name: 'Quarantine' }).click();
  await expect(page.getByRole('heading', { name: 'Nothing was refused' })).toBeVisible();
});
