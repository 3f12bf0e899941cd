/** Notes that people wrote on the span and its trace: read, add, change, remove. Markdown. */
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';

import { api, unwrap } from '../../api/client';
import { Button } from '../../components/Button';
import { Markdown } from '../../components/Markdown';
import { ErrorNotice, Skeleton } from '../../components/Notice';
import { formatFullTime } from '../../lib/format';
import { notesQuery } from './queries';

/** The longest note that the server takes, in characters. */
const NOTE_CHARS_MAX = 10_000;

type Change =
  | { readonly kind: 'add'; readonly text: string; readonly spanId: string | null }
  | { readonly kind: 'change'; readonly id: string; readonly text: string }
  | { readonly kind: 'remove'; readonly id: string };

export function NotesTab({ traceId, spanId }: { traceId: string; spanId: string }) {
  const client = useQueryClient();
  const notes = useQuery(notesQuery(traceId));
  const [draft, setDraft] = useState('');
  const [editing, setEditing] = useState<{ id: string; text: string } | null>(null);
  const change = useMutation({
    mutationFn: async (wanted: Change) => {
      if (wanted.kind === 'add')
        await unwrap(api.POST('/api/v1/notes', { body: { trace_id: traceId, span_id: wanted.spanId, text: wanted.text } }));
      else if (wanted.kind === 'change')
        await unwrap(api.PUT('/api/v1/notes/{id}', { params: { path: { id: wanted.id } }, body: { text: wanted.text } }));
      else {
        const { error, response } = await api.DELETE('/api/v1/notes/{id}', { params: { path: { id: wanted.id } } });
        if (!response.ok) await unwrap(Promise.resolve({ error, response }));
      }
    },
    onSuccess: (_, wanted) => {
      if (wanted.kind === 'add') setDraft('');
      else setEditing(null);
      return client.invalidateQueries({ queryKey: notesQuery(traceId).queryKey });
    },
  });
  if (notes.isPending) return <Skeleton lines={4} label="loading the notes" />;
  if (notes.isError) return <ErrorNotice title="The notes could not be read" error={notes.error} />;
  const shown = notes.data.filter((note) => note.span_id === spanId || note.span_id === null || note.span_id === undefined);
  const elsewhere = notes.data.length - shown.length;
  const add = (onSpan: boolean) => {
    change.mutate({ kind: 'add', text: draft.trim(), spanId: onSpan ? spanId : null });
  };
  return (
    <>
      {shown.length === 0 && <p className="panel-none">No note on this span or its trace.</p>}
      {shown.map((note) => (
        <article key={note.id} className="note" aria-label="Note">
          <header className="note__head">
            <span>{note.span_id === spanId ? 'on this span' : 'on the trace'}</span>
            <time dateTime={note.updated_at}>{formatFullTime(note.updated_at)}</time>
            <span className="note__actions">
              <Button
                look="quiet"
                onClick={() => {
                  setEditing({ id: note.id, text: note.text });
                }}
              >
                Edit
              </Button>
              <Button
                look="quiet"
                onClick={() => {
                  change.mutate({ kind: 'remove', id: note.id });
                }}
              >
                Delete
              </Button>
            </span>
          </header>
          {editing?.id === note.id ? (
            <form
              className="note-form"
              onSubmit={(event) => {
                event.preventDefault();
                change.mutate({ kind: 'change', id: note.id, text: editing.text.trim() });
              }}
            >
              <textarea
                aria-label="Text of the note"
                value={editing.text}
                maxLength={NOTE_CHARS_MAX}
                onChange={(event) => {
                  setEditing({ id: note.id, text: event.target.value });
                }}
              />
              <span className="note__actions">
                <Button type="submit" look="primary" disabled={editing.text.trim() === '' || change.isPending}>
                  Save
                </Button>
                <Button
                  onClick={() => {
                    setEditing(null);
                  }}
                >
                  Cancel
                </Button>
              </span>
            </form>
          ) : (
            <Markdown text={note.text} />
          )}
        </article>
      ))}
      {elsewhere > 0 && <p className="panel-none">{elsewhere} more on other spans of this trace.</p>}
      <form
        className="note-form"
        onSubmit={(event) => {
          event.preventDefault();
          if (draft.trim() !== '') add(true);
        }}
      >
        <textarea
          aria-label="New note"
          placeholder="What should be known about this span? Markdown."
          value={draft}
          maxLength={NOTE_CHARS_MAX}
          onChange={(event) => {
            setDraft(event.target.value);
          }}
          onKeyDown={(event) => {
            if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && draft.trim() !== '') add(true);
          }}
        />
        <span className="note__actions">
          <Button type="submit" look="primary" disabled={draft.trim() === '' || change.isPending}>
            Add to the span
          </Button>
          <Button
            disabled={draft.trim() === '' || change.isPending}
            onClick={() => {
              add(false);
            }}
          >
            Add to the trace
          </Button>
        </span>
      </form>
      {change.isError && <ErrorNotice title="The note was not kept" error={change.error} />}
    </>
  );
}
