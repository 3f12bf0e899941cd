"""Measures what the project promises, on the release binary: `make bench`. Prints a table and, as its last line, JSON.

`python tests/bench [NAME…]` runs only the measures named (`reads`: all questions over 5 million spans; `strip`: that one of them).
Inputs are seeded. What moves a figure: the disk's fsync (freshness, ingest), the number of cores (ingest, start, reads), the page cache
(start, cold reads). `ASSAY_BENCH_SCALE=0.01` runs it small, as the tests do, to see that it works; its figures then mean nothing.
`ASSAY_BENCH_LAKE=DIR` keeps the folder that `reads` fills, about 2 GB, and uses it again.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import reads
import telemetry as otlp
from harness import Server

SCALE = float(os.environ.get("ASSAY_BENCH_SCALE") or 1)


def main():
    """Runs each measurement in a data folder of its own, on the same disk as this checkout's cache if `TMPDIR` says so."""
    wanted, results = set(sys.argv[1:]), []
    for measure in (freshness, idle_memory, ingest_small_spans, ingest_chat_spans, start_with_full_wal):
        if wanted and measure.__name__ not in wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            _report(results, measure.__name__, measure(Path(folder) / "data"))
    if not wanted or "reads" in wanted or wanted & set(reads.NAMES):
        with tempfile.TemporaryDirectory() as folder:
            only = None if not wanted or "reads" in wanted else wanted
            for name, value, target, what, more in reads.measures(os.environ.get("ASSAY_BENCH_LAKE") or folder, SCALE, only):
                _report(results, name, _result(value, "ms", f"<= {target}", what, **more))
    print(json.dumps({"scale": SCALE, "cores": os.cpu_count(), "results": results}))


def _report(results, name, found):
    results.append({"measure": name, **found})
    cold = f"   cold {found['cold']:.0f}, worst {found['worst']:.0f}, CPU {found['cpu_ms']:.0f}" if "cold" in found else ""
    print(f"{name:24} {found['value']:>10} {found['unit']:26} {found['target']:>10}   {found['input']}{cold}", flush=True)


def freshness(folder):
    """From the acknowledgement of a span to the answer of a SQL query that shows it, the query's own time included."""
    rng = otlp.seeded(1)
    times = []
    with Server(folder) as server:
        for number in range(_scaled(200)):
            span = otlp.chat(rng)
            server.send("traces", otlp.traces([span]).SerializeToString())
            acknowledged = time.perf_counter()
            rows = server.sql(f"SELECT name FROM spans WHERE trace_id = '{span.trace_id.hex()}'")
            times.append((time.perf_counter() - acknowledged) * 1000)
            assert len(rows) == 1, number
    times.sort()
    return _result(times[int(len(times) * 0.99)], "ms (99th percentile)", "<= 100", f"{len(times)} spans, one at a time", p50=times[len(times) // 2])


def idle_memory(folder):
    """Resident memory of a server that received and flushed a little, and now rests."""
    with Server(folder) as server:
        for number in range(_scaled(20)):
            server.send("traces", otlp.traces([otlp.chat(otlp.seeded(number)) for _ in range(50)]).SerializeToString())
        server.sql("SELECT count(*) FROM llm_calls")
        _until_flushed(server)
        # Rest is a matter of time: longer than the allocator waits before it gives pages back.
        time.sleep(20 * min(SCALE * 2, 1))
        return _result(_status(server, "VmRSS") / 1024, "MB resident", "<= 150", "1000 spans received before")


def ingest_small_spans(folder):
    """CPU of the server per million spans of about 0.5 KB, from OTLP bytes to committed Parquet."""
    rng = otlp.seeded(2)
    n_spans, per_request = _scaled(1_000_000), 1000
    bodies = [_small(rng, per_request) for _ in range(50)]
    with Server(folder) as server:
        seconds, sent = _ingest(server, _renumbered(rng, bodies, max(1, n_spans // per_request)))
    return _result(seconds / (n_spans / 1e6), "CPU s per million spans", "<= 9", f"{n_spans} spans, {sent / n_spans:.0f} B each")


def ingest_chat_spans(folder):
    """CPU of the server per GB of chat spans of about 5 KB, from OTLP bytes to committed Parquet."""
    rng = otlp.seeded(3)
    n_spans, per_request = _scaled(100_000), 200
    words = [rng.randbytes(rng.randrange(2, 9)).hex() for _ in range(5000)]
    bodies = [
        otlp.traces([otlp.chat(rng, text=" ".join(rng.choices(words, k=400))) for _ in range(per_request)]) for _ in range(50)
    ]
    with Server(folder) as server:
        seconds, sent = _ingest(server, _renumbered(rng, bodies, max(1, n_spans // per_request)))
    return _result(seconds / (sent / 1e9), "CPU s per GB", "<= 7", f"{sent / 1e9:.2f} GB, {sent / n_spans:.0f} B a span")


def start_with_full_wal(folder):
    """From exec to ready, with 1 GB of requests in the write-ahead log that no flush has committed."""
    rng = otlp.seeded(4)
    config = '[storage]\nflush_interval = "1d"\nflush_bytes = "8GiB"\nhot_bytes_max = "8GiB"\n'
    bodies = [_small(rng, 1000) for _ in range(50)]
    server = Server(folder, config).start()
    wal_bytes = 0
    for body in _renumbered(rng, bodies, 10**9):
        server.send("traces", body)
        wal_bytes += len(body)
        if wal_bytes >= SCALE * 1e9:
            break
    spans = server.sql("SELECT count(*) AS n FROM spans")
    server.kill()
    started = time.perf_counter()
    server.start()
    seconds = time.perf_counter() - started
    assert server.sql("SELECT count(*) AS n FROM spans") == spans
    server.kill()
    return _result(seconds, "s to ready", "<= 10", f"{wal_bytes / 1e9:.2f} GB of WAL, {spans[0]['n']} spans")


def _small(rng, n):
    text = {f"http__header__{k}": rng.randbytes(12).hex() for k in range(8)}
    return otlp.traces([otlp.span(rng, http__status_code=200, url__path=f"/items/{k}", **text) for k in range(n)])


def _renumbered(rng, requests, n):
    """`n` request bodies made from `requests`, each span with identifiers of its own, so that none counts as resent."""
    for number in range(n):
        request = requests[number % len(requests)]
        for span in request.resource_spans[0].scope_spans[0].spans:
            span.trace_id = rng.randbytes(16)
            span.span_id = rng.randbytes(8)
        yield request.SerializeToString()


def _ingest(server, bodies):
    """CPU seconds of the server until everything sent is committed, and the bytes sent."""
    before, sent = reads.cpu_seconds(server), 0
    for body in bodies:
        server.send("traces", body)
        sent += len(body)
    _until_flushed(server)
    return reads.cpu_seconds(server) - before, sent


def _until_flushed(server):
    while server.get("/api/v1/status")["storage"]["hot_rows"]:
        time.sleep(0.25)


def _status(server, key):
    """A memory figure of the server process, in KiB."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{key}:")).split()[1])


def _scaled(n):
    return max(1, int(n * SCALE))


def _result(value, unit, target, what, **more):
    return {"value": round(value, 2), "unit": unit, "target": target, "input": what, **{k: round(v, 2) for k, v in more.items()}}


if __name__ == "__main__":
    main()
