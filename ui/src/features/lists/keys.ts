/** The keys of the filter language, with a word on each, for suggestions and colours. */
import type { FacetField } from '../../api/types';

export type FilterKey = {
  readonly key: string;
  readonly doc: string;
  /** Field of `/api/v1/facets` that knows its values. */
  readonly facet?: FacetField;
  readonly example: string;
};

export const FILTER_KEYS: readonly FilterKey[] = [
  { key: 'service', doc: 'service that sent the span', facet: 'service_name', example: 'service:checkout' },
  { key: 'model', doc: 'model asked for or that answered', facet: 'request_model', example: 'model:gpt-4o*' },
  { key: 'status', doc: 'ERROR, OK or UNSET', facet: 'status_code', example: 'status:error' },
  { key: 'has', doc: 'something is present', example: 'has:error' },
  { key: 'name', doc: 'span name', example: 'name:chat*' },
  { key: 'operation', doc: 'chat, execute_tool, invoke_agent …', facet: 'operation', example: 'operation:chat' },
  { key: 'provider', doc: 'who answered', facet: 'provider', example: 'provider:openai' },
  { key: 'cost', doc: 'US dollars', example: 'cost:>0.01' },
  { key: 'duration', doc: 'time taken', example: 'duration:>2s' },
  { key: 'tokens', doc: 'input and output tokens', example: 'tokens:>1000' },
  { key: 'input_tokens', doc: 'tokens of the prompt', example: 'input_tokens:>1000' },
  { key: 'output_tokens', doc: 'tokens of the answer', example: 'output_tokens:>500' },
  { key: 'tool', doc: 'tool that ran', facet: 'tool_name', example: 'tool:search' },
  { key: 'agent', doc: 'agent that ran', example: 'agent:planner' },
  { key: 'error', doc: 'class of the error', facet: 'error_type', example: 'error:RateLimitError' },
  { key: 'session', doc: 'conversation', facet: 'session_id', example: 'session:s-42' },
  { key: 'user', doc: 'end user', facet: 'user_id', example: 'user:u-7' },
  { key: 'tag', doc: 'tag', example: 'tag:beta' },
  { key: 'env', doc: 'deployment environment', example: 'env:production' },
  { key: 'trace', doc: 'trace id', example: 'trace:4bf92f35…' },
  { key: 'span', doc: 'span id', example: 'span:00f067aa…' },
  { key: 'attr.', doc: 'any attribute as received', example: 'attr.http.route:/chat' },
];

const ALIASES: Record<string, string> = { op: 'operation' };

/** The description of a key, aliases included; `attr.anything` is a key. */
export function filterKey(key: string): FilterKey | undefined {
  const name = ALIASES[key] ?? key;
  if (name.startsWith('attr.') && name.length > 5) return FILTER_KEYS.find((each) => each.key === 'attr.');
  return FILTER_KEYS.find((each) => each.key === name && each.key !== 'attr.');
}
