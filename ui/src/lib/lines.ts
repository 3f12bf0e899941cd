/** Where the rows of a long text begin when it is wrapped after so many characters, so that any part of it can be drawn alone. Pure. */

/** How far before the end of a row a space may stand for the row to break there. */
const BREAK_BACK = 24;

/**
 * Offsets at which rows begin; the end of the text follows as the last one. A row ends after a line break, or after `columns` UTF-16 units,
 * at a space if one is near, and never within a surrogate pair. Four bytes for each row, and the text is read once.
 */
export function rowStarts(text: string, columns: number): Uint32Array {
  let starts = new Uint32Array(1 + Math.ceil(text.length / columns));
  let count = 0;
  const push = (at: number) => {
    if (count === starts.length) {
      const larger = new Uint32Array(2 * count);
      larger.set(starts);
      starts = larger;
    }
    starts[count] = at;
    count += 1;
  };
  let at = 0;
  while (at < text.length) {
    const newline = text.indexOf('\n', at);
    const end = newline < 0 ? text.length : newline + 1;
    // A line break does not need a column of its own.
    const visible = newline < 0 ? end : newline;
    for (; visible - at > columns; at = wrapAt(text, at, columns)) push(at);
    push(at);
    at = end;
  }
  if (count === 0 || text.endsWith('\n')) push(text.length);
  push(text.length);
  return starts.slice(0, count);
}

function wrapAt(text: string, at: number, columns: number): number {
  const end = at + columns;
  const space = text.lastIndexOf(' ', end - 1);
  if (space >= end - BREAK_BACK && space > at) return space + 1;
  const unit = text.charCodeAt(end);
  return unit >= 0xdc00 && unit <= 0xdfff && columns > 1 ? end - 1 : end;
}

/** The row that holds an offset. */
export function rowOf(starts: Uint32Array, offset: number): number {
  let low = 0;
  let high = starts.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((starts[middle] ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}
