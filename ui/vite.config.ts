import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

/** The server that `npm run dev` sends API calls to. */
const server = process.env['ASSAY_URL'] ?? 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [react()],
  server: { proxy: { '/api': server, '/v1': server, '/healthz': server } },
  // What stands in e2e/ is for Playwright.
  test: { include: ['src/**/*.test.ts'] },
  build: {
    target: 'es2022',
    // The binary embeds the files; source maps would only make it larger.
    sourcemap: false,
    reportCompressedSize: false,
    chunkSizeWarningLimit: 700,
  },
});
