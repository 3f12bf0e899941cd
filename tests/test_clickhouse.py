"""Rows in ClickHouse: the same answers as over a lake, and nothing lost or doubled when the service, the network or the server fails.

The engine is the real one; faults come from its front and from a proxy before it, in the order that a seed gives (`ASSAY_CLICKHOUSE_SEED`).
"""

import contextlib
import functools
import json
import os
import shutil
import socket
import threading
import time
import urllib.parse

import clickhouse_server
import pytest
import query_suite
import s3
import senders
import telemetry as otlp
from harness import Refused, Server

QUICK = 'flush_interval = "300ms"\nflush_bytes = "256KiB"\ncompaction_interval = "1s"\n'


JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def _clickhouse(tmp_path_factory):
    with clickhouse_server.ClickHouse(tmp_path_factory.mktemp("clickhouse") / "engine") as service:
        yield service


def _server(folder, address, database, storage="", clickhouse="", migrate=True):
    server = Server(folder, clickhouse_server.config(address, database, storage, clickhouse))
    return clickhouse_server.migrated(server) if migrate else server


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
        _assert_asked(server, "SELECT name, count(distinct user_id), sum(cost_usd) FROM spans GROUP BY name", "uniqExact(`user_id`), sumOrNull(`cost_usd`)")
        _assert_asked(server, "SELECT median(duration_ns) FROM spans", "quantileExactInclusiveOrNull(0.5)(toFloat64(`duration_ns`))")
        _assert_asked(server, "SELECT approx_percentile_cont(duration_ns, 0.9) FROM spans", "quantileGKOrNull(1000, 0.9)(toFloat64(`duration_ns`))")
        _assert_asked(server, "SELECT date_trunc('hour', start_time), count(*) FROM spans GROUP BY 1", "GROUP BY intDiv(toUnixTimestamp64Micro(`start_time`) - (-3600000000), 3600000000)")
        _assert_asked(server, "SELECT user_id, sum(cost_usd) FROM spans GROUP BY 1 ORDER BY 2 DESC LIMIT 7", "ORDER BY sumOrNull(`cost_usd`) DESC NULLS FIRST LIMIT 7")
        _assert_asked(server, "SELECT count(*) FROM spans WHERE name ILIKE 'Chat%'", "match(`name`, '(?is)^Chat')")
        # Through views of several tables: of those without rows, nothing is asked.
        by_user = "SELECT user_id, count(*), sum(cost_usd) FROM llm_calls GROUP BY 1"
        _assert_asked(server, by_user, "SELECT `user_id`, count(), sumOrNull(`cost_usd`) FROM `explained`.`spans`")
        totals = server.get("/api/v1/traces/totals")
        _assert_asked(server, totals["sql"], "SELECT uniqExactIf(`trace_id`, ifNull(('span' = 'span'), false)), countIf(")
        assert (totals["traces"], totals["spans"], totals["llm_calls"], totals["errors"]) == (5, 5, 5, 0)
        # Also while there are hot rows, which are put together here.
        server.send("traces", otlp.traces([otlp.chat(rng) for _ in range(5)]).SerializeToString())
        _assert_asked(server, "SELECT name, count(*), sum(cost_usd) FROM spans GROUP BY name", "GROUP BY `name`")
        _assert_asked(server, by_user, "SELECT `user_id`, count(), sumOrNull(`cost_usd`) FROM `explained`.`spans`")
        assert server.sql("SELECT name, count(*) AS n FROM spans GROUP BY name") == [{"name": "chat gpt-4o-mini", "n": 10}]
        assert server.sql(by_user)[0]["count(*)"] == 10


def _assert_asked(server, query, part):
    """The plan of `query`, which has `part`."""
    plan = "\n".join(row["plan"] for row in server.sql(f"EXPLAIN {query}"))
    assert part in plan, plan
    return plan


# Questions as people and pages ask them, and by which indexes ClickHouse must leave out all but a few of fifteen granules.
SEARCHES = (
    ("trace_id = '{trace_id}'", {"PrimaryKey"}),
    ("trace_id IN ('{trace_id}', 'another')", {"PrimaryKey"}),
    ("span_id = '{span_id}'", {"by_span_id"}),
    ("session_id = 'session 77777'", {"by_session_id"}),
    ("user_id IN ('user 77777', 'nobody')", {"by_user_id"}),
    ("error_type = 'Rare'", {"by_error_type"}),
    ("service_name = 'rare'", {"by_service_name"}),
    ("name = 'chat rare'", {"by_name"}),
    ("q=\"refund policy\"", {"by_text"}),
    ("q=REFUND", {"by_text"}),
    ("q=refund_policy", {"by_text"}),
    ("q=\"refund policy\" session:\"session 77777\"", {"by_session_id"}),
    ("output_preview ILIKE '%Refund%Policy%' OR input_preview ILIKE '%Refund%Policy%'", {"by_text"}),
    ("input_preview LIKE '%refund%'", {"by_text"}),
)
SEARCHED_ROWS = 120_000


def searches_are_answered_by_indexes(_clickhouse, tmp_path):
    rng = otlp.seeded(47)
    lake, server = Server(tmp_path / "lake"), _server(tmp_path / "data", _clickhouse.address, "searched")
    texts = ("what is your Refund Policy?", "see refund_policy.md", "refunds, policies")
    with server, lake:
        for nth, text in enumerate(texts):
            rare = otlp.chat(rng, "rare", text=text, session__id="session 77777", user__id="user 77777", start=1_763_692_800_000_000_000 + nth * 10**9, error__type="Rare")
            request = otlp.traces([rare], "rare").SerializeToString()
            for each in (lake, server):
                each.send("traces", request)
        common = otlp.traces([otlp.chat(rng, text="hello", session__id="s", user__id="u")], "common").SerializeToString()
        server.send("traces", common)
        expected = lake.sql("SELECT trace_id, span_id FROM spans WHERE input_preview ILIKE '%refund_policy%' ORDER BY 2")
        row = lake.sql("SELECT trace_id, span_id FROM spans WHERE input_preview ILIKE '%refund\\_policy%'")[0]
    # So many rows beside them, of their hour, as the server would have sent them.
    _clickhouse.execute(
        "INSERT INTO searched.spans SELECT s.* REPLACE (lower(hex(sipHash128(intDiv(number, 5)))) AS trace_id, lower(hex(sipHash64(number))) AS span_id, "
        "s.start_time + toIntervalMicrosecond(number * 10_000) AS start_time, concat('session ', toString(intDiv(number, 50) + 100_000)) AS session_id, "
        "concat('user ', toString(intDiv(number, 500) + 100_000)) AS user_id, concat('What is ', toString(number), ' by now?') AS input_preview) "
        f"FROM searched.spans AS s, numbers({SEARCHED_ROWS}) AS n WHERE service_name = 'common'"
    )
    _clickhouse.execute("OPTIMIZE TABLE searched.spans FINAL")
    with server:
        assert server.sql("SELECT count(*) AS n FROM spans") == [{"n": SEARCHED_ROWS + 4}]
        for question, indexes in SEARCHES:
            where = question.format(**row)
            if where.startswith("q="):
                where = server.get("/api/v1/filter?" + urllib.parse.urlencode({"q": where[2:]}))["sql"]
            used, left = _indexes_used(_clickhouse, _statement(server, f"SELECT span_id FROM spans WHERE {where}"))
            assert indexes <= used and left <= 3, (question, used, left)
        # A trace is found by its time; where that is not known, by itself.
        _clickhouse.execute("TRUNCATE TABLE searched.trace_times")
        used, left = _indexes_used(_clickhouse, _statement(server, f"SELECT span_id FROM spans WHERE trace_id = '{row['trace_id']}'"))
        assert "by_trace_id" in used and left <= 3, (used, left)
        # Other letters of the same text, and a text over the border of two columns, which is none.
        found = server.sql("SELECT trace_id, span_id FROM spans WHERE input_preview ILIKE '%refund_policy%' ORDER BY 2")
        assert found == expected and len(found) == 2
        for text, n in (("REFUND POLICY", 1), ("refund", 3), ("chat raresee", 0), ("chat rare%see refund", 0)):
            predicate = " OR ".join(f"{column} ILIKE '%{text}%'" for column in ("name", "error_message", "input_preview", "output_preview"))
            assert server.sql(f"SELECT count(*) AS n FROM spans WHERE {predicate}") == [{"n": n}], text


def _statement(server, query):
    """What ClickHouse is asked to answer `query`."""
    (statement,) = [row["plan"] for row in server.sql(f"EXPLAIN {query}") if "ClickHouseExec: sql=" in row["plan"]]
    return statement.split("ClickHouseExec: sql=", 1)[1].split("\n")[0]


def _indexes_used(clickhouse, statement):
    """The indexes by which ClickHouse leaves out granules to answer `statement`, and how many granules are left of all tables but the small ones."""
    plan = "\n".join(row["explain"] for row in clickhouse.rows(f"EXPLAIN indexes = 1 {statement}"))
    part = plan[plan.index("searched.spans") :]
    used, left, name = set(), None, None
    for line in part.splitlines():
        if line.strip() in ("PrimaryKey", "Min-Max", "Partition"):
            name = line.strip()
        if "Name: " in line:
            name = line.split("Name: ")[1]
        if "Granules: " in line and "/" in line:
            kept, of = map(int, line.split("Granules: ")[1].split("/"))
            used |= {name} if kept < of else set()
            left = kept
    return used, left


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
        each.configure(price + each.config_path.read_text())
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


def a_query_that_nobody_waits_for_is_killed_there(_clickhouse, tmp_path):
    server = _server(tmp_path / "data", _clickhouse.address, "killed")
    with server:
        server.send("traces", otlp.traces([otlp.chat(otlp.seeded(49))]).SerializeToString())
    server.configure("[query]\nmemory_max = \"123MiB\"\n" + server.config_path.read_text())
    body = json.dumps({"query": "SELECT max(duration_ns) FROM spans", "timeout_ms": 1500}).encode()
    patient = body.replace(b"1500", b"20000")
    with server:
        with pytest.raises(Refused) as refused, _held(_clickhouse, at_most_seconds=1.5):
            server.request("POST", "/api/v1/sql", body, JSON)
        assert refused.value.problem()["title"] and refused.value.status in (408, 504), refused.value
        with _held(_clickhouse, at_most_seconds=20) as held:
            _let_go(server, patient, held)
        with _held(_clickhouse, at_most_seconds=20) as held:
            answers = []
            asking = threading.Thread(target=lambda: answers.append(_refusal(server, patient)))
            asking.start()
            held()
            (running,) = server.get("/api/v1/sql/running")["queries"]
            server.request("DELETE", f"/api/v1/sql/running/{running['query_id']}")
            asking.join()
            assert "cancelled" in answers[0].problem()["detail"], answers
        # One that is answered is not killed.
        before = len(_kills(_clickhouse))
        assert len(server.sql("SELECT max(duration_ns) FROM spans")) == 1
        assert len(_kills(_clickhouse)) == before


@contextlib.contextmanager
def _held(clickhouse, at_most_seconds):
    """Inside, the next question is held; then it must have been killed, and have been given its limits. Gives a function that waits for it."""
    last = clickhouse.requests()[-1]["nth"]
    asks = "SELECT maxOrNull(`duration_ns`)"
    clickhouse.fault("hold", 1, of=asks)

    def held():
        asked = lambda: [r for r in clickhouse.requests() if r["nth"] > last and r["query"].startswith(asks)]
        _until(asked, "the question")
        return asked()[0]

    try:
        yield held
    finally:
        question = held()
        _until(lambda: f"KILL QUERY WHERE query_id = '{question['query_id']}' ASYNC" in _kills(clickhouse), "the query to be killed", seconds=5)
        settings = question["settings"]
        assert 0 < float(settings["max_execution_time"]) <= at_most_seconds, settings
        assert settings["max_memory_usage"] == str(123 << 20) and settings["cancel_http_readonly_queries_on_client_close"] == "1", settings


def _kills(clickhouse):
    return [r["query"] for r in clickhouse.requests() if r["query"].startswith("KILL")]


def _let_go(server, body, held):
    """Asks, and closes the connection once ClickHouse is asked."""
    host, port = server.addresses["http"].split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /api/v1/sql HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)
        held()


def _refusal(server, body):
    with pytest.raises(Refused) as refused:
        server.request("POST", "/api/v1/sql", body, JSON)
    return refused.value


def rows_are_found_by_what_they_were_corrected_to(_clickhouse, tmp_path):
    server = _server(tmp_path / "data", _clickhouse.address, "refound")
    rng = otlp.seeded(48)
    with server:
        for model in ("own-model", "gpt-4o-mini"):
            server.send("traces", otlp.traces([otlp.chat(rng, model=model) for _ in range(3)]).SerializeToString())
    price = '[[prices]]\nmodel = "own-model"\ninput_usd_per_million = "3"\noutput_usd_per_million = "7"\n'
    server.configure(price + server.config_path.read_text())
    with server:
        server.cli("reprice", "--from", "2025-11-21T00:00:00Z", "--to", "2025-11-22T00:00:00Z", "--apply")
    with server:
        assert _pending(server) == (0, 3), "the corrections are stored, and not yet values of their rows"
        # The three are read and corrected here, all others are asked for as if there were none.
        _assert_asked(server, "SELECT span_id FROM spans WHERE cost_source = 'configured'", "`cost_source` = 'configured' AND (trace_id NOT IN (")
        by_model = "SELECT request_model, count(*) AS n, count(cost_usd) AS priced FROM llm_calls GROUP BY 1 ORDER BY 1"
        _assert_asked(server, by_model, "GROUP BY `request_model`")
        assert server.sql(by_model) == [{"request_model": "gpt-4o-mini", "n": 3, "priced": 3}, {"request_model": "own-model", "n": 3, "priced": 3}]
        dearest = server.sql("SELECT request_model, cost_source FROM spans ORDER BY cost_usd DESC LIMIT 4")
        assert [row["cost_source"] for row in dearest] == ["configured"] * 3 + ["computed"], dearest
        spans = server.sql("SELECT trace_id, cost_source FROM spans")
        for span in spans:
            one = f"SELECT cost_source FROM spans WHERE trace_id = '{span['trace_id']}' AND cost_usd > 0"
            plan = "\n".join(row["plan"] for row in server.sql(f"EXPLAIN {one}"))
            assert plan.count("ClickHouseExec") == 1 or span["cost_source"] == "configured", plan
            assert server.sql(one) == [{"cost_source": span["cost_source"]}]
        for where, n in (("cost_source = 'configured'", 3), ("cost_usd IS NULL", 0), ("cost_usd > 0", 6), ("cost_source = 'computed' AND counted", 3)):
            assert server.sql(f"SELECT count(*) AS n FROM spans WHERE {where}") == [{"n": n}], where
            assert len(server.sql(f"SELECT span_id FROM spans WHERE {where} ORDER BY start_time LIMIT 2")) == min(n, 2), where


def _pending(server):
    storage = server.get("/api/v1/status")["storage"]
    return storage["hot_rows"], storage["pending_corrections"]


ROLLED_UP = (
    "SELECT count(*) FROM spans",
    "SELECT count(*), count(cost_usd), count(duration_ns), count(request_model), sum(cost_usd), sum(duration_ns), sum(reasoning_tokens) FROM spans",
    "SELECT min(start_time), max(start_time), min(duration_ns), max(duration_ns), avg(duration_ns), avg(input_tokens), min(cost_usd), max(cost_usd) FROM spans",
    "SELECT max(request_model), min(status_code), max(error_type), count(error_type) FROM spans",
    "SELECT request_model, date_trunc('hour', start_time) AS hour, sum(cost_usd), count(*) FROM spans GROUP BY 1, 2 ORDER BY 2, 1",
    "SELECT time_bucket(INTERVAL '6 hours', start_time) AS at, count(*) FILTER (WHERE status_code = 'ERROR' OR error_type IS NOT NULL) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT date_trunc('week', start_time) AS week, provider, avg(output_tokens) FROM llm_calls GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT operation, sum(cost_usd) FILTER (WHERE counted), count(*) FILTER (WHERE cost_source = 'unpriced') FROM steps GROUP BY 1 ORDER BY 1",
    "SELECT service_name, sum(input_tokens) FROM llm_calls WHERE request_model IN ('gpt-4o-mini', 'own-model') GROUP BY 1 ORDER BY 1",
    # From the midst of an hour to the midst of another, and of whole hours.
    "SELECT status_code, count(*), max(start_time) FROM spans WHERE start_time > '2025-11-21T03:17:05.000001Z' AND start_time <= '2025-11-21T23:59:59.999999Z' GROUP BY 1 ORDER BY 1",
    "SELECT count(*), sum(cost_usd) FROM spans WHERE start_time >= '2025-11-21T03:00:00Z' AND start_time < '2025-11-22T03:00:00Z' AND counted",
    "SELECT count(*), sum(cost_usd) FROM spans WHERE start_time BETWEEN '2025-11-21T04:00:00Z' AND '2025-11-21T05:00:00Z'",
    "SELECT count(*), sum(cost_usd), max(input_tokens) FROM spans WHERE request_model = 'no-such-model'",
)
READ = (
    "SELECT name, count(*) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT date_trunc('minute', start_time) AS minute, count(*) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT count(*) FROM spans WHERE session_id IS NOT NULL",
    "SELECT count(*) FROM spans WHERE start_time >= '2025-11-21T03:10:00Z' AND start_time < '2025-11-21T03:50:00Z'",
    "SELECT sum(input_tokens) FILTER (WHERE user_id = 'a') FROM spans",
)


def the_rollup_says_what_the_rows_say(_clickhouse, tmp_path):
    """Of stored rows, of hot ones beside them, of rows with corrections that wait, and of those that were corrected, as a lake says it."""
    lake, server = Server(tmp_path / "lake", f"[storage]\n{QUICK}"), _server(tmp_path / "data", _clickhouse.address, "rolled", QUICK)
    rng = otlp.seeded(49)
    # More requests than are added up at once, more rows than are quicker read, and others that come later.
    requests = [_spans_of_two_days(rng) for _ in range(300)]
    own = otlp.traces([otlp.chat(rng, model="own-model", start=1_763_692_800_000_000_000 + nth * 10**9) for nth in range(20)]).SerializeToString()
    for each in (lake, server):
        with each:
            for request in [own, *requests[:280]]:
                each.send("traces", request)
            _until(lambda: each.get("/api/v1/status")["storage"]["hot_rows"] == 0, "a flush")
        price = '[[prices]]\nmodel = "own-model"\ninput_usd_per_million = "3"\noutput_usd_per_million = "7"\n'
        each.configure((price + each.config_path.read_text()).replace('"300ms"', '"1h"').replace('"256KiB"', '"64MiB"'))
    with lake, server:
        _assert_rolled_up(_clickhouse, lake, server)
        for each in (lake, server):
            for request in requests[280:]:
                each.send("traces", request)
            each.cli("reprice", "--from", "2025-11-21T00:00:00Z", "--to", "2025-11-22T00:00:00Z", "--apply")
        hot, waiting = _pending(server)
        assert hot > 800 and waiting == 20
        _assert_rolled_up(_clickhouse, lake, server)
    with lake, server:
        assert _pending(server) == (0, 20), "the corrections are stored, and not yet values of their rows"
        _assert_rolled_up(_clickhouse, lake, server)
        before = _clickhouse.rows("SELECT sum(rows) AS n FROM system.projection_parts WHERE database = 'rolled' AND active")[0]["n"]
        assert 0 < before < 281 * 40 / 4, "sums are fewer than rows"
    # What a fold does to the rows.
    _clickhouse.execute("ALTER TABLE rolled.spans UPDATE cost_usd = 1, cost_source = 'configured' WHERE request_model = 'own-model' SETTINGS mutations_sync = 1")
    _clickhouse.execute("OPTIMIZE TABLE rolled.spans FINAL")
    cost = "SELECT sum(cost_usd) AS cost, count(*) AS n FROM spans WHERE cost_source = 'configured'"
    _clickhouse.execute("ALTER TABLE rolled.span_corrections DELETE WHERE 1 SETTINGS mutations_sync = 1")
    with server:
        _assert_asked(server, cost, "FROM (SELECT project_id")
        assert server.sql(cost) == [{"cost": "20", "n": 20}]
    # One that was made before there was a rollup gets it.
    _clickhouse.execute("ALTER TABLE rolled.spans DROP PROJECTION by_hour_1 SETTINGS mutations_sync = 1")
    with server:
        assert "there is no rollup" in server.log()
        assert "rollup_rows" not in str(server.sql(f"EXPLAIN {cost}"))
        assert server.sql(cost) == [{"cost": "20", "n": 20}]
    with clickhouse_server.migrated(server):
        _assert_asked(server, cost, "FROM (SELECT project_id")
        assert server.sql(cost) == [{"cost": "20", "n": 20}]
        parts = "SELECT count() AS n FROM system.{} WHERE database = 'rolled' AND table = 'spans' AND active"
        of_table = _clickhouse.rows(parts.format("parts"))[0]["n"]
        _until(lambda: _clickhouse.rows(parts.format("projection_parts"))[0]["n"] == of_table, "the rows that were there are added up")
        assert server.sql(cost) == [{"cost": "20", "n": 20}]


def the_rollup_of_a_shared_database_has_positions_of_each_node(_clickhouse, tmp_path):
    lake = Server(tmp_path / "lake", f"[storage]\n{QUICK}")
    nodes = [_server(tmp_path / name, _clickhouse.address, "rolled_shared", QUICK + "shared = true\n") for name in ("one", "two")]
    rng = otlp.seeded(51)
    with lake, nodes[0], nodes[1]:
        # One has more than is added up at once, the other has less, and then more.
        for n_requests in ((260, 10), (20, 250)):
            for node, n in zip(nodes, n_requests):
                for _ in range(n):
                    request = _spans_of_two_days(rng)
                    node.send("traces", request)
                    lake.send("traces", request)
            count = "SELECT count(*) AS n FROM spans"
            _until(lambda: all(node.sql(count) == lake.sql(count) for node in nodes), "the rows of the other")
            _assert_rolled_up(_clickhouse, lake, nodes[1])
        _assert_rolled_up(_clickhouse, lake, nodes[0])
        assert nodes[0].sql(count) == [{"n": 540 * 40}]


def _spans_of_two_days(rng):
    spans = []
    for _ in range(40):
        more = {"session__id": "s", "user__id": rng.choice("ab")} if rng.random() < 0.3 else {}
        start = 1_763_692_800_000_000_000 + rng.randrange(30 * 3600 * 10**6) * 1000
        if rng.random() < 0.7:
            model = rng.choice(("gpt-4o-mini", "claude-sonnet-4-5", "no-such-model"))
            tokens = {"input_tokens": rng.randrange(1000), "output_tokens": rng.randrange(100)}
            spans.append(otlp.chat(rng, model, start=start, duration_ns=rng.randrange(10**10), **tokens, **more))
        else:
            spans.append(otlp.span(rng, rng.choice(("work", "rest")), start=start, duration_ns=rng.choice((0, 5, 86_400 * 10**9)), **more))
        if rng.random() < 0.1:
            spans[-1].status.code = spans[-1].status.STATUS_CODE_ERROR
    return otlp.traces(spans, rng.choice(("one", "two"))).SerializeToString()


def _assert_rolled_up(clickhouse, lake, server):
    """Both answer alike, `server` from the rollup where it can."""
    for query in ROLLED_UP + READ:
        assert query_suite.difference(lake.sql(query), server.sql(query)) == "", query
    for query in ROLLED_UP:
        plan = _assert_asked(server, query, "FROM (SELECT project_id")
        statement = next(line for line in plan.splitlines() if "FROM (SELECT project_id" in line).partition("sql=")[2]
        assert "ReadFromMergeTree (by_hour_1)" in "\n".join(row["explain"] for row in clickhouse.rows(f"EXPLAIN {statement}")), statement
    for query in READ:
        assert "rollup_rows" not in str(server.sql(f"EXPLAIN {query}")), query


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
        quick = 'request_timeout = "4s"'
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
    proxy.failing(0.6, ("drop after", "error after"), only=("POST", "insert_deduplication_token"))
    _until(lambda: load.run_for(0.5) or {("POST", fault) for fault in ("drop after", "error after")} <= proxy.met, "insertions without an answer")


def _in_the_engine(service, _proxy, load):
    for mode in ("503", "drop", "apply_then_drop", "hang"):
        service.fault(mode, 3)
        load.run_for(0.8)


def _always(_service, proxy, load):
    proxy.failing(1)
    load.run_for(2)


def an_insertion_is_known_again_however_its_rows_came_together(_clickhouse, tmp_path):
    """Requests that arrive at once are put together otherwise than the same ones in a replay."""
    with s3.Proxy(_clickhouse.address) as proxy:
        server = _server(tmp_path / "data", proxy.address, "again", 'flush_interval = "2s"').start()
        # They are done, and nobody is told.
        proxy.failing(1, ("drop after",), only=("POST", "insert_deduplication_token"))
        _killed_under_load(server, proxy, lambda: _clickhouse.rows("SELECT count() > 0 AS yes FROM again.spans") == [{"yes": 1}])


def a_flush_that_was_done_is_not_done_again_by_a_replay(_clickhouse, tmp_path):
    """The log says less than ClickHouse does if the server is killed between the two; a replay is long enough for several flushes."""
    with s3.Proxy(_clickhouse.address) as proxy:
        server = _server(tmp_path / "data", proxy.address, "done", 'flush_interval = "2s"').start()
        proxy.failing(1, ("drop after",), only=("POST", "'done'"))
        done = "SELECT count() AS n FROM done.flushes WHERE state = 'done'"
        quick = clickhouse_server.config(proxy.address, "done", 'flush_interval = "10ms"')
        _killed_under_load(server, proxy, lambda: _clickhouse.rows(done) != [{"n": 0}], lambda: server.configure(quick))


def _killed_under_load(server, proxy, when, then=lambda: None):
    """Sends to `server` until `when` holds, kills it, calls `then`, starts it again: everything must be there once."""
    load = senders.Load(server, 46, senders.mostly_small)
    try:
        _until(lambda: load.run_for(0.5) or when(), "what the server is killed after")
        server.kill()
        proxy.failing(0)
        then()
        server.start()
    finally:
        proxy.failing(0)
        load.end()
    acknowledged = load.acknowledged()
    senders.assert_stored_once(server, acknowledged)
    _until(lambda: server.get("/api/v1/status")["storage"]["hot_rows"] == 0, "a flush")
    senders.assert_stored_once(server, acknowledged)
    senders.assert_ledger(server, acknowledged, load.refused)
    server.stop()


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
    with pytest.raises(AssertionError, match="has no version, expected version 4 .hint: run `assay migrate`"):
        server.start()
    assert "was made, version 4" in clickhouse_server.migrate(server).stdout
    assert "has version 4" in clickhouse_server.migrate(server).stdout
    with server:
        pass
    # A column that an earlier version did not have, and what a later one may have.
    _clickhouse.execute("ALTER TABLE versions.spans DROP COLUMN scope_exact")
    with pytest.raises(AssertionError, match="column `scope_exact` of the ClickHouse table `spans` is missing, expected type"):
        server.start()
    with clickhouse_server.migrated(server):
        pass
    _clickhouse.execute("INSERT INTO versions.schema_versions (version, assay) VALUES (99, 'later')")
    with pytest.raises(AssertionError, match="has version 99, expected version 4 .hint: a newer Assay made it"):
        server.start()
    assert "newer Assay" in clickhouse_server.migrate(server).stderr


def a_database_that_does_not_know_insertions_again_is_refused(_clickhouse, tmp_path):
    server = _server(tmp_path / "data", _clickhouse.address, "forgetful")
    forget = "ALTER TABLE forgetful.{} MODIFY SETTING non_replicated_deduplication_window = {}"
    _clickhouse.execute(forget.format("cost_lines", 0))
    with pytest.raises(AssertionError, match="table `cost_lines` remembers 0 insertions, expected more than 0.*hint: run `assay migrate`"):
        server.start()
    with clickhouse_server.migrated(server):
        pass
    _clickhouse.execute(forget.format("insertion_probes", 0))
    with pytest.raises(AssertionError, match="an insertion that was sent twice is in the ClickHouse table `insertion_probes` 2 times, expected once"):
        server.start()
    _clickhouse.execute(forget.format("insertion_probes", 100))
    with server:
        pass


def one_data_folder_writes_one_database(_clickhouse, tmp_path):
    rng = otlp.seeded(44)
    with _server(tmp_path / "one", _clickhouse.address, "owned") as first:
        first.send("traces", otlp.traces([otlp.chat(rng)]).SerializeToString())
    with pytest.raises(AssertionError, match="database `owned` is written by node `assay-[-0-9a-f]+`, expected"):
        _server(tmp_path / "two", _clickhouse.address, "owned").start()
    with pytest.raises(AssertionError, match="is in `clickhouse:owned`, expected"):
        Server(tmp_path / "one").start()


def nodes_that_share_a_database_see_and_correct_the_rows_of_each_other(_clickhouse, tmp_path):
    shared = QUICK + 'shared = true\nfollow_interval = "300ms"\n'
    nodes = [_server(tmp_path / name, _clickhouse.address, "shared", shared) for name in ("one", "two")]
    price = '[[prices]]\nmodel = "own-model"\ninput_usd_per_million = "3"\noutput_usd_per_million = "7"\n'
    nodes[1].configure(price + nodes[1].config_path.read_text())
    rng = otlp.seeded(50)
    query = "SELECT span_id, cost_usd, cost_source FROM spans ORDER BY span_id"
    with nodes[0], nodes[1]:
        for node, n in zip(nodes, (1200, 100)):
            node.send("traces", otlp.traces([otlp.chat(rng, model="own-model") for _ in range(n)]).SerializeToString())
        _until(lambda: all(node.sql("SELECT count(*) AS n FROM spans") == [{"n": 1300}] for node in nodes), "the rows of the other")
        # The one that knows the price corrects what the other took without it: so many corrections do not wait.
        nodes[1].cli("reprice", "--from", "2025-11-21T00:00:00Z", "--to", "2025-11-22T00:00:00Z", "--apply")
        priced = "SELECT count(*) AS n FROM spans WHERE cost_source = 'configured'"
        _until(lambda: all(node.sql(priced) == [{"n": 1300}] for node in nodes), "the corrections of the other")
        expected = nodes[1].sql(query)
        assert len(expected) == 1300 and {row["cost_source"] for row in expected} == {"configured"}
        # The other node could still insert corrections that were received before: none is folded for five minutes.
        rounds = lambda: [node.get("/api/v1/status")["storage"]["jobs"].get("compaction", {}).get("last_unix_ms") or 0 for node in nodes]  # noqa: E731
        began = time.time() * 1000
        _until(lambda: min(rounds()) > began + 2000, "rounds of jobs")
        assert [_pending(node) for node in nodes] == [(0, 1200)] * 2
        aged = "INSERT INTO shared.span_corrections SELECT * REPLACE (received_at - INTERVAL 10 MINUTE AS received_at) FROM shared.span_corrections"
        _clickhouse.execute(aged)
        _clickhouse.execute("ALTER TABLE shared.span_corrections DELETE WHERE received_at > now() - INTERVAL 5 MINUTE SETTINGS mutations_sync = 1")
        _until(lambda: all(_pending(node) == (0, 0) for node in nodes), "a fold, by the first of them")
        values = _clickhouse.rows("SELECT count() AS n, uniqExact(cost_usd) AS values, uniqExact(node_id) AS nodes, any(cost_source) AS source FROM shared.spans")
        assert values == [{"n": 1300, "values": 1, "nodes": 2, "source": "configured"}]
        assert _clickhouse.rows("SELECT count() AS n FROM shared.span_corrections") == [{"n": 0}]
        for node in nodes:
            assert node.sql(query) == expected
    # Whoever means to be alone is told, on either side; and a copy of a folder is.
    with pytest.raises(AssertionError, match="database `shared` is written by node `assay-[-0-9a-f]+`, expected .*`storage.shared = true` on both"):
        _server(tmp_path / "three", _clickhouse.address, "shared").start()
    alone = _server(tmp_path / "four", _clickhouse.address, "unshared")
    with alone:
        alone.send("traces", otlp.traces([otlp.chat(rng) for _ in range(7)]).SerializeToString())
    with alone, pytest.raises(AssertionError, match="database `unshared` is not shared: node `assay-[-0-9a-f]+` has it to itself"):
        _server(tmp_path / "five", _clickhouse.address, "unshared", "shared = true").start()
    with nodes[0] as first:
        (tmp_path / "copy").mkdir()
        shutil.copy(tmp_path / "one" / "node-id", tmp_path / "copy" / "node-id")
        with _server(tmp_path / "copy", _clickhouse.address, "shared", shared) as copy:
            # Who says last that it is the node is: two that say so at once may be seen in either order.
            refused = lambda: [each for each in (first, copy) if "another process writes" in (each.get("/api/v1/status")["storage"]["flush_error"] or "")]
            _until(refused, "a refused flush")
            (replaced,) = refused()
            replaced.send("traces", otlp.traces([otlp.chat(rng)]).SerializeToString())
            time.sleep(1)
            assert refused() == [replaced]
            copy.kill()
        first.kill()
    # Whoever is gone for good no longer holds back what is complete, nor keeps others out, once that is said; its rows stay.
    with nodes[1] as other:
        began = time.time() * 1000
        follows = lambda: other.get("/api/v1/status")["storage"]["complete_until_unix_ms"]  # noqa: E731
        assert follows() < began
        _say_that_it_is_gone(_clickhouse, "shared", tmp_path / "copy")
        _until(lambda: follows() > began, "a complete view")
        assert other.sql("SELECT count(*) AS n FROM spans") == [{"n": 1300}]
    _say_that_it_is_gone(_clickhouse, "unshared", tmp_path / "four")
    with _server(tmp_path / "five", _clickhouse.address, "unshared", "shared = true") as five:
        assert five.sql("SELECT count(*) AS n FROM spans") == [{"n": 7}]


def _say_that_it_is_gone(clickhouse, database, folder):
    node_id = (folder / "node-id").read_text().strip()
    clickhouse.execute(f"INSERT INTO {database}.nodes (node_id, shared, stopped) VALUES ('{node_id}', true, true)")


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
