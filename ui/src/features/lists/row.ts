/** Rows of any list, read with care: what is missing or of another type is `null`, never a guess. */

export type Row = Readonly<Record<string, unknown>>;

export function text(row: Row, key: string): string | null {
  const value = row[key];
  return typeof value === 'string' && value !== '' ? value : null;
}

export function num(row: Row, key: string): number | null {
  const value = row[key];
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/** Texts of an array, or of the JSON text of one. */
export function texts(row: Row, key: string): readonly string[] {
  const value = row[key];
  const list: unknown = typeof value === 'string' && value.startsWith('[') ? parsed(value) : value;
  return Array.isArray(list) ? list.filter((each): each is string => typeof each === 'string') : [];
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return null;
  }
}

/** The largest value of a column, for heat; money counts by its size. */
export function largest(rows: readonly Row[], key: string): number {
  return rows.reduce((max, row) => {
    const value = row[key];
    const size = typeof value === 'number' ? value : typeof value === 'string' ? Number(value) : Number.NaN;
    return size > max ? size : max;
  }, 0);
}
