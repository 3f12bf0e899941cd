// Puts a gzipped copy beside every text file of `dist/`; the binary sends it to whoever takes gzip. Run by `npm run build`.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const dist = join(import.meta.dirname, '..', 'dist');
for (const path of readdirSync(dist, { recursive: true })) {
  if (!/\.(js|css|svg)$/.test(path)) continue;
  const bytes = readFileSync(join(dist, path));
  const compressed = gzipSync(bytes, { level: 9 });
  // A copy that saves nothing only makes the binary larger.
  if (compressed.length < bytes.length * 0.9) writeFileSync(join(dist, `${path}.gz`), compressed);
}
