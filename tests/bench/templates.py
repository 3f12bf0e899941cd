"""Spans of the sizes that are measured, as bodies of trace export requests for the load generator. Seeded.

Runs of `~` are places for text: the generator puts random digits there, or prose where a run is long, another text each time; for 9001 and
9002 it puts token counts. So a few bodies are enough, and nothing on disk is small because it was sent twice. Only the mix from captures
repeats its texts.
"""

import json
from pathlib import Path

import telemetry as otlp
from harness import CAPTURES
from load import Corpus

_BODIES = 16
_MODELS = [("openai", "gpt-4o"), ("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-20250514"), ("gcp.gemini", "gemini-2.5-flash")]
TOKENS_IN, TOKENS_OUT = 9001, 9002
CALLS_PER_TRACE = 8


def small(rng):
    """0.5 KB that knows nothing of models: an HTTP call with eight headers of random text."""
    text = {f"http__header__{k}": _text(24) for k in range(8)}
    return otlp.span(rng, "GET /items", http__status_code=200, url__path=f"/items/{rng.randrange(1000)}", **text)


def call(rng):
    """0.5 KB of a model call without what was said: models, usage, session and user."""
    return _call(rng)


def chat(rng):
    """5 KB: a model call with its prompt and its answer."""
    return _call(rng, prompt=[("system", 600), ("user", 2900)], answer=600)


def rag(rng):
    """20 KB: a model call with eight retrieved documents in its prompt."""
    return _call(rng, prompt=[("system", 1200), *(("user", 2100) for _ in range(8)), ("user", 200)], answer=1100)


def corpus(folder, shape, batch):
    """Bodies of `batch` spans of a shape; `mix` stands for the spans that real SDKs sent."""
    path = Path(folder) / f"{shape.__name__}-{batch}.corpus"
    if shape is mix:
        return Corpus(path, mix(batch))
    rng = otlp.seeded(2)
    bodies = (otlp.traces(_spans(rng, shape, batch), service=f"service-{number % 4}") for number in range(_BODIES))
    return Corpus(path, (body.SerializeToString() for body in bodies))


def _spans(rng, shape, batch):
    """Model calls come several to a trace and a session, as agents make them, below a span that is not sent; each `small` is a trace."""
    spans = [shape(rng) for _ in range(batch)]
    for first in range(0, batch if shape is not small else 0, CALLS_PER_TRACE):
        trace_id, agent = rng.randbytes(16), rng.randbytes(8)
        session = otlp.attribute("gen_ai.conversation.id", f"session-{rng.randrange(16**6):06x}")
        for span in spans[first : first + CALLS_PER_TRACE]:
            span.trace_id, span.parent_span_id = trace_id, agent
            span.attributes.append(session)
    return spans


def mix(batch):
    """Bodies of at least `batch` spans from what real SDKs sent, each as often as it is there. Joined as they are: repeated fields."""
    body, n_spans = b"", 0
    for part, n_of_part in _captured():
        body, n_spans = body + part, n_spans + n_of_part
        if n_spans >= batch:
            yield body
            body, n_spans = b"", 0
    if body:
        yield body


def _captured():
    for meta in sorted(CAPTURES.glob("*/*.traces.meta.json")):
        base = meta.name.removesuffix(".meta.json")
        path = next(path for path in (meta.with_name(f"{base}.pb"), meta.with_name(f"{base}.json")) if path.exists())
        request = otlp.parse("traces", path.suffix, path.read_bytes())
        n_spans = len(otlp.records("traces", request))
        if n_spans:
            yield request.SerializeToString(), n_spans


def _call(rng, prompt=(), answer=0):
    provider, model = rng.choice(_MODELS)
    more = {}
    if prompt:
        messages = [{"role": role, "parts": [{"type": "text", "content": _text(n)}]} for role, n in prompt]
        more["gen_ai__input__messages"] = json.dumps(messages)
        said = [{"role": "assistant", "parts": [{"type": "text", "content": _text(answer)}], "finish_reason": "stop"}]
        more["gen_ai__output__messages"] = json.dumps(said)
    return otlp.span(
        rng,
        name=f"chat {model}",
        duration_ns=rng.randrange(10**8, 10**10),
        gen_ai__operation__name="chat",
        gen_ai__provider__name=provider,
        gen_ai__request__model=model,
        gen_ai__response__model=model,
        gen_ai__response__id=f"chatcmpl-{rng.randbytes(12).hex()}",
        gen_ai__request__temperature=rng.choice([0.0, 0.2, 0.7, 1.0]),
        gen_ai__usage__input_tokens=TOKENS_IN,
        gen_ai__usage__output_tokens=TOKENS_OUT,
        user__id=f"user-{rng.randrange(10_000):04}",
        **more,
    )


def _text(n):
    """A place for `n` bytes of text."""
    return "~" * n
