/**
 * A trace as a conversation: the turns of models in order, each with the tool runs it caused, and agents within agents as groups that open.
 *
 * The list is made from the tree alone. What a turn says is asked for when it comes in sight (`contentsQuery`), then `readTurn` puts reasoning
 * beside the tool calls it caused and each call beside its result.
 */
import { isRecord, parseMessages, type Part } from './messages';
import { COUNTED, has, kindAt, textAt, type TraceTree } from './tree';

export type Item =
  /** A model answered. `tools`: the runs that follow before the next turn of the same agent. */
  | { readonly kind: 'turn'; readonly at: number; readonly level: number; readonly tools: readonly number[] }
  /** A step on its own: a tool that no turn caused, a retrieval, a guard. */
  | { readonly kind: 'step'; readonly at: number; readonly level: number }
  /** An agent: at the top it only names who speaks, within another it opens and closes. */
  | {
      readonly kind: 'agent';
      readonly at: number;
      readonly level: number;
      readonly turns: number;
      readonly open: boolean;
      readonly folds: boolean;
    };

/** The items, with agents inside agents closed unless they are in `open` or hold `selected`. */
export function transcriptItems(
  tree: TraceTree,
  open: ReadonlySet<number>,
  collapsed: ReadonlySet<number>,
  selected: number,
): Item[] {
  const items: Item[] = [];
  const ends: { at: number; end: number; turn: { tools: number[] } | null }[] = [{ at: -1, end: tree.count, turn: null }];
  for (let at = 0; at < tree.count;) {
    while ((ends[ends.length - 1]?.end ?? 0) <= at) ends.pop();
    const agent = ends[ends.length - 1] ?? { at: -1, end: tree.count, turn: null };
    const level = Math.max(0, ends.length - 2);
    const end = at + (tree.size[at] ?? 1);
    const kind = kindAt(tree, at);
    let next = at + 1;
    if (kind === 'agent') {
      const folds = ends.length > 1;
      const holds = selected > at && selected < end;
      const isOpen = !collapsed.has(at) && (!folds || open.has(at) || holds);
      items.push({ kind: 'agent', at, level: ends.length - 1, turns: turnsIn(tree, at), open: isOpen, folds });
      agent.turn = null;
      if (isOpen) ends.push({ at, end, turn: null });
      else next = end;
    } else if (kind === 'chat' && isTurn(tree, at)) {
      const turn = { tools: [] as number[] };
      agent.turn = turn;
      items.push({ kind: 'turn', at, level, tools: turn.tools });
    } else if (kind === 'tool') {
      if (agent.turn && !holdsAgent(tree, at)) agent.turn.tools.push(at);
      else items.push({ kind: 'step', at, level });
    } else if (kind === 'retrieval' || kind === 'guard' || kind === 'embeddings') items.push({ kind: 'step', at, level });
    if (kind !== 'agent' && collapsed.has(at)) next = end;
    at = next;
  }
  return items;
}

/** A report of a call that another span tells too is not a turn of its own. */
function isTurn(tree: TraceTree, at: number): boolean {
  return has(tree, at, COUNTED) || textAt(tree, 'uncounted_reason', at) === null;
}

function turnsIn(tree: TraceTree, at: number): number {
  let turns = 0;
  for (let within = at; within < at + (tree.size[at] ?? 1); within += 1)
    if (kindAt(tree, within) === 'chat' && isTurn(tree, within)) turns += 1;
  return turns;
}

/** A tool that runs an agent: the agent below it is shown, so the tool stands on its own. */
function holdsAgent(tree: TraceTree, at: number): boolean {
  for (let within = at + 1; within < at + (tree.size[at] ?? 1); within += 1) if (kindAt(tree, within) === 'agent') return true;
  return false;
}

/** What the server tells of a span for the transcript. */
export type Content = {
  readonly input_messages: unknown;
  readonly output_messages: unknown;
  readonly tool_arguments: unknown;
  readonly tool_result: unknown;
  readonly input_value: unknown;
  readonly output_value: unknown;
  readonly input_preview: unknown;
  readonly output_preview: unknown;
  /** Bytes of the values that are too long to be here. */
  readonly left_bytes: unknown;
};

export type Exchange = {
  /** Reasoning and words before the calls. */
  readonly said: readonly Part[];
  readonly calls: readonly {
    readonly name: string;
    readonly args: unknown;
    readonly run: number | null;
    readonly result: unknown;
  }[];
};

export type Turn = {
  /** What is new in the prompt: messages of people since the last answer. */
  readonly asked: readonly Part[];
  /** Words and reasoning, each beside the calls that followed them. */
  readonly exchanges: readonly Exchange[];
};

/** A turn from its content and that of its tool runs. `idOf` and `nameOf` tell of a run what the tree knows. */
export function readTurn(
  content: Content | undefined,
  runs: readonly {
    readonly at: number;
    readonly callId: string | null;
    readonly name: string | null;
    readonly content: Content | undefined;
  }[],
): Turn {
  const input = parseMessages(content?.input_messages);
  const lastAnswer = input.findLastIndex((message) => message.role === 'assistant');
  const asked = input
    .slice(lastAnswer + 1)
    .filter((message) => message.role === 'user')
    .flatMap((message) => message.parts.filter((part) => part.kind !== 'tool-result'));
  const output = parseMessages(content?.output_messages).flatMap((message) => message.parts);
  const free = [...runs];
  const take = (id: string | null, name: string) => {
    const at = free.findIndex((run) => (id !== null && run.callId === id) || (run.callId === null && run.name === name));
    const byName = at >= 0 ? at : free.findIndex((run) => run.name === name && (run.callId === null || id === null));
    return byName < 0 ? undefined : free.splice(byName, 1)[0];
  };
  const exchanges: { said: Part[]; calls: Exchange['calls'][number][] }[] = [];
  for (const part of output) {
    let last = exchanges[exchanges.length - 1];
    if (part.kind === 'tool-call') {
      if (!last) exchanges.push((last = { said: [], calls: [] }));
      const run = take(part.id, part.name);
      last.calls.push({
        name: part.name,
        args: part.args,
        run: run?.at ?? null,
        result: run ? resultOf(run.content) : part.result?.value,
      });
    } else {
      // Words after calls begin a new exchange: they did not cause those calls.
      if (!last || last.calls.length > 0) exchanges.push((last = { said: [], calls: [] }));
      last.said.push(part);
    }
  }
  const rest = free.map((run) => ({ name: run.name ?? 'tool', args: run.content?.tool_arguments, run: run.at, result: resultOf(run.content) })); // prettier-ignore
  if (rest.length > 0) {
    const last = exchanges[exchanges.length - 1];
    if (last) last.calls.push(...rest);
    else exchanges.push({ said: previewPart(content?.output_preview), calls: rest });
  } else if (exchanges.length === 0) exchanges.push({ said: previewPart(content?.output_preview), calls: [] });
  return { asked: asked.length > 0 || lastAnswer >= 0 ? asked : previewPart(content?.input_preview), exchanges };
}

function resultOf(content: Content | undefined): unknown {
  return content?.tool_result ?? content?.output_value ?? content?.output_preview;
}

function previewPart(preview: unknown): Part[] {
  return typeof preview === 'string' && preview !== '' ? [{ kind: 'text', text: preview }] : [];
}

/** Rows of the content query by span. */
export function readContents(rows: readonly Record<string, unknown>[]): ReadonlyMap<string, Content> {
  const contents = new Map<string, Content>();
  for (const row of rows) if (isRecord(row) && typeof row['span_id'] === 'string') contents.set(row['span_id'], readContent(row));
  return contents;
}

/** Arguments and results are columns of JSON: a text in them stands in quotes. */
function readContent(row: Record<string, unknown>): Content {
  return {
    ...(row as unknown as Content),
    tool_arguments: parsed(row['tool_arguments']),
    tool_result: parsed(row['tool_result']),
  };
}

function parsed(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}
