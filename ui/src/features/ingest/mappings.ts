/** The mapping rules and trying them on a span. */
import { queryOptions } from '@tanstack/react-query';

import { api, apiFetch, projectInUrl, unwrap } from '../../api/client';
import type { components } from '../../api/generated/openapi';

export type Mappings = components['schemas']['Mappings'];
export type Tried = components['schemas']['TryAnswer'];

export const mappingsQuery = () =>
  queryOptions({
    queryKey: ['mappings', projectInUrl()],
    queryFn: ({ signal }) => unwrap(api.GET('/api/v1/mappings', { signal })),
    staleTime: Infinity,
  });

export type Trial = { span: unknown; resource?: unknown; scope?: unknown } | { attributes: unknown };

/**
 * What was typed, as the request wants it: `{"span", "resource", "scope"}`, a span in OTLP/JSON, or its attributes as plain JSON. `null`: it
 * is none of them.
 */
export function asTrial(typed: unknown): Trial | null {
  if (!isRecord(typed)) return null;
  if (isRecord(typed['span'])) {
    const { span, resource, scope } = typed;
    return { span, ...(isRecord(resource) ? { resource } : {}), ...(isRecord(scope) ? { scope } : {}) };
  }
  // In OTLP/JSON attributes are a list; and only a span has identifiers beside them.
  if ('traceId' in typed || 'spanId' in typed || Array.isArray(typed['attributes'])) return { span: typed };
  return { attributes: typed };
}

/** Asks the server what it makes of a span. Nothing is stored. */
export async function tryMapping(trial: Trial): Promise<Tried> {
  // The document says of any JSON that it is an object without members.
  return unwrap(api.POST('/api/v1/mappings/try', { body: trial as Record<string, Record<string, never>> }));
}

/** The latest call of a model: a span that rules are about. */
export function latestCall(): string {
  return 'SELECT trace_id, span_id FROM llm_calls ORDER BY start_time DESC LIMIT 1';
}

/** A span as it was received, with its resource and scope; `place` is `trace.span`. */
export async function receivedSpan(place: string): Promise<Trial | null> {
  const [traceId = '', spanId = ''] = place.split('.');
  const response = await apiFetch(`/api/v1/traces/${encodeURIComponent(traceId)}/otlp`, {
    headers: { accept: 'application/json' },
  });
  return spanIn(await response.json(), spanId);
}

/** A span of an OTLP/JSON request, with its resource and scope. */
export function spanIn(request: unknown, spanId: string): Trial | null {
  for (const ofResource of list(request, 'resourceSpans')) {
    for (const ofScope of list(ofResource, 'scopeSpans')) {
      const span = list(ofScope, 'spans').find((each) => isRecord(each) && each['spanId'] === spanId);
      if (span !== undefined) return { span, resource: member(ofResource, 'resource'), scope: member(ofScope, 'scope') };
    }
  }
  return null;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function member(value: unknown, name: string): unknown {
  return isRecord(value) ? value[name] : undefined;
}

function list(value: unknown, name: string): unknown[] {
  const found = member(value, name);
  return Array.isArray(found) ? found : [];
}
