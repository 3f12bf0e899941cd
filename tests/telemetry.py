"""Builds OTLP requests, and reads captures back as protobuf messages."""

import base64
import gzip
import json
import random
import zlib

import zstandard
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

REQUESTS = {"traces": ExportTraceServiceRequest, "logs": ExportLogsServiceRequest, "metrics": ExportMetricsServiceRequest}
COMPRESS = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress, "deflate": zlib.compress}
ID_KEYS = {"traceId", "spanId", "parentSpanId"}


def attribute(key, value):
    """One attribute; the Python type decides the OTLP type."""
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    if isinstance(value, float):
        return KeyValue(key=key, value=AnyValue(double_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=value))


def span(rng, name="work", trace_id=None, parent=b"", start=1_763_692_800_000_000_000, duration_ns=1_000_001, **attributes):
    """A span with identifiers drawn from `rng` (a `random.Random`); `__` in an attribute's name stands for a dot."""
    return Span(
        trace_id=trace_id or rng.randbytes(16),
        span_id=rng.randbytes(8),
        parent_span_id=parent,
        name=name,
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=start,
        end_time_unix_nano=start + duration_ns,
        attributes=[attribute(key.replace("__", "."), value) for key, value in attributes.items()],
    )


def chat(rng, model="gpt-4o-mini", input_tokens=1000, output_tokens=10, text="Hello", **more):
    """A model call in OpenTelemetry's current GenAI conventions."""
    messages = [{"role": "user", "parts": [{"type": "text", "content": text}]}]
    return span(
        rng,
        name=f"chat {model}",
        gen_ai__operation__name="chat",
        gen_ai__provider__name="openai",
        gen_ai__request__model=model,
        gen_ai__usage__input_tokens=input_tokens,
        gen_ai__usage__output_tokens=output_tokens,
        gen_ai__input__messages=json.dumps(messages),
        **more,
    )


def traces(spans, service="tests"):
    """A trace export request around `spans`."""
    resource = Resource(attributes=[attribute("service.name", service)])
    scope_spans = ScopeSpans(scope=InstrumentationScope(name="assay.tests"), spans=spans)
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource, scope_spans=[scope_spans])])


def seeded(seed):
    """A source of identifiers that gives the same ones for the same seed."""
    return random.Random(seed)


def parse(signal, content_type, body):
    """An OTLP request body as a protobuf message."""
    if "json" not in content_type:
        return REQUESTS[signal].FromString(body)
    # protobuf's own JSON reads bytes as base64, OTLP/JSON writes identifiers as hex.
    return json_format.ParseDict(_ids_as_base64(json.loads(body)), REQUESTS[signal](), ignore_unknown_fields=True)


def records(signal, request):
    """Every record of `request` with what it was sent under: (resource, schema, scope, schema, record), as sortable bytes.

    Grouping is not part of what was sent: two requests are equal if the sorted lists of their records are.
    """
    out = []
    outer = {"traces": "resource_spans", "logs": "resource_logs", "metrics": "resource_metrics"}[signal]
    inner = {"traces": "scope_spans", "logs": "scope_logs", "metrics": "scope_metrics"}[signal]
    leaf = {"traces": "spans", "logs": "log_records", "metrics": "metrics"}[signal]
    for resource_group in getattr(request, outer):
        for scope_group in getattr(resource_group, inner):
            for record in getattr(scope_group, leaf):
                for part in _points(record) if signal == "metrics" else [record]:
                    out.append(
                        (
                            resource_group.resource.SerializeToString(deterministic=True),
                            resource_group.schema_url,
                            scope_group.scope.SerializeToString(deterministic=True),
                            scope_group.schema_url,
                            part.SerializeToString(deterministic=True),
                        )
                    )
    return sorted(out)


def _points(metric):
    """A metric as one metric per data point: how points are grouped into a metric is not part of what was sent."""
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    for point in getattr(metric, kind).data_points:
        single = type(metric)()
        single.CopyFrom(metric)
        del getattr(single, kind).data_points[:]
        getattr(single, kind).data_points.append(point)
        yield single


def _ids_as_base64(value):
    if isinstance(value, list):
        return [_ids_as_base64(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(item)).decode() if key in ID_KEYS and isinstance(item, str) else _ids_as_base64(item)
        for key, item in value.items()
    }


def to_json(request):
    """`request` as OTLP/JSON: hex identifiers, enums as numbers."""
    return json.dumps(_ids_as_hex(json_format.MessageToDict(request, use_integers_for_enums=True))).encode()


def _ids_as_hex(value):
    if isinstance(value, list):
        return [_ids_as_hex(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64decode(item).hex() if key in ID_KEYS and isinstance(item, str) else _ids_as_hex(item)
        for key, item in value.items()
    }
