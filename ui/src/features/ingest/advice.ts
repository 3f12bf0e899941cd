/** What to do about a record that was refused, by its reason. Pure. */

export type Advice = { readonly title: string; readonly why: string; readonly todo: string };

const ADVICE: Record<string, Advice> = {
  zero_trace_id: {
    title: 'The trace id is all zeros',
    why: 'W3C Trace Context calls such an id invalid: spans of different traces would be put together.',
    todo: 'The sender made a span without a sampled or valid context. Check that the SDK is initialised before the first span, and that no code builds span contexts by hand. To keep this record, give it a trace id.',
  },
  zero_span_id: {
    title: 'The span id is all zeros',
    why: 'Such an id is invalid by W3C Trace Context; no child could name its parent.',
    todo: 'Check the id generator of the sender. To keep this record, give it a span id that its trace does not have yet.',
  },
  bad_trace_id: {
    title: 'The trace id has the wrong length',
    why: 'OTLP wants 16 bytes, in OTLP/JSON 32 hexadecimal digits; base64, as plain protobuf JSON writes bytes, is not allowed.',
    todo: 'If you write OTLP/JSON yourself, encode ids as hexadecimal digits. Ids of 64 bits, as Zipkin and Datadog use, are filled with zeros on the left.',
  },
  bad_span_id: {
    title: 'The span id has the wrong length',
    why: 'OTLP wants 8 bytes, in OTLP/JSON 16 hexadecimal digits.',
    todo: 'If you write OTLP/JSON yourself, encode ids as hexadecimal digits, not base64.',
  },
  bad_parent_span_id: {
    title: 'The id of the parent has the wrong length',
    why: 'OTLP wants 8 bytes, in OTLP/JSON 16 hexadecimal digits, or nothing for a root.',
    todo: 'Leave `parentSpanId` out for a root span; else write 16 hexadecimal digits.',
  },
  time_out_of_range: {
    title: 'A time lies beyond the year 2262',
    why: 'Nanoseconds since 1970 do not fit 64 bits then; it is nearly always a unit mistaken.',
    todo: 'OTLP counts nanoseconds since 1970. Check whether the sender multiplies a time twice, or sends picoseconds.',
  },
  too_many_attributes: {
    title: 'Too many attributes',
    why: 'A record has more attributes than one record may have.',
    todo: 'Set `OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT` (or its like for logs) in the sender, or put a long list into one attribute as an array.',
  },
  too_many_events: {
    title: 'Too many events on one span',
    why: 'A span has more events than one span may have; streaming libraries sometimes add one per token.',
    todo: 'Set `OTEL_SPAN_EVENT_COUNT_LIMIT` in the sender, or turn the event per chunk off in the instrumentation.',
  },
  too_many_links: {
    title: 'Too many links on one span',
    why: 'A span has more links than one span may have.',
    todo: 'Set `OTEL_SPAN_LINK_COUNT_LIMIT` in the sender.',
  },
  too_deep: {
    title: 'An attribute is nested too deeply',
    why: 'Reading it would need more stack than a server may spend on one value.',
    todo: 'Write deep structures as JSON text in one attribute: they are shown as a tree all the same.',
  },
  undecodable: {
    title: 'Part of the request could not be decoded',
    why: 'The bytes are not what the content type says, or not OTLP. What could be read of the request was stored.',
    todo: 'The detail names the field. Most often a field of OTLP/JSON has the wrong type, such as a number where text must stand for 64-bit integers.',
  },
  empty_metric_name: {
    title: 'A metric has no name',
    why: 'Without one there is nothing to ask for.',
    todo: 'Check the code that creates the instrument. To keep this record, give it a name.',
  },
};

export function adviceFor(reason: string): Advice {
  return (
    ADVICE[reason] ?? {
      title: reason.replace(/_/g, ' '),
      why: 'The detail below says what was found and what was expected.',
      todo: 'Mend the sender accordingly; to keep this record, mend it here and send it again.',
    }
  );
}

/** The OTLP/JSON request that sends one record again, and where to. `null`: the signal is not one of OTLP's. */
export function requestFor(
  signal: string,
  record: unknown,
  service: string | null,
): { readonly path: string; readonly body: unknown } | null {
  const resource = {
    attributes: service === null ? [] : [{ key: 'service.name', value: { stringValue: service } }],
  };
  switch (signal) {
    case 'traces':
      return { path: '/v1/traces', body: { resourceSpans: [{ resource, scopeSpans: [{ spans: [record] }] }] } };
    case 'logs':
      return { path: '/v1/logs', body: { resourceLogs: [{ resource, scopeLogs: [{ logRecords: [record] }] }] } };
    case 'metrics':
      return { path: '/v1/metrics', body: { resourceMetrics: [{ resource, scopeMetrics: [{ metrics: [record] }] }] } };
    default:
      return null;
  }
}
