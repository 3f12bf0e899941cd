"""Realistic traces in bulk, as OTLP request bodies in the order in which exporters would send them. Seeded.

Ten spans a trace: an agent, three calls of a model with their messages, two tools, a retrieval, three spans of HTTP and of a database,
over four services. Spans are made once as bytes for each scene; a trace is a copy with its own identifiers, times and token counts
written at known places, so that millions of spans cost a minute, not an hour. A span is sent when it ends, so traces mix and are cut
wherever the server flushes.
"""

import json
import struct
from collections import defaultdict

import telemetry as otlp
from opentelemetry.proto.trace.v1.trace_pb2 import Status

SPANS_PER_TRACE = 10
DAY_NS = 86_400 * 10**9
MODELS = ["gpt-4o", "gpt-4o-mini", "claude-sonnet-4-20250514", "claude-3-5-haiku-20241022", "gemini-2.5-flash", "o3-mini"]
PROVIDERS = {"gpt": "openai", "o3-": "openai", "cla": "anthropic", "gem": "gcp.gemini"}
SERVICES = ["assistant", "retrieval", "tools", "gateway"]
ERRORS = ["RateLimitError", "Timeout", "ConnectionError"]
SCENES, FAILING_SCENES = 300, 15
# Of fixed width, so that they can be overwritten in place.
USER, SESSION, TRACE = "user-@@@@@@", "session-########", b"\xf0TRACE-OF-SPAN\xf1"
ID, PARENT, START, END = b"\xf0SPAN-\xf1", b"\xf0PAREN\xf1", 0x1122334455667788, 0x2233445566778899
# Stands for any number of tokens of two bytes as a varint (128 to 16383).
TOKENS_IN, TOKENS_OUT = 9001, 9002


def requests(n_spans, end_ns, days=7, seed=7, spans_per_request=1000):
    """Bodies of trace export requests with `n_spans` spans over `days` days up to `end_ns`, in the order they end.

    Yields `(trace_id, body)`: the identifier (hex) of a trace that began in the request, and its bytes.
    """
    rng = otlp.seeded(seed)
    scenes = [_scene(rng, failing=nth < FAILING_SCENES) for nth in range(SCENES)]
    n_traces = max(1, n_spans // SPANS_PER_TRACE)
    step = days * DAY_NS // n_traces
    waiting, begin = [], end_ns - days * DAY_NS
    traces_per_chunk = 1000
    for first in range(0, n_traces, traces_per_chunk):
        for number in range(first, min(first + traces_per_chunk, n_traces)):
            start = begin + number * step + rng.randrange(step)
            trace_id = rng.randbytes(16)
            waiting.extend(_trace(rng, scenes[rng.randrange(SCENES)], trace_id, start, number))
        waiting.sort(key=lambda span: span[0])
        last = first + traces_per_chunk >= n_traces
        done = len(waiting) if last else sum(span[0] < begin + (first + traces_per_chunk) * step for span in waiting)
        for at in range(0, done, spans_per_request):
            yield trace_id.hex(), _body(waiting[at : min(at + spans_per_request, done)])
        del waiting[:done]


def _scene(rng, failing):
    """The spans of a trace as (service, offset and duration in ms, bytes, places to overwrite)."""
    model = rng.choices(MODELS, weights=[30, 40, 12, 8, 8, 2])[0]
    question = _words(rng, 30) + (' about the "refund policy"' if rng.random() < 0.02 else "")
    context, error = _words(rng, 180), rng.choice(ERRORS)
    who = {"user__id": USER, "session__id": SESSION}
    chats = [
        otlp.chat(
            rng,
            model=model,
            input_tokens=TOKENS_IN,
            output_tokens=TOKENS_OUT,
            text=f"{question}\n{context if nth else ''}",
            gen_ai__output__messages=json.dumps(
                [{"role": "assistant", "parts": [{"type": "text", "content": _words(rng, 60)}], "finish_reason": "stop"}]
            ),
            **who,
        )
        for nth in range(3)
    ]
    for chat in chats:
        next(a for a in chat.attributes if a.key == "gen_ai.provider.name").value.string_value = PROVIDERS[model[:3]]
    tools = [
        otlp.span(
            rng,
            name=f"execute_tool {tool}",
            gen_ai__operation__name="execute_tool",
            gen_ai__tool__name=tool,
            gen_ai__tool__call__arguments=json.dumps({"query": question[:40]}),
            **who,
        )
        for tool in rng.sample(["search", "calculator", "browser", "sql"], 2)
    ]
    root = otlp.span(
        rng, name="invoke_agent support", gen_ai__operation__name="invoke_agent", gen_ai__agent__name="support", input__value=question, **who
    )
    retrieve = otlp.span(rng, name="retrieve handbook", gen_ai__operation__name="retrieval", **who)
    plumbing = [
        otlp.span(rng, name=f"GET /{path}", http__request__method="GET", http__response__status_code=200, url__path=f"/{path}")
        for path in ("v1/search", "v1/documents")
    ] + [otlp.span(rng, name="SELECT documents", db__system__name="postgresql", db__query__text="SELECT * FROM documents WHERE id = $1")]
    if failing:
        for span in (root, tools[1]):
            span.status.code = Status.STATUS_CODE_ERROR
            span.status.message = f"{error}: the tool did not answer"
            span.attributes.append(otlp.attribute("error.type", error))
    # (span, service, milliseconds after the start, longest duration)
    plan = [(root, 0, 0, 9000), (chats[0], 0, 20, 2500), (tools[0], 2, 2600, 700), (plumbing[0], 3, 2650, 400), (chats[1], 0, 3400, 2500)]
    plan += [(retrieve, 1, 6000, 300), (plumbing[1], 3, 6010, 100), (plumbing[2], 1, 6150, 80), (tools[1], 2, 6400, 300), (chats[2], 0, 6800, 2200)]
    return [_template(span, nth, *where) for nth, (span, *where) in enumerate(plan)]


def _template(span, nth, service, offset_ms, duration_ms):
    span.trace_id, span.span_id = TRACE[:16].ljust(16, b"."), ID.ljust(8, b".")
    if nth:
        span.parent_span_id = PARENT.ljust(8, b".")
    span.start_time_unix_nano, span.end_time_unix_nano = START, END
    body = span.SerializeToString()
    places = {
        name: body.find(marker)
        for name, marker in {
            "trace": bytes(span.trace_id),
            "span": bytes(span.span_id),
            "parent": bytes(span.parent_span_id) if nth else b"never",
            "start": struct.pack("<Q", START),
            "end": struct.pack("<Q", END),
            "user": USER.encode(),
            "session": SESSION.encode(),
            "tokens_in": _varint(TOKENS_IN),
            "tokens_out": _varint(TOKENS_OUT),
        }.items()
    }
    return service, nth, offset_ms * 10**6, duration_ms * 10**6, body, places


def _trace(rng, scene, trace_id, start, number):
    """The spans of one trace as (end, service, bytes)."""
    base, pace = rng.getrandbits(63) & ~0xF, rng.uniform(0.2, 1)
    user = b"user-%06d" % (int(rng.paretovariate(0.7)) % 20_000)
    session = b"session-%08x" % (number // 3)
    spans = []
    for service, nth, offset, duration, template, places in scene:
        body = bytearray(template)
        begin = start + int(offset * pace)
        end = begin + int(duration * pace * (1 if nth == 0 else rng.random()))
        body[places["trace"] : places["trace"] + 16] = trace_id
        struct.pack_into(">Q", body, places["span"], base + nth)
        if nth:
            struct.pack_into(">Q", body, places["parent"], base)
        struct.pack_into("<Q", body, places["start"], begin)
        struct.pack_into("<Q", body, places["end"], end)
        if places["user"] >= 0:
            body[places["user"] : places["user"] + len(user)] = user
            body[places["session"] : places["session"] + len(session)] = session
        if places["tokens_in"] >= 0:
            body[places["tokens_in"] : places["tokens_in"] + 2] = _varint(rng.randrange(200, 9000))
            body[places["tokens_out"] : places["tokens_out"] + 2] = _varint(rng.randrange(130, 900))
        spans.append((end, service, bytes(body)))
    return spans


def _body(spans):
    """A request around spans, grouped by service. Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto`."""
    by_service = defaultdict(list)
    for _, service, body in spans:
        by_service[service].append(b"\x12" + _varint(len(body)) + body)
    parts = []
    for service, bodies in by_service.items():
        empty = otlp.traces([], SERVICES[service]).resource_spans[0]
        scope_spans = empty.scope_spans[0].SerializeToString() + b"".join(bodies)
        resource_spans = b"\x0a" + _field(empty.resource.SerializeToString()) + b"\x12" + _field(scope_spans)
        parts.append(b"\x0a" + _field(resource_spans))
    return b"".join(parts)


def _field(body):
    return _varint(len(body)) + body


def _varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _words(rng, n):
    return " ".join(rng.choice(_VOCABULARY) for _ in range(n))


_RNG = otlp.seeded(42)
_VOCABULARY = ["".join(_RNG.choice("aeioubcdfglmnprst") for _ in range(_RNG.randrange(2, 10))) for _ in range(4000)]
