/** How cells of a result read, align and copy. */

/** Numbers stand to the right, so that their digits line up. */
export function isNumeric(type: string): boolean {
  return /^(u?int|float|double|decimal|bigint|smallint|tinyint|integer|real)/i.test(type);
}

export function cellText(value: unknown): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}

/** Where a cell leads: to its trace, or to its span where the row names both. */
export function cellLink(columns: readonly { name: string }[], row: readonly unknown[], column: number): string | null {
  const name = columns[column]?.name;
  const value = row[column];
  if (typeof value !== 'string') return null;
  if (name === 'trace_id') return /^[0-9a-f]{32}$/.test(value) ? `/traces/${value}` : null;
  if (name !== 'span_id' || !/^[0-9a-f]{16}$/.test(value)) return null;
  const trace = row[columns.findIndex((each) => each.name === 'trace_id')];
  return typeof trace === 'string' && /^[0-9a-f]{32}$/.test(trace) ? `/traces/${trace}?span=${value}` : null;
}

/** First guess of a column's width, from its name and the first rows. */
export function columnWidth(name: string, rows: readonly (readonly unknown[])[], column: number): number {
  const longest = rows.slice(0, 50).reduce((max, row) => Math.max(max, cellText(row[column]).length), name.length + 2);
  return Math.max(64, Math.min(380, Math.round(longest * 7.3) + 22));
}

/** Tab-separated text, as spreadsheets paste it. */
export function asTsv(columns: readonly { name: string }[], rows: readonly (readonly unknown[])[]): string {
  const plain = (text: string) => (/[\t\n\r"]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  const lines = rows.map((row) => row.map((value) => plain(cellText(value))).join('\t'));
  return [columns.map((column) => plain(column.name)).join('\t'), ...lines].join('\n');
}
