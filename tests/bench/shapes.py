"""Spans of the sizes that are measured, as bodies of trace export requests. Seeded; identifiers and times are the sender's to renew."""

import json

import telemetry as otlp


def small(rng, n):
    """Spans of 0.5 KB that know nothing of models: an HTTP call with eight headers of random text."""
    text = {f"http__header__{k}": rng.randbytes(12).hex() for k in range(8)}
    return otlp.traces([otlp.span(rng, http__status_code=200, url__path=f"/items/{k}", **text) for k in range(n)])


def chat(rng, n):
    """Model calls of 5 KB with their prompt."""
    words = [rng.randbytes(rng.randrange(2, 9)).hex() for _ in range(5000)]
    return otlp.traces([otlp.chat(rng, text=" ".join(rng.choices(words, k=400))) for _ in range(n)])


def renewed(rng, requests, n):
    """`n` request bodies made from `requests`, each span with identifiers of its own, so that none counts as resent."""
    for number in range(n):
        request = requests[number % len(requests)]
        for span in request.resource_spans[0].scope_spans[0].spans:
            span.trace_id = rng.randbytes(16)
            span.span_id = rng.randbytes(8)
        yield request.SerializeToString()
