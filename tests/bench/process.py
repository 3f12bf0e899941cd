"""The process itself: memory at rest, and how soon it is ready after an end that left much to replay."""

import time

import load
import templates
import telemetry as otlp
import watched
from harness import Server
from measures import Figure, measures

IDLE = Figure("idle_memory", "resident memory of a server that has received and flushed a little, and rests", "MB resident", target=120, aim=60)
START = Figure("start_with_full_wal", "from exec to ready, with 1 GB of requests in the WAL that no flush has committed", "s to ready", target=10)


@measures(IDLE)
def rest(bench):
    """Resident memory of a server that received and flushed a little, and now rests."""
    with Server(bench.folder / "data", bench.config) as server:
        for number in range(bench.scaled(20)):
            server.send("traces", otlp.traces([otlp.chat(otlp.seeded(number)) for _ in range(50)]).SerializeToString())
        server.sql("SELECT count(*) FROM llm_calls")
        watched.until_flushed(server)
        # Rest is a matter of time: longer than the allocator waits before it gives pages back.
        time.sleep(20 * min(bench.scale * 2, 1))
        yield IDLE.found(watched.resident_mb(server.process.pid), "1000 spans received before")


@measures(START)
def start(bench):
    """From exec to ready, with 1 GB of requests in the write-ahead log that no flush has committed."""
    config = '[storage]\nflush_interval = "1d"\nflush_bytes = "8GiB"\nhot_bytes_max = "8GiB"\n'
    server = Server(bench.folder / "data", config).start()
    sent = load.send(server, templates.corpus(bench.folder, templates.small, 1000), bytes=int(1e9 * bench.scale))
    spans = server.sql("SELECT count(*) AS n FROM spans")
    server.kill()
    started = time.perf_counter()
    server.start()
    seconds = time.perf_counter() - started
    assert server.sql("SELECT count(*) AS n FROM spans") == spans
    server.kill()
    yield START.found(seconds, f"{sent['bytes'] / 1e9:.2f} GB of WAL, {spans[0]['n']} spans")
