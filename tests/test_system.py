"""The store about itself, and the mapping rules, as the ingest page asks for them."""

import json

import pytest
import telemetry as otlp
from harness import Refused


def _try(server, body):
    return json.loads(server.request("POST", "/api/v1/mappings/try", json.dumps(body).encode(), {"content-type": "application/json"})[1])


def every_table_of_the_schema_answers_in_every_project(shared_server):
    shared_server.send("traces", otlp.traces([otlp.span(otlp.seeded(1))]).SerializeToString(), project="one")
    for project in ("one", "none"):
        for table in ("files", "columns", "jobs", "wal", "tables"):
            rows = shared_server.sql(f"SELECT * FROM system.{table}", project=project)
            assert not rows or all(row for row in rows)
        assert len(shared_server.sql("SELECT * FROM system.wal", project=project)) == 1
    hot = "SELECT hot_rows + rows AS n FROM system.tables WHERE table_name = 'spans'"
    assert shared_server.sql(hot, project="one") == [{"n": 1}]
    assert shared_server.sql(hot, project="none") == [{"n": 0}]


def a_refused_record_can_be_read_with_its_reason(shared_server):
    bad = otlp.span(otlp.seeded(2), trace_id=bytes(16), name="refused")
    shared_server.send("traces", otlp.traces([bad]).SerializeToString(), project="quarantine")
    columns = "project_id, received_at, signal, reason, detail, span_id, record, record_bytes"
    [row] = shared_server.sql(f"SELECT {columns} FROM quarantine", project="quarantine")
    assert (row["project_id"], row["signal"], row["reason"]) == ("quarantine", "traces", "zero_trace_id")
    # The detail says where, what was found and what was expected.
    assert row["detail"] == "`trace_id`: found zeros only, expected an id" and row["received_at"]
    record = json.loads(row["record"])
    assert record["name"] == "refused" and record["traceId"] == "0" * 32 and row["record_bytes"] > 0


def the_rules_of_a_row_are_among_the_mappings(shared_server):
    dialects = {dialect["name"]: dialect for dialect in shared_server.get("/api/v1/mappings")["dialects"]}
    rules = {rule["name"]: rule for rule in dialects["otel"]["rules"]}
    shared_server.send("traces", otlp.traces([otlp.chat(otlp.seeded(3))]).SerializeToString(), project="rules")
    [row] = shared_server.sql("SELECT rules FROM llm_calls", project="rules")
    told = json.loads(row["rules"])
    assert told
    for column, rule in told.items():
        assert rules[rule]["column"] == column and rules[rule]["from"]


def a_tried_span_says_what_a_sent_one_becomes(shared_server):
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 1000,
        "gen_ai.usage.output_tokens": 100,
    }
    tried = _try(shared_server, {"attributes": attributes, "name": "chat gpt-4o"})
    assert (tried["dialect"], tried["is_call"], tried["columns"]["input_tokens"]) == ("otel", True, 1000)
    assert tried["rules"]["request_model"] == "otel.gen_ai.request.model"
    assert sum(line["units"] for line in tried["cost_lines"]) == 1100 and tried["columns"]["cost_usd"] == "0.0035"
    as_otlp = [{"key": key, "value": {"intValue": value} if isinstance(value, int) else {"stringValue": value}} for key, value in attributes.items()]
    assert _try(shared_server, {"span": {"name": "chat gpt-4o", "attributes": as_otlp}}) == tried


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "neither `span` nor `attributes`"),
        ({"span": {}, "attributes": {}}, "both `span` and `attributes`"),
        ({"span": {"attributes": 7}}, "`$.span.attributes`"),
        ({"span": {"traceId": "0" * 32}}, "zeros"),
        ({"attributes": [1]}, "`$.attributes`"),
    ],
)
def what_cannot_be_tried_is_named_with_its_place(shared_server, body, says):
    with pytest.raises(Refused) as refused:
        _try(shared_server, body)
    assert refused.value.status == 400 and refused.value.headers["content-type"] == "application/problem+json"
    assert says in refused.value.problem()["detail"]


def a_bad_body_of_repricing_is_a_problem(shared_server):
    for body in (b"{", b'{"from": 7}', b'{"from": "-1d", "until": "now"}', b'{"from": "yesterdayish"}'):
        with pytest.raises(Refused) as refused:
            shared_server.request("POST", "/api/v1/reprice", body, {"content-type": "application/json"})
        assert refused.value.headers["content-type"] == "application/problem+json" and refused.value.problem()["detail"]
