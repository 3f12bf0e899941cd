/**
 * A span with a message of 50 MB, sent through the public OTLP port: it opens at once with its beginning and its full size, and shown whole it
 * scrolls, is searched to its end, and only the rows in sight are in the page.
 */
import { expect, test } from '@playwright/test';

import { longestTask, send } from './support';

const BYTES = 50 * 1024 * 1024;
/** What may hold up the page at once, in processor time of its main thread. */
const TASK_MS = 200;

test('a body of 50 MB opens at once, and whole it scrolls and is searched', async ({ browser, page, request }) => {
  test.setTimeout(300_000);
  const project = `body-${Date.now()}`;
  const line = (number: number) =>
    `${number}: all work and no play makes a very long message, a line of a hundred characters or so\n`;
  let message = '';
  for (let number = 0; message.length < BYTES; number += 1) message += line(number);
  message += 'and here is The Needle.';
  const traceId = await send(request, project, [
    {
      name: 'chat',
      attributes: {
        'gen_ai.operation.name': 'chat',
        'gen_ai.input.messages': JSON.stringify([{ role: 'user', parts: [{ type: 'text', content: message }] }]),
      },
    },
  ]);
  const asked = Date.now();
  await page.goto(`/traces/${traceId}?project=${project}`);
  const messages = page.getByRole('list', { name: 'Messages' });
  await expect(messages).toContainText('0: all work');
  const openedMs = Date.now() - asked;
  await expect(messages).toContainText(/first 8\.00 KB of 50\.0 MB/);

  const whole = page.getByRole('region', { name: 'input_messages/0/parts/0/content, whole' });
  const shownMs = await longestTask(browser, page, async () => {
    await messages.getByRole('button', { name: 'Show all' }).click();
    // Whichever comes first: what went wrong is said in the page.
    await expect(whole.or(messages.getByRole('alert'))).toContainText('0: all work', { timeout: 120_000 });
  });
  const scrolledMs = await longestTask(browser, page, async () => {
    const box = await whole.boundingBox();
    if (!box) throw new Error('the text has no size');
    await page.mouse.move(box.x + 80, box.y + 80);
    for (let step = 0; step < 40; step += 1) {
      await page.mouse.wheel(0, step % 10 === 9 ? 3_000 : 300);
      await page.evaluate(() => new Promise((shown) => requestAnimationFrame(() => setTimeout(shown))));
    }
  });
  await expect(whole).not.toContainText(/(^|\s)0: all work/);
  // The wheel moves by what it says, although no box of the page can be as tall as the text.
  const at = Number(/(\d+): all work/.exec(await whole.innerText())?.[1]);
  expect(at).toBeGreaterThan(500);
  expect(at).toBeLessThan(1_500);
  const foundMs = await longestTask(browser, page, async () => {
    await page.getByRole('textbox', { name: /^Find in/ }).fill('the needle');
    await page.getByRole('textbox', { name: /^Find in/ }).press('Enter');
    await expect(whole.locator('mark')).toHaveText('The Needle');
  });
  await whole.focus();
  await page.keyboard.press('Home');
  await expect(whole).toContainText('0: all work');
  await page.keyboard.press('End');
  await expect(whole).toContainText('The Needle');
  const drawn = await page.evaluate(() => document.body.innerText.length);
  expect(drawn).toBeLessThan(100_000);
  console.log(
    `opened in ${openedMs} ms; longest task of the page: whole ${shownMs.toFixed(0)} ms, scrolling ${scrolledMs.toFixed(0)} ms, search ${foundMs.toFixed(0)} ms`,
  );
  expect(scrolledMs).toBeLessThan(TASK_MS);
  expect(shownMs).toBeLessThan(TASK_MS);
});
