/** Names for the generated types that pages use, and the parts that the document leaves open. */
import type { components, paths } from './generated/openapi';

type Schemas = components['schemas'];

export type TraceSummary = Schemas['TraceSummary'];
export type SpanSummary = Schemas['SpanSummary'];
export type TraceColumns = Schemas['TraceColumns'];
export type SpanColumns = Schemas['SpanColumns'];
export type Strip = Schemas['Strip'];
export type Status = Schemas['Status'];
export type ServerSchema = Schemas['Schema'];

/** A field whose values `/api/v1/facets` lists. */
export type FacetField = paths['/api/v1/facets']['get']['parameters']['query']['field'];

/** An answer of `POST /api/v1/sql` in JSON; a cell is any JSON value, which the document calls an object. */
export type SqlResult = Omit<Schemas['SqlAnswer'], 'rows'> & { readonly rows: readonly (readonly unknown[])[] };

export type CostLine = {
  readonly usage_kind: string;
  readonly units: number | null;
  readonly usd_per_million: string | null;
  readonly cost_usd: string | null;
  readonly source: string | null;
  readonly price: string | null;
  readonly rate_mode: string | null;
};

/** A span with everything known about it. Beyond the summary the document promises only names, so values are read with care. */
export type SpanDetail = SpanSummary & {
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly resource_attributes: Readonly<Record<string, unknown>>;
  readonly scope_attributes: Readonly<Record<string, unknown>>;
  readonly events: readonly unknown[];
  readonly links: readonly unknown[];
  readonly logs: readonly unknown[];
  readonly scores: readonly unknown[];
  readonly cost_lines: readonly CostLine[];
  readonly rules: Readonly<Record<string, unknown>>;
  readonly dialect: string | null;
  readonly error_message: string | null;
  readonly status_message: string | null;
  readonly sql: string;
  readonly cost_sql: string;
  readonly input_messages: unknown;
  readonly output_messages: unknown;
  readonly system_instructions: unknown;
  readonly tool_definitions: unknown;
  readonly tool_arguments: unknown;
  readonly tool_result: unknown;
  readonly input_value: unknown;
  readonly output_value: unknown;
  readonly retrieval_query: unknown;
  readonly retrieval_documents: unknown;
};

/** The answer of the span endpoint as [`SpanDetail`]: what is missing or of another shape becomes empty, nothing else is changed. */
export function readSpanDetail(answer: SpanSummary & Record<string, unknown>): SpanDetail {
  return {
    ...answer,
    attributes: record(answer['attributes']),
    resource_attributes: record(answer['resource_attributes']),
    scope_attributes: record(answer['scope_attributes']),
    events: list(answer['events']),
    links: list(answer['links']),
    logs: list(answer['logs']),
    scores: list(answer['scores']),
    cost_lines: list(answer['cost_lines']).map((line) => readCostLine(record(line))),
    rules: record(answer['rules']),
    dialect: text(answer['dialect']),
    error_message: text(answer['error_message']),
    status_message: text(answer['status_message']),
    sql: text(answer['sql']) ?? '',
    cost_sql: text(answer['cost_sql']) ?? '',
    input_messages: answer['input_messages'],
    output_messages: answer['output_messages'],
    system_instructions: answer['system_instructions'],
    tool_definitions: answer['tool_definitions'],
    tool_arguments: answer['tool_arguments'],
    tool_result: answer['tool_result'],
    input_value: answer['input_value'],
    output_value: answer['output_value'],
    retrieval_query: answer['retrieval_query'],
    retrieval_documents: answer['retrieval_documents'],
  };
}

function readCostLine(line: Readonly<Record<string, unknown>>): CostLine {
  return {
    usage_kind: text(line['usage_kind']) ?? '',
    units: typeof line['units'] === 'number' ? line['units'] : null,
    usd_per_million: text(line['usd_per_million']),
    cost_usd: text(line['cost_usd']),
    source: text(line['source']),
    price: text(line['price']),
    rate_mode: text(line['rate_mode']),
  };
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
