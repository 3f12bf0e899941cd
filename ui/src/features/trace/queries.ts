/** What the trace page asks of the server. */
import { queryOptions } from '@tanstack/react-query';

import { api, ApiError, apiFetch, projectInUrl, unwrap } from '../../api/client';
import { readSpanDetail, type SqlResult } from '../../api/types';
import type { WholeValues } from '../../components/Cut';
import { withParser } from '../../components/markdownParser';
import { ALIGN_SPANS_MAX } from './align';
import type { AlignAnswer, AlignRequest } from './align.worker';
import type { GraphAnswer, GraphRequest } from './graph.worker';
import { prettyJson } from '../../lib/pretty';
import { CONTENT_SEARCH_CHARS, contentSearchSql, quoted, traceLogsSql } from './sql';
import { readContents } from './transcript';
import type { TraceAnswer, TraceHead, TraceRequest } from './trace.worker';
import type { TraceTree } from './tree';

export type Trace = { readonly head: TraceHead; readonly tree: TraceTree };

/** How often a trace with running spans is read again. */
const RUNNING_MS = 2_000;
/** Texts of a span over this are cut; the rest is asked for when it is wanted. */
export const TEXT_BYTES_MAX = 65_536;

export const traceQuery = (traceId: string) =>
  queryOptions({
    queryKey: ['trace', projectInUrl(), traceId],
    queryFn: ({ signal }) => readTrace(traceId, signal),
    staleTime: 30_000,
    gcTime: 60_000,
    // The arrays are of one reading and must not be mixed with those of the one before.
    structuralSharing: false,
    refetchInterval: (query) => ((query.state.data?.tree.running ?? 0) > 0 ? RUNNING_MS : false),
  });

let worker: Worker | null = null;
let asked = 0;

function readTrace(traceId: string, signal: AbortSignal): Promise<Trace> {
  worker ??= new Worker(new URL('./trace.worker.ts', import.meta.url), { type: 'module' });
  const reader = worker;
  asked += 1;
  const request: TraceRequest = {
    id: asked,
    url: `/api/v1/traces/${encodeURIComponent(traceId)}/columns`,
    project: projectInUrl(),
  };
  return new Promise((resolve, reject) => {
    const done = (act: () => void) => {
      reader.removeEventListener('message', answered);
      reader.removeEventListener('error', failed);
      act();
    };
    const answered = ({ data }: MessageEvent<TraceAnswer>) => {
      if (data.id !== request.id) return;
      done(() => {
        if (data.kind === 'read') resolve({ head: data.head, tree: data.tree });
        else reject(new ApiError(data.problem, data.status));
      });
    };
    const failed = (event: ErrorEvent) => {
      worker = null;
      done(() => {
        reject(new Error(event.message === '' ? 'the trace could not be put together' : event.message));
      });
    };
    reader.addEventListener('message', answered);
    reader.addEventListener('error', failed);
    signal.addEventListener('abort', () => {
      done(() => {
        reject(new DOMException('aborted', 'AbortError'));
      });
    });
    reader.postMessage(request);
  });
}

export const spanQuery = (traceId: string, spanId: string, running = false) =>
  queryOptions({
    queryKey: ['span', projectInUrl(), traceId, spanId, running],
    queryFn: async ({ signal }) =>
      readSpanDetail(
        await withParser(
          unwrap(
            api.GET('/api/v1/traces/{trace_id}/spans/{span_id}', {
              params: { path: { trace_id: traceId, span_id: spanId }, query: { text_bytes_max: TEXT_BYTES_MAX } },
              signal,
            }),
          ),
        ),
      ),
    staleTime: 60_000,
  });

/** Rows of a query as objects. */
export async function sqlRows(query: string, signal: AbortSignal, rowLimit: number): Promise<Record<string, unknown>[]> {
  const response = await apiFetch('/api/v1/sql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ query, row_limit: rowLimit }),
    signal,
  });
  const { columns, rows } = (await response.json()) as SqlResult;
  return rows.map((row) => Object.fromEntries(columns.map((column, at) => [column.name, row[at]])));
}

/** Spans that the server puts into a tree at most. */
const SPANS_MAX = 200_000;

/** Spans whose contents hold a text. */
export const contentSearchQuery = (traceId: string, text: string) =>
  queryOptions({
    queryKey: ['trace-content', projectInUrl(), traceId, text],
    queryFn: async ({ signal }) =>
      (await sqlRows(contentSearchSql(traceId, text), signal, SPANS_MAX)).flatMap(({ span_id: id }) =>
        typeof id === 'string' ? [id] : [],
      ),
    staleTime: 60_000,
    enabled: text.length >= CONTENT_SEARCH_CHARS,
  });

/** Items of a transcript whose contents are asked for together. */
export const CONTENT_BATCH = 24;
/** Longer columns are left to the span panel; the transcript shows their preview. */
const CONTENT_BYTES_MAX = 120_000;

/** Messages, arguments and results of some spans. */
export const contentsQuery = (traceId: string, spanIds: readonly string[]) => {
  const columns = ['input_messages', 'output_messages', 'tool_arguments', 'tool_result', 'input_value', 'output_value'];
  const short = columns.map((name) => `CASE WHEN octet_length(${name}) <= ${CONTENT_BYTES_MAX} THEN ${name} END AS ${name}`);
  const left = columns.map(
    (name) => `CASE WHEN octet_length(${name}) > ${CONTENT_BYTES_MAX} THEN octet_length(${name}) ELSE 0 END`,
  );
  const sql = `SELECT span_id, input_preview, output_preview, ${short.join(', ')}, ${left.map((each) => `coalesce(${each}, 0)`).join(' + ')} AS left_bytes FROM spans WHERE trace_id = ${quoted(traceId)} AND span_id IN (${spanIds.map(quoted).join(', ')})`;
  return queryOptions({
    queryKey: ['trace-contents', projectInUrl(), traceId, spanIds.join('')],
    queryFn: async ({ signal }) =>
      spanIds.length === 0 ? readContents([]) : readContents(await withParser(sqlRows(sql, signal, spanIds.length + 100))),
    staleTime: 60_000,
    gcTime: 60_000,
    structuralSharing: false,
  });
};

/** Log records of the trace that are shown at most. */
const LOGS_MAX = 1_000;

export const traceLogsQuery = (traceId: string) =>
  queryOptions({
    queryKey: ['trace-logs', projectInUrl(), traceId],
    queryFn: ({ signal }) => sqlRows(traceLogsSql(traceId), signal, LOGS_MAX),
    staleTime: 30_000,
  });

export const notesQuery = (traceId: string) =>
  queryOptions({
    queryKey: ['notes', projectInUrl(), traceId],
    queryFn: async ({ signal }) =>
      (await unwrap(api.GET('/api/v1/notes', { params: { query: { trace_id: traceId } }, signal }))).notes,
    staleTime: 30_000,
  });

/** How to get values of a span whole. */
export function wholeValues(traceId: string, spanId: string): WholeValues {
  const address = (path: string) => `/api/v1/traces/${traceId}/spans/${spanId}/value?${new URLSearchParams({ path }).toString()}`;
  return {
    read: async (path, onBytes) => {
      const response = await apiFetch(address(path));
      let bytes = 0;
      const counting = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
        transform: (chunk, sink) => {
          bytes += chunk.byteLength;
          onBytes(bytes);
          sink.enqueue(chunk);
        },
      });
      return new Response(response.body?.pipeThrough(counting) ?? null).text();
    },
    download: (path) => download(address(path), `${spanId}${path.replaceAll('/', '-')}.${path === '' ? 'json' : 'txt'}`),
  };
}

/** Above this, laying JSON out would be felt. */
const PRETTY_CHARS_MAX = 2_000_000;

/** A span whole, as JSON text, nothing cut. */
export const rawQuery = (traceId: string, spanId: string) =>
  queryOptions({
    queryKey: ['span-raw', projectInUrl(), traceId, spanId],
    queryFn: async () => {
      const json = await wholeValues(traceId, spanId).read('', () => undefined);
      return json.length > PRETTY_CHARS_MAX ? json : prettyJson(json);
    },
    staleTime: 60_000,
    // It may be large.
    gcTime: 10_000,
  });

/** Saves what an address answers as a file. A plain link would not name the project. */
export async function download(address: string, name: string): Promise<void> {
  const url = URL.createObjectURL(await (await apiFetch(address)).blob());
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => {
    URL.revokeObjectURL(url);
  }, 60_000);
}

/** Traces that may be chosen for a comparison. */
const SIMILAR_MAX = 30;

/** The latest traces of a name; of any name if none is given. */
export const similarTracesQuery = (name: string | null) => {
  const filter = name === null ? '' : `name:"${name.replace(/(["\\])/g, '\\$1')}"`;
  return queryOptions({
    queryKey: ['similar-traces', projectInUrl(), name],
    queryFn: async ({ signal }) => {
      const query = { limit: SIMILAR_MAX, ...(filter === '' ? {} : { q: filter }) };
      const { traces, sql } = await unwrap(api.GET('/api/v1/traces', { params: { query }, signal }));
      const found = traces.map((trace) => ({
        traceId: trace.trace_id,
        name: trace.name ?? '',
        startTime: trace.start_time,
        durationNs: trace.duration_ns,
        costUsd: trace.cost_usd ?? null,
        spans: trace.span_count,
        errors: trace.error_count,
      }));
      return { traces: found, sql };
    },
    staleTime: 10_000,
  });
};

/** A worker that is started when it is first asked, and anew after a failure. */
function workerFor<Asked extends { readonly id: number }, Answer extends { readonly id: number }>(start: () => Worker) {
  let running: Worker | null = null;
  return (question: Omit<Asked, 'id'>): Promise<Answer> => {
    running ??= start();
    const worker = running;
    asked += 1;
    const id = asked;
    return new Promise<Answer>((resolve, reject) => {
      const done = () => {
        worker.removeEventListener('message', answered);
        worker.removeEventListener('error', failed);
      };
      const failed = (event: ErrorEvent) => {
        running = null;
        done();
        reject(new Error(event.message));
      };
      const answered = ({ data }: MessageEvent<Answer>) => {
        if (data.id !== id) return;
        done();
        resolve(data);
      };
      worker.addEventListener('message', answered);
      worker.addEventListener('error', failed);
      worker.postMessage({ ...question, id });
    });
  };
}

const layOut = workerFor<GraphRequest, GraphAnswer>(() => new Worker(new URL('./graph.worker.ts', import.meta.url), { type: 'module' })); // prettier-ignore
const align = workerFor<AlignRequest, AlignAnswer>(() => new Worker(new URL('./align.worker.ts', import.meta.url), { type: 'module' })); // prettier-ignore

/** Tells one reading of a trace from another. */
const treeKey = (tree: TraceTree) => [tree.ids.slice(0, 16), tree.startUnixNano, tree.count, tree.running, tree.endNs];

/** The graph of a tree, laid out in a worker. */
export const graphQuery = (tree: TraceTree, expanded: boolean) =>
  queryOptions({
    queryKey: ['trace-graph', ...treeKey(tree), expanded],
    queryFn: async () => (await layOut({ tree, expanded })).graph,
    staleTime: Infinity,
    gcTime: 60_000,
    structuralSharing: false,
  });

/** Which spans of two traces answer to each other, found in a worker; `null` if they are too large together. */
export const alignQuery = (a: TraceTree, b: TraceTree) =>
  queryOptions({
    queryKey: ['trace-align', ...treeKey(a), ...treeKey(b)],
    queryFn: async () => (a.count + b.count > ALIGN_SPANS_MAX ? null : (await align({ a, b })).aligned),
    staleTime: Infinity,
    gcTime: 60_000,
    structuralSharing: false,
  });
