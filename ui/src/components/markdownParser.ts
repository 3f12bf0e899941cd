/** The Markdown parser, which is not part of the first script of a page. */
type Parser = (typeof import('./MarkdownBody'))['default'];

let parser: Parser | null = null;
let loading: Promise<void> | null = null;

/** `null` until it is loaded. */
export function loadedParser(): Parser | null {
  return parser;
}

/** Loads it once. Does not fail: without it text stays plain, the console says why, and the next call tries again. */
export function loadParser(): Promise<void> {
  loading ??= import('./MarkdownBody').then(
    (module) => {
      parser = module.default;
    },
    (error: unknown) => {
      loading = null;
      console.error('messages are shown as plain text:', error);
    },
  );
  return loading;
}

/** What is read, once the parser is there to draw it: text that is drawn plain first would move under the pointer when the parser comes. */
export async function withParser<T>(reading: Promise<T>): Promise<T> {
  const [read] = await Promise.all([reading, loadParser()]);
  return read;
}
