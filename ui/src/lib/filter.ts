/**
 * The filter language of the search box, as far as the browser must know it: colouring tokens, suggesting keys and values, and editing
 * terms by click. The server decides what a filter means; here a text is only cut into tokens.
 *
 * `service:shop -status:error cost:>0.01 model:gpt-4o|claude* "refund policy"`
 */

export type Token =
  | { readonly kind: 'term'; readonly start: number; readonly end: number; readonly negated: boolean; readonly key: string; readonly keyEnd: number; readonly valueStart: number; readonly value: string; readonly problem: string | null }
  | { readonly kind: 'text'; readonly start: number; readonly end: number; readonly negated: boolean; readonly value: string; readonly problem: string | null }; // prettier-ignore

export type FacetName =
  | 'service_name'
  | 'request_model'
  | 'status_code'
  | 'operation'
  | 'provider'
  | 'tool_name'
  | 'error_type'
  | 'session_id'
  | 'user_id';

export type FilterKey = {
  readonly key: string;
  readonly doc: string;
  /** Field of `/api/v1/facets` that knows its values. */
  readonly facet?: FacetName;
  readonly example: string;
};

export const FILTER_KEYS: readonly FilterKey[] = [
  { key: 'service', doc: 'service that sent the span', facet: 'service_name', example: 'service:checkout' },
  { key: 'model', doc: 'model asked for or that answered', facet: 'request_model', example: 'model:gpt-4o*' },
  { key: 'status', doc: 'ERROR, OK or UNSET', facet: 'status_code', example: 'status:error' },
  { key: 'has', doc: 'something is present', example: 'has:error' },
  { key: 'name', doc: 'span name', example: 'name:chat*' },
  { key: 'operation', doc: 'chat, execute_tool, invoke_agent …', facet: 'operation', example: 'operation:chat' },
  { key: 'provider', doc: 'who answered', facet: 'provider', example: 'provider:openai' },
  { key: 'cost', doc: 'US dollars', example: 'cost:>0.01' },
  { key: 'duration', doc: 'time taken', example: 'duration:>2s' },
  { key: 'tokens', doc: 'input and output tokens', example: 'tokens:>1000' },
  { key: 'input_tokens', doc: 'tokens of the prompt', example: 'input_tokens:>1000' },
  { key: 'output_tokens', doc: 'tokens of the answer', example: 'output_tokens:>500' },
  { key: 'tool', doc: 'tool that ran', facet: 'tool_name', example: 'tool:search' },
  { key: 'agent', doc: 'agent that ran', example: 'agent:planner' },
  { key: 'error', doc: 'class of the error', facet: 'error_type', example: 'error:RateLimitError' },
  { key: 'session', doc: 'conversation', facet: 'session_id', example: 'session:s-42' },
  { key: 'user', doc: 'end user', facet: 'user_id', example: 'user:u-7' },
  { key: 'tag', doc: 'tag', example: 'tag:beta' },
  { key: 'env', doc: 'deployment environment', example: 'env:production' },
  { key: 'trace', doc: 'trace id', example: 'trace:4bf92f35…' },
  { key: 'span', doc: 'span id', example: 'span:00f067aa…' },
  { key: 'attr.', doc: 'any attribute as received', example: 'attr.http.route:/chat' },
];

const ALIASES: Record<string, string> = { op: 'operation' };

/** The description of a key, aliases included; `attr.anything` is a key. */
export function filterKey(key: string): FilterKey | undefined {
  const name = ALIASES[key] ?? key;
  if (name.startsWith('attr.') && name.length > 5) return FILTER_KEYS.find((each) => each.key === 'attr.');
  return FILTER_KEYS.find((each) => each.key === name && each.key !== 'attr.');
}

/** Cuts a filter into tokens. Never fails: what cannot be right carries its `problem`. */
export function tokenise(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < text.length) {
    if (isSpace(text[at])) {
      at += 1;
      continue;
    }
    const start = at;
    const negated = text[at] === '-' && at + 1 < text.length && !isSpace(text[at + 1]);
    if (negated) at += 1;
    const key = /^[A-Za-z_][\w.-]*(?=:)/.exec(text.slice(at))?.[0];
    if (key === undefined) {
      const value = readValue(text, at);
      tokens.push({ kind: 'text', start, end: value.end, negated, value: value.text, problem: value.problem });
      at = value.end;
      continue;
    }
    const keyEnd = at + key.length;
    const value = readValue(text, keyEnd + 1);
    const problem = value.problem ?? (filterKey(key) ? null : `\`${key}\` is not a key`);
    tokens.push({
      kind: 'term',
      start,
      end: value.end,
      negated,
      key,
      keyEnd,
      valueStart: keyEnd + 1,
      value: value.text,
      problem,
    });
    at = value.end;
  }
  return tokens;
}

/** Reads up to the next space outside quotes; the text is as written. */
function readValue(text: string, from: number): { text: string; end: number; problem: string | null } {
  let at = from;
  while (at < text.length && !isSpace(text[at])) {
    if (text[at] !== '"') {
      at += 1;
      continue;
    }
    at += 1;
    while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
    if (at >= text.length) return { text: text.slice(from), end: text.length, problem: 'the quotation mark is not closed' };
    at += 1;
  }
  return { text: text.slice(from, at), end: at, problem: null };
}

function isSpace(char: string | undefined): boolean {
  return char !== undefined && /\s/.test(char);
}

/** What can be suggested at the caret: keys, or values of a key. `start..end` is what a suggestion replaces. */
export type Completion =
  | { readonly kind: 'key'; readonly prefix: string; readonly start: number; readonly end: number }
  | { readonly kind: 'value'; readonly key: string; readonly prefix: string; readonly start: number; readonly end: number };

export function completionAt(text: string, caret: number): Completion {
  const token = tokenise(text).find((each) => each.start <= caret && caret <= each.end);
  if (!token) return { kind: 'key', prefix: '', start: caret, end: caret };
  if (token.kind === 'term' && caret > token.keyEnd) {
    // Within `a|b`, only the alternative at the caret is completed.
    const before = text.slice(token.valueStart, caret);
    const from = token.valueStart + before.lastIndexOf('|') + 1;
    const rest = text.slice(caret, token.end).indexOf('|');
    const prefix = unquote(text.slice(from, caret));
    return { kind: 'value', key: token.key, prefix, start: from, end: rest < 0 ? token.end : caret + rest };
  }
  const start = token.negated ? token.start + 1 : token.start;
  if (text[start] === '"') return { kind: 'key', prefix: '\u0000', start: caret, end: caret };
  return { kind: 'key', prefix: text.slice(start, caret), start, end: token.end };
}

/** A value as the filter must write it: in quotes where it holds spaces or marks of the language. */
export function quoteValue(value: string): string {
  return value !== '' && /^[^\s"|*:><=\\][^\s"|*\\]*$/.test(value) ? value : `"${value.replace(/(["\\])/g, '\\$1')}"`;
}

function unquote(text: string): string {
  const inner = text.startsWith('"') ? text.slice(1).replace(/"$/, '') : text;
  return inner.replace(/\\(.)/g, '$1');
}

/** The values that `key:a|b` asks for, not negated; empty if the filter does not name the key. */
export function termValues(text: string, key: string): string[] {
  return tokenise(text).flatMap((token) =>
    token.kind === 'term' && token.key === key && !token.negated ? splitAlternatives(token.value).map(unquote) : [],
  );
}

function splitAlternatives(value: string): string[] {
  return value.match(/(?:"(?:\\.|[^"\\])*"|[^|"])+/g) ?? [];
}

/** The filter with `key` asking for exactly these values (any of them); without the key if there are none. */
export function withTermValues(text: string, key: string, values: readonly string[]): string {
  const kept = tokenise(text)
    .filter((token) => !(token.kind === 'term' && token.key === key && !token.negated))
    .map((token) => text.slice(token.start, token.end));
  if (values.length > 0) kept.push(`${key}:${values.map(quoteValue).join('|')}`);
  return kept.join(' ');
}

/** The filter with one value of a key added or, if it was there, taken away. */
export function toggleTermValue(text: string, key: string, value: string): string {
  const values = termValues(text, key);
  return withTermValues(text, key, values.includes(value) ? values.filter((each) => each !== value) : [...values, value]);
}

/** Spaces at the ends and doubled spaces between tokens do not make another filter. */
export function canonicalFilter(text: string): string {
  return tokenise(text)
    .map((token) => text.slice(token.start, token.end))
    .join(' ');
}
