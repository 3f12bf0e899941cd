"""Spans of the sizes that are measured, as bodies of trace export requests. Seeded; identifiers and times are the sender's to renew."""

import telemetry as otlp


def chat(rng, n):
    """Model calls of 5 KB with their prompt."""
    words = [rng.randbytes(rng.randrange(2, 9)).hex() for _ in range(5000)]
    return otlp.traces([otlp.chat(rng, text=" ".join(rng.choices(words, k=400))) for _ in range(n)])
