/** From the server's refusal to a mark in the editor. Pure. */
import { offsetOf } from './lex';

/** What a refusal says that matters here. */
type Refusal = {
  readonly message: string;
  readonly hint: string | null;
  readonly found: string | null;
  readonly position: { readonly line: number; readonly column: number } | null;
};

export type Mark = { from: number; to: number; message: string; severity: 'error'; fix: string | null };

/** What the server thinks was meant, from a hint such as "did you mean `spans`?". */
export function meant(hint: string | null): string | null {
  return /^did you mean `([^`]+)`\?$/.exec(hint ?? '')?.[1] ?? null;
}

/** Where a refusal of `query`, which stands at `from` in the editor, is marked. `null`: it names no place. */
export function markOf(refusal: Refusal, query: string, from: number): Mark | null {
  if (!refusal.position) return null;
  const at = offsetOf(query, refusal.position);
  const rest = query.slice(at);
  const length = /^(?:"[^"]*"|'[^']*'|[\p{L}\p{N}_.]+|\S)/u.exec(rest)?.[0].length ?? 1;
  const instead = meant(refusal.hint);
  // A name after `alias.` is marked whole, but only itself is replaced.
  const found = refusal.found;
  const shift =
    found !== null && found !== '' ? Math.max(0, rest.slice(0, length).toLowerCase().indexOf(found.toLowerCase())) : 0;
  const begin = from + at + (instead === null ? 0 : shift);
  const end = instead !== null && found !== null && shift + found.length <= length ? begin + found.length : from + at + length;
  return {
    from: begin,
    to: end,
    message: refusal.hint === null ? refusal.message : `${refusal.message}; ${refusal.hint}`,
    severity: 'error',
    fix: instead,
  };
}
