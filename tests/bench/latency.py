"""How soon the server answers a sender, and how soon what was acknowledged is seen."""

import time

import load
import templates
import telemetry as otlp
import watched
from harness import Server
from measures import Figure, measures

FRESHNESS = Figure(
    "freshness", "from the acknowledgement of a span to the answer of a SQL query that shows it, 99th percentile", "ms", target=100, aim=20
)
FULL_LOAD = Figure("ack_full_load", "acknowledgement, 99th percentile, each connection sending again at once", "ms")
HALF_LOAD = Figure("ack_half_load", "acknowledgement, 99th percentile, at half the rate of that, by a fixed plan", "ms", target=25, aim=10)


@measures(FRESHNESS)
def visible(bench):
    """From the acknowledgement of a span to the answer of a SQL query that shows it, the query's own time included."""
    rng, times = otlp.seeded(1), []
    with Server(bench.folder / "data", bench.config) as server:
        for number in range(bench.scaled(200)):
            span = otlp.chat(rng)
            server.send("traces", otlp.traces([span]).SerializeToString())
            acknowledged = time.perf_counter()
            rows = server.sql(f"SELECT name FROM spans WHERE trace_id = '{span.trace_id.hex()}'")
            times.append((time.perf_counter() - acknowledged) * 1000)
            assert len(rows) == 1, number
    times.sort()
    yield FRESHNESS.found(times[int(len(times) * 0.99)], f"{len(times)} spans, one at a time", p50=times[len(times) // 2])


@measures(FULL_LOAD, HALF_LOAD)
def acknowledgement(bench):
    """Model calls of 0.5 KB in batches of 50 over 16 connections, long enough for several flushes."""
    corpus = templates.corpus(bench.folder, templates.call, 50)
    seconds = max(1, 60 * bench.scale)
    of_what = f"batches of 50 model calls of 0.5 KB, 16 connections, {seconds:.0f} s"
    with Server(bench.folder / "data", bench.config) as server:
        full = load.send(server, corpus, connections=16, seconds=seconds)
        yield FULL_LOAD.found(full["ack_ms"]["p99"], of_what, **_beside(full))
        watched.until_flushed(server)
        half = load.send(server, corpus, connections=16, seconds=seconds, rate=full["requests_per_second"] / 2)
        yield HALF_LOAD.found(half["ack_ms"]["p99"], of_what, **_beside(half), sent_late=half["late"] / half["requests"])


def _beside(sent):
    times = {f"{name}_ms": time for name, time in sent["ack_ms"].items() if name != "p99"}
    return {"spans_per_second": sent["spans_per_second"], **times, "retries": sent["retries"]}
