"""Rows in ClickHouse: the same answers as over a lake, and nothing lost or doubled when the service, the network or the server fails.

The engine is the real one; faults come from its front and from a proxy before it, in the order that a seed gives (`ASSAY_CLICKHOUSE_SEED`).
"""

import functools
import math
import os
import time

import capture_files
import clickhouse_server
import pytest
import s3
import senders
import telemetry as otlp
from harness import Refused, Server

QUICK = 'flush_interval = "300ms"\nflush_bytes = "256KiB"\ncompaction_interval = "1s"\n'
# Asked of both stores. Where rows have no order of their own, the query gives one.
QUERIES = (
    "SELECT count(*) FROM spans",
    "SELECT count(*), sum(duration_ns), sum(input_tokens), sum(output_tokens), sum(cost_usd), count(distinct trace_id) FROM spans",
    "SELECT count(*) FROM spans WHERE name LIKE '%chat%'",
    "SELECT count(*) FROM spans WHERE name ILIKE '%CHAT%' AND duration_ns > 1000000",
    "SELECT min(start_time), max(start_time), min(duration_ns), max(duration_ns), avg(duration_ns) FROM spans",
    "SELECT span_kind, status_code, count(*) AS n FROM spans GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT service_name, count(*) AS n, count(parent_span_id) AS children FROM spans GROUP BY 1 ORDER BY 1 NULLS FIRST",
    "SELECT request_model, count(*) AS n, sum(cost_usd) AS cost FROM llm_calls GROUP BY request_model ORDER BY request_model",
    "SELECT operation, provider, sum(input_tokens), avg(output_tokens) FROM llm_calls GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT count(*), sum(units), sum(cost_usd), count(cost_usd) FROM cost_lines",
    "SELECT usage_kind, source, sum(units), sum(cost_usd) FROM cost_lines WHERE counted GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT signal, sum(accepted), sum(stored), sum(quarantined), sum(resent) FROM ingest_ledger GROUP BY 1 ORDER BY 1",
    "SELECT trace_id, span_id, name, attributes, events, links, input_messages, output_messages FROM spans ORDER BY trace_id, span_id",
    "SELECT span_id, start_time, start_time_ns_part, duration_ns FROM spans ORDER BY start_time DESC, span_id LIMIT 10",
    "SELECT span_id, cost_usd FROM spans WHERE cost_usd IS NOT NULL ORDER BY cost_usd DESC, span_id LIMIT 5 OFFSET 2",
    "SELECT span_id FROM spans WHERE cost_usd > 0.001 AND counted ORDER BY span_id",
    "SELECT span_id FROM spans WHERE NOT counted ORDER BY span_id LIMIT 50",
    "SELECT count(*) FROM spans WHERE service_name IS NULL OR service_name NOT IN ('a', 'b')",
    "SELECT count(*) FROM spans WHERE session_id IN ('s', 'x') OR user_id IS NOT NULL",
    "SELECT count(*) FROM spans WHERE input_tokens BETWEEN 10 AND 1000 AND output_tokens != 7",
    "SELECT count(*) FROM spans WHERE NOT (input_tokens > 10)",
    "SELECT count(*) FROM spans WHERE name = 'it''s \\ a `quote`'",
    "SELECT count(*) FROM spans WHERE start_time >= '2026-01-01T00:00:00Z' AND start_time < '2100-01-01T00:00:00Z'",
    "SELECT date_trunc('day', start_time) AS day, count(*) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT arrow_cast(time_bucket('1 hour', start_time), 'Utf8') AS hour, count(*) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT start_time AT TIME ZONE 'Asia/Tokyo' AS tokyo FROM spans ORDER BY start_time, span_id LIMIT 5",
    "SELECT attributes ->> 'gen_ai.system' AS system, count(*) FROM spans GROUP BY 1 ORDER BY 1 NULLS FIRST",
    "SELECT approx_percentile_cont(duration_ns, 0.5) > 0, percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ns) FROM spans",
    "SELECT a.span_id, b.name FROM spans a JOIN spans b ON a.parent_span_id = b.span_id AND a.trace_id = b.trace_id ORDER BY 1, 2",
    "SELECT s.span_id, sum(c.cost_usd) FROM spans s JOIN cost_lines c USING (trace_id, span_id) GROUP BY 1 ORDER BY 1",
    "SELECT span_id, row_number() OVER (PARTITION BY trace_id ORDER BY start_time, span_id) AS nth FROM spans ORDER BY trace_id, nth",
    "SELECT trace_id, sum(duration_ns) OVER (PARTITION BY trace_id) AS whole FROM spans ORDER BY 1, 2",
    "SELECT trace_id, count(*) FROM spans GROUP BY 1 HAVING count(*) > 1 ORDER BY 2 DESC, 1",
    "SELECT count(*), count(error_type), count(distinct error_type) FROM spans",
    "SELECT trace_id, name, span_count, duration_ns, cost_usd FROM traces ORDER BY trace_id",
    "SELECT session_id, count(*) FROM llm_calls GROUP BY 1 ORDER BY 1 NULLS FIRST",
    "SELECT trace_id, event_name, observed_time_unix_nano, severity_number, severity_text, body, counted FROM logs ORDER BY 1, 2, 3, 6",
    "SELECT metric_name, count(*), sum(value) FROM metrics_sum GROUP BY 1 ORDER BY 1",
    "SELECT metric_name, sum(count), min(min), max(max) FROM metrics_histogram GROUP BY 1 ORDER BY 1",
    "SELECT date, wal_position FROM spans WHERE false",
    "SELECT 1 FROM spans LIMIT 3",
    "SELECT avg(input_tokens), count(input_tokens), count(*), sum(input_tokens), min(input_tokens), max(input_tokens) FROM spans",
    "SELECT count(*), sum(input_tokens), min(name), max(start_time), avg(input_tokens) FROM spans WHERE name = 'no such name'",
    "SELECT min(cost_usd), max(cost_usd), min(error_type), max(session_id), min(date), max(counted) FROM spans",
    "SELECT count(*) FILTER (WHERE counted), sum(cost_usd) FILTER (WHERE counted), max(name) FILTER (WHERE counted) FROM spans",
    "SELECT sum(input_tokens) FILTER (WHERE pending), count(*) FILTER (WHERE pending) FROM spans",
    "SELECT count(*) FILTER (WHERE input_tokens > 10) FROM spans",
    "SELECT session_id, user_id, count(*), min(start_time) FROM spans GROUP BY 1, 2 ORDER BY 3 DESC, 1 NULLS LAST, 2 NULLS LAST",
    "SELECT counted, count(*) FROM spans WHERE trace_id > '8' GROUP BY counted ORDER BY counted",
    "SELECT name, max(duration_ns) AS longest FROM spans GROUP BY name ORDER BY longest DESC, name LIMIT 7",
    "SELECT service_name, count(*) FROM spans GROUP BY service_name HAVING sum(input_tokens) > 100 ORDER BY 2 DESC, 1",
    "SELECT count(*) FROM (SELECT DISTINCT trace_id, session_id FROM spans)",
    "SELECT DISTINCT operation FROM spans ORDER BY 1 NULLS FIRST",
    "SELECT sum(n) FROM (SELECT trace_id, count(*) AS n FROM spans GROUP BY trace_id)",
    "SELECT sum(value), count(value), avg(int_value), max(value) FROM metrics_gauge",
    "SELECT stddev(duration_ns), var_pop(duration_ns), median(duration_ns), corr(duration_ns, input_tokens) FROM spans",
    "SELECT max(session_id), span_id FROM spans GROUP BY span_id ORDER BY 1 DESC NULLS LAST, 2 LIMIT 5",
    "SELECT error_type, span_id FROM spans ORDER BY error_type NULLS FIRST, span_id DESC LIMIT 12",
    "SELECT session_id, span_id, input_messages FROM spans ORDER BY session_id DESC NULLS LAST, span_id LIMIT 6",
    "SELECT name AS called, start_time AS at, span_id FROM spans WHERE counted ORDER BY at, span_id LIMIT 9",
    "SELECT span_id FROM (SELECT span_id, duration_ns FROM spans ORDER BY duration_ns DESC, span_id LIMIT 20) ORDER BY span_id LIMIT 5",
    "SELECT log_id IS NOT NULL, severity_number, body FROM logs ORDER BY severity_number DESC, time, body LIMIT 3",
    "SELECT a.name, count(*) FROM spans a WHERE a.trace_id IN (SELECT trace_id FROM spans WHERE error_type IS NOT NULL) GROUP BY 1 ORDER BY 1",
    "SELECT name FROM spans WHERE EXISTS (SELECT 1 FROM cost_lines c WHERE c.span_id = spans.span_id) ORDER BY span_id LIMIT 10",
    "WITH t AS (SELECT trace_id, sum(cost_usd) AS c FROM spans WHERE counted GROUP BY 1) SELECT count(*), max(c), sum(c) FROM t",
    "SELECT upper(name), length(name), CASE WHEN counted THEN 1 ELSE 0 END FROM spans ORDER BY span_id LIMIT 10",
    "SELECT CAST(input_tokens AS DOUBLE) / nullif(output_tokens, 0) FROM spans WHERE output_tokens IS NOT NULL ORDER BY span_id",
    "(SELECT span_id FROM spans UNION SELECT span_id FROM cost_lines) EXCEPT SELECT span_id FROM logs ORDER BY 1 NULLS FIRST",
)
# Read models of the UI, over the same rows: with bounds, because those that are open move with the clock.
RANGE = "from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"
PAGES = (
    *(f"/api/v1/traces?limit={limit}&sort={sort}&{RANGE}" for limit, sort in ((200, "start_time"), (20, "cost_usd"), (7, "duration_ns"))),
    *(f"/api/v1/lists/{name}?limit=50&{RANGE}" for name in ("calls", "sessions", "users", "models", "tools", "errors")),
    f"/api/v1/traces/totals?{RANGE}",
    f"/api/v1/traces?limit=50&{RANGE}&q=has:error",
)


@pytest.fixture(scope="module")
def _clickhouse(tmp_path_factory):
    with clickhouse_server.ClickHouse(tmp_path_factory.mktemp("clickhouse") / "engine") as service:
        yield service


def _server(folder, address, database, storage="", clickhouse="", migrate=True):
    server = Server(folder, clickhouse_server.config(address, database, storage, clickhouse))
    if migrate:
        done = clickhouse_server.migrate(server._config_path)
        assert done.returncode == 0, done.stderr
    return server


def captures_give_the_same_answers_as_over_a_lake(_clickhouse, tmp_path):
    lake, server = Server(tmp_path / "lake"), _server(tmp_path / "data", _clickhouse.address, "equal")
    # Two of them use one trace identifier: which of two names such a trace has is not decided.
    folders = [folder for folder in capture_files.FOLDERS if folder != "plain-otel-grpc-python"]
    scenarios = [files for folder in folders for files in capture_files.scenarios(folder).values()]
    assert len(scenarios) > 20
    halves = scenarios[::2], scenarios[1::2]
    for half in halves:
        # What the first half sent is in the stores by then, the rest is in memory.
        with lake, server:
            for files in half:
                for meta, body in files:
                    for each in (lake, server):
                        capture_files.send(each, meta, body)
            _assert_same(lake, server, PAGES if half is halves[1] else ())
    with lake, server:
        _assert_same(lake, server, PAGES)
        many = ", ".join(f"'{n:032x}'" for n in range(20_000))
        assert server.sql(f"SELECT count(*) AS n FROM spans WHERE trace_id IN ({many})") == [{"n": 0}]
        stored = _clickhouse.rows("SELECT count() AS n, uniqExact(trace_id, span_id) AS ids FROM equal.spans")[0]
        assert stored["n"] == server.sql("SELECT count(*) AS n FROM spans")[0]["n"]


def _assert_same(lake, server, pages):
    differing = {}
    for query in QUERIES:
        expected, found = lake.sql(query, row_limit=100_000), server.sql(query, row_limit=100_000)
        if not _same(expected, found):
            first = next((pair for pair in zip(expected, found) if not _same(*pair)), (len(expected), len(found)))
            differing[query] = first
    assert not differing, differing
    for path in pages:
        expected, found = ({**each.get(path), "elapsed_ms": None} for each in (lake, server))
        if not _same(expected, found):
            differing[path] = [(key, expected[key], found[key]) for key in expected if not _same(expected[key], found.get(key))]
    assert not differing, differing
    trace_id = lake.sql("SELECT trace_id, count(*) AS n FROM spans GROUP BY 1 ORDER BY n DESC, 1 LIMIT 1")[0]["trace_id"]
    traces = [each.get(f"/api/v1/traces/{trace_id}")["spans"] for each in (lake, server)]
    assert traces[0] == traces[1]


def _same(one, other):
    """Sums of floats depend on the order in which rows come; all else is equal."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return one == other


def explain_shows_what_clickhouse_is_asked(_clickhouse, tmp_path):
    rng = otlp.seeded(41)
    server = _server(tmp_path / "data", _clickhouse.address, "explained")
    with server:
        server.send("traces", otlp.traces([otlp.chat(rng) for _ in range(5)]).SerializeToString())
    with server:
        query = "EXPLAIN SELECT span_id FROM spans WHERE name = 'chat gpt-4o-mini' AND service_name = 'tests' LIMIT 3"
        plan = str(server.sql(query))
        position = server.sql("SELECT max(wal_position) AS last FROM spans")[0]["last"]
        sql = (
            "SELECT `span_id` FROM `explained`.`spans` WHERE project_id = 'default' AND wal_position <= "
            f"{position} AND `name` = 'chat gpt-4o-mini' AND `service_name` = 'tests' LIMIT 3"
        )
        assert sql in plan.replace("\\'", "'"), plan
        _assert_asked(server, "SELECT name, count(*), sum(cost_usd) FROM spans GROUP BY name", "GROUP BY `name`")
        _assert_asked(server, "SELECT count(*) FROM spans WHERE counted", "SELECT count() FROM")
        trace_id = server.sql("SELECT trace_id FROM spans LIMIT 1")[0]["trace_id"]
        by_id = f"SELECT count(*) AS n FROM spans WHERE trace_id = '{trace_id}'"
        _assert_asked(server, by_id, "`explained`.`trace_times`")
        assert server.sql(by_id) == [{"n": 1}]
        # Nothing rests on what the view knows.
        _clickhouse.execute("TRUNCATE TABLE explained.trace_times")
        assert server.sql(by_id) == [{"n": 1}]
        _assert_asked(server, "SELECT span_id FROM spans ORDER BY start_time DESC LIMIT 5", "ORDER BY `start_time` DESC NULLS FIRST LIMIT 5")
        # Also while there are hot rows, which are put together here.
        server.send("traces", otlp.traces([otlp.chat(rng) for _ in range(5)]).SerializeToString())
        _assert_asked(server, "SELECT name, count(*), sum(cost_usd) FROM spans GROUP BY name", "GROUP BY `name`")
        assert server.sql("SELECT name, count(*) AS n FROM spans GROUP BY name") == [{"name": "chat gpt-4o-mini", "n": 10}]


def _assert_asked(server, query, part):
    plan = str(server.sql(f"EXPLAIN {query}"))
    assert part in plan, plan


def corrections_become_values_of_their_rows(_clickhouse, tmp_path):
    lake, server = Server(tmp_path / "lake", f"[storage]\n{QUICK}"), _server(tmp_path / "data", _clickhouse.address, "corrected", QUICK)
    rng = otlp.seeded(45)
    # So many corrections do not wait.
    requests = [otlp.traces([otlp.chat(rng, model="own-model") for _ in range(120)]) for _ in range(10)]
    query = "SELECT span_id, cost_usd, cost_source, counted FROM spans ORDER BY span_id"
    for each in (lake, server):
        with each:
            for request in requests:
                each.send("traces", request.SerializeToString())
            _until(lambda: each.get("/api/v1/status")["storage"]["hot_rows"] == 0, "a flush")
        price = '[[prices]]\nmodel = "own-model"\ninput_usd_per_million = "3"\noutput_usd_per_million = "7"\n'
        each.configure(price + each._config_path.read_text())
    with lake, server:
        for each in (lake, server):
            each.cli("reprice", "--from", "2025-11-21T00:00:00Z", "--to", "2025-11-22T00:00:00Z", "--apply")
        expected = lake.sql(query)
        assert len(expected) == 1200 and {row["cost_source"] for row in expected} == {"configured"}
        assert server.sql(query) == expected
        _until(lambda: _pending(server) == (0, 0), "a fold")
        assert server.sql(query) == expected
        values = _clickhouse.rows("SELECT count() AS n, uniqExact(cost_usd) AS values, min(cost_source) AS source FROM corrected.spans")
        assert values == [{"n": 1200, "values": 1, "source": "configured"}]
        assert _clickhouse.rows("SELECT count() AS n FROM corrected.span_corrections") == [{"n": 0}]
    with server:
        assert server.sql(query) == expected


def _pending(server):
    storage = server.get("/api/v1/status")["storage"]
    return storage["hot_rows"], storage["pending_corrections"]


def rows_of_other_projects_are_not_seen(_clickhouse, tmp_path):
    rng = otlp.seeded(42)
    server = _server(tmp_path / "data", _clickhouse.address, "tenants")
    with server:
        for project, n in (("one", 3), ("two", 5)):
            server.send("traces", otlp.traces([otlp.chat(rng) for _ in range(n)]).SerializeToString(), project=project)
    with server:
        for project, n in (("one", 3), ("two", 5), ("three", 0)):
            rows = server.sql("SELECT count(*) AS n FROM spans WHERE project_id = 'one' OR true", project=project)
            assert rows == [{"n": n}], project


def nothing_acknowledged_is_lost_or_doubled_while_the_store_fails_and_the_server_is_killed(_clickhouse, tmp_path):
    seed = int(os.environ.get("ASSAY_CLICKHOUSE_SEED") or 20261121)
    print(f"seed {seed} (ASSAY_CLICKHOUSE_SEED)")
    with s3.Proxy(_clickhouse.address, seed) as proxy:
        quick = 'request_timeout = "1500ms"'
        server = _server(tmp_path / "data", proxy.address, "unsteady", QUICK, quick).start()

        def mended():
            proxy.failing(0)
            _clickhouse.fault("503", 0)

        failures = [functools.partial(fail, _clickhouse, proxy) for fail in (_now_and_then, _after_each_insertion, _in_the_engine, _always)]
        load = senders.under_failures(server, seed, failures, mended)
        acknowledged = load.acknowledged()
        # One line for each request, by its position in the log: which are there twice says which flush was.
        twice = "SELECT wal_position, count() AS n, groupUniqArray(_part) AS parts FROM unsteady.ingest_ledger GROUP BY 1 HAVING n > 1 ORDER BY 1"
        assert _clickhouse.rows(twice) == []
        senders.assert_ledger(server, acknowledged, load.refused)
        server.stop()
    stored = _clickhouse.rows("SELECT count() AS n, uniqExact(span_id) AS ids FROM unsteady.spans")[0]
    assert stored == {"n": len(acknowledged), "ids": len(acknowledged)}, "what was sent again is known by its token"


def _now_and_then(_service, proxy, load):
    proxy.failing(0.3)
    _until(lambda: load.run_for(0.5) or {("POST", fault) for fault in s3.FAULTS} <= proxy.met, "each fault of a request")


def _after_each_insertion(_service, proxy, load):
    proxy.failing(0.6, ("drop after", "error after"), only=("POST", "INSERT"))
    _until(lambda: load.run_for(0.5) or {("POST", fault) for fault in ("drop after", "error after")} <= proxy.met, "insertions without an answer")


def _in_the_engine(service, _proxy, load):
    for mode in ("503", "drop", "apply_then_drop", "hang"):
        service.fault(mode, 3)
        load.run_for(0.8)


def _always(_service, proxy, load):
    proxy.failing(1)
    load.run_for(2)


def while_the_store_is_away_senders_are_told_to_wait_and_when_it_is_back_all_lands_once(_clickhouse, tmp_path):
    budgets = 'flush_interval = "300ms"\nflush_bytes = "256KiB"\nhot_bytes_max = "4MiB"\nwal_bytes_max = "4MiB"\n'
    with s3.Proxy(_clickhouse.address) as proxy, _server(tmp_path / "data", proxy.address, "away", budgets) as server:
        requests = senders.LargeRequests(server, otlp.seeded(43))
        requests.send()
        _until(lambda: server.get("/api/v1/status")["storage"]["hot_rows"] == 0, "a flush")
        proxy.failing(1, ("unavailable", "drop before"))
        requests.until_told_to_wait()
        with pytest.raises(Refused) as refused:
            server.sql("SELECT count(*) FROM spans")
        assert refused.value.status == 503 and refused.value.headers["Retry-After"], refused.value
        proxy.failing(0)
        _until(requests.acknowledges_again, "an acknowledgement", seconds=40)
        senders.assert_stored_once(server, requests.acknowledged)
        server.stop()
        server.start()
        senders.assert_stored_once(server, requests.acknowledged)


def a_schema_of_another_version_is_refused(_clickhouse, tmp_path):
    server = _server(tmp_path / "data", _clickhouse.address, "versions", migrate=False)
    with pytest.raises(AssertionError, match="has no version, expected version 1 .hint: run `assay migrate`"):
        server.start()
    assert "was made, version 1" in clickhouse_server.migrate(server._config_path).stdout
    assert "has version 1" in clickhouse_server.migrate(server._config_path).stdout
    with server:
        pass
    # A column that an earlier version did not have, and what a later one may have.
    _clickhouse.execute("ALTER TABLE versions.spans DROP COLUMN scope_exact")
    with pytest.raises(AssertionError, match="column `scope_exact` of the ClickHouse table `spans` is missing, expected type"):
        server.start()
    clickhouse_server.migrate(server._config_path)
    with server:
        pass
    _clickhouse.execute("INSERT INTO versions.schema_versions (version, assay) VALUES (99, 'later')")
    with pytest.raises(AssertionError, match="has version 99, expected version 1 .hint: a newer Assay made it"):
        server.start()
    assert "newer Assay" in clickhouse_server.migrate(server._config_path).stderr


def one_data_folder_writes_one_database(_clickhouse, tmp_path):
    rng = otlp.seeded(44)
    with _server(tmp_path / "one", _clickhouse.address, "owned") as first:
        first.send("traces", otlp.traces([otlp.chat(rng)]).SerializeToString())
    with pytest.raises(AssertionError, match="database `owned` is written by node `assay-[-0-9a-f]+`, expected"):
        _server(tmp_path / "two", _clickhouse.address, "owned").start()
    with pytest.raises(AssertionError, match="is in `clickhouse:owned`, expected"):
        Server(tmp_path / "one").start()


def old_days_are_dropped_by_the_retention(_clickhouse, tmp_path):
    server = _server(tmp_path / "data", _clickhouse.address, "kept", 'retention = "30d"')
    engine = "SELECT count() AS n FROM system.tables WHERE database = 'kept' AND engine_full LIKE '%TTL date + toIntervalDay({})%'"
    assert _clickhouse.rows(engine.format(31))[0]["n"] == 13
    server.configure(clickhouse_server.config(_clickhouse.address, "kept", 'retention = "7d"'))
    with server:
        assert _clickhouse.rows(engine.format(8))[0]["n"] == 13


def _until(holds, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what} was not seen within {seconds} s"
        time.sleep(0.1)
