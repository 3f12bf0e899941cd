"""How cost grows: one server that is sent more and more, looked at on the way.

`growth` stops at 5 million spans and is part of every run. `endless` goes on until the data folder has taken the disk it may have, 10 GB or
`ASSAY_BENCH_DISK` (in GB), and must be asked for.
"""

import os
import time

import load
import templates
import telemetry as otlp
import watched
from harness import Server
from measures import Figure, measures

STEPS = (100_000, 300_000, 1_000_000, 2_000_000, 5_000_000)
STEP_OF_ENDLESS = 2_000_000
CPU = Figure("growth_cpu", "the server's CPU for the spans since the step before, merging and all else it does included", "CPU s per million spans", 9, 5)
MEMORY = Figure("growth_memory", "the most resident memory since the step before", "MB resident", 600, 300)
DISK = Figure("growth_disk", "the data folder, WAL included", "B per span")
SEEN = Figure("growth_freshness", "from the acknowledgement of a span to the answer of a query that shows it, median of 20", "ms", 100, 20)
ENDLESS = Figure("endless_cpu", "as growth_cpu, until the disk budget is used up", "CPU s per million spans", 9, 5)


@measures(CPU, MEMORY, DISK, SEEN)
def growth(bench):
    """Model calls of 0.5 KB, in batches of 512 over 8 connections, up to 5 million."""
    steps = STEPS[-2:] if bench.quick else STEPS
    yield from _grow(bench, [bench.scaled(step) for step in steps], CPU, lambda server: False)


@measures(ENDLESS, by_name_only=True)
def endless(bench):
    """The same without end, but for the disk."""
    budget = float(os.environ.get("ASSAY_BENCH_DISK") or 10) * 1e9 * bench.scale
    steps = (bench.scaled(STEP_OF_ENDLESS) * nth for nth in range(1, 10**6))
    yield from _grow(bench, steps, ENDLESS, lambda server: _bytes_of(server.data_dir) >= budget)


def _grow(bench, steps, cpu_figure, is_enough):
    corpus = templates.corpus(bench.folder, templates.call, 512)
    stored, cpu, started = 0, 0.0, time.perf_counter()
    with Server(bench.folder / "data", bench.config) as server:
        pid = server.process.pid
        for step in steps:
            watched.forget_peak(pid)
            sent = load.send(server, corpus, spans=max(1, step - stored))
            watched.until_flushed(server)
            now, before = watched.cpu_seconds(pid), stored
            stored += sent["spans"]
            so_far = f"{stored} spans"
            yield cpu_figure.found(
                (now - cpu) / (stored - before) * 1e6,
                so_far,
                spans_per_second=sent["spans_per_second"],
                ack_p99_ms=sent["ack_ms"]["p99"],
                retries=sent["retries"],
                seconds_so_far=time.perf_counter() - started,
            )
            yield MEMORY.found(watched.resident_mb(pid, peak=True), so_far, now=watched.resident_mb(pid))
            yield DISK.found(_bytes_of(server.data_dir) / stored, so_far, files=_files(server))
            seen = _freshness(server)
            stored += len(seen)
            yield SEEN.found(seen[len(seen) // 2], so_far, worst=seen[-1])
            # What was asked of it meanwhile is not part of the next step.
            cpu = watched.cpu_seconds(pid)
            if is_enough(server):
                return


def _freshness(server):
    """Milliseconds from acknowledgement to answer, in order, for a few spans."""
    rng, times = otlp.seeded(time.time_ns()), []
    for _ in range(20):
        span = otlp.chat(rng)
        server.send("traces", otlp.traces([span]).SerializeToString())
        acknowledged = time.perf_counter()
        rows = server.sql(f"SELECT name FROM spans WHERE trace_id = '{span.trace_id.hex()}'")
        times.append((time.perf_counter() - acknowledged) * 1000)
        assert len(rows) == 1
    return sorted(times)


def _files(server):
    return server.get("/api/v1/status")["storage"]["tables"]["spans"]["files"]


def _bytes_of(folder):
    """Bytes of the files below a folder; those that go while one looks count as gone."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
    return total
