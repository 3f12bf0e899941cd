import { defineConfig } from '@playwright/test';

/** The running server under test, already filled with captured traces and demo traffic; see README.md. */
const baseURL = process.env['ASSAY_URL'];
if (baseURL === undefined) throw new Error('set ASSAY_URL to the address of a running `assay serve` with traces in it');

export default defineConfig({
  testDir: './e2e',
  outputDir: './test-results',
  fullyParallel: true,
  workers: 2,
  retries: 0,
  // A debug server on a busy machine is slow; waiting costs nothing where it is not.
  timeout: 120_000,
  expect: { timeout: 30_000 },
  reporter: 'list',
  use: {
    baseURL,
    viewport: { width: 1440, height: 900 },
    launchOptions: {
      executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'],
    },
    trace: 'off',
    screenshot: 'only-on-failure',
  },
});
