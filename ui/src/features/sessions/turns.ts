/**
 * What was new in each trace of a conversation. A chat sends its history again with every request, so a trace's input holds all that was
 * said before: what the traces before it already showed is counted, not repeated.
 */

export type Turn = {
  /** Messages at the start of the input that were shown before, and system messages that stayed the same. */
  readonly earlier: readonly unknown[];
  readonly input: readonly unknown[];
  readonly output: readonly unknown[];
};

type Said = { readonly input_messages?: unknown; readonly output_messages?: unknown };

export function turnsOf(traces: readonly Said[]): readonly Turn[] {
  const seen = new Set<string>();
  return traces.map((trace) => {
    const input = asList(trace.input_messages);
    const output = asList(trace.output_messages);
    const fresh = firstNew(input, seen);
    for (const message of [...input, ...output]) seen.add(fingerprint(message));
    return { earlier: input.slice(0, fresh), input: input.slice(fresh), output };
  });
}

/** The place of the first message that was not said before. If all was, the last one is what was asked again. */
function firstNew(input: readonly unknown[], seen: ReadonlySet<string>): number {
  if (input.length === 0) return 0;
  const at = input.findIndex((message) => !seen.has(fingerprint(message)));
  return at < 0 ? input.length - 1 : at;
}

/** The same for the same words by the same role, however the parts are written. */
function fingerprint(message: unknown): string {
  if (typeof message !== 'object' || message === null) return JSON.stringify(message);
  const role = 'role' in message ? String(message.role) : '';
  return `${role}\n${wordsOf(message)}`;
}

/** All text of a message; what has none is itself, as JSON. */
function wordsOf(message: object): string {
  const content = 'parts' in message ? message.parts : 'content' in message ? message.content : message;
  const texts = (Array.isArray(content) ? content : [content]).map((part: unknown) => {
    if (typeof part === 'string') return part;
    if (typeof part !== 'object' || part === null) return JSON.stringify(part);
    if ('content' in part && typeof part.content === 'string') return part.content;
    return 'text' in part && typeof part.text === 'string' ? part.text : JSON.stringify(part);
  });
  return texts.join('\n');
}

/** The messages of a field: an array, the JSON text of one, or a single thing. */
function asList(value: unknown): readonly unknown[] {
  if (value === null || value === undefined || value === '') return [];
  if (Array.isArray(value)) return value;
  if (typeof value !== 'string') return [value];
  try {
    const parsed: unknown = JSON.parse(value);
    return Array.isArray(parsed) ? parsed : [parsed];
  } catch {
    return [value];
  }
}
