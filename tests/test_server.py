"""The server as its users meet it: what is acknowledged is visible, the formats agree, limits hold, a restart keeps everything."""

import csv
import io
import json
import re
from decimal import Decimal

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import telemetry as otlp
from harness import Refused, Server


def an_acknowledged_span_is_visible_at_once(shared_server):
    rng = otlp.seeded(1)
    for _ in range(20):
        span = otlp.span(rng)
        shared_server.send("traces", otlp.traces([span]).SerializeToString(), project="fresh")
        rows = shared_server.sql(f"SELECT name FROM spans WHERE span_id = '{span.span_id.hex()}'", project="fresh")
        assert rows == [{"name": "work"}]


def every_encoding_and_transport_gives_the_same_row(shared_server):
    rng = otlp.seeded(2)
    request = otlp.traces([otlp.chat(rng, duration_ns=1_234_567_891)])
    body = request.SerializeToString()
    ways = {
        "plain": lambda project: shared_server.send("traces", body, project=project),
        "gzip": lambda project: shared_server.send("traces", otlp.COMPRESS["gzip"](body), encoding="gzip", project=project),
        "zstd": lambda project: shared_server.send("traces", otlp.COMPRESS["zstd"](body), encoding="zstd", project=project),
        "json": lambda project: shared_server.send("traces", otlp.to_json(request), "application/json; charset=utf-8", project=project),
        "grpc": lambda project: shared_server.send_grpc("traces", body, project),
        "grpc-gzip": lambda project: shared_server.send_grpc("traces", body, project, grpc.Compression.Gzip),
    }
    rows = {}
    for way, send in ways.items():
        send(way)
        query = "SELECT trace_id, span_id, start_time, start_time_ns_part, duration_ns, input_tokens, cost_usd, attributes FROM spans"
        rows[way] = shared_server.sql(query, project=way)
    assert len(rows["plain"]) == 1 and rows["plain"][0]["duration_ns"] == 1_234_567_891
    assert all(found == rows["plain"] for found in rows.values()), rows


def one_bad_span_does_not_cost_the_batch(shared_server):
    rng = otlp.seeded(3)
    good, bad = otlp.span(rng), otlp.span(rng, trace_id=bytes(16))
    _, answer = shared_server.send("traces", otlp.traces([good, bad]).SerializeToString(), project="bad")
    partial = otlp.ExportTraceServiceResponse.FromString(answer).partial_success
    assert partial.rejected_spans == 1 and partial.error_message
    assert shared_server.sql("SELECT count(*) AS n FROM spans", project="bad") == [{"n": 1}]
    refused = shared_server.sql("SELECT signal, reason, span_id FROM quarantine", project="bad")
    assert len(refused) == 1 and refused[0]["signal"] == "traces" and refused[0]["span_id"] == bad.span_id.hex()
    ledger = shared_server.sql("SELECT accepted, stored, quarantined FROM ingest_ledger", project="bad")
    assert ledger == [{"accepted": 2, "stored": 1, "quarantined": 1}]


def a_span_sent_twice_is_stored_once(shared_server):
    body = otlp.traces([otlp.chat(otlp.seeded(4))]).SerializeToString()
    for _ in range(3):
        shared_server.send("traces", body, project="twice")
    assert shared_server.sql("SELECT count(*) AS n FROM spans", project="twice") == [{"n": 1}]
    assert shared_server.sql("SELECT sum(resent) AS n FROM ingest_ledger", project="twice") == [{"n": 2}]


def projects_do_not_see_each_other(shared_server):
    for project in ("left", "right"):
        shared_server.send("traces", otlp.traces([otlp.span(otlp.seeded(5), name=project)]).SerializeToString(), project=project)
        assert shared_server.sql("SELECT name FROM spans", project=project) == [{"name": project}]
        other = "right" if project == "left" else "left"
        assert shared_server.sql(f"SELECT name FROM spans WHERE project_id = '{other}'", project=project) == []


@pytest.mark.parametrize(
    ("content_type", "encoding", "body", "status"),
    [
        ("text/plain", None, b"", 415),
        ("application/x-protobuf", "br", b"", 415),
        ("application/x-protobuf", None, b"\xff\xff\xff", 400),
        ("application/json", None, b"{", 400),
        ("application/x-protobuf", "gzip", b"not gzip", 400),
    ],
)
def what_cannot_be_read_is_refused_with_its_reason(shared_server, content_type, encoding, body, status):
    with pytest.raises(Refused) as refused:
        shared_server.send("traces", body, content_type, encoding)
    assert refused.value.status == status and refused.value.body


def a_request_above_the_limit_can_never_fit(tmp_path):
    with Server(tmp_path / "data", '[ingest]\nrequest_bytes_max = "64KiB"\n') as server:
        body = otlp.traces([otlp.span(otlp.seeded(6), note="x" * 70_000)]).SerializeToString()
        for encoding, sent in ((None, body), ("gzip", otlp.COMPRESS["gzip"](body))):
            with pytest.raises(Refused) as refused:
                server.send("traces", sent, encoding=encoding)
            assert refused.value.status == 413 and "retry-after" not in refused.value.headers
        with pytest.raises(grpc.RpcError) as error:
            server.send_grpc("traces", body)
        assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "google.rpc.retryinfo-bin" not in dict(error.value.trailing_metadata() or ())
        assert server.sql("SELECT count(*) AS n FROM spans") == [{"n": 0}]


def all_five_formats_give_the_same_rows(shared_server):
    rng = otlp.seeded(7)
    spans = [otlp.chat(rng, input_tokens=n, text='quote " comma , Ünïcode\nline') for n in range(5)]
    shared_server.send("traces", otlp.traces(spans).SerializeToString(), project="formats")
    query = "SELECT span_id, input_tokens, cost_usd, start_time, input_preview FROM spans ORDER BY input_tokens"
    columns, rows = _answer(shared_server, query, "application/json")
    assert columns == ["span_id", "input_tokens", "cost_usd", "start_time", "input_preview"] and len(rows) == 5
    ndjson = [list(json.loads(line).values()) for line in _body(shared_server, query, "application/x-ndjson").decode().splitlines()]
    assert ndjson == rows
    header, *lines = csv.reader(io.StringIO(_body(shared_server, query, "text/csv").decode()))
    assert header == columns and [int(line[1]) for line in lines] == list(range(5)) and lines[0][4] == rows[0][4]
    arrow = pa.ipc.open_stream(_body(shared_server, query, "application/vnd.apache.arrow.stream")).read_all()
    parquet = pq.read_table(io.BytesIO(_body(shared_server, query, "application/vnd.apache.parquet")))
    for table in (arrow, parquet):
        assert table.column_names == columns
        assert table["span_id"].to_pylist() == [row[0] for row in rows]
        assert table["cost_usd"].to_pylist() == [Decimal(row[2]) for row in rows]


def sql_is_read_only(shared_server, tmp_path):
    outside = tmp_path / "outside.csv"
    outside.write_text("a\n1\n")
    for statement in (
        "DROP TABLE spans",
        "DELETE FROM spans",
        "INSERT INTO spans SELECT * FROM spans",
        "UPDATE spans SET name = 'x'",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        f"CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{outside}'",
        f"COPY (SELECT 1) TO '{tmp_path / 'copy.csv'}'",
        f"SELECT * FROM '{outside}'",
        f"SELECT * FROM read_csv('{outside}')",
        "SET datafusion.execution.batch_size = 1",
        "EXPLAIN ANALYZE DROP TABLE spans",
        "SELECT 1; DROP TABLE spans",
    ):
        with pytest.raises(Refused) as refused:
            shared_server.sql(statement)
        assert 400 <= refused.value.status < 500, (statement, refused.value)
    assert not (tmp_path / "copy.csv").exists()


def an_error_names_what_was_meant(shared_server):
    for query, meant in (("SELECT input_token FROM spans", "input_tokens"), ("SELECT * FROM span", "spans")):
        with pytest.raises(Refused) as refused:
            shared_server.sql(query)
        problem = refused.value.problem()
        assert refused.value.headers["content-type"].startswith("application/problem+json")
        assert problem["status"] in (400, 404) and meant in json.dumps(problem), problem


def a_row_limit_cuts_and_says_so(shared_server):
    query = "SELECT * FROM generate_series(1, 100)"
    body = json.dumps({"query": query, "row_limit": 7}).encode()
    answer = json.loads(shared_server.request("POST", "/api/v1/sql", body, {"content-type": "application/json"})[1])
    assert len(answer["rows"]) == 7 and answer["stats"]["truncated"] is True


def a_query_that_takes_too_long_is_stopped(shared_server):
    slow = "SELECT count(*) FROM generate_series(1, 2000000) a, generate_series(1, 2000000) b"
    with pytest.raises(Refused) as refused:
        shared_server.sql(slow, timeout_ms=200)
    assert "200" in json.dumps(refused.value.problem())
    assert shared_server.sql("SELECT 1 AS one") == [{"one": 1}], "the server is well afterwards"


def health_and_metrics_answer(shared_server):
    assert shared_server.get("/healthz") is not None
    assert shared_server.get("/readyz") is not None
    text = shared_server.get("/metrics")
    samples = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert samples and all(re.fullmatch(r'[a-z_][a-z0-9_]*(\{[^}]*\})? \S+', line) for line in samples), text[:500]
    documented = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP")}
    assert len(documented) > 5


def a_restart_keeps_what_was_sent(tmp_path):
    rng = otlp.seeded(8)
    query = "SELECT span_id, start_time, input_tokens, cost_usd, input_messages, attributes FROM spans ORDER BY span_id"
    server = Server(tmp_path / "data")
    with server:
        for _ in range(3):
            server.send("traces", otlp.traces([otlp.chat(rng) for _ in range(10)]).SerializeToString())
        before = server.sql(query)
    with server:
        assert server.sql(query) == before and len(before) == 30
        server.kill()
    with server:
        assert server.sql(query) == before


def a_price_given_later_is_applied_to_the_past_after_a_preview(tmp_path):
    query = "SELECT cost_usd, cost_source FROM llm_calls"
    server = Server(tmp_path / "data")
    with server:
        server.send("traces", otlp.traces([otlp.chat(otlp.seeded(10), model="house-model", input_tokens=1000, output_tokens=10)]).SerializeToString())
        assert server.sql(query) == [{"cost_usd": None, "cost_source": "unpriced"}]
    server.configure('[[prices]]\nmodel = "house-model"\ninput_usd_per_million = "2"\noutput_usd_per_million = "8.5"\n')
    with server:
        preview = server.cli("reprice", "--from", "2025-11-21T00:00:00Z", "--to", "2025-11-22T00:00:00Z").stdout.decode()
        assert "house-model" in preview
        assert server.sql(query) == [{"cost_usd": None, "cost_source": "unpriced"}], "a preview changes nothing"
        server.cli("reprice", "--from", "2025-11-21T00:00:00Z", "--to", "2025-11-22T00:00:00Z", "--apply")
        row = server.sql(query)[0]
        assert Decimal(row["cost_usd"]) == Decimal("0.002085") and row["cost_source"] == "configured"
        lines = server.sql("SELECT sum(cost_usd) AS usd FROM cost_lines WHERE counted")[0]
        assert Decimal(lines["usd"]) == Decimal("0.002085")
    with server:
        assert Decimal(server.sql(query)[0]["cost_usd"]) == Decimal("0.002085")


def two_servers_do_not_share_a_data_folder(tmp_path):
    with Server(tmp_path / "data"):
        second = Server(tmp_path / "second")
        second.data_dir = tmp_path / "data"
        with pytest.raises(AssertionError, match="ended with status"):
            second.start()


def assay_sql_prints_what_people_and_programs_read(shared_server):
    shared_server.send("traces", otlp.traces([otlp.chat(otlp.seeded(9))]).SerializeToString(), project="cli")
    query = "SELECT request_model, input_tokens FROM llm_calls"
    table = shared_server.cli("sql", query, "--project", "cli").stdout.decode()
    assert "request_model" in table and "gpt-4o-mini" in table and "1000" in table
    ndjson = shared_server.cli("sql", query, "--project", "cli", "--format", "ndjson").stdout
    assert json.loads(ndjson) == {"request_model": "gpt-4o-mini", "input_tokens": 1000}
    failed = shared_server.cli("sql", "SELECT nonsense FROM spans", check=False)
    assert failed.returncode == 2 and b"nonsense" in failed.stderr


def demo_traffic_is_the_same_for_the_same_seed(shared_server):
    numbers = []
    for project in ("demo-a", "demo-b"):
        shared_server.cli("demo", "--seed", "5", "--traces", "40", "--days", "2", "--project", project)
        numbers.append(
            shared_server.sql(
                "SELECT count(*) AS calls, sum(input_tokens) AS input, sum(output_tokens) AS output, count(DISTINCT session_id) AS sessions, "
                "count(DISTINCT request_model) AS models, count(*) FILTER (WHERE status_code = 'ERROR') AS errors FROM llm_calls",
                project=project,
            )[0]
        )
    assert numbers[0] == numbers[1]
    assert numbers[0]["calls"] >= 40 and numbers[0]["models"] > 1 and numbers[0]["sessions"] > 1


def _body(server, query, accept):
    headers = {"content-type": "application/json", "accept": accept, "x-assay-project": "formats"}
    found, body = server.request("POST", "/api/v1/sql", json.dumps({"query": query}).encode(), headers)
    assert found["content-type"].startswith(accept)
    return body


def _answer(server, query, accept):
    answer = json.loads(_body(server, query, accept))
    return [column["name"] for column in answer["columns"]], answer["rows"]
