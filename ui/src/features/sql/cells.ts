/** What the cells of a result are: numbers, ids that lead somewhere, JSON. Pure. */
import { cellText } from '../../lib/table';

/** Numbers stand to the right, so that their digits line up. */
export function isNumeric(type: string): boolean {
  return /^(u?int|float|double|decimal|bigint|smallint|tinyint|integer|real|numeric)/i.test(type);
}

export function isTime(type: string): boolean {
  return /^(timestamp|date)/i.test(type);
}

/** Where a cell leads: to its trace, to its span where the row names both, to a session, to a user. */
export function cellLink(columns: readonly { name: string }[], row: readonly unknown[], column: number): string | null {
  const name = columns[column]?.name;
  const value = row[column];
  if (typeof value !== 'string' || name === undefined) return null;
  if (/^(\w+_)?trace_id$/.test(name)) return /^[0-9a-f]{32}$/.test(value) ? `/traces/${value}` : null;
  if (name === 'session_id') return value === '' ? null : `/sessions/${encodeURIComponent(value)}`;
  // The workbench knows no range of its own: the user's page shows all there is of them.
  if (name === 'user_id') return value === '' ? null : `/users/${encodeURIComponent(value)}?from=all&to=now`;
  if (!/^(\w+_)?span_id$/.test(name) || !/^[0-9a-f]{16}$/.test(value)) return null;
  const trace = row[columns.findIndex((each) => each.name === 'trace_id')];
  return typeof trace === 'string' && /^[0-9a-f]{32}$/.test(trace) ? `/traces/${trace}?span=${value}` : null;
}

/** First guess of a column's width, from its name and the first rows. */
export function columnWidth(name: string, rows: readonly (readonly unknown[])[], column: number): number {
  const longest = rows.slice(0, 50).reduce((max, row) => Math.max(max, cellText(row[column]).length), name.length + 3);
  return Math.max(64, Math.min(380, Math.round(longest * 7.3) + 22));
}

/** A cell that is an object or array, or text that reads as one; `undefined`: it is neither. */
export function asStructure(value: unknown): unknown {
  if (typeof value === 'object' && value !== null) return value;
  if (typeof value !== 'string' || !/^\s*[[{]/.test(value)) return undefined;
  try {
    return JSON.parse(value);
  } catch {
    return undefined;
  }
}
