/** The SQL behind the numbers of the trace page, as the workbench shows it. */
import { OPERATIONS, SEARCHED, SPAN_ID } from './tree';

/** Text as an SQL literal. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

const span = (traceId: string, spanId: string) => `trace_id = ${quoted(traceId)} AND span_id = ${quoted(spanId)}`;

/** What a search asks the server for, beside the columns that the tree has. */
const CONTENTS = ['input_messages', 'output_messages', 'system_instructions', 'tool_arguments', 'tool_result', 'input_value', 'output_value', 'attributes', 'error_message', 'status_message'] as const; // prettier-ignore
/** A shorter text is looked for in the short columns alone. */
export const CONTENT_SEARCH_CHARS = 3;

function anyLike(columns: readonly string[], text: string): string {
  const pattern = quoted(`%${text.replace(/[\\%_]/g, (sign) => `\\${sign}`)}%`);
  return columns.map((name) => `${name} ILIKE ${pattern}`).join('\n  OR ');
}

/** Spans whose contents hold a text. */
export function contentSearchSql(traceId: string, text: string): string {
  return `SELECT span_id FROM spans WHERE trace_id = ${quoted(traceId)} AND (${anyLike(CONTENTS, text)})`;
}

/** The spans that a search finds, in the order of time, and how many they are. */
export function searchSql(traceId: string, text: string): string {
  const id = text.toLowerCase();
  const columns = text.length < CONTENT_SEARCH_CHARS ? SEARCHED : [...SEARCHED, ...CONTENTS];
  return `SELECT row_number() OVER (ORDER BY start_time, span_id) AS match, count(*) OVER () AS matches, span_id, name, start_time
FROM spans
WHERE trace_id = ${quoted(traceId)} AND (${SPAN_ID.test(id) ? `span_id = ${quoted(id)}\n  OR ` : ''}${anyLike(columns, text)})
ORDER BY match`;
}

export function totalsSql(traceId: string): string {
  return `SELECT duration_ns, cost_usd, unpriced_calls, input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
       llm_call_count, tool_call_count, span_count, error_count
FROM traces
WHERE trace_id = ${quoted(traceId)}`;
}

export function tokensSql(traceId: string, spanId: string): string {
  return `SELECT input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, counted, uncounted_reason
FROM spans
WHERE ${span(traceId, spanId)}`;
}

/** A span and all below it. */
export function subtreeSql(traceId: string, spanId: string): string {
  const trace = quoted(traceId);
  return `WITH RECURSIVE subtree AS (
  SELECT span_id FROM spans WHERE ${span(traceId, spanId)}
  UNION ALL
  SELECT child.span_id FROM spans AS child JOIN subtree ON child.parent_span_id = subtree.span_id WHERE child.trace_id = ${trace}
)
SELECT count(*) AS spans,
       sum(input_tokens) FILTER (WHERE counted) AS input_tokens,
       sum(output_tokens) FILTER (WHERE counted) AS output_tokens,
       sum(cost_usd) FILTER (WHERE counted) AS cost_usd,
       count(*) FILTER (WHERE status_code = 'ERROR' OR error_type IS NOT NULL) AS errors
FROM spans
WHERE trace_id = ${trace} AND span_id IN (SELECT span_id FROM subtree)`;
}

/** The rows of a tree: each span with its own figures and, as the tree shows them, those of the span and all below it. */
export function rowsSql(traceIds: readonly string[]): string {
  const traces = `trace_id IN (${traceIds.map(quoted).join(', ')})`;
  return `WITH RECURSIVE below AS (
  SELECT trace_id, span_id AS of_span, span_id FROM spans WHERE ${traces}
  UNION ALL
  SELECT child.trace_id, below.of_span, child.span_id
  FROM spans AS child JOIN below ON child.trace_id = below.trace_id AND child.parent_span_id = below.span_id
  WHERE child.${traces}
), subtrees AS (
  SELECT below.trace_id, below.of_span, count(*) AS subtree_spans, sum(cost_usd) FILTER (WHERE counted) AS subtree_cost_usd,
         count(*) FILTER (WHERE status_code = 'ERROR' OR error_type IS NOT NULL) AS subtree_errors
  FROM below JOIN spans ON spans.trace_id = below.trace_id AND spans.span_id = below.span_id
  WHERE spans.${traces}
  GROUP BY 1, 2
)
SELECT spans.trace_id, spans.span_id, name, operation, duration_ns, input_tokens, output_tokens, cost_usd,
       subtree_spans, subtree_cost_usd, subtree_errors
FROM spans JOIN subtrees ON spans.trace_id = subtrees.trace_id AND spans.span_id = subtrees.of_span
WHERE spans.${traces}
ORDER BY spans.trace_id, start_time`;
}

/** The nodes of the graph: how often each step ran, how long on average and how often it failed. */
export function graphSql(traceId: string, expanded: boolean): string {
  const kind = `CASE ${Object.entries(OPERATIONS)
    .map(([of, operations]) => `WHEN operation IN (${operations.map(quoted).join(', ')}) THEN ${quoted(of)}`)
    .join('\n            ')}
            ELSE 'other' END`;
  const step = `CASE WHEN operation = 'execute_tool' THEN coalesce(tool_name, name)
            WHEN operation IN (${OPERATIONS.agent.map(quoted).join(', ')}) THEN coalesce(agent_name, name)
            WHEN operation IN (${OPERATIONS.chat.map(quoted).join(', ')}) THEN coalesce(response_model, request_model, name)
            ELSE name END`;
  const failed = "status_code = 'ERROR' OR error_type IS NOT NULL";
  if (expanded)
    return `SELECT ${kind} AS kind,
       ${step} AS step,
       span_id, duration_ns, ${failed} AS failed
FROM spans
WHERE trace_id = ${quoted(traceId)}
ORDER BY start_time`;
  return `SELECT ${kind} AS kind,
       ${step} AS step,
       count(*) AS spans, sum(duration_ns) AS duration_ns, avg(duration_ns) AS mean_ns,
       count(*) FILTER (WHERE ${failed}) AS errors
FROM spans
WHERE trace_id = ${quoted(traceId)}
GROUP BY 1, 2
ORDER BY min(start_time)`;
}

export function spanLogsSql(traceId: string, spanId: string): string {
  return logsSql(span(traceId, spanId));
}

export function traceLogsSql(traceId: string): string {
  return logsSql(`trace_id = ${quoted(traceId)}`);
}

function logsSql(condition: string): string {
  return `SELECT time, severity_text, event_name, span_id, service_name, body, attributes\nFROM logs\nWHERE ${condition}\nORDER BY time`;
}

export function compareSql(a: string, b: string): string {
  return `SELECT trace_id, duration_ns, cost_usd, input_tokens, output_tokens, llm_call_count, tool_call_count, error_count, span_count
FROM traces
WHERE trace_id IN (${quoted(a)}, ${quoted(b)})`;
}

/** A price as it was applied: its rates by usage kind, the table it is from, and all that was ever paid by it. */
export function priceSql(price: string): string {
  return `SELECT price, price_table, source, rate_mode, tier_above_tokens, usage_kind, usd_per_million,
       count(*) AS lines, sum(units) AS units, sum(cost_usd) AS cost_usd, min(start_time) AS first_used, max(start_time) AS last_used
FROM cost_lines
WHERE price = ${quoted(price)}
GROUP BY price, price_table, source, rate_mode, tier_above_tokens, usage_kind, usd_per_million
ORDER BY usage_kind, rate_mode`;
}
