"""Questions over a lake of 5 million spans, by the public API: cold (a fresh process, nothing in the page cache) and hot.

A folder that is kept (`ASSAY_BENCH_LAKE=DIR`) is filled once, through the public OTLP port, and read as it is afterwards.
"""

import json
import os
import statistics
import time
import urllib.parse
from pathlib import Path

import traffic
import watched
from harness import Refused, Server
from measures import Figure, measures

SPANS = 5_000_000
DAYS = 7
HOT_RUNS = 12
MARKER = "bench.json"
NOWHERE = {"from": "", "to": "", "traces": []}


def _ask(bench):
    """Fills a folder unless it was, and asks each question that is wanted."""
    server, facts = filled(os.environ.get("ASSAY_BENCH_LAKE") or bench.folder, bench.scale)
    for name, target, question in questions(facts):
        figure = _figure(name, target)
        if bench.wants(figure):
            yield _measure(server, figure, question, facts)
    server.stop()


def _figure(name, target):
    return Figure(name, "time of a whole HTTP request over 5 million spans, median of the hot runs", "ms", target=target)


def questions(facts):
    """(name, target in ms, function of the run's number that gives a request: (method, path, body))."""
    span_of_time = {"from": facts["from"], "to": facts["to"]}
    traces = facts["traces"]

    def get(path, **query):
        text = urllib.parse.urlencode({**span_of_time, **query})
        return lambda _: ("GET", f"{path}?{text}", None)

    def sql(text):
        body = json.dumps({"query": text}).encode()
        return lambda _: ("POST", "/api/v1/sql", body)

    week = f"start_time >= '{facts['from']}' AND start_time < '{facts['to']}'"
    slim = "trace_id, span_id, name, start_time, duration_ns, error_type, cost_usd"
    return [
        ("trace_by_id", 50, lambda run: ("GET", f"/api/v1/traces/{traces[run % len(traces)]}", None)),
        ("list_open", 500, get("/api/v1/traces")),
        ("list_filter_model", 500, get("/api/v1/traces", q="model:claude-sonnet*")),
        ("list_filter_error", 500, get("/api/v1/traces", q="has:error")),
        ("list_filter_text", 500, get("/api/v1/traces", q='"refund policy"')),
        ("list_filter_absent_text", 500, get("/api/v1/traces", q='"no such words"')),
        ("list_filter_user", 500, get("/api/v1/traces", q="user:user-000777")),
        ("list_sort_cost", 500, get("/api/v1/traces", sort="cost_usd")),
        ("list_sort_duration", 500, get("/api/v1/traces", sort="duration_ns")),
        ("list_sort_cost_of_model", 500, get("/api/v1/traces", sort="cost_usd", q="model:claude-sonnet*")),
        ("strip", 500, get("/api/v1/traces/strip")),
        ("strip_error", 500, get("/api/v1/traces/strip", q="has:error")),
        ("totals", 500, get("/api/v1/traces/totals")),
        ("totals_error", 500, get("/api/v1/traces/totals", q="has:error")),
        ("calls_open", 500, get("/api/v1/lists/calls")),
        ("calls_filter_model", 500, get("/api/v1/lists/calls", q="model:claude-sonnet*")),
        ("calls_sort_cost", 500, get("/api/v1/lists/calls", sort="cost_usd")),
        ("sessions_open", 500, get("/api/v1/lists/sessions")),
        ("sessions_filter_error", 500, get("/api/v1/lists/sessions", q="has:error")),
        ("sessions_sort_cost", 500, get("/api/v1/lists/sessions", sort="cost_usd")),
        ("users_open", 500, get("/api/v1/lists/users")),
        ("users_filter_error", 500, get("/api/v1/lists/users", q="has:error")),
        ("models_open", 500, get("/api/v1/lists/models")),
        ("models_sort_p95", 500, get("/api/v1/lists/models", sort="p95_ns")),
        ("tools_open", 500, get("/api/v1/lists/tools")),
        ("errors_open", 500, get("/api/v1/lists/errors")),
        ("session_by_id", 500, lambda run: ("GET", f"/api/v1/sessions/session-{run:08}", None)),
        ("series_cost", 500, get("/api/v1/series", measure="cost_usd")),
        ("series_cost_by_model", 500, get("/api/v1/series", measure="cost_usd", by="model")),
        ("series_errors", 500, get("/api/v1/series", measure="errors")),
        ("series_p95", 500, get("/api/v1/series", measure="p95_ns")),
        ("status", 500, get("/api/v1/status")),
        (
            "latest_50_of_filter",
            100,
            sql(f"SELECT {slim} FROM spans WHERE status_code = 'ERROR' AND operation = 'execute_tool' ORDER BY start_time DESC LIMIT 50"),
        ),
        (
            "cost_per_model_and_hour",
            300,
            sql(
                "SELECT time_bucket(INTERVAL '1 hour', start_time) AS hour, response_model, request_model, sum(cost_usd) AS cost_usd, "
                f"count(*) AS calls FROM llm_calls WHERE {week} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
            ),
        ),
        (
            "cost_per_hour_date_trunc",
            300,
            sql(f"SELECT date_trunc('hour', start_time) AS hour, sum(cost_usd) AS cost_usd FROM llm_calls WHERE {week} GROUP BY 1 ORDER BY 1"),
        ),
        ("top_users", 500, sql("SELECT user_id, sum(cost_usd) AS cost_usd FROM llm_calls GROUP BY 1 ORDER BY 2 DESC LIMIT 20")),
    ]


def _measure(server, figure, question, facts):
    large = facts["spans"] > 100_000
    if large:
        server.stop()
        forget_pages(server.data_dir)
        server.start()
    cold = timed(server, question(0))
    runs = HOT_RUNS if large else 2
    # Other traces, the same files: hot is a server that has been asked before, not an answer that was kept.
    for run in range(1, 4):
        timed(server, question(run))
    before = watched.cpu_seconds(server.process.pid)
    hot = sorted(timed(server, question(run)) for run in range(4, 4 + runs))
    # Unlike the time taken, this does not depend on what else the machine does.
    more = {"cold": cold, "worst": hot[-1], "cpu_ms": (watched.cpu_seconds(server.process.pid) - before) * 1000 / runs}
    return figure.found(statistics.median(hot), f"{facts['spans']} spans, {len(hot)} runs hot", **more)


def timed(server, request):
    method, path, body = request
    headers = {"content-type": "application/json"} if body else {}
    started = time.perf_counter()
    server.request(method, path, body, headers)
    return (time.perf_counter() - started) * 1000


def filled(folder, scale):
    """A running server over a filled folder, and what is in it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(folder / "data").start()
    marker = folder / MARKER
    if marker.exists():
        return server, json.loads(marker.read_text())
    n_spans = max(1000, int(SPANS * scale))
    end = int(time.time()) * 10**9
    traces, started = [], time.perf_counter()
    for number, (trace_id, body) in enumerate(traffic.requests(n_spans, end, DAYS)):
        send(server, body)
        if number % max(1, n_spans // 1000 // 40) == 0:
            traces.append(trace_id)
    server.stop()
    # Days of spans have long been merged when they are read.
    server.configure(watched.MERGE_SOON)
    server.start()
    watched.until_at_rest(server)
    server.stop()
    server.configure("")
    server.start()
    facts = {
        "spans": server.sql("SELECT count(*) AS n FROM spans")[0]["n"],
        "traces": traces,
        "from": text(end - DAYS * traffic.DAY_NS),
        "to": text(end + 3600 * 10**9),
        "fill_seconds": time.perf_counter() - started,
    }
    marker.write_text(json.dumps(facts))
    return server, facts


def send(server, body):
    """Sends until accepted, as an exporter does: the server may ask to wait."""
    while True:
        try:
            return server.send("traces", body)
        except Refused as refused:
            if refused.status not in (429, 503):
                raise
            time.sleep(float(refused.headers.get("retry-after") or 1))


def forget_pages(folder):
    """Takes the files of `folder` out of the page cache."""
    for path in Path(folder).rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def text(nanos):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(nanos // 10**9))


@measures(*(_figure(name, target) for name, target, _ in questions(NOWHERE)))
def reads(bench):
    """Questions over 5 million spans."""
    yield from _ask(bench)
