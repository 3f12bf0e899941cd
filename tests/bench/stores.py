"""What the same rows cost in each store, and how soon they are answered for: a lake on disk, a lake in a bucket (SeaweedFS, `tests/s3.py`) and
ClickHouse (`tests/clickhouse_server.py`), which is asked directly too, in one run. And how many reads of the bucket one trace of a lake of 5
million spans takes.

Every store of `STORES` is filled by OTLP with the same requests, merged, and asked the questions of `reads`; a figure of each store is named after it,
so that they stand beside each other. What moves them: that the bucket is on the same machine, so that a request takes a millisecond; its server
shares the cores. Requests are counted by the server (`/metrics`), by tests/test_s3.py also by a proxy before the bucket.
`ASSAY_BENCH_LAKE=DIR` is the lake on disk that `reads` fills; its files are put into a bucket as they are.
"""

import functools
import http.client
import json
import os
import re
import statistics
import time
import urllib.parse
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field

import clickhouse
import clickhouse_server
import reads
import s3
import traffic
import watched
from harness import Server
from measures import Figure, measures

SPANS = 1_000_000
ASKED = ("trace_by_id", "list_open", "list_filter_error", "totals", "cost_per_model_and_hour", "latest_50_of_filter", "top_users")
TRACES = 20
FOLDER = "bench"


# What ClickHouse is asked directly for the same: the questions that are one statement. Times and names of columns are those of its tables.
DIRECTLY = {
    "trace_by_id": "SELECT * FROM {table} WHERE project_id = 'default' AND trace_id = '{trace}'",
    "latest_50_of_filter": "SELECT trace_id, span_id, name, start_time, duration_ns, error_type, cost_usd FROM {table} "
    "WHERE status_code = 'ERROR' AND operation = 'execute_tool' ORDER BY start_time DESC LIMIT 50",
    "cost_per_model_and_hour": "SELECT toStartOfHour(start_time) AS hour, response_model, request_model, sum(cost_usd), count() FROM {table} "
    "WHERE counted AND start_time >= parseDateTimeBestEffort('{from}') AND start_time < parseDateTimeBestEffort('{to}') GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    "top_users": "SELECT user_id, sum(cost_usd) FROM {table} WHERE counted GROUP BY 1 ORDER BY 2 DESC LIMIT 20",
}


@dataclass
class Store:
    """A store while it runs: how a server is to be configured whose rows are there."""

    configured: Callable  # from settings of `[storage]` to a configuration
    environment: dict = field(default_factory=dict)
    engine: clickhouse_server.ClickHouse | None = None


@contextmanager
def on_disk(_folder):
    yield Store("[storage]\n{}".format)


@contextmanager
def in_bucket(folder):
    with s3.SeaweedFS(folder / "weed") as service:
        yield Store(functools.partial(s3.config, service.address, FOLDER), s3.credentials())


@contextmanager
def over_clickhouse(folder):
    with clickhouse_server.ClickHouse(folder / "engine") as engine:
        yield Store(functools.partial(clickhouse_server.config, engine.address, FOLDER), engine=engine)


STORES = {"disk": on_disk, "bucket": in_bucket, "clickhouse": over_clickhouse}


def _settings(bench):
    """Files are merged soon; in a quick run they are there soon, too."""
    return 'compaction_interval = "1s"\nflush_interval = "200ms"\n' if bench.quick else watched.MERGE_SOON.removeprefix("[storage]\n")


def _ingest(store):
    what = f"{store}: the server's CPU for spans of agents, 1 KB on average, from OTLP bytes to merged files or acknowledged insertions"
    return Figure(f"store_{store}_ingest", what, "CPU s per million spans")


def _read(store, question):
    return Figure(f"store_{store}_{question}", f"{store}: time of a whole HTTP request over a million spans, median of the hot runs", "ms")


def _direct(question):
    return Figure(f"store_directly_{question}", "the same asked of ClickHouse directly, with JSON as the answer", "ms")


FIGURES = {store: [_ingest(store), *(_read(store, name) for name in ASKED)] for store in STORES}
FIGURES["clickhouse"] += [_direct(name) for name in DIRECTLY]


@measures(*(figure for figures in FIGURES.values() for figure in figures))
def stores(bench):
    """The same million spans in each store, one after the other."""
    n_spans, end = bench.scaled(SPANS), int(time.time()) * 10**9
    for name, started in STORES.items():
        if any(bench.wants(figure) for figure in FIGURES[name]):
            with started(bench.folder / name) as store:
                server = Server(bench.folder / f"{name}-data", store.configured(_settings(bench)), environment=store.environment)
                try:
                    yield from _measure(bench, name, store, server, traffic.requests(n_spans, end, reads.DAYS), end)
                finally:
                    server.kill()


def _measure(bench, name, store, server, requests, end):
    if store.engine:
        clickhouse_server.migrated(server)
    server.start()
    before, traces, sent_bytes = watched.cpu_seconds(server.process.pid), [], 0
    for trace_id, body in requests:
        reads.send(server, body)
        traces.append(trace_id)
        sent_bytes += len(body)
    watched.until_flushed(server)
    flushed = watched.cpu_seconds(server.process.pid)
    if store.engine:
        store.engine.execute(f"OPTIMIZE TABLE {FOLDER}.spans FINAL")
    else:
        watched.until_at_rest(server)
    merged = watched.cpu_seconds(server.process.pid)
    stored = server.sql("SELECT count(*) AS n FROM spans")[0]["n"]
    peak = watched.resident_mb(server.process.pid, peak=True)
    more = {"until_flushed": (flushed - before) / stored * 1e6, "peak_mb": peak, "puts": _requests(server).get("puts", 0)}
    yield _ingest(name).found((merged - before) / stored * 1e6, f"{stored} spans of {sent_bytes / stored:.0f} B", **more)
    server.stop()
    server.configure(store.configured(""))
    facts = {"spans": stored, "traces": traces, "from": reads.text(end - reads.DAYS * traffic.DAY_NS), "to": reads.text(end + 3600 * 10**9)}
    server.start()
    for asked, _, question in reads.questions(facts):
        if asked in ASKED and bench.wants(_read(name, asked)):
            yield _ask(bench, server, _read(name, asked), question, stored)
        if store.engine and asked in DIRECTLY and bench.wants(_direct(asked)):
            yield _ask_directly(bench, server, store.engine, asked, question, facts)
    server.stop()


def _ask(bench, server, figure, question, spans):
    """One question: cold (a fresh process, nothing of the lake on its disk or in the page cache; ClickHouse itself runs on), then hot."""
    if not bench.quick:
        server.stop()
        _forget(server)
        server.start()
    cold = reads.timed(server, question(0))
    for run in range(1, 4):
        reads.timed(server, question(run))
    runs = 2 if bench.quick else reads.HOT_RUNS
    before = watched.cpu_seconds(server.process.pid)
    hot = sorted(reads.timed(server, question(run)) for run in range(4, 4 + runs))
    cpu_ms = (watched.cpu_seconds(server.process.pid) - before) * 1000 / runs
    return figure.found(statistics.median(hot), f"{spans} spans, {runs} runs hot", cold=cold, worst=hot[-1], cpu_ms=cpu_ms)


def _ask_directly(bench, server, engine, name, question, facts):
    """One question of [`DIRECTLY`], whose answer has as many rows as Assay's."""

    def statement(run):
        return DIRECTLY[name].format(table=f"{FOLDER}.spans", trace=facts["traces"][run % len(facts["traces"])], **facts)

    _, answer = server.request(*question(0), {"content-type": "application/json"})
    rows, expected = clickhouse.asked_directly(engine, statement(0)), json.loads(answer)["spans" if name == "trace_by_id" else "rows"]
    assert len(rows) == len(expected) > 0, f"{name}: {len(rows)} rows, through Assay {len(expected)}"
    runs, hot = 2 if bench.quick else reads.HOT_RUNS, []
    for run in range(4, 4 + runs):
        started = time.perf_counter()
        clickhouse.asked_directly(engine, statement(run))
        hot.append((time.perf_counter() - started) * 1000)
    return _direct(name).found(statistics.median(hot), f"{facts['spans']} spans, {runs} runs hot", worst=max(hot))


START = Figure("bucket_start_gets", "reads of the bucket until a server with an empty disk is ready", "GETs")
FRESH = Figure("bucket_trace_gets_fresh", "reads of the bucket for one trace by its identifier, the first thing asked of a server with an empty disk", "GETs", 10)
COLD = Figure("bucket_trace_gets", "the same of a server that has run for a while, with an empty disk again: the worst of 20 traces", "GETs", 10)
COLD_SQL = Figure("bucket_trace_gets_sql", "the same, asked in SQL", "GETs", 10)
NEW = Figure("bucket_trace_gets_new", "the same for a trace never asked for, with other traces of its files on the disk: the worst of 20", "GETs", 10)
COLD_TIME = Figure("bucket_trace_cold", "time of a whole HTTP request for one trace by its identifier, nothing of it on the disk, median", "ms")
WARM_TIME = Figure("bucket_trace_warm", "the same for a trace that was asked for before, median", "ms", 60)


@measures(START, FRESH, COLD, COLD_SQL, NEW, COLD_TIME, WARM_TIME)
def bucket_trace(bench):
    """One trace of 5 million spans in a bucket."""
    lake, facts = reads.filled(os.environ.get("ASSAY_BENCH_LAKE") or bench.folder / "filled", bench.scale)
    lake.stop()
    with s3.SeaweedFS(bench.folder / "weed") as service:
        _upload(service.address, lake.data_dir)
        server = Server(bench.folder / "data", s3.config(service.address, FOLDER, _settings(bench)), environment=s3.credentials()).start()
        try:
            # What any server does in time: checkpoints, merges, and what the indexes of many files say together.
            while not server.get("/api/v1/status")["storage"]["jobs"].get("vacuum", {}).get("last_unix_ms"):
                time.sleep(0.25)
            watched.until_at_rest(server)
            server.stop()
            server.configure(s3.config(service.address, FOLDER))
            yield from _of_one_trace(server, facts)
            server.stop()
        finally:
            server.kill()


def _of_one_trace(server, facts):
    def by_id(trace):
        return lambda: len(server.get(f"/api/v1/traces/{trace}")["spans"])

    def by_sql(trace):
        return lambda: len(server.sql(f"SELECT * FROM spans WHERE trace_id = '{trace}'"))

    def counted(ask):
        before, started = _requests(server), time.perf_counter()
        spans = ask()
        ms = (time.perf_counter() - started) * 1000
        assert spans > 0, "the trace was not found"
        return {key: value - before[key] for key, value in _requests(server).items()} | {"ms": ms}

    def worst(figure, asked):
        gets = [each["gets"] for each in asked]
        more = {"median": statistics.median(gets), "mb": max(each["get_bytes"] for each in asked) / 1e6}
        return figure.found(max(gets), f"{of_what}, {len(asked)} traces", **more)

    # Far from each other, none twice.
    traces = facts["traces"][:: max(1, len(facts["traces"]) // (2 * TRACES))]
    some, others = traces[: len(traces) // 2], traces[len(traces) // 2 :]
    _forget(server)
    server.start()
    tables = server.get("/api/v1/status")["storage"]["tables"]
    of_what = f"{facts['spans']} spans in {tables['spans']['files']} files"
    start = _requests(server)
    fresh = counted(by_id(others[0]))
    yield START.found(start["gets"], of_what, lists=start["lists"], mb=start["get_bytes"] / 1e6)
    yield FRESH.found(fresh["gets"], of_what, ms=fresh["ms"], mb=fresh["get_bytes"] / 1e6)
    cold, cold_sql = [], []
    for found, ask in ((cold, by_id), (cold_sql, by_sql)):
        for trace in some:
            _empty(server.data_dir / "cache")
            found.append(counted(ask(trace)))
    yield worst(COLD, cold)
    yield worst(COLD_SQL, cold_sql)
    yield worst(NEW, [counted(by_id(trace)) for trace in others[1:]])
    yield COLD_TIME.found(statistics.median(each["ms"] for each in cold), f"{of_what}, {len(cold)} traces")
    for trace in some:
        counted(by_id(trace))
    warm = [counted(by_id(trace)) for trace in some]
    yield WARM_TIME.found(statistics.median(each["ms"] for each in warm), of_what, worst=max(each["ms"] for each in warm), gets=max(each["gets"] for each in warm))


def _upload(address, folder):
    """Puts the lake in the data folder `folder` into the bucket, as it is."""
    connection = http.client.HTTPConnection(address, timeout=60)
    for top in ("lake", "lake-index", "blobs"):
        for path in sorted((folder / top).rglob("*")):
            if path.is_file():
                connection.request("PUT", f"/assay/{FOLDER}/{urllib.parse.quote(str(path.relative_to(folder)))}", body=path.read_bytes())
                response = connection.getresponse()
                assert response.status == 200, f"{path}: status {response.status}: {response.read()[:500]}"
                response.read()
    connection.close()


def _requests(server):
    """Requests to the bucket so far."""
    found = re.findall(r"^assay_storage_bucket_(gets|get_bytes|puts|lists)_total (\S+)$", server.get("/metrics"), re.MULTILINE)
    return {name: int(float(value)) for name, value in found}


def _forget(server):
    """Nothing of the lake is left on the disk of a server with a bucket, or in the page cache."""
    _empty(server.data_dir / "cache")
    reads.forget_pages(server.data_dir)


def _empty(cache):
    """Removes what a cache holds; its server may be running."""
    for path in cache.glob("*/*"):
        path.unlink()
