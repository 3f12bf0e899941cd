/**
 * A trace as a tree, built for 100 000 spans: the columns the server sends become flat arrays in tree order, without recursion and without an
 * object per span. Built in a worker; what is read from it later is read by place.
 *
 * Nothing is dropped: a span whose parent was not received is a root, and a cycle of parents is cut where it was first met.
 */
import type { SpanColumns } from '../../api/types';
import { formatMoneyExact, parseMoney, type Femto } from '../../lib/format';

/** Columns of text, each kept as different words and a code per span. */
export const TEXTS = ['name', 'span_kind', 'operation', 'service_name', 'scope_name', 'status_code', 'error_type', 'provider', 'request_model', 'response_model', 'tool_name', 'tool_call_id', 'agent_name', 'uncounted_reason', 'cost_source', 'cost_usd'] as const; // prettier-ignore
export const NUMBERS = ['input_tokens', 'output_tokens', 'cache_read_tokens', 'cache_write_tokens', 'reasoning_tokens', 'time_to_first_token_ns', 'event_count'] as const; // prettier-ignore

export type TextName = (typeof TEXTS)[number];
export type NumberName = (typeof NUMBERS)[number];
type Words = { readonly words: readonly string[]; /** Place in `words`, -1 for none. */ readonly codes: Int32Array };

export type TraceTree = {
  readonly count: number;
  /** Identifiers in tree order (parents before children, siblings by start), 16 digits each. All arrays are in this order. */
  readonly ids: string;
  /** Start of the first span, nanoseconds since 1970. */
  readonly startUnixNano: string;
  /** Nanoseconds since the first span. */
  readonly starts: Float64Array;
  /** Of a running span: until the last thing known of the trace. */
  readonly durations: Float64Array;
  readonly kinds: Uint8Array;
  /** Bits: see `ERROR` and the others. */
  readonly flags: Uint8Array;
  readonly depth: Int32Array;
  /** Place of the parent, -1 for a root. */
  readonly parent: Int32Array;
  /** Number of spans in the subtree, the span itself included: its descendants are the next `size - 1`. */
  readonly size: Int32Array;
  /** Spans with an error in the subtree, the span itself included. */
  readonly errors: Int32Array;
  /** Cost of the calls in the subtree that count: whole dollars (NaN: nothing is known) and the rest in 10⁻¹⁵ dollars, both exact. */
  readonly dollars: Float64Array;
  readonly rest: Float64Array;
  /** Tokens of the calls in the subtree that count. */
  readonly inputTokens: Float64Array;
  readonly outputTokens: Float64Array;
  readonly texts: Readonly<Record<TextName, Words>>;
  /** NaN for none. */
  readonly numbers: Readonly<Record<NumberName, Float64Array>>;
  /** Places in order of start. */
  readonly byStart: Int32Array;
  readonly endNs: number;
  readonly maxDurationNs: number;
  /** Largest own cost of one span in dollars, for colours only. */
  readonly maxCost: number;
  /** Spans that name a parent which was not received. */
  readonly orphans: number;
  readonly running: number;
};

export const ERROR = 1;
export const COUNTED = 2;
export const RUNNING = 4;

const FEMTO_PER_DOLLAR = 1e15;
const PARENT_NOT_RECEIVED = -2;

export function buildTree(columns: SpanColumns): TraceTree {
  const n = columns.count;
  const { order, place, depth, parent } = inTreeOrder(columns.parents, n);
  const texts = Object.fromEntries(TEXTS.map((name) => [name, readWords(columns[name], place, n)])) as Record<TextName, Words>;
  const numbers = Object.fromEntries(NUMBERS.map((name) => [name, readNumbers(columns[name], place, n)])) as Record<
    NumberName,
    Float64Array
  >;

  const starts = new Float64Array(n);
  const durations = new Float64Array(n);
  const flags = new Uint8Array(n);
  const ids = new Array<string>(n);
  let endNs = 0;
  let maxDurationNs = 0;
  for (let at = 0; at < n; at += 1) {
    const from = order[at] ?? 0;
    starts[at] = columns.start_ns[from] ?? 0;
    durations[at] = Math.max(0, columns.duration_ns[from] ?? 0);
    ids[at] = columns.span_ids.slice(from * 16, from * 16 + 16);
    endNs = Math.max(endNs, (starts[at] ?? 0) + (durations[at] ?? 0));
    maxDurationNs = Math.max(maxDurationNs, durations[at] ?? 0);
  }
  const failed = texts.status_code.words.indexOf('ERROR');
  const flag = (at: number, bit: number) => (flags[at] = (flags[at] ?? 0) | bit);
  if (failed >= 0) texts.status_code.codes.forEach((code, at) => code === failed && flag(at, ERROR));
  // Some SDKs name the error and leave the status unset.
  texts.error_type.codes.forEach((code, at) => code >= 0 && flag(at, ERROR));
  for (const from of columns.counted) flag(place[from] ?? 0, COUNTED);
  for (const from of columns.running) {
    const at = place[from] ?? 0;
    flag(at, RUNNING);
    durations[at] = Math.max(0, endNs - (starts[at] ?? 0));
  }

  const operations = texts.operation.words.map(kindOf);
  const kinds = new Uint8Array(n);
  texts.operation.codes.forEach(
    (code, at) => (kinds[at] = STEP_KINDS.indexOf(code < 0 ? 'other' : (operations[code] ?? 'other'))),
  );

  const size = new Int32Array(n).fill(1);
  const errors = new Int32Array(n);
  const dollars = new Float64Array(n).fill(NaN);
  const rest = new Float64Array(n);
  const inputTokens = new Float64Array(n);
  const outputTokens = new Float64Array(n);
  const costs = texts.cost_usd.words.map(splitMoney);
  let maxCost = 0;
  for (let at = 0; at < n; at += 1) {
    const bits = flags[at] ?? 0;
    errors[at] = bits & ERROR ? 1 : 0;
    if (!(bits & COUNTED)) continue;
    const cost = costs[texts.cost_usd.codes[at] ?? -1];
    if (cost) {
      [dollars[at], rest[at]] = cost;
      maxCost = Math.max(maxCost, cost[0] + cost[1] / FEMTO_PER_DOLLAR);
    }
    inputTokens[at] = orZero(numbers.input_tokens[at]);
    outputTokens[at] = orZero(numbers.output_tokens[at]);
  }
  // Children stand after their parents, so one walk backwards carries every sum up.
  for (let at = n - 1; at >= 0; at -= 1) {
    const above = parent[at] ?? -1;
    if (above < 0) continue;
    size[above] = (size[above] ?? 0) + (size[at] ?? 0);
    errors[above] = (errors[above] ?? 0) + (errors[at] ?? 0);
    inputTokens[above] = (inputTokens[above] ?? 0) + (inputTokens[at] ?? 0);
    outputTokens[above] = (outputTokens[above] ?? 0) + (outputTokens[at] ?? 0);
    if (Number.isNaN(dollars[at] ?? NaN)) continue;
    const sum = (rest[above] ?? 0) + (rest[at] ?? 0);
    const carry = sum >= FEMTO_PER_DOLLAR ? 1 : 0;
    rest[above] = sum - carry * FEMTO_PER_DOLLAR;
    dollars[above] = orZero(dollars[above]) + (dollars[at] ?? 0) + carry;
  }
  return {
    count: n, ids: ids.join(''), startUnixNano: columns.start_unix_nano, starts, durations, kinds, flags, depth, parent, size, errors,
    dollars, rest, inputTokens, outputTokens, texts, numbers, byStart: place, endNs, maxDurationNs, maxCost,
    orphans: columns.parents.reduce((sum, above) => sum + (above === PARENT_NOT_RECEIVED ? 1 : 0), 0),
    running: columns.running.length,
  }; // prettier-ignore
}

/** Tree order and its inverse, depths and parents, from parents by place in order of start. */
function inTreeOrder(parents: readonly number[], n: number) {
  const first = new Int32Array(n).fill(-1);
  const next = new Int32Array(n).fill(-1);
  const isRoot = (at: number) => {
    const above = parents[at] ?? -1;
    return above < 0 || above === at;
  };
  for (let at = n - 1; at >= 0; at -= 1) {
    if (isRoot(at)) continue;
    const above = parents[at] ?? 0;
    next[at] = first[above] ?? -1;
    first[above] = at;
  }
  const order = new Int32Array(n);
  const place = new Int32Array(n).fill(-1);
  const depth = new Int32Array(n);
  const parent = new Int32Array(n).fill(-1);
  const stack = new Int32Array(n + 1);
  let count = 0;
  const walk = (root: number) => {
    // The stack holds the next span to visit at each level; a cycle ends where a span already has its place.
    let top = 0;
    const visit = (span: number, level: number, above: number) => {
      order[count] = span;
      place[span] = count;
      depth[count] = level;
      parent[count] = above;
      count += 1;
    };
    visit(root, 0, -1);
    stack[0] = root;
    let cursor = first[root] ?? -1;
    for (;;) {
      while (cursor >= 0 && (place[cursor] ?? -1) >= 0) cursor = next[cursor] ?? -1;
      if (cursor >= 0) {
        visit(cursor, top + 1, place[stack[top] ?? 0] ?? -1);
        top += 1;
        stack[top] = cursor;
        cursor = first[cursor] ?? -1;
        continue;
      }
      if (top === 0) return;
      cursor = next[stack[top] ?? 0] ?? -1;
      top -= 1;
    }
  };
  for (let at = 0; at < n; at += 1) if (isRoot(at)) walk(at);
  // What has no place yet hangs on a cycle: the earliest of it becomes a root.
  for (let at = 0; at < n; at += 1) if ((place[at] ?? -1) < 0) walk(at);
  return { order, place, depth, parent };
}

type TextColumn = SpanColumns['name'];
type NumberColumn = SpanColumns['input_tokens'];

function readWords(column: TextColumn, place: Int32Array, n: number): Words {
  const codes = new Int32Array(n).fill(-1);
  const { rows } = column;
  column.values.forEach((code, at) => (codes[place[rows ? (rows[at] ?? 0) : at] ?? 0] = code));
  return { words: column.words, codes };
}

function readNumbers(column: NumberColumn, place: Int32Array, n: number): Float64Array {
  const values = new Float64Array(n).fill(NaN);
  const { rows } = column;
  column.values.forEach((value, at) => (values[place[rows ? (rows[at] ?? 0) : at] ?? 0] = value));
  return values;
}

/** Whole dollars and the rest in 10⁻¹⁵ dollars. Both fit a double exactly up to nine quadrillion dollars. */
function splitMoney(text: string): [number, number] | null {
  const value = parseMoney(text);
  if (value === null) return null;
  const one = BigInt(FEMTO_PER_DOLLAR);
  const whole = value / one;
  return [Number(whole), Number(value - whole * one)];
}

const orZero = (value: number | undefined): number => (value === undefined || Number.isNaN(value) ? 0 : value);

/** The arrays that move from the worker to the page rather than being copied. */
export function buffersOf(tree: TraceTree): ArrayBuffer[] {
  const arrays = [...Object.values(tree), ...Object.values(tree.texts).map((text) => text.codes), ...Object.values(tree.numbers)];
  return arrays.flatMap((each) => (ArrayBuffer.isView(each) && each.buffer instanceof ArrayBuffer ? [each.buffer] : []));
}

// --- what is read by place ---

export function idAt(tree: TraceTree, at: number): string {
  return tree.ids.slice(at * 16, at * 16 + 16);
}

/** The place of a span; -1 if the trace does not have it. */
export function indexOfId(tree: TraceTree, id: string): number {
  if (id.length !== 16) return -1;
  for (let found = tree.ids.indexOf(id); found >= 0; found = tree.ids.indexOf(id, found + 1))
    if (found % 16 === 0) return found / 16;
  return -1;
}

export function textAt(tree: TraceTree, name: TextName, at: number): string | null {
  const { words, codes } = tree.texts[name];
  return words[codes[at] ?? -1] ?? null;
}

export function numberAt(tree: TraceTree, name: NumberName, at: number): number | null {
  const value = tree.numbers[name][at];
  return value === undefined || Number.isNaN(value) ? null : value;
}

export function has(tree: TraceTree, at: number, bit: number): boolean {
  return ((tree.flags[at] ?? 0) & bit) !== 0;
}

/** Cost of a subtree, exact; `null` if none of it is known. */
export function costAt(tree: TraceTree, at: number): Femto | null {
  const dollars = tree.dollars[at] ?? NaN;
  return Number.isNaN(dollars) ? null : BigInt(dollars) * BigInt(FEMTO_PER_DOLLAR) + BigInt(tree.rest[at] ?? 0);
}

/** Cost of a subtree in dollars, for colours and shares; NaN if unknown. */
export function costShare(tree: TraceTree, at: number): number {
  return (tree.dollars[at] ?? NaN) + (tree.rest[at] ?? 0) / FEMTO_PER_DOLLAR;
}

/** The model that answered, else the one asked for. */
export function modelAt(tree: TraceTree, at: number): string | null {
  return textAt(tree, 'response_model', at) ?? textAt(tree, 'request_model', at);
}

/** What the trace itself tells about a span, before anything else is asked. */
export type SpanHead = Readonly<Record<TextName, string | null>> &
  Readonly<Record<NumberName, number | null>> & {
    readonly span_id: string;
    readonly start_time: string;
    readonly start_ns: number;
    readonly duration_ns: number;
    readonly running: boolean;
  };

export function headAt(tree: TraceTree, at: number): SpanHead {
  const texts = Object.fromEntries(TEXTS.map((name) => [name, textAt(tree, name, at)])) as Record<TextName, string | null>;
  const numbers = Object.fromEntries(NUMBERS.map((name) => [name, numberAt(tree, name, at)])) as Record<
    NumberName,
    number | null
  >;
  return {
    ...texts,
    ...numbers,
    span_id: idAt(tree, at),
    start_time: isoTime(tree.startUnixNano, tree.starts[at] ?? 0),
    start_ns: tree.starts[at] ?? 0,
    duration_ns: tree.durations[at] ?? 0,
    running: has(tree, at, RUNNING),
  };
}

/** RFC 3339 with nanoseconds. */
export function isoTime(startUnixNano: string, offsetNs: number): string {
  const nanos = BigInt(startUnixNano) + BigInt(Math.round(offsetNs));
  const seconds = new Date(Number(nanos / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${(nanos % 1_000_000_000n).toString().padStart(9, '0')}Z`;
}

/** Exact cost of a subtree as text. */
export function costText(tree: TraceTree, at: number): string {
  return formatMoneyExact(costAt(tree, at));
}

// --- folding and searching ---

/** Places of the spans that are shown when the spans in `collapsed` hide their descendants. */
export function visibleRows(tree: TraceTree, collapsed: ReadonlySet<number>): Int32Array {
  const rows = new Int32Array(tree.count);
  let count = 0;
  for (let at = 0; at < tree.count;) {
    rows[count] = at;
    count += 1;
    at += collapsed.has(at) ? (tree.size[at] ?? 1) : 1;
  }
  return rows.subarray(0, count);
}

/** Position in `rows` of a span, by binary search; -1 if it is hidden. */
export function rowOf(rows: Int32Array, index: number): number {
  let low = 0;
  let high = rows.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const value = rows[middle] ?? 0;
    if (value === index) return middle;
    if (value < index) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** `collapsed` without the ancestors of a span, so that it can be seen. */
export function revealed(tree: TraceTree, collapsed: ReadonlySet<number>, index: number): ReadonlySet<number> {
  let next: Set<number> | null = null;
  for (let above = tree.parent[index] ?? -1; above >= 0; above = tree.parent[above] ?? -1) {
    if (!collapsed.has(above)) continue;
    next ??= new Set(collapsed);
    next.delete(above);
  }
  return next ?? collapsed;
}

/** Every span that has children and is at least so deep. */
export function collapsible(tree: TraceTree, minDepth = 0): Set<number> {
  const set = new Set<number>();
  for (let at = 0; at < tree.count; at += 1) if ((tree.size[at] ?? 1) > 1 && (tree.depth[at] ?? 0) >= minDepth) set.add(at);
  return set;
}

/** Short columns that a search looks at. */
export const SEARCHED = ['name', 'response_model', 'request_model', 'tool_name', 'agent_name', 'error_type', 'service_name', 'tool_call_id'] as const; // prettier-ignore
/** A span's id in lower case. */
export const SPAN_ID = /^[0-9a-f]{16}$/;

/** Spans whose name, model, tool, agent, error, service or id hold the text, whatever the case. Each different word is looked at once. */
export function searchSpans(tree: TraceTree, text: string): number[] {
  const wanted = text.trim().toLowerCase();
  if (wanted === '') return [];
  const columns = SEARCHED.map((name) => {
    const { words, codes } = tree.texts[name];
    return { codes, match: words.map((word) => word.toLowerCase().includes(wanted)) };
  }).filter(({ match }) => match.includes(true));
  const id = SPAN_ID.test(wanted) ? indexOfId(tree, wanted) : -1;
  const hits: number[] = [];
  for (let at = 0; at < tree.count; at += 1)
    if (at === id || columns.some(({ codes, match }) => match[codes[at] ?? -1] === true)) hits.push(at);
  return hits;
}

/** The next span after `from` with this bit, from the top again at the end; -1 if none has it. */
export function nextWith(tree: TraceTree, bit: number, from: number): number {
  for (let step = 1; step <= tree.count; step += 1) {
    const at = (from + step) % tree.count;
    if (has(tree, at, bit)) return at;
  }
  return -1;
}

/** What kind of step a span is, for its mark and colour. */
export const STEP_KINDS = ['chat', 'tool', 'agent', 'retrieval', 'embeddings', 'guard', 'other'] as const;
export type StepKind = (typeof STEP_KINDS)[number];

export function kindAt(tree: TraceTree, at: number): StepKind {
  return STEP_KINDS[tree.kinds[at] ?? 6] ?? 'other';
}

/** Values of the column `operation` by what kind of step they are; every other one is `other`. */
export const OPERATIONS = {
  chat: ['chat', 'text_completion', 'generate_content'],
  tool: ['execute_tool'],
  agent: ['invoke_agent', 'create_agent', 'invoke_workflow'],
  retrieval: ['retrieval', 'rerank'],
  embeddings: ['embeddings'],
  guard: ['guardrail', 'evaluation'],
} as const satisfies Partial<Record<StepKind, readonly string[]>>;

function kindOf(operation: string): StepKind {
  const found = Object.entries(OPERATIONS).find(([, operations]) => operations.some((each) => each === operation));
  return (found?.[0] as StepKind | undefined) ?? 'other';
}
