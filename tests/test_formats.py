"""What another version wrote: an earlier one's files are read, row by row as it answered; a later one's are read on where something is merely added,
and refused, with nothing lost, where they are not understood.

`formats/` holds what earlier versions left; later ones are made of these files here.
"""

import binascii
import hashlib
import json
import shutil
import sqlite3
import struct
import time

import deltalake
import formats
import pyarrow as pa
import pyarrow.parquet
import pytest
import s3
import telemetry as otlp
from deltalake import DeltaTable
from harness import Server

VERSIONS = formats.versions()
NEWEST = VERSIONS[-1]
HELD = f"{formats.LAST_PRICE}[storage]\n{formats.HELD}"
QUICK = f"{formats.LAST_PRICE}[storage]\n{formats.QUICK}"
# Before the project name in a record of the log: see `storage/src/wal/frame.rs`.
SEGMENT_HEADER_BYTES, FRAME_HEADER_BYTES = 8, 44
SIGNAL, FLAGS = 40, 43


@pytest.fixture(scope="module")
def _service(tmp_path_factory):
    with s3.SeaweedFS(tmp_path_factory.mktemp("s3") / "weed") as service:
        yield service


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def a_data_folder_of_an_earlier_version_is_read(version, tmp_path):
    data = formats.unpack(version, "server", tmp_path / "data")
    answers = formats.expected(version)["server"]
    server = Server(data, HELD)
    with server:
        assert _wal(data), "the log holds what is nowhere else"
        _assert_answers(server, answers)
    assert not _wal(data), "stopped in order, it leaves no log behind"
    # Merged, and written anew by this version.
    server.configure(QUICK)
    with server:
        _until(lambda: "compaction" in server.get("/api/v1/status")["storage"]["jobs"])
        _assert_answers(server, answers)


def _assert_answers(server, answers):
    _assert_rows(server, answers["tables"])
    found, page = formats.read_models(server), answers["page"]
    assert _subset(found["saved"], answers["saved"]) and _subset(found["notes"], answers["notes"]) and answers["saved"] and answers["notes"]
    assert _subset(found["page"]["traces"], page["traces"])
    # A link to the next page that someone kept.
    following = server.get(f"{formats.LIST}&cursor={page['next_cursor']}")["traces"]
    assert [row["trace_id"] for row in following] == answers["next"] and len(answers["next"]) == 3
    image = binascii.a2b_base64(answers["image"])
    assert server.request("GET", f"/api/v1/blobs/{hashlib.sha256(image).hexdigest()}")[1] == image


def _assert_rows(server, tables):
    found = formats.rows_of(server, {table: expected["columns"] for table, expected in tables.items()})
    for table, expected in tables.items():
        assert found[table] == expected, table


def _subset(found, expected):
    """Whether `found` has all that `expected` has; more members of objects may have come."""
    match expected:
        case dict():
            return all(key in found and _subset(found[key], value) for key, value in expected.items())
        case list():
            return len(found) == len(expected) and all(_subset(*pair) for pair in zip(found, expected))
        case _:
            return found == expected


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def a_bucket_of_earlier_nodes_is_read_and_their_logs_are_taken_up(version, _service, tmp_path):
    nodes = formats.unpack(version, "nodes", tmp_path / "nodes")
    _empty(_service)
    formats.put_bucket(_service, nodes / "bucket")
    reader = _node(tmp_path / "query", "query", _service)
    with reader:
        _assert_rows(reader, formats.expected(version)["nodes"]["tables"])
        until = _status(reader)["complete_until_unix_ms"]
        assert until < time.time() * 1000 - 1000, "a collector that was killed has what nobody sees"
        killed = _node(nodes / "killed", "collector", _service)
        with killed:
            _until(lambda: reader.sql("SELECT count(*) AS n, count(DISTINCT span_id) AS ids FROM spans") == [{"n": 14, "ids": 14}])
            _until(lambda: _status(reader)["complete_until_unix_ms"] > until)


def _node(folder, part, service):
    more = f'{formats.QUICK}follow_interval = "200ms"\n'
    return Server(folder, s3.config(service.address, formats.BUCKET_FOLDER, more), environment=s3.credentials(), part=part)


def _empty(service):
    for name in service.objects(f"{formats.BUCKET_FOLDER}/"):
        service.request("DELETE", f"/assay/{name}")


def _status(server):
    return server.get("/api/v1/status")["storage"]


def members_lease_and_owner_may_say_more(_service, tmp_path):
    nodes = formats.unpack(NEWEST, "nodes", tmp_path / "nodes")
    for path in [*(nodes / "bucket" / "assay-nodes").iterdir(), *(nodes / "bucket").glob("assay-*.json")]:
        said = json.loads(path.read_text()) | {"zone": "b", "epoch": 7}
        path.write_text(json.dumps(said | ({"until": "2026-01-01T00:00:00Z"} if "until" in said else {})))
    _empty(_service)
    formats.put_bucket(_service, nodes / "bucket")
    with _node(tmp_path / "query", "query", _service) as reader, _node(nodes / "killed", "collector", _service):
        _until(lambda: reader.sql("SELECT count(*) AS n FROM spans") == [{"n": 14}])
        node_id = (nodes / "killed" / "node-id").read_text().strip()
        _until(lambda: json.loads(_service.request("GET", f"/assay/{formats.BUCKET_FOLDER}/assay-lease.json"))["node_id"] == node_id)


def a_record_of_a_later_version_is_refused_and_kept(tmp_path):
    first = SEGMENT_HEADER_BYTES
    for name, found, change in (
        ("segment", "found format version `2`", lambda segment: segment[:7] + b"\2" + segment[8:]),
        ("kind", "found signal code `3`", lambda segment: _with_header_byte(segment, first, SIGNAL, 3)),
        ("flag", "found flags `1`", lambda segment: _with_header_byte(segment, _last_record(segment), FLAGS, 1)),
    ):
        data = formats.unpack(NEWEST, "server", tmp_path / name)
        segment = _wal(data)[-1]
        original = segment.read_bytes()
        segment.write_bytes(change(original))
        changed = segment.read_bytes()
        server = Server(data, HELD)
        with pytest.raises(AssertionError, match=f"is of a later version of Assay, at byte .*{found}"):
            server.start()
        assert segment.read_bytes() == changed, "not a byte of it is touched"
        segment.write_bytes(original)
        with server:
            _assert_rows(server, formats.expected(NEWEST)["server"]["tables"])


def _wal(data):
    return sorted((data / "wal").glob("*.wal"))


def _records(segment):
    at = SEGMENT_HEADER_BYTES
    while at < len(segment):
        yield at
        (body_len,) = struct.unpack_from("<I", segment, at + 8)
        at += FRAME_HEADER_BYTES + segment[at + 42] + body_len


def _last_record(segment):
    return list(_records(segment))[-1]


def _with_header_byte(segment, record, at, value):
    """`segment` with one byte of the header of a record changed, and a checksum that holds."""
    changed = bytearray(segment)
    changed[record + at] = value
    end = record + FRAME_HEADER_BYTES + changed[record + 42]
    struct.pack_into("<I", changed, record + 4, binascii.crc32(changed[record + 8 : end]))
    return bytes(changed)


def a_column_of_a_later_version_outlives_merges_by_this_one(tmp_path):
    data = formats.unpack(NEWEST, "server", tmp_path / "data")
    server = Server(data, HELD)
    with server:
        spans = server.sql("SELECT count(*) AS n FROM spans")[0]["n"]
    table = DeltaTable(data / "lake" / "spans")
    rows = table.to_pyarrow_table().slice(0, 1)
    day = rows.column("date")[0].as_py()
    # As many files as are merged, each with a value that this version has no column for.
    for n in range(10):
        values = {"span_id": f"{n:016x}", "trace_id": f"{n + 1:032x}"}
        later = rows
        for name, value in values.items():
            later = later.set_column(later.schema.get_field_index(name), later.schema.field(name), pa.array([value], later.schema.field(name).type))
        later = later.append_column("later_grade", pa.array([n], pa.int64()))
        deltalake.write_deltalake(table, later, mode="append", schema_mode="merge")
    before = DeltaTable(data / "lake" / "spans").file_uris()
    server.configure(QUICK)
    with server:
        assert server.sql("SELECT count(*) AS n FROM spans") == [{"n": spans + 10}]
        _until(lambda: len(set(before) & set(DeltaTable(data / "lake" / "spans").file_uris())) <= len(before) - 8)
        assert server.sql("SELECT count(*) AS n FROM spans") == [{"n": spans + 10}]
    merged = DeltaTable(data / "lake" / "spans").to_pyarrow_dataset().to_table(columns=["span_id", "later_grade", "date"]).to_pylist()
    grades = {row["span_id"]: row["later_grade"] for row in merged if row["later_grade"] is not None}
    assert grades == {f"{n:016x}": n for n in range(10)} and day in {row["date"] for row in merged}


@pytest.mark.parametrize("feature", ["readerFeatures", "writerFeatures"])
def a_table_that_asks_for_more_than_is_done_here_is_refused(feature, tmp_path):
    data = formats.unpack(NEWEST, "server", tmp_path / "data")
    log = data / "lake" / "spans" / "_delta_log"
    protocol = {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["rowTracking", "domainMetadata"]}
    if feature == "readerFeatures":
        protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    last = int(max(log.glob("*.json")).stem)
    (log / f"{last + 1:020}.json").write_text(json.dumps({"protocol": protocol}) + "\n")
    before = _hashes(data)
    server = Server(data, HELD)
    with pytest.raises(AssertionError, match=f"the Delta table `spans` asks for `{feature}`.*expected no more than reader version 1 and writer version 2"):
        server.start()
    assert _hashes(data / "lake" / "spans") == {path: found for path, found in before.items() if path in _hashes(data / "lake" / "spans")}
    (log / f"{last + 1:020}.json").unlink()
    with server:
        _assert_rows(server, formats.expected(NEWEST)["server"]["tables"])


def _hashes(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def side_files_of_a_later_version_are_made_anew(tmp_path):
    data = formats.unpack(NEWEST, "server", tmp_path / "data")
    side_files = [path for path in (data / "lake-index").rglob("*") if path.is_file()]
    assert {path.suffix for path in side_files} >= {".tix", ".dir"}
    for path in side_files:
        content = path.read_bytes()
        # A directory has its name and version at its end, the others at their beginning.
        path.write_bytes(content[:-1] + b"\x09" if path.suffix == ".dir" else content[:7] + b"\x09" + content[8:])
    answers = formats.expected(NEWEST)["server"]
    server = Server(data, QUICK)
    with server:
        _assert_answers(server, answers)
        for row in answers["page"]["traces"]:
            assert server.get(f"/api/v1/traces/{row['trace_id']}")["spans"], "found without what finds it"


def accounts_of_a_later_version_are_refused(tmp_path):
    data = formats.unpack(NEWEST, "server", tmp_path / "data")
    database = data / "assay.db"
    copy = shutil.copytree(data, tmp_path / "copy")
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    with pytest.raises(AssertionError, match="is of version `9999`: expected at most"):
        Server(data, HELD).start()
    with sqlite3.connect(database) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (9999,)
    connection.close()
    with Server(copy, HELD) as server:
        _assert_rows(server, formats.expected(NEWEST)["server"]["tables"])


def the_newest_folder_has_the_formats_of_today(tmp_path):
    """Otherwise `make formats` adds one."""
    kept = formats.unpack(NEWEST, "server", tmp_path / "kept")
    copy = shutil.copytree(kept, tmp_path / "data")
    for path in (copy / "lake-index").rglob("*"):
        if path.is_file():
            path.unlink()
    rng, deadline = otlp.seeded(75), time.monotonic() + 60
    with Server(copy, QUICK) as server:
        # A directory is over several files, and those of the days before today soon are one.
        while _magics(copy).keys() != _magics(kept).keys():
            assert time.monotonic() < deadline, f"found {_magics(copy)}, expected what {NEWEST} has: {_magics(kept)}"
            server.send("traces", otlp.traces([otlp.chat(rng)]).SerializeToString())
            _until(lambda: server.get("/api/v1/status")["storage"]["hot_rows"] == 0)
        assert _magics(copy) == _magics(kept)


def _magics(data):
    """What files of a format of Assay's own begin with (a directory ends with it), by ending."""
    found = {}
    for path in [*_wal(data), *(data / "lake-index").rglob("*.tix"), *(data / "lake-index").rglob("*.dir")]:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue  # merged into another one since it was listed
        found.setdefault(path.suffix, set()).add(content[-8:] if path.suffix == ".dir" else content[:8])
    return found


def _until(holds):
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "the server did not come so far within 30 s"
        time.sleep(0.05)
