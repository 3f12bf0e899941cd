/**
 * Which columns a table shows, in which order and how wide, and how that stands in the address: `*name.320-model-cost` is `name` pinned and
 * 320 px wide, then `model` and `cost`. Invariant: pinned columns come first.
 */

export type ColumnShape = {
  /** Letters, digits and `_`, so that it can stand in an address. */
  readonly id: string;
  /** Width in CSS pixels until the person chooses one. */
  readonly width: number;
  /** Share of the room that is left over; none by default. */
  readonly grow?: number;
  /** Not shown until chosen. */
  readonly optional?: boolean;
  /** Gives way first where the table is narrow; higher goes earlier. */
  readonly spare?: number;
};

export type Placed = { readonly id: string; readonly width: number | null; readonly pinned: boolean };
export type Layout = readonly Placed[];

export const MIN_WIDTH = 44;
export const MAX_WIDTH = 1200;

export function defaultLayout(columns: readonly ColumnShape[]): Layout {
  return columns.filter((column) => column.optional !== true).map(({ id }) => ({ id, width: null, pinned: false }));
}

/** The layout an address asks for. What it names wrongly is left out; if nothing is left, the default. */
export function parseLayout(text: string | undefined, columns: readonly ColumnShape[]): Layout {
  const known = new Set(columns.map((column) => column.id));
  const layout: Placed[] = [];
  for (const part of (text ?? '').split('-')) {
    const match = /^(\*?)(\w+)(?:\.(\d{2,4}))?$/.exec(part);
    const id = match?.[2] ?? '';
    if (!match || !known.delete(id)) continue;
    layout.push({ id, width: match[3] === undefined ? null : bounded(Number(match[3])), pinned: match[1] === '*' });
  }
  return layout.length === 0 ? defaultLayout(columns) : pinnedFirst(layout);
}

/** The layout as text for the address; `null` for the default one. */
export function formatLayout(layout: Layout, columns: readonly ColumnShape[]): string | null {
  const text = (each: Layout) =>
    each.map(({ id, width, pinned }) => `${pinned ? '*' : ''}${id}${width === null ? '' : `.${width}`}`).join('-');
  return text(layout) === text(defaultLayout(columns)) ? null : text(layout);
}

/** `id` put before `before`, or to the end. It takes the pinning of the place it comes to. */
export function moveColumn(layout: Layout, id: string, before: string | null): Layout {
  const moved = layout.find((each) => each.id === id);
  if (!moved || id === before) return layout;
  const rest = layout.filter((each) => each.id !== id);
  const at = before === null ? rest.length : rest.findIndex((each) => each.id === before);
  if (at < 0) return layout;
  // Between two pinned columns, or before the first, it is pinned; to the right of the last pinned one it is free.
  const pinned = rest[at]?.pinned === true;
  return pinnedFirst([...rest.slice(0, at), { ...moved, pinned }, ...rest.slice(at)]);
}

/** One place to the left (−1) or right (1), within its own group of pinned or free columns. */
export function shiftColumn(layout: Layout, id: string, by: -1 | 1): Layout {
  const at = layout.findIndex((each) => each.id === id);
  const one = layout[at];
  const other = layout[at + by];
  if (!one || !other || one.pinned !== other.pinned) return layout;
  return layout.map((each, index) => (index === at ? other : index === at + by ? one : each));
}

export function resizeColumn(layout: Layout, id: string, width: number | null): Layout {
  return layout.map((each) => (each.id === id ? { ...each, width: width === null ? null : bounded(width) } : each));
}

export function pinColumn(layout: Layout, id: string, pinned: boolean): Layout {
  return pinnedFirst(layout.map((each) => (each.id === id ? { ...each, pinned } : each)));
}

/** Shows a column where its kind puts it, or hides it; the last one stays. */
export function toggleColumn(layout: Layout, id: string, columns: readonly ColumnShape[]): Layout {
  if (layout.some((each) => each.id === id)) return layout.length === 1 ? layout : layout.filter((each) => each.id !== id);
  const order = columns.map((column) => column.id);
  const at = layout.findIndex((each) => !each.pinned && order.indexOf(each.id) > order.indexOf(id));
  const added: Placed = { id, width: null, pinned: false };
  return at < 0 ? [...layout, added] : [...layout.slice(0, at), added, ...layout.slice(at)];
}

/** The columns of an untouched layout that fit into `room` pixels: spare ones give way first. */
export function fitting<C extends ColumnShape>(columns: readonly C[], room: number): readonly C[] {
  let kept = columns;
  const spare = columns.filter((column) => column.spare !== undefined).sort((a, b) => (b.spare ?? 0) - (a.spare ?? 0));
  for (const column of spare) {
    if (room === 0 || kept.reduce((sum, each) => sum + each.width, 0) <= room) break;
    kept = kept.filter((each) => each !== column);
  }
  return kept;
}

function pinnedFirst(layout: Layout): Layout {
  return [...layout.filter((each) => each.pinned), ...layout.filter((each) => !each.pinned)];
}

function bounded(width: number): number {
  return Math.round(Math.max(MIN_WIDTH, Math.min(MAX_WIDTH, width)));
}
