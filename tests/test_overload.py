"""Overload is answered, never hidden: budgets hold under too much load, hostile bodies, slow clients and hostile questions; what was
acknowledged is there; and one project's flood is not another's outage.

Sizes are small so that each claim takes seconds. `ASSAY_OVERLOAD_SCALE=10` runs them ten times as large (10 000 idle connections, a
million distinct attribute keys); `make overload` does.
"""

import gzip
import json
import os
import resource
import socket
import threading
import time
import urllib.error
import zlib
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import grpc
import pytest
import telemetry as otlp
import zstandard
from harness import Refused, Server

SCALE = int(os.environ.get("ASSAY_OVERLOAD_SCALE") or 1)
MIB = 1 << 20
# Who finds no room waits for it, and is refused only if that takes long.
WAITED = "assay_storage_waits_for_memory_total"

SMALL_BUDGETS = """
[ingest]
request_bytes_max = "4MiB"
in_flight_bytes_max = "16MiB"

[storage]
flush_bytes = "1MiB"
hot_bytes_max = "8MiB"
wal_bytes_max = "64MiB"
"""


def too_much_load_is_refused_as_retryable_and_nothing_acknowledged_is_lost(tmp_path):
    with Server(tmp_path / "data", SMALL_BUDGETS) as server:
        before = _resident(server)
        flood = _Flood(server, senders=16).run(seconds=4 * SCALE)
        peak = _peak(server)
        assert flood.refusals or server.metric(WAITED), "the load was too light to prove anything"
        assert set(flood.refusals) <= {503}, flood.refusals
        # Budgets of 16 + 8 MiB, of which rows and bodies take a few times as much while they are worked on.
        assert peak - before < 400 * MIB, f"{peak / MIB:.0f} MiB at the peak, {before / MIB:.0f} MiB at rest"
        _assert_stored(server, flood.acknowledged)
        status = server.get("/api/v1/status")["storage"]
        assert status["overload"] is None and status["hot_bytes"] < 8 * MIB, status


def a_project_that_floods_the_server_is_refused_before_the_others(tmp_path):
    with Server(tmp_path / "data", SMALL_BUDGETS.replace('hot_bytes_max = "8MiB"', 'hot_bytes_max = "32MiB"')) as server:
        flood = _Flood(server, senders=16, project="flooding").start()
        rng = otlp.seeded(1)
        quiet = [otlp.chat(rng) for _ in range(10)]
        refused = []
        for span in quiet:
            try:
                server.send("traces", otlp.traces([span]).SerializeToString(), project="quiet")
            except Refused as error:
                refused.append(error.body)
        flood.end()
        assert flood.refusals or server.metric(WAITED), "the flood was too light to prove anything"
        assert not refused, refused[:3]
        _assert_stored(server, {span.span_id.hex() for span in quiet}, project="quiet")
        _assert_stored(server, flood.acknowledged, project="flooding")


def idle_and_half_open_connections_leave_room_for_others(tmp_path):
    n = 1000 * SCALE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, n + 1000)), hard))
    connections = []
    with Server(tmp_path / "data") as server:
        before = _resident(server)
        try:
            for number in range(n):
                host, port = list(server.addresses.values())[number % 3].rsplit(":", 1)
                connection = socket.create_connection((host, int(port)))
                # Some say nothing, some begin a request, some an HTTP/2 connection.
                connection.send([b"", b"POST /v1/traces HTTP/1.1\r\ncontent-", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"][number % 7 % 3])
                connections.append(connection)
            span = otlp.chat(otlp.seeded(2))
            server.send("traces", otlp.traces([span]).SerializeToString())
            server.send_grpc("traces", otlp.traces([otlp.chat(otlp.seeded(3))]).SerializeToString())
            _assert_stored(server, {span.span_id.hex()}, at_least=True)
            each = (_resident(server) - before) / n
            assert each < 64 * 1024, f"{each:.0f} bytes for each idle connection"
        finally:
            for connection in connections:
                connection.close()


def slow_senders_are_cut_off_and_hold_nobody_up(tmp_path):
    config = '[ingest]\nrequest_timeout = "2s"\n'
    with Server(tmp_path / "data", config) as server:
        host, port = server.addresses["otlp_http"].rsplit(":", 1)
        head = b"POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\ncontent-length: 1000000\r\n\r\n"
        slow = [socket.create_connection((host, int(port))) for _ in range(50 * SCALE)]
        for connection in slow:
            connection.sendall(head + b"\n")
        span = otlp.chat(otlp.seeded(4))
        server.send("traces", otlp.traces([span]).SerializeToString())
        _assert_stored(server, {span.span_id.hex()})
        for connection in slow:
            connection.settimeout(30)
            assert connection.recv(100).startswith(b"HTTP/1.1 408"), "expected to be cut off"
            connection.close()


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "deflate"])
def a_bomb_is_refused_within_the_limit_of_one_request(tmp_path, encoding):
    zeros = bytes(1024 * MIB)
    bomb = {
        "gzip": lambda: gzip.compress(zeros, 1),
        "zstd": lambda: zstandard.ZstdCompressor().compress(zeros),
        "deflate": lambda: zlib.compress(zeros, 1),
    }[encoding]()
    del zeros
    with Server(tmp_path / "data") as server:
        before = _resident(server)
        with pytest.raises(Refused) as refused:
            server.send("traces", bomb, encoding=encoding)
        assert refused.value.status == 413
        if encoding == "gzip":
            with pytest.raises(grpc.RpcError) as refused:
                server.send_grpc("traces", bytes(200 * MIB), compression=grpc.Compression.Gzip)
            assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        # 64 MiB may be there twice, while the buffer grows.
        assert _peak(server) - before < 200 * MIB, f"{(_peak(server) - before) / MIB:.0f} MiB more at the peak"


def spans_of_20_MB_come_at_once_and_are_kept_whole(tmp_path):
    n = 4 * SCALE
    with Server(tmp_path / "data") as server:
        rng = otlp.seeded(5)
        spans = [otlp.chat(rng, text=chr(97 + k % 26) * (20 * 1000 * 1000)) for k in range(n)]
        with ThreadPoolExecutor(4) as senders:
            list(senders.map(lambda span: _send_patiently(server, otlp.traces([span]).SerializeToString(), "default", []), spans))
        rows = server.sql("SELECT span_id, length(input_messages::text) AS n FROM spans")
        assert {row["span_id"] for row in rows} == {span.span_id.hex() for span in spans}
        assert all(row["n"] > 20_000_000 for row in rows), rows
        assert _peak(server) < 2048 * MIB, f"{_peak(server) / MIB:.0f} MiB at the peak"


def many_distinct_attribute_keys_are_only_data(tmp_path):
    n_spans, keys_each = 1000 * SCALE, 100
    with Server(tmp_path / "data") as server:
        rng = otlp.seeded(6)
        for first in range(0, n_spans, 100):
            spans = [otlp.chat(rng, **{f"key_{rng.getrandbits(64):x}": k for k in range(keys_each)}) for _ in range(100)]
            server.send("traces", otlp.traces(spans).SerializeToString())
        after = _resident(server)
        assert after < 600 * MIB, f"{after / MIB:.0f} MiB after {n_spans * keys_each} distinct keys"
        assert server.sql("SELECT count(*) AS n FROM spans")[0]["n"] == n_spans
        assert len(server.get("/api/v1/traces?limit=50")["traces"]) == 50
        server.get("/api/v1/filter/keys")
        series = [line for line in server.get("/metrics").splitlines() if not line.startswith("#")]
        assert len(series) < 500, "keys must not become metrics"


def hostile_questions_do_not_stop_ingestion(tmp_path):
    config = '[query]\nmemory_max = "64MiB"\nmemory_total = "128MiB"\ntimeout = "8s"\n'
    with Server(tmp_path / "data", config) as server:
        rng = otlp.seeded(7)
        for _ in range(20):
            server.send("traces", otlp.traces([otlp.chat(rng, text="x" * 500) for _ in range(500)]).SerializeToString())
        before = _resident(server)
        hostile = [
            "SELECT count(*) FROM spans a, spans b, spans c WHERE a.input_tokens + b.input_tokens <> c.input_tokens",
            "SELECT a.span_id || b.span_id || a.span_id AS k FROM spans a, spans b ORDER BY k DESC LIMIT 1000000",
            "SELECT array_agg(a.input_messages || b.input_messages) AS k FROM spans a, spans b",
            "SELECT count(*) FROM spans WHERE regexp_like(attributes::text || input_messages::text, '(a|b|ab)*c(x+x+)+y')",
        ]
        with ThreadPoolExecutor(8) as askers:
            answers = [askers.submit(_outcome, server, hostile[k % 4]) for k in range(8)]
            sent, refused = [], []
            while not all(answer.done() for answer in answers):
                span = otlp.chat(rng)
                _send_patiently(server, otlp.traces([span]).SerializeToString(), "default", refused)
                sent.append(span.span_id.hex())
            outcomes = [answer.result() for answer in answers]
        assert not refused, "questions must not make the server refuse telemetry"
        assert len(sent) >= 20, "ingestion came to a halt"
        # An answer, or a refusal that says why: out of time, memory or places.
        assert set(outcomes) <= {"answered", "timeout", "overloaded", "too-large"}, outcomes
        assert _peak(server) - before < 700 * MIB, f"{(_peak(server) - before) / MIB:.0f} MiB more at the peak"
        _assert_stored(server, set(sent), at_least=True)


def a_question_that_doubles_as_it_is_planned_is_refused_before_it_does(tmp_path):
    """Each would take gigabytes or minutes, in which nothing can stop it; a few levels less are answered."""

    def nested(form, levels):
        text = "name"
        for _ in range(levels):
            text = form.format(text)
        return text

    def chain(levels):
        each = [f", c{n} AS (SELECT a.trace_id FROM c{n - 1} a JOIN c{n - 1} b USING (trace_id))" for n in range(1, levels + 1)]
        return f"WITH c0 AS (SELECT trace_id FROM spans){''.join(each)} SELECT count(*) AS n FROM c{levels}"

    def columns(levels):
        made = "SELECT duration_ns AS a FROM spans"
        for _ in range(levels):
            made = f"SELECT a + a AS a FROM ({made})"
        return f"SELECT a FROM ({made}) WHERE a > 0"

    with Server(tmp_path / "data") as server:
        server.send("traces", otlp.traces([otlp.chat(otlp.seeded(9))]).SerializeToString())
        before = _resident(server)
        for few, many in [
            (f"SELECT {nested('coalesce({}, error_type)', 6)} AS name FROM spans", f"SELECT {nested('coalesce({}, error_type)', 22)} AS name FROM spans"),
            (f"EXPLAIN SELECT {nested('nvl({}, error_type)', 6)} FROM spans", f"EXPLAIN SELECT {nested('nvl({}, error_type)', 22)} FROM spans"),
            (chain(3), chain(25)),
            (columns(5), columns(20)),
        ]:
            assert server.sql(few)
            with pytest.raises(Refused, match="at most 100") as refused:
                server.sql(many)
            assert refused.value.status == 422, refused.value
        assert _peak(server) - before < 200 * MIB, f"{(_peak(server) - before) / MIB:.0f} MiB more at the peak"


def a_disk_that_is_nearly_full_refuses_telemetry_and_answers_questions(tmp_path):
    server = Server(tmp_path / "data", '[storage]\ndisk_free_min = "1000000GiB"\n')
    with pytest.raises(Refused, match="503"):
        server.start()  # not ready: a load balancer sends elsewhere
    with pytest.raises(Refused) as refused:
        server.send("traces", otlp.traces([otlp.chat(otlp.seeded(8))]).SerializeToString())
    assert refused.value.status == 503 and int(refused.value.headers["retry-after"]) >= 1
    assert b"the disk is nearly full" in refused.value.body
    assert server.get("/api/v1/status")["storage"]["overload"] == "disk"
    assert server.sql("SELECT count(*) AS n FROM spans") == [{"n": 0}]
    server.stop()


class _Flood:
    """Senders that send as fast as they are answered, and again what was refused as retryable, at once."""

    def __init__(self, server, senders, project="default"):
        self.server, self.project = server, project
        self.acknowledged, self.refusals = set(), []
        self._ended = threading.Event()
        self._failures = []
        self._threads = [threading.Thread(target=self._send, args=(n,), daemon=True) for n in range(senders)]

    def start(self):
        for thread in self._threads:
            thread.start()
        time.sleep(1)
        return self

    def end(self):
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=120)
            assert not thread.is_alive(), "a sender got no answer"
        if self._failures:
            raise self._failures[0]
        return self

    def run(self, seconds):
        self.start()
        time.sleep(seconds)
        return self.end()

    def _send(self, number):
        rng = otlp.seeded(1000 + number)
        request = otlp.traces([otlp.chat(rng, text="x" * 2000) for _ in range(200)])
        spans = request.resource_spans[0].scope_spans[0].spans
        try:
            while not self._ended.is_set():
                for span in spans:
                    span.trace_id, span.span_id = rng.randbytes(16), rng.randbytes(8)
                _send_patiently(self.server, request.SerializeToString(), self.project, self.refusals)
                self.acknowledged.update(span.span_id.hex() for span in spans)
        except BaseException as error:
            self._failures.append(error)


def _send_patiently(server, body, project, refusals):
    while True:
        try:
            return server.send("traces", body, project=project)
        except Refused as refused:
            if refused.status != 503:
                raise
            refusals.append(refused.status)
        except (urllib.error.URLError, HTTPException, OSError) as error:
            refusals.append(str(error))
        # Not as long as `Retry-After` asks: these senders are rude.
        time.sleep(0.05)


def _outcome(server, query):
    try:
        server.sql(query)
        return "answered"
    except Refused as refused:
        return json.loads(refused.body)["type"].rsplit("/", 1)[-1]


def _assert_stored(server, span_ids, project="default", at_least=False):
    rows = server.sql("SELECT span_id, count(*) AS n FROM spans GROUP BY span_id", project=project, row_limit=1_000_000)
    stored = {row["span_id"]: row["n"] for row in rows}
    missing = span_ids - stored.keys()
    assert not missing, f"{len(missing)} of {len(span_ids)} acknowledged spans are missing"
    assert all(n == 1 for n in stored.values()), "spans are there twice"
    assert at_least or len(stored) == len(span_ids)


def _resident(server):
    return _memory(server, "VmRSS")


def _peak(server):
    return _memory(server, "VmHWM")


def _memory(server, key):
    """Bytes of memory of the server process, as the kernel counts them."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{key}:")).split()[1]) * 1024
