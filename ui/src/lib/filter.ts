/**
 * The filter language of the search box, as far as the browser must know it: colouring tokens, suggesting keys and values, and editing
 * terms by click. The server decides what a filter means; here a text is only cut into tokens.
 *
 * `service:shop -status:error (cost:>0.01 OR has:error) model:gpt-4o|claude* "refund policy"`
 */

type Place = { readonly start: number; readonly end: number; readonly problem: string | null };

export type Token =
  | (Place & { readonly kind: 'term'; readonly negated: boolean; readonly key: string; readonly keyEnd: number; readonly valueStart: number; readonly value: string })
  | (Place & { readonly kind: 'text'; readonly negated: boolean; readonly value: string })
  | (Place & { readonly kind: 'open'; readonly negated: boolean })
  | (Place & { readonly kind: 'close' })
  | (Place & { readonly kind: 'or' }); // prettier-ignore

/** Cuts a filter into tokens. Never fails: what cannot be right carries its `problem`. Whether a key exists is not asked here. */
export function tokenise(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < text.length) {
    if (isSpace(text[at])) at += 1;
    else {
      const token = readToken(text, at);
      tokens.push(token);
      at = token.end;
    }
  }
  return withStructureProblems(tokens);
}

function readToken(text: string, start: number): Token {
  if (text[start] === ')') return { kind: 'close', start, end: start + 1, problem: null };
  const or = /^OR(?=[\s()]|$)/.exec(text.slice(start));
  if (or) return { kind: 'or', start, end: start + 2, problem: null };
  const negated = text[start] === '-' && start + 1 < text.length && !isSpace(text[start + 1]) && text[start + 1] !== ')';
  const from = negated ? start + 1 : start;
  if (text[from] === '(') return { kind: 'open', start, end: from + 1, negated, problem: null };
  const key = /^[A-Za-z_][\w.-]*(?=:)/.exec(text.slice(from))?.[0];
  if (key === undefined) {
    const value = readValue(text, from);
    return { kind: 'text', start, end: value.end, negated, value: value.text, problem: value.problem };
  }
  const keyEnd = from + key.length;
  const value = readValue(text, keyEnd + 1);
  return {
    kind: 'term',
    start,
    end: value.end,
    negated,
    key,
    keyEnd,
    valueStart: keyEnd + 1,
    value: value.text,
    problem: value.problem,
  };
}

/** Reads up to the next space or parenthesis outside quotes; the text is as written. */
function readValue(text: string, from: number): { text: string; end: number; problem: string | null } {
  let at = from;
  while (at < text.length && !isSpace(text[at]) && text[at] !== '(' && text[at] !== ')') {
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

/** The same tokens, with what is wrong between them: parentheses without a partner, an `OR` that joins nothing. */
function withStructureProblems(tokens: readonly Token[]): Token[] {
  const problems = new Map<Token, string>();
  const opened: Token[] = [];
  tokens.forEach((token, at) => {
    const before = tokens[at - 1];
    const after = tokens[at + 1];
    if (token.kind === 'open') opened.push(token);
    else if (token.kind === 'close' && opened.pop() === undefined) problems.set(token, 'no parenthesis is open here');
    else if (token.kind === 'close' && before?.kind === 'open') problems.set(token, 'there is nothing between the parentheses');
    else if (token.kind === 'or' && (!startsTerm(after) || !endsTerm(before)))
      problems.set(token, '`OR` needs a term on both sides');
  });
  for (const token of opened) problems.set(token, 'the parenthesis is not closed');
  return tokens.map((token) => {
    const problem = problems.get(token);
    return problem === undefined ? token : { ...token, problem };
  });
}

const startsTerm = (token: Token | undefined) => token !== undefined && token.kind !== 'or' && token.kind !== 'close';
const endsTerm = (token: Token | undefined) => token !== undefined && token.kind !== 'or' && token.kind !== 'open';

function isSpace(char: string | undefined): boolean {
  return char !== undefined && /\s/.test(char);
}

/** What can be suggested at the caret: keys, or values of a key. `start..end` is what a suggestion replaces. */
export type Completion =
  | { readonly kind: 'key'; readonly prefix: string; readonly start: number; readonly end: number }
  | { readonly kind: 'value'; readonly key: string; readonly prefix: string; readonly start: number; readonly end: number }
  | { readonly kind: 'none' };

export function completionAt(text: string, caret: number): Completion {
  const token = tokenise(text).find((each) => each.start <= caret && caret <= each.end && takesText(each, caret));
  if (!token) return { kind: 'key', prefix: '', start: caret, end: caret };
  if (token.kind === 'term' && caret > token.keyEnd) {
    // Within `a|b`, only the alternative at the caret is completed.
    const before = text.slice(token.valueStart, caret);
    const from = token.valueStart + before.lastIndexOf('|') + 1;
    const rest = text.slice(caret, token.end).indexOf('|');
    const prefix = unquote(text.slice(from, caret));
    return { kind: 'value', key: token.key, prefix, start: from, end: rest < 0 ? token.end : caret + rest };
  }
  const start = token.kind !== 'or' && token.kind !== 'close' && token.negated ? token.start + 1 : token.start;
  if (text[start] === '"') return { kind: 'none' };
  return { kind: 'key', prefix: text.slice(start, caret), start, end: token.end };
}

/** Whether text typed at the caret belongs to the token: after a parenthesis a new one begins. */
function takesText(token: Token, caret: number): boolean {
  if (token.kind === 'open' || token.kind === 'close') return false;
  return token.kind !== 'or' || caret < token.end;
}

/** A value as the filter must write it: in quotes where it holds spaces or marks of the language. */
export function quoteValue(value: string): string {
  const plain = value !== '' && value !== 'OR' && /^[^\s"|*:><=\\()-][^\s"|*\\()]*$/.test(value);
  return plain ? value : `"${value.replace(/(["\\])/g, '\\$1')}"`;
}

/** One value as it was written within a term, without its quotes. */
export function unquote(text: string): string {
  const inner = text.startsWith('"') ? text.slice(1).replace(/"$/, '') : text;
  return inner.replace(/\\(.)/g, '$1');
}

/** The values that `key:a|b` asks for, not negated and not within parentheses; empty if the filter does not demand the key. */
export function termValues(text: string, key: string): string[] {
  const tokens = tokenise(text);
  if (joinsByOr(tokens)) return [];
  return topTerms(tokens).flatMap((token) =>
    token.key === key && !token.negated ? splitAlternatives(token.value).map(unquote) : [],
  );
}

function splitAlternatives(value: string): string[] {
  return value.match(/(?:"(?:\\.|[^"\\])*"|[^|"])+/g) ?? [];
}

/** Whether an `OR` stands outside all parentheses: then a further term must not be put beside it as it is. */
function joinsByOr(tokens: readonly Token[]): boolean {
  let depth = 0;
  for (const token of tokens) {
    if (token.kind === 'open') depth += 1;
    else if (token.kind === 'close') depth -= 1;
    else if (token.kind === 'or' && depth === 0) return true;
  }
  return false;
}

type Term = Extract<Token, { kind: 'term' }>;

/** The terms outside all parentheses. */
function topTerms(tokens: readonly Token[]): Term[] {
  const terms: Term[] = [];
  let depth = 0;
  for (const token of tokens) {
    if (token.kind === 'open') depth += 1;
    else if (token.kind === 'close') depth -= 1;
    else if (token.kind === 'term' && depth === 0) terms.push(token);
  }
  return terms;
}

/** The filter with `key` asking for exactly these values (any of them); without the key if there are none. */
export function withTermValues(text: string, key: string, values: readonly string[]): string {
  const term = values.length > 0 ? `${key}:${values.map(quoteValue).join('|')}` : '';
  const tokens = tokenise(text);
  if (joinsByOr(tokens)) return term === '' ? canonicalFilter(text) : `(${canonicalFilter(text)}) ${term}`;
  const replaced = new Set<Token>(topTerms(tokens).filter((token) => token.key === key && !token.negated));
  const kept = joined(
    text,
    tokens.filter((token) => !replaced.has(token)),
  );
  return [kept, term].filter((part) => part !== '').join(' ');
}

/** The filter with one value of a key added or, if it was there, taken away. */
export function toggleTermValue(text: string, key: string, value: string): string {
  const values = termValues(text, key);
  return withTermValues(text, key, values.includes(value) ? values.filter((each) => each !== value) : [...values, value]);
}

/** Both filters at once: what both let through. */
export function bothFilters(a: string, b: string): string {
  const part = (text: string) => (joinsByOr(tokenise(text)) ? `(${canonicalFilter(text)})` : canonicalFilter(text));
  return [part(a), part(b)].filter((text) => text !== '').join(' ');
}

/** Spaces at the ends and doubled spaces between tokens do not make another filter. */
export function canonicalFilter(text: string): string {
  return joined(text, tokenise(text));
}

function joined(text: string, tokens: readonly Token[]): string {
  let out = '';
  let glued = true;
  for (const token of tokens) {
    if (!glued && token.kind !== 'close') out += ' ';
    out += text.slice(token.start, token.end);
    glued = token.kind === 'open';
  }
  return out;
}
