"""How soon what was acknowledged is seen."""

import time

import telemetry as otlp
from harness import Server
from measures import Figure, measures

FRESHNESS = Figure(
    "freshness", "from the acknowledgement of a span to the answer of a SQL query that shows it, 99th percentile", "ms", target=100, aim=20
)


@measures(FRESHNESS)
def visible(bench):
    """From the acknowledgement of a span to the answer of a SQL query that shows it, the query's own time included."""
    rng, times = otlp.seeded(1), []
    with Server(bench.folder / "data") as server:
        for number in range(bench.scaled(200)):
            span = otlp.chat(rng)
            server.send("traces", otlp.traces([span]).SerializeToString())
            acknowledged = time.perf_counter()
            rows = server.sql(f"SELECT name FROM spans WHERE trace_id = '{span.trace_id.hex()}'")
            times.append((time.perf_counter() - acknowledged) * 1000)
            assert len(rows) == 1, number
    times.sort()
    yield FRESHNESS.found(times[int(len(times) * 0.99)], f"{len(times)} spans, one at a time", p50=times[len(times) // 2])
