"""The lake in a bucket: the same answers as on disk, and nothing lost or doubled when the service, the network or the server fails.

The service is SeaweedFS, or MinIO, or an emulator of Azure's or Google's (`make test-external`); faults come from a proxy before it, in the order that a seed gives (`ASSAY_S3_SEED`).
"""

import base64
import functools
import hashlib
import json
import os
import shutil
import time

import pytest
import s3
import senders
import telemetry as otlp
from deltalake import DeltaTable
from harness import Refused, Server

QUERIES = (
    "SELECT count(*), sum(duration_ns), sum(input_tokens), sum(output_tokens), sum(cost_usd), count(distinct trace_id) FROM spans",
    "SELECT request_model, count(*) AS n, sum(cost_usd) AS cost FROM llm_calls GROUP BY request_model ORDER BY request_model",
    "SELECT count(*), sum(units), sum(cost_usd) FROM cost_lines",
    "SELECT sum(accepted), sum(stored), sum(quarantined) FROM ingest_ledger",
    "SELECT trace_id, span_id, name, input_messages FROM spans ORDER BY span_id LIMIT 20",
)
QUICK = """
flush_interval = "300ms"
flush_bytes = "256KiB"
compaction_interval = "1s"
vacuum_grace = "1s"
"""


@pytest.fixture(scope="module")
def _service(tmp_path_factory):
    with s3.service(tmp_path_factory.mktemp("s3") / "store") as service:
        yield service


def _server(folder, address, bucket_folder, more="", **options):
    return Server(folder, s3.config(address, bucket_folder, more), environment=s3.credentials(), **options)


def a_lake_in_a_bucket_answers_as_one_on_disk(_service, tmp_path):
    rng = otlp.seeded(31)
    image = rng.randbytes(20_000)
    part = {"type": "blob", "mime_type": "image/png", "modality": "image", "content": base64.b64encode(image).decode()}
    message = json.dumps([{"role": "user", "parts": [part]}])
    requests = []
    for _ in range(6):
        spans = [otlp.chat(rng, input_tokens=rng.randrange(5000), text="x" * rng.randrange(500)) for _ in range(40)]
        requests.append(otlp.traces([*spans, otlp.span(rng, trace_id=bytes(16))]))
    requests[0].resource_spans[0].scope_spans[0].spans.append(
        otlp.span(rng, gen_ai__operation__name="chat", gen_ai__input__messages=message)
    )
    trace_id = requests[0].resource_spans[0].scope_spans[0].spans[0].trace_id.hex()
    disk, bucket = Server(tmp_path / "disk"), _server(tmp_path / "bucket", _service.address, "equal")
    for half in (requests[:3], requests[3:]):
        # What the first half sent is in files by then.
        with disk, bucket:
            for request in half:
                for server in (disk, bucket):
                    server.send("traces", request.SerializeToString())
            assert _answers(bucket, trace_id) == _answers(disk, trace_id)
    name = hashlib.sha256(image).hexdigest()
    with disk, bucket:
        answers = _answers(bucket, trace_id)
        assert answers == _answers(disk, trace_id)
        assert bucket.request("GET", f"/api/v1/blobs/{name}")[1] == image
    left = {path.name for path in (tmp_path / "bucket").rglob("*") if path.suffix in (".parquet", ".zst", ".tix", ".json")}
    assert left == set(), "what belongs to the lake is in the bucket alone"
    assert _service.objects(f"equal/blobs/default/{name[:2]}/") == [f"equal/blobs/default/{name[:2]}/{name}.zst"]
    spans = DeltaTable(s3.url("equal/lake/spans"), storage_options=_service.storage_options())
    assert spans.to_pyarrow_dataset().count_rows() == 241, "another engine reads the same rows"


def a_large_blob_goes_up_in_parts_and_comes_back(_service, tmp_path):
    rng = otlp.seeded(37)
    image = rng.randbytes(17 << 20)
    part = {"type": "blob", "mime_type": "image/png", "modality": "image", "content": base64.b64encode(image).decode()}
    message = json.dumps([{"role": "user", "parts": [part]}])
    span = otlp.span(rng, gen_ai__operation__name="chat", gen_ai__input__messages=message)
    with s3.Proxy(_service.address) as proxy:
        server = _server(tmp_path / "data", proxy.address, "large")
        with server:
            server.send("traces", otlp.traces([span]).SerializeToString())
        parts = [path for method, path in proxy.requests if method == "PUT" and "/large/blobs/" in path]
        assert len(parts) >= 3, parts
        shutil.rmtree(tmp_path / "data" / "cache")
        with server:
            assert server.request("GET", f"/api/v1/blobs/{hashlib.sha256(image).hexdigest()}")[1] == image


def _answers(server, trace_id):
    rows = [server.sql(query) for query in QUERIES]
    trace = server.get(f"/api/v1/traces/{trace_id}")
    return rows, trace["spans"], [trace["trace_id"] for trace in server.get("/api/v1/traces?limit=200")["traces"]]


def files_that_were_merged_are_deleted_from_the_bucket(_service, tmp_path):
    rng = otlp.seeded(32)
    with _server(tmp_path / "data", _service.address, "merged", QUICK) as server:
        sent = 0
        for _ in range(20):
            server.send("traces", otlp.traces([otlp.chat(rng) for _ in range(5)]).SerializeToString())
            sent += 5
            _until(lambda: server.get("/api/v1/status")["storage"]["hot_rows"] == 0, "a flush")
        _until(lambda: _table(server, "spans")["files"] <= 8, "a compaction")
        # Merged or not, each file of the table is in the bucket, and after the grace period no other.
        _until(lambda: len(_parquet(_service, "merged")) == _table(server, "spans")["files"], "a vacuum")
        assert server.sql("SELECT count(*) AS n, count(distinct span_id) AS ids FROM spans") == [{"n": sent, "ids": sent}]
    with server:
        assert server.sql("SELECT count(*) AS n, count(distinct span_id) AS ids FROM spans") == [{"n": sent, "ids": sent}]


def _table(server, name):
    return server.get("/api/v1/status")["storage"]["tables"][name]


def _parquet(service, folder):
    return [name for name in service.objects(f"{folder}/lake/spans/") if name.endswith(".parquet") and "_delta_log" not in name]


def a_trace_of_a_lake_of_many_files_costs_a_few_reads(_service, tmp_path):
    rng = otlp.seeded(35)
    more = 'flush_interval = "1h"\ncompaction_interval = "1h"\nflush_bytes = "16KiB"'
    traces = []
    with s3.Proxy(_service.address) as proxy:
        server = _server(tmp_path / "data", proxy.address, "many", more)
        with server:
            for _ in range(24):
                spans = [otlp.chat(rng, text="x" * 2000) for _ in range(20)]
                server.send("traces", otlp.traces(spans).SerializeToString())
                traces += [span.trace_id.hex() for span in spans[:1]]
                _until(lambda: server.get("/api/v1/status")["storage"]["hot_rows"] == 0, "a flush")
            n_files = _table(server, "spans")["files"]
            assert n_files >= 20, f"{n_files} files do not prove anything"
        # What this node wrote is at hand, also after a restart. With nothing of the files themselves on the disk it takes a few reads.
        with server:
            _until(lambda: server.log().count("trace indexes are at hand") == 2, "indexes at hand")
            for cold in (False, True):
                if cold:
                    for path in (tmp_path / "data" / "cache").glob("*/*"):
                        path.unlink()
                before = _reads(proxy)
                assert len(server.get(f"/api/v1/traces/{traces[7]}")["spans"]) == 1
                reads = _reads(proxy) - before
                print(f"{reads} reads of {n_files} files, cold: {cold}")
                assert 0 < reads <= 10 if cold else reads == 0, proxy.requests[-reads:]
            for path in (tmp_path / "data" / "cache").glob("*/*"):
                path.unlink()
            proxy.failing(1, ("unavailable",))
            for question in (lambda: server.get(f"/api/v1/traces/{traces[7]}"), lambda: server.sql("SELECT max(length(input_messages)) FROM spans")):
                with pytest.raises(Refused) as refused:
                    question()
                assert refused.value.status == 503 and refused.value.headers["Retry-After"], refused.value
                assert refused.value.problem()["type"].endswith("/unavailable")
            proxy.failing(0)
            assert len(server.get(f"/api/v1/traces/{traces[7]}")["spans"]) == 1


def a_server_with_an_empty_disk_finds_a_trace_without_the_index_of_each_file(_service, tmp_path):
    rng = otlp.seeded(36)
    traces = []
    with s3.Proxy(_service.address) as proxy:
        server = _server(tmp_path / "data", proxy.address, "directory", 'flush_interval = "1h"\nflush_bytes = "16KiB"\ncompaction_interval = "1h"')
        with server:
            # Too few to be merged.
            for _ in range(7):
                spans = [otlp.chat(rng, text="x" * 2000) for _ in range(20)]
                server.send("traces", otlp.traces(spans).SerializeToString())
                traces += [span.trace_id.hex() for span in spans[:1]]
                _until(lambda: server.get("/api/v1/status")["storage"]["hot_rows"] == 0, "a flush")
            assert _table(server, "spans")["files"] == 7
        server.configure(s3.config(proxy.address, "directory", 'compaction_interval = "1s"'))
        with server:
            _until(lambda: _service.objects("directory/lake-index/spans/directory/"), "a trace directory")
        shutil.rmtree(tmp_path / "data" / "cache")
        server.configure(s3.config(proxy.address, "directory", 'compaction_interval = "1h"'))
        before = len(proxy.requests)
        with server:
            assert len(server.get(f"/api/v1/traces/{traces[3]}")["spans"]) == 1
            assert server.sql(f"SELECT name FROM spans WHERE trace_id = '{'1' * 32}'") == []
            asked = [path for method, path in proxy.requests[before:] if method == "GET" and "/lake-index/spans/" in path]
            assert len(asked) == 1 and asked[0].endswith(".dir"), f"the directory is read, once, and nothing else of the indexes: {asked}"
            # Gone, it is not missed.
            for name in _service.objects("directory/lake-index/spans/directory/"):
                _service.request("DELETE", f"/assay/{name}")
        with server:
            assert len(server.get(f"/api/v1/traces/{traces[5]}")["spans"]) == 1


def _reads(proxy):
    return sum(method in ("GET", "HEAD") for method, _ in proxy.requests)


def nothing_acknowledged_is_lost_or_doubled_while_the_store_fails_and_the_server_is_killed(_service, tmp_path):
    seed = int(os.environ.get("ASSAY_S3_SEED") or 20261121)
    print(f"seed {seed} (ASSAY_S3_SEED)")
    with s3.Proxy(_service.address, seed) as proxy:
        server = _server(tmp_path / "data", proxy.address, "unsteady", QUICK).start()
        failures = [functools.partial(fail, proxy, server) for fail in (_now_and_then, _after_each_commit, _always)]
        load = senders.under_failures(server, seed, failures, lambda: proxy.failing(0))
        senders.assert_ledger(server, load.acknowledged(), load.refused)
        server.stop()


def _now_and_then(proxy, _server, load):
    proxy.failing(0.3)
    _until(lambda: load.run_for(0.5) or {("PUT", fault) for fault in s3.FAULTS} <= proxy.met, "each fault of a put")


def _after_each_commit(proxy, server, load):
    proxy.failing(0.6, ("drop after", "error after"), only=("PUT", "/_delta_log/0"))
    _until(lambda: load.run_for(0.5) or server.log().count("a commit whose answer was lost had landed") >= 3, "commits without an answer")


def _always(proxy, _server, load):
    proxy.failing(1)
    load.run_for(2)


def while_the_store_is_away_senders_are_told_to_wait_and_when_it_is_back_all_lands_once(_service, tmp_path):
    budgets = 'flush_interval = "300ms"\nflush_bytes = "256KiB"\nhot_bytes_max = "4MiB"\nwal_bytes_max = "4MiB"\n'
    with s3.Proxy(_service.address) as proxy, _server(tmp_path / "data", proxy.address, "away", budgets) as server:
        requests = senders.LargeRequests(server, otlp.seeded(33))
        proxy.failing(1, ("unavailable", "drop before"))
        requests.until_told_to_wait()
        # What was acknowledged meanwhile is visible all the while.
        senders.assert_stored_once(server, requests.acknowledged)
        proxy.failing(0)
        _until(requests.acknowledges_again, "an acknowledgement", seconds=40)
        senders.assert_stored_once(server, requests.acknowledged)
        server.stop()
        server.start()
        senders.assert_stored_once(server, requests.acknowledged)


def a_second_data_folder_does_not_write_the_same_lake(_service, tmp_path):
    with _server(tmp_path / "one", _service.address, "owned"):
        other = _server(tmp_path / "two", _service.address, "owned")
        with pytest.raises(AssertionError, match=rf"`{s3.url('owned')}` is written by node `assay-[-0-9a-f]+` since"):
            other.start()
    # The first is gone for good, its owner says: the second takes the lake over, with new positions above all old ones.
    rng = otlp.seeded(34)
    first = _server(tmp_path / "one", _service.address, "owned")
    with first:
        first.send("traces", otlp.traces([otlp.chat(rng) for _ in range(5)]).SerializeToString())
    position = _last_position(first)
    _service.request("DELETE", "/assay/owned/assay-owner.json")
    with other:
        assert other.sql("SELECT count(*) AS n FROM spans")[0]["n"] == 5
        other.send("traces", otlp.traces([otlp.chat(rng) for _ in range(5)]).SerializeToString())
        assert other.sql("SELECT count(*) AS n, max(wal_position) AS last FROM spans")[0]["n"] == 10
    assert _last_position(other) > position
    with pytest.raises(AssertionError, match="is written by node"):
        first.start()


def _last_position(server):
    with server:
        return server.sql("SELECT max(wal_position) AS last FROM spans")[0]["last"]


def a_store_that_does_not_honour_conditional_puts_is_refused(_service, tmp_path):
    with s3.CarelessProxy(_service.address) as careless:
        server = _server(tmp_path / "data", careless.address, "careless")
        with pytest.raises(AssertionError, match="does not honour conditional puts: both of two conditional puts succeeded, expected"):
            server.start()
    assert _service.objects("careless/") == [], "nothing is left of the proof"


def a_wrong_key_is_said_at_the_start(_service, tmp_path):
    server = _server(tmp_path / "data", _service.address, "key")
    server.environment |= s3.KIND.WRONG
    with pytest.raises(AssertionError, match=s3.KIND.REFUSED):
        server.start()


def a_folder_whose_lake_is_elsewhere_is_not_opened(_service, tmp_path):
    with _server(tmp_path / "data", _service.address, "moved"):
        pass
    with pytest.raises(AssertionError, match=rf"is in `{s3.url('moved')}`, expected `[^`]+/data/lake`"):
        Server(tmp_path / "data").start()


def _until(holds, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what} was not seen within {seconds} s"
        time.sleep(0.1)
