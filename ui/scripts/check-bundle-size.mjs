// Fails the build if the script of the first page outgrows its budget: 400 KB compressed. Run by `npm run build`.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const BUDGET_BYTES = 400 * 1024;
const dist = join(import.meta.dirname, '..', 'dist');
const html = readFileSync(join(dist, 'index.html'), 'utf8');
const first = [...html.matchAll(/(?:src|href)="(\/assets\/[^"]+\.js)"/g)].map((match) => match[1]);
if (first.length === 0) throw new Error('dist/index.html names no script');

let total = 0;
for (const path of first) total += gzipSync(readFileSync(join(dist, path))).length;
console.log(
  `first page: ${first.length} script(s), ${(total / 1024).toFixed(1)} KB compressed, budget ${BUDGET_BYTES / 1024} KB`,
);
if (total > BUDGET_BYTES) {
  console.error('error: the first page is over its budget; load something later (see README.md)');
  process.exit(1);
}
