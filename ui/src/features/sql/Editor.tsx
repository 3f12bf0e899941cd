/** The SQL editor: CodeMirror with completion from the server's schema. Loaded only with the SQL page. */
import {
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
  type Completion,
  type CompletionContext,
} from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { PostgreSQL, sql } from '@codemirror/lang-sql';
import { bracketMatching, HighlightStyle, syntaxHighlighting } from '@codemirror/language';
import { lintGutter, setDiagnostics } from '@codemirror/lint';
import { Compartment, EditorState, Prec } from '@codemirror/state';
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers, placeholder } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { useEffect, useRef } from 'react';

import type { ServerSchema } from '../../api/types';

export type EditorProblem = { message: string; line: number; column: number };

type Props = {
  text: string;
  schema: ServerSchema | undefined;
  problem: EditorProblem | null;
  onChange: (text: string) => void;
  onRun: () => void;
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
  '.cm-tooltip': {
    border: '1px solid var(--line-strong)',
    borderRadius: 'var(--radius)',
    backgroundColor: 'var(--surface)',
    color: 'var(--text)',
    boxShadow: 'var(--shadow)',
  },
  '.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--font-code)', fontSize: 'var(--type-small)' },
  '.cm-tooltip-autocomplete > ul > li[aria-selected]': { backgroundColor: 'var(--selected)', color: 'var(--text)' },
  '.cm-completionDetail': { color: 'var(--text-faint)', fontStyle: 'normal' },
  '.cm-completionInfo': { maxWidth: '320px', padding: '6px 8px', fontFamily: 'var(--font-text)' },
  '.cm-completionMatchedText': { textDecoration: 'none', fontWeight: '600' },
  '.cm-diagnostic': { fontFamily: 'var(--font-text)' },
});

export default function Editor({ text, schema, problem, onChange, onRun }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const language = useRef(new Compartment());
  const handlers = useRef({ onChange, onRun });
  const initial = useRef(text);
  useEffect(() => {
    handlers.current = { onChange, onRun };
  });

  useEffect(() => {
    if (!host.current) return;
    const editor = new EditorView({
      parent: host.current,
      state: EditorState.create({
        doc: initial.current,
        extensions: [
          Prec.highest(
            keymap.of([
              {
                key: 'Mod-Enter',
                run: () => {
                  handlers.current.onRun();
                  return true;
                },
              },
              // Tab indents; Escape then Tab leaves the editor, for people without a mouse.
              { key: 'Escape', run: (target) => (target.contentDOM.blur(), false) },
            ]),
          ),
          lineNumbers(),
          history(),
          drawSelection(),
          bracketMatching(),
          closeBrackets(),
          autocompletion({ icons: false }),
          highlightActiveLine(),
          lintGutter(),
          syntaxHighlighting(highlight),
          theme,
          placeholder('SELECT …'),
          language.current.of(sql({ dialect: PostgreSQL })),
          keymap.of([...closeBracketsKeymap, ...completionKeymap, ...historyKeymap, ...defaultKeymap, indentWithTab]),
          EditorView.lineWrapping,
          EditorView.contentAttributes.of({ 'aria-label': 'SQL query' }),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) handlers.current.onChange(update.state.doc.toString());
          }),
        ],
      }),
    });
    view.current = editor;
    editor.focus();
    return () => {
      editor.destroy();
    };
  }, []);

  useEffect(() => {
    const editor = view.current;
    if (!editor || editor.state.doc.toString() === text) return;
    editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: text } });
  }, [text]);

  useEffect(() => {
    if (!schema || !view.current) return;
    view.current.dispatch({ effects: language.current.reconfigure(languageFor(schema)) });
  }, [schema]);

  useEffect(() => {
    const editor = view.current;
    if (!editor) return;
    editor.dispatch(setDiagnostics(editor.state, problem ? [diagnostic(editor.state, problem)] : []));
  }, [problem]);

  return <div ref={host} className="sql-editor" />;
}

/** The language with tables, columns and functions, each with its documentation. */
function languageFor(schema: ServerSchema) {
  const tables = Object.fromEntries(
    schema.tables.map((table) => [
      table.name,
      {
        self: { label: table.name, type: 'class', detail: table.kind, info: table.doc } satisfies Completion,
        children: table.columns.map((column): Completion => ({
          label: column.name,
          type: 'property',
          detail: column.type,
          info: column.doc,
        })),
      },
    ]),
  );
  const columns = new Map<string, Completion>();
  for (const table of schema.tables) {
    for (const column of table.columns) {
      if (!columns.has(column.name))
        columns.set(column.name, { label: column.name, type: 'property', detail: column.type, info: column.doc, boost: -1 });
    }
  }
  const functions = schema.functions.map((each): Completion => ({
    label: each.name,
    type: 'function',
    detail: each.signature,
    info: each.doc,
    apply: `${each.name}(`,
  }));
  const support = sql({ dialect: PostgreSQL, schema: tables, upperCaseKeywords: true });
  const words = [...columns.values(), ...functions];
  return [
    support,
    PostgreSQL.language.data.of({
      autocomplete: (context: CompletionContext) => {
        const word = context.matchBefore(/[\w.]+$/);
        if ((!word && !context.explicit) || word?.text.includes('.')) return null;
        return { from: word?.from ?? context.pos, options: words, validFor: /^\w*$/ };
      },
    }),
  ];
}

function diagnostic(state: EditorState, problem: EditorProblem) {
  const line = state.doc.line(Math.max(1, Math.min(problem.line, state.doc.lines)));
  const from = Math.min(line.to, line.from + Math.max(0, problem.column - 1));
  const word = /^[\w".]+/.exec(state.doc.sliceString(from, line.to))?.[0].length ?? 1;
  return { from, to: Math.min(state.doc.length, from + word), severity: 'error' as const, message: problem.message };
}
