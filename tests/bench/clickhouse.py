"""ClickHouse as the store: what ingest costs the server then, and aggregates asked of Assay beside the same asked of ClickHouse directly.

The engine is chDB behind ClickHouse's HTTP interface, as in the tests. It runs on the same machine; only CPU of Assay's own process counts for
ingest. Questions are asked of both in turn, over HTTP, with JSON as the answer, and the best of several rounds counts. Direct questions carry
the limits that Assay sends with its own (time, memory): the front makes a statement of each setting, which a server does not.
"""

import json
import time
import urllib.parse
import urllib.request

import clickhouse_server
import load
import templates
import watched
from harness import Server
from measures import Figure, measures

BATCH, CONNECTIONS = 512, 8
ROUNDS = 15
LIMITS = {
    "max_execution_time": "60",
    "max_memory_usage": "1000000000",
    "cancel_http_readonly_queries_on_client_close": "1",
    "max_query_size": "100000000",
    "max_ast_elements": "1000000",
    "max_expanded_ast_elements": "1000000",
    "output_format_arrow_compression_method": "none",
    "output_format_arrow_string_as_string": "1",
    "output_format_arrow_low_cardinality_as_dictionary": "0",
}
# Name, what Assay is asked, what ClickHouse is asked, and by how much an answer may differ.
QUESTIONS = [
    ("count", "SELECT count(*) FROM spans", "SELECT count() FROM bench.spans", 0),
    (
        "totals",
        "SELECT count(*), sum(input_tokens), sum(output_tokens), sum(cost_usd), avg(duration_ns), max(start_time) IS NOT NULL FROM spans",
        "SELECT count(), sum(input_tokens), sum(output_tokens), sum(cost_usd), avg(duration_ns), max(start_time) IS NOT NULL FROM bench.spans",
        1e-9,
    ),
    (
        "cost_per_model_hour",
        "SELECT request_model, date_trunc('hour', start_time) AS hour, sum(cost_usd), count(*) FROM spans GROUP BY 1, 2 ORDER BY 2, 1",
        "SELECT request_model, toStartOfHour(start_time) AS hour, sum(cost_usd), count() FROM bench.spans GROUP BY 1, 2 ORDER BY 2, 1",
        1e-9,
    ),
    (
        "top_users",
        "SELECT user_id, sum(cost_usd) AS cost FROM spans GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20",
        "SELECT user_id, sum(cost_usd) AS cost FROM bench.spans GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20",
        1e-9,
    ),
    (
        "users_per_model",
        "SELECT request_model, count(distinct user_id) FROM spans GROUP BY 1 ORDER BY 1",
        "SELECT request_model, count(distinct user_id) FROM bench.spans GROUP BY 1 ORDER BY 1",
        0,
    ),
    (
        "median_and_p95",
        "SELECT request_model, median(duration_ns), percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ns) FROM spans GROUP BY 1 ORDER BY 1",
        "SELECT request_model, quantileExactInclusive(0.5)(duration_ns), quantileExactInclusive(0.95)(duration_ns) FROM bench.spans GROUP BY 1 ORDER BY 1",
        1e-6,
    ),
    (
        "estimated_p95",
        "SELECT request_model, approx_percentile_cont(duration_ns, 0.95) FROM spans GROUP BY 1 ORDER BY 1",
        "SELECT request_model, quantileTDigest(0.95)(duration_ns) FROM bench.spans GROUP BY 1 ORDER BY 1",
        0.05,
    ),
    (
        "substring",
        "SELECT count(*) FROM spans WHERE response_id ILIKE '%AB1%'",
        "SELECT count() FROM bench.spans WHERE response_id ILIKE '%AB1%'",
        0,
    ),
]
INGEST = {
    shape: Figure(f"clickhouse_ingest_{shape.__name__}", f"Assay's CPU for {what} of 0.5 KB, from OTLP bytes to acknowledged insertions", "CPU s per million spans", 8)
    for shape, what in ((templates.small, "spans"), (templates.call, "model calls"))
}
RATIOS = {name: Figure(f"clickhouse_{name}", "an aggregate through Assay: its time against ClickHouse asked directly", "x", 1.15) for name, *_ in QUESTIONS}


@measures(*INGEST.values(), *RATIOS.values())
def clickhouse(bench):
    """A million spans of each shape into a database of its own, then the questions over the model calls."""
    with clickhouse_server.ClickHouse(bench.folder / "engine") as service:
        for shape, figure in INGEST.items():
            if shape is templates.call or bench.wants(figure):
                server = _migrated(bench, service, "bench" if shape is templates.call else shape.__name__)
                yield _ingest(bench, server, shape, figure)
                if shape is templates.call:
                    yield from _questions(bench, server, service)
                server.stop()


def _migrated(bench, service, database):
    server = Server(bench.folder / database, clickhouse_server.config(service.address, database, bench.config.removeprefix("[storage]\n")))
    return clickhouse_server.migrated(server).start()


def _ingest(bench, server, shape, figure):
    corpus = templates.corpus(bench.folder, shape, BATCH)
    before = watched.cpu_seconds(server.process.pid)
    sent = load.send(server, corpus, connections=CONNECTIONS, spans=bench.scaled(1_000_000))
    watched.until_flushed(server)
    cpu = watched.cpu_seconds(server.process.pid) - before
    stored = server.sql("SELECT count(*) AS n FROM spans")[0]["n"]
    assert stored == sent["spans"], f"found {stored} spans, {sent['spans']} were acknowledged"
    of_what = f"{stored} spans of {sent['bytes'] / stored:.0f} B in batches of {BATCH} over {CONNECTIONS} connections"
    return figure.found(
        cpu / stored * 1e6,
        of_what,
        spans_per_second=sent["spans_per_second"],
        ack_p99_ms=sent["ack_ms"]["p99"],
        retries=sent["retries"],
        peak_mb=watched.resident_mb(server.process.pid, peak=True),
    )


def _questions(bench, server, service):
    rows = server.sql("SELECT count(*) AS n FROM spans")[0]["n"]
    for name, assay, direct, differ_max in QUESTIONS:
        if not bench.wants(RATIOS[name]):
            continue
        ask = {"assay": lambda text=assay: _asked_assay(server, text), "direct": lambda text=direct: asked_directly(service, text)}
        answers = {who: asked() for who, asked in ask.items()}
        assert _same(answers["assay"], answers["direct"], differ_max), f"{name}: {answers}"
        before, best = watched.cpu_seconds(server.process.pid), dict.fromkeys(ask, float("inf"))
        rounds = 2 if bench.quick else ROUNDS
        for _ in range(rounds):
            for who, asked in ask.items():
                started = time.perf_counter()
                asked()
                best[who] = min(best[who], (time.perf_counter() - started) * 1000)
        cpu_ms = (watched.cpu_seconds(server.process.pid) - before) * 1000 / rounds
        found = {"assay_ms": best["assay"], "direct_ms": best["direct"], "assay_cpu_ms": cpu_ms}
        yield RATIOS[name].found(best["assay"] / best["direct"], f"{rows} rows, best of {rounds}", **found)


def _asked_assay(server, text):
    headers = {"content-type": "application/json", "accept": "application/json"}
    return json.loads(server.request("POST", "/api/v1/sql", json.dumps({"query": text}).encode(), headers)[1])["rows"]


def asked_directly(service, text):
    """Rows of the answer of the engine `service`."""
    settings = {**LIMITS, "default_format": "JSONCompact", "output_format_json_quote_64bit_integers": "0"}
    request = urllib.request.Request(f"http://{service.address}/?{urllib.parse.urlencode(settings)}", data=text.encode())
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())["data"]


def _same(one, other, differ_max):
    """Whether two answers have the same numbers, within `differ_max` of them; text and times are written in two ways."""
    numbers = [[_number(value) for value in row] for row in one], [[_number(value) for value in row] for row in other]
    if [len(row) for row in numbers[0]] != [len(row) for row in numbers[1]]:
        return False
    pairs = [pair for rows in zip(*numbers) for pair in zip(*rows)]
    return all(a == b or (a is not None and b is not None and abs(a - b) <= differ_max * abs(b)) for a, b in pairs)


def _number(value):
    """What is a number, also in quotes; else nothing."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
