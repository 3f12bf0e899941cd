/** The SQL editor: CodeMirror with completion from the server's schema. Loaded only with the SQL page. */
import { acceptCompletion, autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { PostgreSQL, sql } from '@codemirror/lang-sql';
import { bracketMatching, HighlightStyle, syntaxHighlighting } from '@codemirror/language';
import { lintGutter, lintKeymap, setDiagnostics, type Diagnostic } from '@codemirror/lint';
import { highlightSelectionMatches, search, searchKeymap } from '@codemirror/search';
import { Compartment, EditorState, Prec } from '@codemirror/state';
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers, placeholder } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { useEffect, useImperativeHandle, useRef, type Ref } from 'react';

import type { ServerSchema } from '../../api/types';
import { complete, type ValuesOf } from './completion';

/** A place in the text that is wrong, and what may be put there instead. */
export type EditorProblem = {
  readonly from: number;
  readonly to: number;
  readonly message: string;
  readonly severity: 'error' | 'warning';
  readonly fix: string | null;
};

/** What the page asks of the editor. */
export type EditorHandle = {
  selection: () => { from: number; to: number };
  /** Writes at the cursor, over the selection. */
  insert: (text: string) => void;
  replace: (from: number, to: number, text: string) => void;
  focus: () => void;
};

type Props = {
  ref?: Ref<EditorHandle>;
  /** Keeps undo, cursor and scroll of each tab apart. */
  tab: string;
  text: string;
  schema: ServerSchema | undefined;
  problems: readonly EditorProblem[];
  valuesOf: ValuesOf;
  onChange: (text: string) => void;
  onRun: () => void;
  onFormat: () => void;
  onSave: () => void;
};

const highlight = HighlightStyle.define([
  { tag: tags.keyword, color: 'var(--code-keyword)' },
  { tag: [tags.string, tags.special(tags.string)], color: 'var(--code-string)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--code-number)' },
  { tag: tags.comment, color: 'var(--code-comment)', fontStyle: 'italic' },
  { tag: [tags.typeName, tags.standard(tags.name)], color: 'var(--code-name)' },
]);

const theme = EditorView.theme({
  '&': { height: '100%', backgroundColor: 'var(--surface)', color: 'var(--text)', fontSize: 'var(--type-body)' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--font-code)', lineHeight: '1.6' },
  '.cm-content': { caretColor: 'var(--text)', padding: '10px 0' },
  '.cm-cursor': { borderLeftColor: 'var(--text)' },
  '.cm-gutters': { backgroundColor: 'var(--surface)', color: 'var(--text-faint)', border: 'none' },
  '.cm-activeLine': { backgroundColor: 'transparent' },
  '.cm-placeholder': { color: 'var(--text-faint)' },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground': {
    backgroundColor: 'color-mix(in srgb, var(--accent) 26%, transparent)',
  },
  '.cm-selectionMatch': { backgroundColor: 'color-mix(in srgb, var(--accent) 14%, transparent)' },
  '.cm-tooltip': {
    border: '1px solid var(--line-strong)',
    borderRadius: 'var(--radius)',
    backgroundColor: 'var(--surface)',
    color: 'var(--text)',
    boxShadow: 'var(--shadow)',
  },
  '.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--font-code)', fontSize: 'var(--type-small)', maxHeight: '18em' },
  '.cm-tooltip-autocomplete > ul > li': { padding: '2px 8px' },
  '.cm-tooltip-autocomplete > ul > li[aria-selected]': { backgroundColor: 'var(--selected)', color: 'var(--text)' },
  '.cm-completionDetail': { color: 'var(--text-faint)', fontStyle: 'normal', marginLeft: '1em' },
  '.cm-completionInfo': { maxWidth: '320px', padding: '6px 8px', fontFamily: 'var(--font-text)' },
  '.cm-completionMatchedText': { textDecoration: 'none', fontWeight: '600' },
  '.cm-diagnostic': { fontFamily: 'var(--font-text)', padding: '5px 9px', borderLeft: 'none' },
  '.cm-diagnosticAction': {
    backgroundColor: 'var(--accent)',
    color: 'var(--on-accent)',
    borderRadius: 'var(--radius)',
    padding: '2px 8px',
    font: 'inherit',
  },
  '.cm-panels': { backgroundColor: 'var(--sunken)', color: 'var(--text)', borderColor: 'var(--line)' },
  '.cm-panel.cm-search': { fontFamily: 'var(--font-text)', fontSize: 'var(--type-small)' },
  '.cm-panel.cm-search input, .cm-panel.cm-search button': { fontSize: 'var(--type-small)' },
  '.cm-textfield': { backgroundColor: 'var(--surface)', border: '1px solid var(--line-strong)', borderRadius: 'var(--radius)' },
  '.cm-button': {
    backgroundImage: 'none',
    backgroundColor: 'var(--surface)',
    border: '1px solid var(--line-strong)',
    borderRadius: 'var(--radius)',
  },
});

type Handlers = Pick<Props, 'onChange' | 'onRun' | 'onFormat' | 'onSave'>;

/** The handlers of the page that shows an editor now: its state outlives the page's rendering. */
const handlersOf = new WeakMap<EditorView, Handlers>();
const schemaOf = new Compartment();

/** Undo, cursor and text of tabs that are not shown. */
const parked = new Map<string, EditorState>();

/** Forgets the undo history of a tab that was closed. */
export function forgetEditor(tab: string): void {
  parked.delete(tab);
}

const command = (name: 'onRun' | 'onFormat' | 'onSave') => (view: EditorView) => {
  handlersOf.get(view)?.[name]();
  return true;
};

const EXTENSIONS = [
  Prec.highest(
    keymap.of([
      { key: 'Mod-Enter', run: command('onRun') },
      { key: 'Shift-Alt-f', run: command('onFormat') },
      { key: 'Mod-s', run: command('onSave'), preventDefault: true },
      { key: 'Tab', run: acceptCompletion },
    ]),
  ),
  // Tab indents; Escape then Tab leaves the editor, for people without a mouse.
  keymap.of([{ key: 'Escape', run: (target) => (target.contentDOM.blur(), true) }]),
  lineNumbers(),
  history(),
  drawSelection(),
  bracketMatching(),
  closeBrackets(),
  autocompletion({ icons: false, maxRenderedOptions: 200 }),
  search({ top: true }),
  highlightSelectionMatches(),
  highlightActiveLine(),
  lintGutter(),
  syntaxHighlighting(highlight),
  theme,
  placeholder('SELECT …'),
  sql({ dialect: PostgreSQL }).language,
  schemaOf.of([]),
  Prec.high(keymap.of(completionKeymap)),
  keymap.of([...closeBracketsKeymap, ...searchKeymap, ...lintKeymap, ...historyKeymap, ...defaultKeymap, indentWithTab]),
  EditorView.lineWrapping,
  EditorView.contentAttributes.of({ 'aria-label': 'SQL query' }),
  EditorView.updateListener.of((update) => {
    if (update.docChanged) handlersOf.get(update.view)?.onChange(update.state.doc.toString());
  }),
];

export default function Editor({ ref, tab, text, schema, problems, valuesOf, ...handlers }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const latest = useRef({ text, handlers });
  useEffect(() => {
    latest.current = { text, handlers };
    if (view.current) handlersOf.set(view.current, handlers);
  });

  useEffect(() => {
    if (!host.current) return;
    const kept = parked.get(tab);
    const doc = latest.current.text;
    const state = kept?.doc.toString() === doc ? kept : EditorState.create({ doc, extensions: EXTENSIONS });
    const editor = new EditorView({ parent: host.current, state });
    view.current = editor;
    handlersOf.set(editor, latest.current.handlers);
    // Who opened a menu or dialog while the editor was still on its way stays there: the loss of focus would close it.
    if (!document.activeElement?.closest('[role="dialog"], [role="menu"]')) editor.focus();
    return () => {
      parked.set(tab, editor.state);
      editor.destroy();
      view.current = null;
    };
  }, [tab]);

  useEffect(() => {
    const editor = view.current;
    if (!editor || editor.state.doc.toString() === text) return;
    editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: text } });
  }, [text, tab]);

  useEffect(() => {
    if (!schema || !view.current) return;
    const source = complete(schema, valuesOf);
    view.current.dispatch({ effects: schemaOf.reconfigure(PostgreSQL.language.data.of({ autocomplete: source })) });
  }, [schema, valuesOf, tab]);

  useEffect(() => {
    const editor = view.current;
    if (!editor) return;
    const length = editor.state.doc.length;
    editor.dispatch(
      setDiagnostics(
        editor.state,
        problems.filter((each) => each.from <= length).map((each) => diagnostic(each, length)),
      ),
    );
  }, [problems, tab]);

  useImperativeHandle(
    ref,
    (): EditorHandle => ({
      selection: () => view.current?.state.selection.main ?? { from: 0, to: 0 },
      insert: (added) => {
        const editor = view.current;
        if (!editor) return;
        const { from } = editor.state.selection.main;
        const before = editor.state.doc.sliceString(Math.max(0, from - 1), from);
        editor.dispatch(editor.state.replaceSelection(/[\w"']$/.test(before) ? ` ${added}` : added));
        editor.focus();
      },
      replace: (from, to, insert) => {
        view.current?.dispatch({ changes: { from, to, insert }, selection: { anchor: from + insert.length } });
        view.current?.focus();
      },
      focus: () => {
        view.current?.focus();
      },
    }),
    [],
  );

  return <div ref={host} className="sql-editor" />;
}

function diagnostic({ from, to, message, severity, fix }: EditorProblem, length: number): Diagnostic {
  return {
    from,
    to: Math.min(length, Math.max(to, from + 1)),
    severity,
    message,
    ...(fix === null
      ? {}
      : {
          actions: [
            {
              name: `Write ${fix}`,
              apply: (editor: EditorView, begin: number, end: number) => {
                editor.dispatch({ changes: { from: begin, to: end, insert: fix } });
              },
            },
          ],
        }),
  };
}
