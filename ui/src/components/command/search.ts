/** How the command menu finds: every word typed must begin a word of the title (or be in it); better places come first. */
import type { Command } from './commands';

export function findCommands(commands: readonly Command[], typed: string): readonly Command[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return commands;
  return commands
    .map((command) => ({ command, rank: rank(`${command.title} ${command.words ?? ''}`.toLowerCase(), words) }))
    .filter((each) => each.rank > 0)
    .sort((a, b) => b.rank - a.rank)
    .map((each) => each.command);
}

/** 0: not found. 3 for a word at the start, 2 at the start of a word, 1 within one, added up. */
function rank(text: string, words: readonly string[]): number {
  let sum = 0;
  for (const word of words) {
    const at = text.indexOf(word);
    if (at < 0) return 0;
    const startsWord = new RegExp(`(^|[^a-z0-9])${word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`).test(text);
    sum += at === 0 ? 3 : startsWord ? 2 : 1;
  }
  return sum;
}

/** What was typed or pasted, if it is the id of a trace: 32 hexadecimal digits, also within a `traceparent` or an address. */
export function traceIdIn(typed: string): string | null {
  const id = /(?:^|[^0-9a-f])([0-9a-f]{32})(?![0-9a-f])/i.exec(typed)?.[1]?.toLowerCase();
  return id === undefined || /^0+$/.test(id) ? null : id;
}

/** The id of a span: 16 hexadecimal digits alone. */
export function spanIdIn(typed: string): string | null {
  const id = /^[0-9a-f]{16}$/i.exec(typed.trim())?.[0].toLowerCase();
  return id === undefined || /^0+$/.test(id) ? null : id;
}
