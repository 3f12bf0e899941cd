/** A lexer of SQL text, as far as an editor needs one: where strings and comments are, statements end, parameters stand. Pure. */

export type TokenKind = 'word' | 'quoted' | 'string' | 'number' | 'param' | 'comment' | 'mark';

/** A piece of the text, `text.slice(from, to)`. */
export type Token = { readonly kind: TokenKind; readonly from: number; readonly to: number; readonly text: string };

/** Order matters: a comment before an operator, a dollar-quoted text before a parameter. */
const TOKEN = new RegExp(
  [
    /(?<comment>--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))/,
    /(?<string>[eEbBxX]?'(?:[^']|'')*(?:'|$)|\$(?<tag>[A-Za-z_]*)\$[\s\S]*?(?:\$\k<tag>\$|$))/,
    /(?<quoted>"(?:[^"]|"")*(?:"|$))/,
    /(?<param>\$[A-Za-z_]\w*|\$\d+)/,
    /(?<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/,
    /(?<word>[\p{L}_][\p{L}\p{N}_]*)/u,
    /(?<mark>[^\s])/,
  ]
    .map((part) => part.source)
    .join('|'),
  'gu',
);

const KINDS: readonly TokenKind[] = ['comment', 'string', 'quoted', 'param', 'number', 'word', 'mark'];

export function lex(text: string): Token[] {
  const tokens: Token[] = [];
  for (const match of text.matchAll(TOKEN)) {
    const kind = KINDS.find((each) => match.groups?.[each] !== undefined) ?? 'mark';
    tokens.push({ kind, from: match.index, to: match.index + match[0].length, text: match[0] });
  }
  return tokens;
}

/** A statement within a text. */
export type Statement = { readonly from: number; readonly to: number; readonly text: string };

/** The statements of a text, without their semicolons; empty ones are left out. */
export function statements(text: string): Statement[] {
  const found: Statement[] = [];
  let first: Token | null = null;
  let last: Token | null = null;
  const end = () => {
    if (first && last) found.push({ from: first.from, to: last.to, text: text.slice(first.from, last.to) });
    first = null;
    last = null;
  };
  for (const token of lex(text)) {
    if (token.kind === 'mark' && token.text === ';') {
      end();
      continue;
    }
    // A comment belongs to the statement after it, and alone it is none.
    if (token.kind === 'comment' && !first) continue;
    first ??= token;
    if (token.kind !== 'comment') last = token;
  }
  end();
  return found;
}

/** What Run runs: the selection, else the statement that the cursor is in or has just left. `null`: there is none. */
export function toRun(text: string, selection: { from: number; to: number }): Statement | null {
  const selected = text.slice(selection.from, selection.to);
  const inside = statements(selected);
  if (inside.length > 0) {
    const begin = inside[0]?.from ?? 0;
    const end = inside[inside.length - 1]?.to ?? selected.length;
    return { from: selection.from + begin, to: selection.from + end, text: selected.slice(begin, end) };
  }
  const all = statements(text);
  return all.find((each) => selection.from <= each.to + 1) ?? all[all.length - 1] ?? null;
}

/** Names of the parameters of a query, in order of appearance, each once: `$user` is `user`, `$1` is `1`. */
export function parameterNames(text: string): string[] {
  return [
    ...new Set(
      lex(text)
        .filter((token) => token.kind === 'param')
        .map((token) => token.text.slice(1)),
    ),
  ];
}

/** Where in the text a place is that a server counts by line and column, both from 1, the column in characters. */
export function offsetOf(text: string, position: { line: number; column: number }): number {
  let from = 0;
  for (let line = 1; line < position.line; line += 1) {
    const next = text.indexOf('\n', from);
    if (next < 0) return text.length;
    from = next + 1;
  }
  const newline = text.indexOf('\n', from);
  const end = newline < 0 ? text.length : newline;
  // Characters beyond the basic plane are two units here and one for the server.
  let at = from;
  for (let column = 1; column < position.column && at < end; column += 1) at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
  return at;
}
