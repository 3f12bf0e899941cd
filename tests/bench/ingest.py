"""What ingest costs the server: CPU from OTLP bytes to committed Parquet, for spans of several sizes."""

import shapes
import telemetry as otlp
import watched
from harness import Server
from measures import Figure, measures

SMALL = Figure("ingest_small_spans", "the server's CPU for spans of 0.5 KB, from OTLP bytes to committed Parquet", "CPU s per million spans", target=9, aim=5)
CHAT = Figure("ingest_chat_spans", "the server's CPU for chat spans of 5 KB, from OTLP bytes to committed Parquet", "CPU s per GB", target=7, aim=4)


@measures(SMALL)
def small(bench):
    """CPU of the server per million spans of about 0.5 KB."""
    rng = otlp.seeded(2)
    n_spans, per_request = bench.scaled(1_000_000), 1000
    bodies = [shapes.small(rng, per_request) for _ in range(50)]
    with Server(bench.folder / "data") as server:
        seconds, sent = _ingest(server, shapes.renewed(rng, bodies, max(1, n_spans // per_request)))
    yield SMALL.found(seconds / (n_spans / 1e6), f"{n_spans} spans, {sent / n_spans:.0f} B each")


@measures(CHAT)
def chat(bench):
    """CPU of the server per GB of chat spans of about 5 KB."""
    rng = otlp.seeded(3)
    n_spans, per_request = bench.scaled(100_000), 200
    bodies = [shapes.chat(rng, per_request) for _ in range(50)]
    with Server(bench.folder / "data") as server:
        seconds, sent = _ingest(server, shapes.renewed(rng, bodies, max(1, n_spans // per_request)))
    yield CHAT.found(seconds / (sent / 1e9), f"{sent / 1e9:.2f} GB, {sent / n_spans:.0f} B a span")


def _ingest(server, bodies):
    """CPU seconds of the server until everything sent is committed, and the bytes sent."""
    before, sent = watched.cpu_seconds(server.process.pid), 0
    for body in bodies:
        server.send("traces", body)
        sent += len(body)
    watched.until_flushed(server)
    return watched.cpu_seconds(server.process.pid) - before, sent
