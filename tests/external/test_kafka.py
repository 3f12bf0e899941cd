"""Kafka as a source, asked of Kafka itself: what was written to a topic is stored, once, whatever is killed, stopped, full or broken on the way.

Needs Java, and Maven for the jars of the broker (`kafka_broker.py`), and a binary with the feature `kafka`: `ASSAY_KAFKA_BINARY`.
"""

import gzip
import os
import re
import time
import zlib
from pathlib import Path

import confluent_kafka as kafka
import harness
import kafka_broker
import pytest
import query_suite
import s3
import senders
import telemetry as otlp
import zstandard
from harness import REPOSITORY, Server
from kafka_broker import Broker, Senders
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics

BINARY = Path(os.environ.get("ASSAY_KAFKA_BINARY") or harness.binary().with_name("assay-with-kafka"))
TIME = 1_763_692_800_000_000_000
# As short as the broker allows: what was killed is given up by then.
SESSION_SECONDS = 6
# Rows stay in the log: a record that is handed out again is recognised there.
IN_THE_LOG = '[storage]\nflush_interval = "1h"\n'
INFLATE = {"gzip": gzip.decompress, "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body), "deflate": zlib.decompress}
NAMES = {"traces": "SELECT span_id AS name FROM spans", "logs": "SELECT body AS name FROM logs", "metrics": "SELECT metric_name AS name FROM metrics_gauge"}


@pytest.fixture(scope="module")
def _broker(tmp_path_factory):
    with Broker(tmp_path_factory.mktemp("kafka") / "broker") as broker:
        yield broker


@pytest.fixture
def _own_broker(tmp_path):
    with Broker(tmp_path / "broker") as broker:
        yield broker


def _config(broker, group, more="", keys=""):
    return f"""
[kafka]
brokers = ["{broker.address}"]
group = "{group}"
tls = false
{keys}
[kafka.properties]
"session.timeout.ms" = "{SESSION_SECONDS * 1000}"
"heartbeat.interval.ms" = "500"
{more}
"""


def _server(folder, broker, group, more="", keys="", **options):
    return Server(folder, _config(broker, group, more, keys), executable=BINARY, **options)


def _until(claim, seconds=60, pause_seconds=0.1):
    """Waits until `claim` holds; a broker that is still starting is asked again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if claim():
                return
        except kafka.KafkaException as error:
            assert error.args[0].retriable() or time.monotonic() < deadline, error
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(pause_seconds)


def _assert_handed_out_once(servers, sent, uncommitted=None):
    """Each record is on one of two servers, which then end, and both have more than next to nothing. Both may have what a killed one had not committed."""
    stored = dict.fromkeys(servers, 0)
    for signal, names in sent.items():
        counts = [_stored(server, signal) for server in servers]
        assert all(n == 1 for count in counts for n in count.values()), f"{signal}: twice on one of them"
        missing = names - counts[0].keys() - counts[1].keys()
        assert not missing, f"{signal}: {len(missing)} of {len(names)} missing"
        assert names >= counts[0].keys() | counts[1].keys(), f"{signal}: some were never sent"
        both = counts[0].keys() & counts[1].keys()
        records = uncommitted[signal] if uncommitted else 0
        assert len(both) <= 5 * records, f"{signal}: {len(both)} of {len(names)} on both, {records} records of five were not committed"
        for server, count in zip(servers, counts):
            stored[server] += len(count)
    assert min(stored.values()) > 150, "one of them had next to nothing"
    for server in servers:
        server.stop()


def _until_all_is_committed(broker, group, seconds=120):
    ends = broker.ends()
    _until(lambda: ends.items() <= broker.committed(group).items(), seconds)


def _uncommitted(broker, group):
    """How many records of each signal the group has not committed."""
    ends, committed = broker.ends(), broker.committed(group)
    return {signal: sum(end - committed.get(name, 0) for name, end in ends.items() if name[0] == topic) for signal, topic in kafka_broker.TOPICS.items()}


def _metric(server, name, **labels):
    """The sum of the series of a metric that have these labels."""
    series = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", server.get("/metrics"), re.MULTILINE)
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(float(value) for said, value in series if all(label in said for label in wanted))


def _one_of_each(seed):
    """The n-th request of a load, as (signal, request, names of its records): no name comes twice."""
    rng = otlp.seeded(seed)

    def make(number):
        signal = ("traces", "logs", "metrics")[number % 3]
        names = [f"{seed}-{number}-{n}" for n in range(5)]
        if signal == "traces":
            spans = [otlp.chat(rng, text="x" * rng.randrange(2000)) for _ in names]
            return signal, otlp.traces(spans), {span.span_id.hex() for span in spans}
        if signal == "logs":
            records = [LogRecord(time_unix_nano=TIME, body=AnyValue(string_value=name)) for name in names]
            request = otlp.REQUESTS[signal](resource_logs=[ResourceLogs(scope_logs=[ScopeLogs(log_records=records)])])
        else:
            point = NumberDataPoint(time_unix_nano=TIME, as_int=1)
            records = [Metric(name=name, gauge=Gauge(data_points=[point])) for name in names]
            request = otlp.REQUESTS[signal](resource_metrics=[ResourceMetrics(scope_metrics=[ScopeMetrics(metrics=records)])])
        return signal, request, set(names)

    return make


def _stored(server, signal):
    """Name → how often it is there."""
    rows = server.sql(f"SELECT name, count(*) AS n FROM ({NAMES[signal]}) GROUP BY name", row_limit=1_000_000)
    return {row["name"]: row["n"] for row in rows}


def _assert_stored_once(server, sent):
    assert min(len(names) for names in sent.values()) > 100, "the load was too light to prove anything"
    for signal, names in sent.items():
        stored = _stored(server, signal)
        missing, twice = names - stored.keys(), {name for name, n in stored.items() if n > 1}
        assert stored.keys() <= names and not missing and not twice, f"{signal}: {len(missing)} missing, {len(twice)} twice, of {len(names)}"
    for row in server.sql("SELECT signal, sum(accepted) AS accepted, sum(stored) AS stored FROM ingest_ledger GROUP BY 1"):
        assert row["accepted"] == row["stored"] == len(sent[row["signal"]]), row


class _ThroughKafka:
    """Takes what tests send to a server, and writes it to Kafka as protobuf; one after the other, since some answers depend on the order."""

    def __init__(self, broker, server):
        self._producer, self._server, self._sent = broker.producer(), server, 0

    def send(self, signal, body, content_type="application/x-protobuf", encoding=None, project="default", path=None):
        plain = INFLATE[encoding](body) if encoding else body
        self._write(signal, otlp.parse(signal, content_type, plain).SerializeToString() if "json" in content_type else plain)

    def send_grpc(self, signal, body, project="default", compression=None):
        self._write(signal, body)

    def _write(self, signal, body):
        kafka_broker.send(self._producer, signal, body)
        assert self._producer.flush(60) == 0
        self._sent += 1
        _until(lambda: _metric(self._server, "assay_kafka_records_total") == self._sent, pause_seconds=0.01)


def what_real_sdks_sent_is_through_kafka_what_it_is_through_http(_own_broker, tmp_path):
    with Server(tmp_path / "http", executable=BINARY) as http, _server(tmp_path / "kafka", _own_broker, "captures") as through:
        writer = _ThroughKafka(_own_broker, through)
        for request in query_suite.requests():
            request(http)
            request(writer)
        query_suite.assert_same({"http": http, "kafka": through})
        assert _metric(through, "assay_kafka_records_total", outcome="accepted") > 100
        assert _metric(through, "assay_otlp_requests_total") == 0
        _until_all_is_committed(_own_broker, "captures")
        _until(lambda: _metric(through, "assay_kafka_lag_records") == 0)


@pytest.mark.parametrize("keys", ["", 'instance = "one"'], ids=["new-member", "same-instance"])
def a_kill_loses_no_record_and_stores_none_twice(_own_broker, tmp_path, keys):
    server = _server(tmp_path / "data", _own_broker, "assay", IN_THE_LOG, keys)
    server.start()
    load = Senders(_own_broker, _one_of_each(81), pause_seconds=0.002)
    redelivered = 0
    for kill in range(4):
        taken = _metric(server, "assay_kafka_records_total", outcome="accepted")
        _until(lambda: _metric(server, "assay_kafka_records_total", outcome="accepted") > taken + 100 + 37 * kill)
        redelivered += _metric(server, "assay_kafka_records_total", outcome="redelivered")
        server.kill()
        server.start()
    sent = load.end()
    _until_all_is_committed(_own_broker, "assay")
    redelivered += _metric(server, "assay_kafka_records_total", outcome="redelivered")
    _assert_stored_once(server, sent)
    assert redelivered > 0, "no kill hit a record between log and commit"
    server.stop()
    server.start()
    _assert_stored_once(server, sent)
    server.stop()


def spans_are_there_once_also_if_they_left_the_log_before_the_kill(_own_broker, tmp_path):
    server = _server(tmp_path / "data", _own_broker, "assay", '[storage]\nflush_interval = "100ms"\n')
    server.start()

    rng = otlp.seeded(82)

    def spans(_):
        made = [otlp.chat(rng) for _ in range(5)]
        return "traces", otlp.traces(made), {span.span_id.hex() for span in made}

    load = Senders(_own_broker, spans, pause_seconds=0.002)
    for _ in range(4):
        taken = _metric(server, "assay_kafka_records_total", outcome="accepted")
        _until(lambda: _metric(server, "assay_kafka_records_total", outcome="accepted") > taken + 100)
        server.kill()
        server.start()
    sent = load.end()["traces"]
    _until_all_is_committed(_own_broker, "assay")
    senders.assert_stored_once(server, sent)
    senders.assert_ledger(server, sent, 0)
    server.stop()


def records_are_handed_out_once_while_partitions_move_in_order(_own_broker, tmp_path):
    one, two = (_server(tmp_path / name, _own_broker, "assay", IN_THE_LOG) for name in ("one", "two"))
    one.start()
    load = Senders(_own_broker, _one_of_each(84), pause_seconds=0.002)
    _until(lambda: _metric(one, "assay_kafka_records_total") > 50)
    for _ in range(3):
        two.start()
        _until(lambda: sorted(_own_broker.members().values()) == [6, 6])
        before = _metric(two, "assay_kafka_records_total")
        _until(lambda: _metric(two, "assay_kafka_records_total") > before + 50)
        two.stop()
        _until(lambda: list(_own_broker.members().values()) == [12])
    sent = load.end()
    _until_all_is_committed(_own_broker, "assay")
    two.start()
    _assert_handed_out_once((one, two), sent)


def a_member_that_leaves_as_another_joins_commits_first(_own_broker, tmp_path):
    leaving, joining = (_server(tmp_path / name, _own_broker, "assay", IN_THE_LOG) for name in ("one", "two"))
    both = leaving, joining
    leaving.start()
    load = Senders(_own_broker, _one_of_each(87), pause_seconds=0.002)
    for _ in range(6):
        _until(lambda: list(_own_broker.members().values()) == [12])
        before = _metric(leaving, "assay_kafka_records_total")
        _until(lambda server=leaving, before=before: _metric(server, "assay_kafka_records_total") > before + 50)
        joining.start()
        _until(lambda: len(_own_broker.members()) == 2, pause_seconds=0.01)
        leaving.stop()
        leaving, joining = joining, leaving
    sent = load.end()
    _until_all_is_committed(_own_broker, "assay")
    joining.start()
    _assert_handed_out_once(both, sent)


def two_members_share_partitions_and_one_takes_over_from_the_other(_own_broker, tmp_path):
    one, two = (_server(tmp_path / name, _own_broker, "assay", IN_THE_LOG) for name in ("one", "two"))
    one.start()
    load = Senders(_own_broker, _one_of_each(83), pause_seconds=0.002)
    _until(lambda: _metric(one, "assay_kafka_records_total") > 50)
    two.start()
    # Twelve partitions.
    _until(lambda: sorted(_own_broker.members().values()) == [6, 6])
    before = _metric(two, "assay_kafka_records_total")
    _until(lambda: _metric(two, "assay_kafka_records_total") > before + 50)
    # Nothing is handed out twice when a partition moves in order.
    assert [_metric(server, "assay_kafka_records_total", outcome="redelivered") for server in (one, two)] == [0, 0]
    one.kill()
    uncommitted = _uncommitted(_own_broker, "assay")
    _until(lambda: list(_own_broker.members().values()) == [12])
    one.start()
    _until(lambda: sorted(_own_broker.members().values()) == [6, 6])
    # One leaves in order: the other has all of it at once, and goes on where it ended.
    two.stop()
    _until(lambda: list(_own_broker.members().values()) == [12], seconds=SESSION_SECONDS - 2)
    sent = load.end()
    _until_all_is_committed(_own_broker, "assay")
    two.start()
    # At most what the killed one had not committed.
    _assert_handed_out_once((one, two), sent, uncommitted)


def a_record_that_cannot_be_read_goes_to_quarantine_and_blocks_nothing(_own_broker, tmp_path):
    config = '[ingest]\nrequest_bytes_max = "1MiB"\nin_flight_bytes_max = "16MiB"\n'
    with _server(tmp_path / "data", _own_broker, "assay", config) as server:
        producer = _own_broker.producer()
        rng = otlp.seeded(84)
        good = [otlp.chat(rng) for _ in range(20)]
        for n, span in enumerate(good):
            kafka_broker.send(producer, "traces", otlp.traces([span]).SerializeToString(), partition=2)
            if n == 9:
                kafka_broker.send(producer, "traces", b"no protobuf at all \xff", partition=2)
        # Larger than a request may be, and nothing at all, which is an empty request.
        kafka_broker.send(producer, "metrics", bytes((1 << 20) + 1), partition=0)
        kafka_broker.send(producer, "logs", None, partition=1)
        assert producer.flush(60) == 0
        _until_all_is_committed(_own_broker, "assay")
        assert server.sql("SELECT count(*) AS n FROM spans") == [{"n": len(good)}]
        row, large = server.sql("SELECT signal, reason, detail, record_bytes FROM quarantine ORDER BY signal DESC")
        assert (row["signal"], row["reason"], row["record_bytes"]) == ("traces", "undecodable", 20)
        assert row["detail"].startswith("Kafka topic `otlp_spans`, partition 2, offset 10: "), row
        assert (large["signal"], large["reason"], large["record_bytes"]) == ("metrics", "too_large", (1 << 20) + 1)
        assert large["detail"].startswith("Kafka topic `otlp_metrics`, partition 0, offset 0: "), large
        ledger = server.sql("SELECT sum(accepted) AS accepted, sum(stored) AS stored, sum(quarantined) AS quarantined FROM ingest_ledger")
        assert ledger == [{"accepted": len(good) + 2, "stored": len(good), "quarantined": 2}]
        assert _metric(server, "assay_kafka_records_total", outcome="quarantined") == 2


def a_broker_that_is_away_is_waited_for(_own_broker, tmp_path):
    server = _server(tmp_path / "data", _own_broker, "assay", IN_THE_LOG).start()
    load = Senders(_own_broker, _one_of_each(85), pause_seconds=0.002)
    for end in (_own_broker.stop, _own_broker.kill):
        taken = _metric(server, "assay_kafka_records_total")
        _until(lambda: _metric(server, "assay_kafka_records_total") > taken + 100)
        _until(lambda: _metric(server, "assay_kafka_brokers_up") == 1)
        end()
        _until(lambda: _metric(server, "assay_kafka_brokers_up") == 0)
        # What else comes is taken as ever.
        server.get("/readyz")
        _own_broker.start()
    _until(lambda: _metric(server, "assay_kafka_brokers_up") == 1)
    sent = load.end()
    _until_all_is_committed(_own_broker, "assay")
    _assert_stored_once(server, sent)
    # A start without a broker is a start, and so is a stop.
    _own_broker.kill()
    server.stop()
    server.start()
    _until(lambda: _metric(server, "assay_kafka_errors_total") > 0)
    server.stop()
    _own_broker.start()
    server.start()
    _assert_stored_once(server, sent)
    server.stop()


def a_full_store_makes_records_wait_in_kafka(_own_broker, tmp_path):
    settings = 'flush_interval = "300ms"\nflush_bytes = "256KiB"\nhot_bytes_max = "4MiB"\nwal_bytes_max = "4MiB"'
    with s3.service(tmp_path / "store") as service, s3.Proxy(service.address, 86) as proxy:
        config = s3.config(proxy.address, "kafka", settings)
        with _server(tmp_path / "data", _own_broker, "assay", config, environment=s3.credentials()) as server:
            _until(lambda: _own_broker.members())
            (member,) = _own_broker.members()
            proxy.failing(1, ("unavailable",))
            load = Senders(_own_broker, _one_of_each(86), pause_seconds=0.0005)
            _until(lambda: _metric(server, "assay_kafka_paused") == 1, seconds=120)
            waits, cpu = _metric(server, "assay_kafka_waits_total"), _cpu_seconds(server)
            # It is not taken for dead, and does not spin.
            time.sleep(2 * SESSION_SECONDS)
            spent = _cpu_seconds(server) - cpu
            assert list(_own_broker.members()) == [member]
            assert _metric(server, "assay_kafka_waits_total") - waits <= 256 * (2 * SESSION_SECONDS + 2)
            assert spent < SESSION_SECONDS, f"{spent:.1f} s of CPU while it waits"
            # More than a member has in hand: the rest waits in Kafka.
            _until(lambda: _metric(server, "assay_kafka_lag_records") > 256, seconds=120)
            sent = load.end()
            proxy.failing(0)
            _until_all_is_committed(_own_broker, "assay", seconds=240)
            assert _metric(server, "assay_kafka_paused") == 0
            assert _metric(server, "assay_kafka_rebalances_total", kind="revoked") == _metric(server, "assay_kafka_rebalances_total", kind="lost") == 0
            _assert_stored_once(server, sent)


def _cpu_seconds(server):
    """CPU time of the server process so far."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def records_come_by_tls_from_a_user_with_a_password(_own_broker, tmp_path):
    password = tmp_path / "password"
    password.write_text(kafka_broker.PASSWORD + "\n")
    config = f"""
[kafka]
brokers = ["{_own_broker.secure_address}"]
ca_file = "{_own_broker.ca_file}"
sasl_mechanism = "SCRAM-SHA-512"
user = "{kafka_broker.USER}"
password_file = "{password}"
project = "from-kafka"
"""
    with Server(tmp_path / "data", config, executable=BINARY) as server:
        producer = _own_broker.producer()
        kafka_broker.send(producer, "traces", otlp.traces([otlp.chat(otlp.seeded(87))]).SerializeToString())
        assert producer.flush(60) == 0
        _until(lambda: server.sql("SELECT count(*) AS n FROM spans", project="from-kafka") == [{"n": 1}])
    password.write_text("another")
    with Server(tmp_path / "data", config, executable=BINARY) as server:
        _until(lambda: '"message":"Kafka refuses this client"' in server.log())
        assert kafka_broker.PASSWORD not in server.log() and "another" not in server.log()


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
def compressed_batches_are_read(_broker, tmp_path, compression):
    group = f"compressed-{compression}"
    with _server(tmp_path / "data", _broker, group, keys='start = "latest"') as server:
        _until(lambda: sum(_broker.members(group).values()) == 12)
        producer = _broker.producer(**{"compression.type": compression})
        rng = otlp.seeded(88)
        spans = [otlp.chat(rng, text="x" * 5000) for _ in range(20)]

        def arrived():
            # Where the end of a partition is, a new group asks after it was given the partition.
            kafka_broker.send(producer, "traces", otlp.traces(spans).SerializeToString())
            assert producer.flush(60) == 0
            return server.sql("SELECT count(*) AS n FROM spans") == [{"n": 20}]

        _until(arrived)


def the_documented_metrics_of_kafka_are_those_there_are(_broker, tmp_path):
    with _server(tmp_path / "data", _broker, "metrics") as server:
        producer = _broker.producer()
        kafka_broker.send(producer, "traces", b"", partition=0)
        assert producer.flush(60) == 0
        # The lag of a partition is there once the client has looked at it.
        _until(lambda: "assay_kafka_lag_records{" in server.get("/metrics"))
        served = {name for name in re.findall(r"^# TYPE (\w+) ", server.get("/metrics"), re.MULTILINE) if name.startswith("assay_kafka_")}
        documented = set(re.findall(r"^\| `(assay_kafka_\w+)`", (REPOSITORY / "docs" / "operations.md").read_text(), re.MULTILINE))
        assert documented == served
