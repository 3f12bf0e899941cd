/** Which tables a query reads and what it calls them: what completion may offer at the cursor. Pure. */
import { lex, type Token } from './lex';

/** A table as a query names it. */
export type Source = { readonly table: string; readonly alias: string };

/** Words that stand after a table and are no alias of it. */
const NOT_AN_ALIAS = new Set(
  'where on using group order having limit offset union intersect except join inner left right full cross natural lateral window fetch for set values returning with select from as and or qualify tablesample'.split(
    ' ',
  ),
);

export type Scope = {
  /** Tables of `FROM` and `JOIN`, with what they are called. */
  readonly sources: readonly Source[];
  /** Names of the common table expressions. */
  readonly ctes: readonly string[];
  /** What the query names itself, by `AS`. */
  readonly names: readonly string[];
};

/** The scope of a statement. Subqueries are not kept apart: offering a little more is better than less. */
export function scopeOf(text: string): Scope {
  const tokens = lex(text).filter((token) => token.kind !== 'comment');
  const sources: Source[] = [];
  const ctes: string[] = [];
  const names: string[] = [];
  for (let at = 0; at < tokens.length; at += 1) {
    const word = lower(tokens[at]);
    if (word === 'from' || word === 'join') at = readSources(tokens, at + 1, word === 'from', sources);
    else if (
      (word === 'with' || word === 'recursive' || word === ',') &&
      lower(tokens[at + 2]) === 'as' &&
      tokens[at + 3]?.text === '('
    )
      ctes.push(plain(tokens[at + 1]));
    else if (word === 'as' && isName(tokens[at + 1]) && tokens[at + 2]?.text !== '(') names.push(plain(tokens[at + 1]));
  }
  const aliases = new Set([...sources.map((each) => each.alias), ...ctes]);
  return { sources, ctes, names: [...new Set(names)].filter((name) => !aliases.has(name)) };
}

/** Reads `a x, schema.b AS y` from `at` on; gives the place of the last token it took. */
function readSources(tokens: readonly Token[], at: number, many: boolean, into: Source[]): number {
  let next = at;
  for (;;) {
    if (!isName(tokens[next])) return next - 1;
    let table = plain(tokens[next]);
    next += 1;
    while (tokens[next]?.text === '.' && isName(tokens[next + 1])) {
      table = `${table}.${plain(tokens[next + 1])}`;
      next += 2;
    }
    // A function in FROM has no columns that we know of.
    if (tokens[next]?.text === '(') return next - 1;
    let alias = table.split('.').pop() ?? table;
    if (lower(tokens[next]) === 'as' && isName(tokens[next + 1])) next += 1;
    if (isName(tokens[next]) && !NOT_AN_ALIAS.has(lower(tokens[next]))) {
      alias = plain(tokens[next]);
      next += 1;
    }
    into.push({ table, alias });
    if (!many || tokens[next]?.text !== ',') return next - 1;
    next += 1;
  }
}

function isName(token: Token | undefined): token is Token {
  return token?.kind === 'word' || token?.kind === 'quoted';
}

function plain(token: Token | undefined): string {
  if (!token) return '';
  return token.kind === 'quoted' ? token.text.slice(1, -1).replace(/""/g, '"') : token.text;
}

function lower(token: Token | undefined): string {
  return token && token.kind !== 'quoted' && token.kind !== 'string' ? token.text.toLowerCase() : '';
}

/** What is wanted at the cursor: a table, a column of one table, a value of a column, or anything. */
export type Wanted =
  | { readonly kind: 'table' }
  | { readonly kind: 'member'; readonly of: string }
  | { readonly kind: 'value'; readonly column: string; readonly from: number }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'any' };

/** What completion should offer after `before`, the statement up to the cursor. */
export function wantedAt(before: string): Wanted {
  const tokens = lex(before);
  const last = tokens[tokens.length - 1];
  const touching = last?.to === before.length;
  if (last && touching && last.kind === 'comment' && last.text.startsWith('--')) return { kind: 'nothing' };
  if (last && touching && last.kind === 'string' && isOpen(last.text)) {
    const column = comparedWith(tokens.slice(0, -1));
    return column === null ? { kind: 'nothing' } : { kind: 'value', column, from: last.from + 1 };
  }
  const typed = touching && isName(last) ? tokens.slice(0, -1) : tokens;
  const previous = typed[typed.length - 1];
  if (previous?.text === '.') {
    const path: string[] = [];
    for (let at = typed.length - 1; typed[at]?.text === '.' && isName(typed[at - 1]); at -= 2) path.unshift(plain(typed[at - 1]));
    return path.length === 0 ? { kind: 'nothing' } : { kind: 'member', of: path.join('.') };
  }
  const word = lower(previous);
  if (word === 'from' || word === 'join' || word === 'describe') return { kind: 'table' };
  if (word === ',' && inFrom(typed)) return { kind: 'table' };
  if (word === 'as') return { kind: 'nothing' };
  return { kind: 'any' };
}

function isOpen(string: string): boolean {
  return string.startsWith("'") && (string.length === 1 || !string.endsWith("'") || /^'(?:[^']|'')*''$/.test(string));
}

/** The column before `= '`, `<> '` or `IN ('a', '`. */
function comparedWith(tokens: readonly Token[]): string | null {
  let at = tokens.length - 1;
  while (tokens[at]?.text === ',' || tokens[at]?.kind === 'string') at -= 1;
  if (tokens[at]?.text === '(' && lower(tokens[at - 1]) === 'in') {
    at -= 2;
    if (lower(tokens[at]) === 'not') at -= 1;
    return isName(tokens[at]) ? plain(tokens[at]) : null;
  }
  if (at !== tokens.length - 1) return null;
  while (tokens[at]?.kind === 'mark' && /[=<>!]/.test(tokens[at]?.text ?? '')) at -= 1;
  return at < tokens.length - 1 && isName(tokens[at]) ? plain(tokens[at]) : null;
}

/** Whether the last clause word is FROM, at the same depth of parentheses. */
function inFrom(tokens: readonly Token[]): boolean {
  let depth = 0;
  for (let at = tokens.length - 1; at >= 0; at -= 1) {
    const word = lower(tokens[at]);
    if (word === ')') depth += 1;
    if (word === '(') {
      if (depth === 0) return false;
      depth -= 1;
    }
    if (depth > 0) continue;
    if (word === 'from') return true;
    if (['select', 'where', 'on', 'by', 'having', 'limit', 'using'].includes(word)) return false;
  }
  return false;
}
