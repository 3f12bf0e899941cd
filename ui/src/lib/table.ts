/** Rows of values as text: what a cell reads, how rows are copied, in which order they stand. Pure. */

/** The text of a cell. Nothing is empty text; what is not text is JSON. */
export function cellText(value: unknown): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}

/** Tab-separated text, as spreadsheets paste it; with column names on top if they are given. */
export function asTsv(names: readonly string[] | null, rows: readonly (readonly unknown[])[]): string {
  const plain = (text: string) => (/[\t\n\r"]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  const lines = rows.map((row) => row.map((value) => plain(cellText(value))).join('\t'));
  return (names ? [names.map(plain).join('\t'), ...lines] : lines).join('\n');
}

/** A JSON array of objects. A name that comes twice gets a number, so that no value is lost. */
export function asJson(names: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const keys = names.map((name, at) => {
    const before = names.slice(0, at).filter((each) => each === name).length;
    return before === 0 ? name : `${name}_${before + 1}`;
  });
  return JSON.stringify(
    rows.map((row) => Object.fromEntries(keys.map((key, at) => [key, row[at] ?? null]))),
    null,
    2,
  );
}

/** A rectangle of cells; both ends belong to it. */
export type CellRange = { readonly top: number; readonly bottom: number; readonly left: number; readonly right: number };

export function rangeBetween(a: { row: number; column: number }, b: { row: number; column: number }): CellRange {
  return {
    top: Math.min(a.row, b.row),
    bottom: Math.max(a.row, b.row),
    left: Math.min(a.column, b.column),
    right: Math.max(a.column, b.column),
  };
}

/** An order of rows by a column. */
export type GridSort = { readonly column: number; readonly descending: boolean };

/** Indexes of rows in the order wanted. Equal rows keep their order; what is unknown stands last either way. */
export function sortedRows(rows: readonly (readonly unknown[])[], numeric: boolean, sort: GridSort): number[] {
  const direction = sort.descending ? -1 : 1;
  const keys = rows.map((row) => sortKey(row[sort.column], numeric));
  return rows
    .map((_, at) => at)
    .sort((a, b) => {
      const x = keys[a] ?? null;
      const y = keys[b] ?? null;
      if (x === null || y === null) return x === y ? a - b : x === null ? 1 : -1;
      const order = typeof x === 'number' && typeof y === 'number' ? x - y : COLLATOR.compare(String(x), String(y));
      return order === 0 ? a - b : order * direction;
    });
}

const COLLATOR = new Intl.Collator('en', { numeric: false });

/** Decimals come as text; for their order a float is near enough. */
function sortKey(value: unknown, numeric: boolean): number | string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'number') return value;
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (numeric && typeof value === 'string') {
    const number = Number(value);
    return Number.isNaN(number) ? null : number;
  }
  return cellText(value);
}
