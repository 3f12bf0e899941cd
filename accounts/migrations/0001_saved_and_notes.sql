-- Saved views and queries, and notes on traces. Times are microseconds since 1970 UTC.
CREATE TABLE saved (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('view', 'query')),
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    is_default BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX saved_name ON saved (project_id, kind, name);
CREATE UNIQUE INDEX saved_default ON saved (project_id, kind) WHERE is_default;

CREATE TABLE notes (
    id TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL,
    trace_id TEXT NOT NULL,
    span_id TEXT,
    text TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX notes_trace ON notes (project_id, trace_id, created_at);
