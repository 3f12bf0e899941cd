"""Queries over several nodes answer what one node answers, or say why not: nodes that are killed, absent, strangers or of another mind included.

Needs a binary with the feature `distributed`: `ASSAY_DISTRIBUTED_BINARY`. The bucket is SeaweedFS.
"""

import asyncio
import json
import os
import re
import ssl
import subprocess
import threading
import time
import uuid
from pathlib import Path

import grpc
import harness
import pytest
import query_suite
import s3
import telemetry as otlp
from harness import Refused, Server

BINARY = Path(os.environ.get("ASSAY_DISTRIBUTED_BINARY") or harness.binary().with_name("assay-with-distributed"))
QUICK = 'flush_interval = "300ms"\nfollow_interval = "300ms"\ncompaction_interval = "1h"\n'
SECRET = "correct horse battery staple"
# Seconds of work: every pair of spans of a day.
SLOW = "SELECT count(*) AS n, sum(a.duration_ns % 7) AS s FROM spans a JOIN spans b ON a.date = b.date WHERE a.duration_ns % 1000 <= b.duration_ns % 1001"
GROUPS = "SELECT request_model, count(*) AS n, count(DISTINCT trace_id) AS traces, sum(cost_usd) AS cost FROM llm_calls GROUP BY 1 ORDER BY 1"


class Cluster:
    """A bucket with rows in many files, a collector, query nodes of a cluster, and one that answers alone."""

    def __init__(self, folder):
        self.folder = folder
        self.secret = folder / "secret"
        self.secret.write_text(SECRET + "\n")
        self.bucket = s3.SeaweedFS(folder / "weed").__enter__()
        self.collector = self._server("collector", part="collector").start()
        for nth, send in enumerate(query_suite.requests()):
            send(self.collector)
            # A file for some requests, so that there is one for each node.
            if nth % 8 == 7:
                time.sleep(0.4)
        self.addresses = [f"127.0.0.1:{port}" for port in s3.free_ports(3)]
        self.alone = self._server("alone").start()
        self.nodes = [self.node(nth).start() for nth in range(3)]
        _until(lambda: len({_count(server) for server in [self.alone, *self.nodes]}) == 1 and _count(self.alone) > 1000)

    def node(self, nth, urls=None, keys="", more="", secret=None, name="node"):
        urls = urls or [f"http://{address}" for address in self.addresses]
        config = f"""
[listen]
nodes = "{self.addresses[nth]}"
[query.distributed]
nodes = {json.dumps(urls)}
secret_file = "{secret or self.secret}"
bytes_min = 1
allow_http = true
{keys}
{more}
"""
        return self._server(f"{name}-{nth}", config)

    def _server(self, name, more="", part="query"):
        config = s3.config(self.bucket.address, "cluster", QUICK) + more
        return Server(self.folder / name, config, executable=BINARY, environment=s3.credentials(), part=part, keep_addresses=True)

    def close(self):
        for server in [*self.nodes, self.alone, self.collector]:
            server.stop()
        self.bucket.__exit__(None, None, None)


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


def _until(claim, seconds=60):
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def _count(server):
    return server.sql("SELECT count(*) AS n, sum(duration_ns) AS s FROM spans")[0]["n"]


def _metric(server, name):
    return float(re.search(rf"^{name} (\S+)$", server.get("/metrics"), re.MULTILINE).group(1))


def _divided(server):
    return _metric(server, "assay_query_nodes_queries_total")


def _asked_over_nodes(server, query):
    """The answer, which several nodes gave."""
    before = _divided(server)
    answer = server.sql(query)
    assert _divided(server) == before + 1, f"one node answered {query}"
    return answer


def several_nodes_answer_as_one_does(_cluster):
    before = _divided(_cluster.nodes[0])
    query_suite.assert_same({"alone": _cluster.alone, "of three": _cluster.nodes[0]}, query_suite.PAGES)
    divided = _divided(_cluster.nodes[0]) - before
    print(f"{divided:.0f} of {len(query_suite.QUERIES)} queries over several nodes")
    assert divided > 30, "too few queries ran on several nodes to prove anything"
    assert _metric(_cluster.nodes[0], "assay_query_nodes_bytes_total") > 10_000


def corrections_that_are_pending_reach_every_node(_cluster):
    query = "SELECT counted, uncounted_reason, count(*) AS n, sum(cost_usd) AS cost FROM spans GROUP BY 1, 2 ORDER BY 1, 2"
    wrappers = "SELECT count(*) AS n FROM spans WHERE uncounted_reason = 'wrapper'"
    before = _cluster.alone.sql(wrappers)[0]["n"]
    _end_spans_late(_cluster.collector, 4)
    _until(lambda: all(server.sql(wrappers)[0]["n"] == before + 4 for server in (_cluster.alone, _cluster.nodes[0])))
    plan = "\n".join(row["plan"] for row in _cluster.nodes[0].sql(f"EXPLAIN {query}"))
    assert "CorrectionsExec: table=spans, pending=" in plan, plan
    assert _asked_over_nodes(_cluster.nodes[0], query) == _cluster.alone.sql(query)


def _end_spans_late(collector, traces):
    """Parents that come after their children, which then no longer count: each is a correction."""
    rng = otlp.seeded(5)
    for _ in range(traces):
        trace_id, outer = rng.randbytes(16), otlp.chat(rng)
        outer.trace_id = trace_id
        inner = otlp.chat(rng, trace_id=trace_id, parent=outer.span_id)
        for span in (outer, inner):
            collector.send("traces", otlp.traces([span]).SerializeToString())
            time.sleep(0.5)


def explain_shows_what_runs_where(_cluster):
    node, alone = _cluster.nodes[0], _cluster.alone
    plan = {row["plan_type"]: row["plan"] for row in node.sql(f"EXPLAIN {GROUPS}")}["physical_plan"]
    assert "DistributedExec" in plan and "Stage 1" in plan and "LakeScanExec: table=spans" in plan, plan
    assert "DistributedExec" not in str(alone.sql(f"EXPLAIN {GROUPS}"))
    explained, of_one = _explained(node), _explained(alone)
    assert explained["plan"][0]["operator"] == "DistributedExec"
    assert explained["pruning"]["files_read"] == of_one["pruning"]["files_read"] > 3
    assert explained["pruning"]["bytes_read"] > 0
    analyzed = "\n".join(row["plan"] for row in node.sql(f"EXPLAIN ANALYZE {GROUPS}"))
    assert "[Stage " in analyzed and "bytes_transferred" in analyzed, analyzed


def _explained(server):
    body = json.dumps({"query": GROUPS, "analyze": True}).encode()
    return json.loads(server.request("POST", "/api/v1/sql/explain", body, {"content-type": "application/json"})[1])


def what_one_node_answers_better_stays_there(_cluster):
    for query in (
        "SELECT span_id FROM spans ORDER BY start_time DESC, span_id LIMIT 10",
        "SELECT name FROM spans LIMIT 3",
        "SELECT input_messages FROM spans ORDER BY span_id",
        "SELECT * FROM system.tables",
        "SELECT 1 AS one",
    ):
        before = _divided(_cluster.nodes[0])
        _cluster.nodes[0].sql(query)
        assert _divided(_cluster.nodes[0]) == before, query


def another_project_stays_another(_cluster):
    assert _cluster.nodes[0].sql(GROUPS, project="other") == []
    _cluster.collector.send("traces", otlp.traces([otlp.chat(otlp.seeded(3))]).SerializeToString(), project="small")
    _until(lambda: len(_cluster.nodes[0].sql(GROUPS, project="small")) == 1)
    assert _cluster.nodes[0].sql(GROUPS, project="small")[0]["n"] == 1


def a_node_that_is_killed_leaves_no_answer_in_part(_cluster):
    expected = _cluster.alone.sql(SLOW)
    asking, victim = _cluster.nodes[0], _cluster.nodes[1]
    assert _asked_over_nodes(asking, SLOW) == expected
    with _Asked(asking, SLOW) as asked:
        _until(lambda: _metric(victim, "assay_query_nodes_visits") == 1)
        victim.kill()
    assert asked.answer == expected, f"those that are left answer: {asked.error}"
    assert "a node did not do its part of a query; it is asked of those that are left" in asking.log()
    assert _asked_over_nodes(asking, SLOW) == expected, "the two that are left"
    _cluster.nodes[2].kill()
    before = _divided(asking)
    assert asking.sql(SLOW) == expected, "none is left but the one that is asked"
    assert _divided(asking) == before
    assert "a node takes no part in a query: it does not answer" in asking.log()
    for node in (victim, _cluster.nodes[2]):
        node.start()
    assert _asked_over_nodes(asking, SLOW) == expected
    assert _metric(victim, "assay_query_nodes_visits") == 0


class _Asked:
    """A question that is asked while the block runs; afterwards there is its answer, or its error."""

    def __init__(self, server, query, **options):
        self.answer = self.error = None
        self._thread = threading.Thread(target=self._ask, args=(server, query, options))

    def _ask(self, server, query, options):
        try:
            self.answer = server.sql(query, **options)
        except Refused as error:
            self.error = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join()


def what_is_stopped_here_stops_there(_cluster):
    asking, *others = _cluster.nodes
    query_id = str(uuid.uuid4())
    with _Asked(asking, SLOW, query_id=query_id) as asked:
        _until(lambda: all(_metric(node, "assay_query_nodes_visits") == 1 for node in others))
        asking.request("DELETE", f"/api/v1/sql/running/{query_id}")
        _until(lambda: all(_metric(node, "assay_query_nodes_visits") == 0 for node in others), 10)
    assert "cancelled" in asked.error.problem()["detail"], asked.error
    with _Asked(asking, SLOW, timeout_ms=300) as asked:
        pass
    assert "did not finish within 300 ms" in asked.error.problem()["detail"], asked.error
    _until(lambda: all(_metric(node, "assay_query_nodes_visits") == 0 for node in others), 10)


def memory_is_limited_on_every_node(_cluster):
    query = "SELECT count(*) AS n FROM spans a JOIN spans b ON a.trace_id = b.trace_id AND a.attributes = b.attributes"
    expected = _cluster.alone.sql(query)
    assert _asked_over_nodes(_cluster.nodes[0], query) == expected
    _cluster.nodes[1].stop()
    with _cluster.node(1, more='[query]\nmemory_max = "64KiB"\n', name="little"):
        with pytest.raises(Refused) as refused:
            _cluster.nodes[0].sql(query)
        assert "more memory than one query may use" in refused.value.problem()["detail"], refused.value
    _cluster.nodes[1].start()
    assert _asked_over_nodes(_cluster.nodes[0], query) == expected


def only_nodes_that_know_the_secret_are_asked_or_answered(_cluster):
    with grpc.insecure_channel(_cluster.addresses[1]) as channel:
        info = channel.unary_unary("/worker.WorkerService/GetWorkerInfo")
        for metadata in ([], [("authorization", f"Bearer {SECRET}")], [("authorization", "Bearer x")]):
            with pytest.raises(grpc.RpcError) as refused:
                info(b"", timeout=10, metadata=metadata)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    stranger_secret = _cluster.folder / "other-secret"
    stranger_secret.write_text("another secret of some length")
    _cluster.nodes[1].stop()
    expected = _cluster.alone.sql(GROUPS)
    with _cluster.node(1, secret=stranger_secret, name="stranger") as stranger:
        assert stranger.sql(GROUPS) == expected
        assert _divided(stranger) == 0, "nobody takes part in what a stranger asks"
        assert _asked_over_nodes(_cluster.nodes[0], GROUPS) == expected
        assert _metric(stranger, "assay_query_nodes_visits") == 0
    _cluster.nodes[1].start()


def a_node_with_other_prices_takes_no_part(_cluster):
    expected = _cluster.alone.sql(GROUPS)
    _cluster.nodes[2].stop()
    prices = '[[prices]]\nmodel = "gpt-4o-mini"\ninput_usd_per_million = "9"\noutput_usd_per_million = "9"\n'
    with _cluster.node(2, more=prices, name="dear") as dear:
        assert _asked_over_nodes(_cluster.nodes[0], GROUPS) == expected
        assert "its version, its processor or its prices are other ones" in _cluster.nodes[0].log()
        assert dear.sql(GROUPS) == expected
        assert _divided(dear) == 0
    _cluster.nodes[2].start()


def without_a_secret_or_a_bucket_no_node_starts(tmp_path):
    nodes = '[query.distributed]\nnodes = ["https://query-1.example:4320"]\n'
    short = tmp_path / "short"
    short.write_text("short")
    for config, said in (
        (s3.config("127.0.0.1:1", "x") + nodes, "no `query.distributed.secret_file`"),
        (s3.config("127.0.0.1:1", "x") + nodes + f'secret_file = "{short}"\n', "is short"),
        (s3.config("127.0.0.1:1", "x") + nodes + f'secret_file = "{tmp_path / "none"}"\n', "could not read the secret of the nodes"),
        (nodes + f'secret_file = "{short}"\n', "no `storage.url`"),
    ):
        path = tmp_path / "assay.toml"
        path.write_text(config)
        command = [BINARY, "serve", "--config", path, "--data-dir", tmp_path / "data", "--http", "127.0.0.1:0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **s3.credentials()})
        assert done.returncode != 0 and said in done.stderr, done.stderr


def nodes_reach_each_other_over_tls(_cluster, tmp_path):
    certificate, key = _certificate(tmp_path)
    ports = s3.free_ports(3)
    urls = [f"https://localhost:{port}" for port in ports]
    for node in _cluster.nodes:
        node.stop()
    with _TlsProxies(certificate, key, dict(zip(ports, _cluster.addresses))):
        nodes = [_cluster.node(nth, urls, keys=f'ca_file = "{certificate}"\n', name="tls").start() for nth in range(3)]
        try:
            assert _asked_over_nodes(nodes[0], GROUPS) == _cluster.alone.sql(GROUPS)
        finally:
            for node in nodes:
                node.stop()
    for node in _cluster.nodes:
        node.start()


def _certificate(folder):
    """A certificate for `localhost`, that vouches for itself."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


class _TlsProxies:
    """What ends TLS in front of nodes: `ports` says which port leads to which address."""

    def __init__(self, certificate, key, ports):
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate, key)
        self._context.set_alpn_protocols(["h2"])
        self._ports, self._loop = ports, asyncio.new_event_loop()

    def __enter__(self):
        for port, address in self._ports.items():
            self._loop.run_until_complete(asyncio.start_server(self._to(address), "localhost", port, ssl=self._context))
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _to(self, address):
        host, port = address.rsplit(":", 1)

        async def passed_on(reader, writer):
            onward_reader, onward_writer = await asyncio.open_connection(host, int(port))
            await asyncio.gather(self._copy(reader, onward_writer), self._copy(onward_reader, writer), return_exceptions=True)

        return passed_on

    async def _copy(self, reader, writer):
        try:
            while read := await reader.read(1 << 16):
                writer.write(read)
                await writer.drain()
        finally:
            writer.close()
