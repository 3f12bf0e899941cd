"""Several nodes over one bucket, or over one database in ClickHouse: nothing acknowledged is missing, none is there twice, every query node answers
the same, whichever node is killed.

The services are SeaweedFS, or the one of `make test-external`, and the engine of ClickHouse. What two nodes do to one another when they act at the same moment is in `storage/src/follow/tests.rs`.
"""

import functools
import json
import os
import threading
import time
from datetime import datetime, timezone

import clickhouse_server
import pytest
import s3
import senders
import telemetry as otlp
from harness import Refused, Server

QUICK = """
flush_interval = "300ms"
follow_interval = "300ms"
compaction_interval = "1s"
vacuum_grace = "30s"
"""
QUERIES = (
    "SELECT count(*), count(distinct span_id), sum(duration_ns), sum(input_tokens), sum(output_tokens), sum(cost_usd) FROM spans",
    "SELECT request_model, count(*) AS n, sum(cost_usd) AS cost FROM llm_calls GROUP BY request_model ORDER BY request_model",
    "SELECT count(*), sum(units), sum(cost_usd) FROM cost_lines",
    "SELECT sum(accepted), sum(stored), sum(quarantined) FROM ingest_ledger",
    "SELECT trace_id, span_id, name, counted, input_messages FROM spans ORDER BY span_id LIMIT 50",
)


@pytest.fixture(scope="module")
def _service(tmp_path_factory):
    with s3.service(tmp_path_factory.mktemp("s3") / "store") as service:
        yield service


def _node(folder, part, service, bucket_folder, more=QUICK):
    config = s3.config(service.address, bucket_folder, more)
    return Server(folder, config, environment=s3.credentials(), part=part, keep_addresses=True)


def nothing_is_lost_or_doubled_or_seen_differently_whichever_node_is_killed(_service, tmp_path):
    seed = int(os.environ.get("ASSAY_S3_SEED") or 20261121)
    print(f"seed {seed} (ASSAY_S3_SEED)")
    with s3.Proxy(_service.address, seed) as proxy:
        nodes = functools.partial(_named_node, tmp_path, lambda folder, part: _node(folder, part, proxy, "roles"))
        _kill_each_under_load(nodes, proxy, seed, lambda collectors: _merged(collectors) > 0)
    names = {name.rsplit("/", 1)[-1] for name in _service.objects("roles/assay-")}
    assert {"assay-owner.json", "assay-lease.json"} <= names and len(names) == 4, "two collectors are known by name"


def clickhouse_is_shared_as_a_bucket_is(tmp_path):
    seed = int(os.environ.get("ASSAY_CLICKHOUSE_SEED") or 20261121)
    print(f"seed {seed} (ASSAY_CLICKHOUSE_SEED)")
    with clickhouse_server.ClickHouse(tmp_path / "engine") as service, s3.Proxy(service.address, seed) as proxy:
        config = clickhouse_server.config(proxy.address, "roles", QUICK, 'request_timeout = "4s"')
        nodes = functools.partial(_named_node, tmp_path, lambda folder, part: Server(folder, config, part=part, keep_addresses=True))
        clickhouse_server.migrated(nodes("any", "query"))
        acknowledged = _kill_each_under_load(nodes, proxy, seed, lambda _: True)
        stored = service.rows("SELECT count() AS n, uniqExact(span_id) AS ids, uniqExact(node_id) AS nodes FROM roles.spans")
        assert stored == [{"n": len(acknowledged), "ids": len(acknowledged), "nodes": 2}], "what was sent again is known by its token"


def _named_node(folder, make, name, part):
    return make(folder / name, part)


def _kill_each_under_load(node, proxy, seed, is_ready):
    """Sends to two collectors that `node` makes, and asks two query nodes, while `proxy` loses answers and each is killed in turn, the first collector
    once it `is_ready`. Returns what was acknowledged: all nodes have it, once, and have ended."""
    collectors = [node(f"collector-{n}", "collector").start() for n in range(2)]
    readers = [node(f"query-{n}", "query").start() for n in range(2)]
    loads = [senders.Load(collector, seed + 100 * n) for n, collector in enumerate(collectors)]
    try:
        for victim in [*readers, *collectors]:
            if victim is collectors[0]:
                _until(lambda: loads[0].run_for(0.5) or is_ready(collectors), "files that were merged")
            # Answers are lost, also of commits that landed, while the two race for each version.
            proxy.failing(0.1)
            running = [threading.Thread(target=load.run_for, args=(1.5,)) for load in loads]
            for thread in running:
                thread.start()
            time.sleep(1)
            victim.kill()
            for thread in running:
                thread.join()
            proxy.failing(0)
            victim.start()
            _assert_complete(readers, loads)
    finally:
        proxy.failing(0)
        for load in loads:
            load.end()
    acknowledged = _assert_complete(readers, loads)
    assert len(acknowledged) > 500, "the load was too light to prove anything"
    answers = [_answers(reader) for reader in readers]
    assert answers[0] == answers[1]
    senders.assert_ledger(readers[0], acknowledged, sum(load.refused for load in loads))
    for each in [*collectors, *readers]:
        each.stop()
    with node("query-late", "query") as late:
        assert _answers(late) == answers[0], "a node without any past sees the same"
        assert not (late.data_dir / "wal").exists()
    return acknowledged


def _merged(collectors):
    jobs = [collector.get("/api/v1/status")["storage"]["jobs"] for collector in collectors]
    return sum(of_one.get("compaction", {}).get("done", 0) for of_one in jobs)


def _assert_complete(readers, loads):
    """What was acknowledged by now is seen by each of `readers`, once it says that it is complete up to now. Returns it."""
    acknowledged, now = set.union(*(load.acknowledged() for load in loads)), datetime.now(timezone.utc)
    for reader in readers:
        _until(lambda: _complete_until(reader) >= now, "a complete answer")
        senders.assert_stored_once(reader, acknowledged)
    return acknowledged


def _complete_until(reader):
    return datetime.fromisoformat(_ask(reader, "SELECT 1", "application/json")[1]["stats"]["complete_until"])


def _ask(server, query, accept):
    headers = {"content-type": "application/json", "accept": accept}
    headers, body = server.request("POST", "/api/v1/sql", json.dumps({"query": query}).encode(), headers)
    return headers, json.loads(body) if accept == "application/json" else body


def _answers(server):
    return [server.sql(query) for query in QUERIES]


def a_collector_holds_back_what_is_complete_until_its_log_is_committed(_service, tmp_path):
    slow = QUICK.replace('flush_interval = "300ms"', 'flush_interval = "1h"')
    held, quick = (_node(tmp_path / name, "collector", _service, "held", more) for name, more in (("held", slow), ("quick", QUICK)))
    reader = _node(tmp_path / "query", "query", _service, "held")
    rng = otlp.seeded(41)
    with held, quick, reader:
        for collector in (held, quick):
            collector.send("traces", otlp.traces([otlp.chat(rng) for _ in range(5)]).SerializeToString())
        acknowledged = datetime.now(timezone.utc)
        _until(lambda: _count(reader) == 5, "the spans of the quick one")
        headers, _ = _ask(reader, "SELECT 1", "text/csv")
        assert datetime.fromisoformat(headers["x-assay-complete-until"]) < acknowledged, "five acknowledged spans are missing"
        held.stop()
        _until(lambda: _complete_until(reader) >= acknowledged, "a complete answer")
        assert _count(reader) == 10


def _count(server):
    return server.sql("SELECT count(*) AS n FROM spans")[0]["n"]


def each_node_says_what_it_is_not(_service, tmp_path):
    collector, reader = (_node(tmp_path / part, part, _service, "parts") for part in ("collector", "query"))
    early = _node(tmp_path / "early", "query", _service, "parts")
    with pytest.raises(AssertionError, match=f"`{s3.url('parts')}` is no lake that nodes share: there is no `assay-owner.json`"):
        early.start()
    rng = otlp.seeded(42)
    request = otlp.traces([otlp.chat(rng) for _ in range(5)]).SerializeToString()
    with collector, reader:
        for path, server, expected in (
            ("/v1/traces", reader, "this is a query node: it takes no telemetry"),
            ("/api/v1/reprice", reader, "this is a query node: it takes no telemetry"),
            ("/api/v1/sql", collector, "this is a collector: it answers no questions"),
        ):
            with pytest.raises(Refused) as refused:
                server.request("POST", path, request, {"content-type": "application/x-protobuf"})
            assert refused.value.status == 404 and refused.value.problem()["detail"] == expected
        assert set(reader.addresses) == {"http"}
        # A server that has all parts shares the same lake, and shows at once what it took itself.
        serve = _node(tmp_path / "serve", "serve", _service, "parts", QUICK + "shared = true\n")
        with serve:
            serve.send("traces", request)
            assert _count(serve) == 5
            collector.send("traces", otlp.traces([otlp.chat(rng)]).SerializeToString())
            for server in (serve, reader):
                _until(lambda: _count(server) == 6, "what the others took")
        alone = _node(tmp_path / "alone", "serve", _service, "parts")
        with pytest.raises(AssertionError, match="is shared by several nodes since .* `storage.shared = true` lets it share"):
            alone.start()


def _until(holds, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what} was not seen within {seconds} s"
        time.sleep(0.1)
