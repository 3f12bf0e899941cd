"""Backups: what `deploy/backup/snapshot.sh` copies from a running server is what a restore needs, no more and no less, on disk and with a bucket."""

import base64
import hashlib
import json
import os
import random
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import s3
import senders
import telemetry as otlp
from deltalake import DeltaTable, Field
from harness import REPOSITORY, Server

SNAPSHOT = REPOSITORY / "deploy" / "backup" / "snapshot.sh"
# Short intervals, so that snapshots fall into flushes, commits, compactions and vacuums too.
QUICK = """
flush_interval = "300ms"
flush_bytes = "256KiB"
compaction_interval = "1s"
vacuum_grace = "1s"
"""
# No vacuum while objects are copied one by one: "for other engines that still read them".
UNHURRIED = QUICK.replace('vacuum_grace = "1s"', 'vacuum_grace = "1h"')
SUMS = (
    "SELECT count(*) AS n, sum(duration_ns) AS ns, sum(input_tokens) AS input, sum(output_tokens) AS output, sum(cost_usd) AS usd FROM spans",
    "SELECT request_model, count(*) AS n, sum(cost_usd) AS usd FROM llm_calls GROUP BY request_model ORDER BY request_model",
    "SELECT count(*) AS n, sum(units) AS units, sum(cost_usd) AS usd FROM cost_lines",
    "SELECT signal, sum(accepted) AS accepted, sum(stored) AS stored, sum(quarantined) AS quarantined FROM ingest_ledger GROUP BY signal",
    "SELECT count(*) AS n, count(distinct span_id) AS ids FROM spans",
)


def _snapshot(*arguments):
    return subprocess.run([SNAPSHOT, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def _taken(server, to):
    done = _snapshot("--pid", server.process.pid, server.data_dir, to)
    assert done.returncode == 0, done.stderr
    print(done.stdout.strip())
    return to


def _under_load(server, seed, work):
    """Calls `work(load)` while senders send without a pause, and returns what it returns."""
    load = senders.Load(server, seed)
    ended = threading.Event()

    def keep_sending():
        while not ended.is_set():
            load.run_for(0.2)

    sending = threading.Thread(target=keep_sending)
    sending.start()
    try:
        return work(load)
    finally:
        ended.set()
        sending.join()
        load.end()


def _requests(server):
    """Spans of each request, by its position in the log."""
    rows = server.sql("SELECT wal_position, count(*) AS n FROM spans GROUP BY wal_position", row_limit=1_000_000)
    return {row["wal_position"]: row["n"] for row in rows}


def a_snapshot_under_load_holds_all_that_was_acknowledged_and_whole_requests(tmp_path):
    rng = random.Random(41)
    config = f"[storage]\n{QUICK}"
    with Server(tmp_path / "data", config) as server:

        def work(load):
            taken = []
            for number in range(5):
                threading.Event().wait(rng.uniform(0.2, 0.9))
                before = load.acknowledged()
                taken.append((before, _taken(server, tmp_path / f"snapshot-{number}")))
            return taken

        taken = _under_load(server, 41, work)
    for before, folder in taken:
        with Server(folder, config) as restored:
            senders.assert_stored_once(restored, before)
            assert set(_requests(restored).values()) == {senders.SPANS_PER_REQUEST}, "a request is there whole or not at all"
            stored = {row["span_id"] for row in restored.sql("SELECT span_id FROM spans", row_limit=1_000_000)}
            senders.assert_ledger(restored, stored, 0)
    assert len(taken[0][0]) > 0 and len(taken[-1][0]) > 500, "the load was too light to prove anything"


def what_is_restored_after_the_disk_is_lost_is_what_was_there(tmp_path):
    rng = otlp.seeded(42)
    image = rng.randbytes(20_000)
    part = {"type": "blob", "mime_type": "image/png", "modality": "image", "content": base64.b64encode(image).decode()}
    messages = json.dumps([{"role": "user", "parts": [part]}])
    data = tmp_path / "data"
    with Server(data, f"[storage]\n{QUICK}") as server:
        for _ in range(10):
            spans = [otlp.chat(rng, input_tokens=rng.randrange(5000)) for _ in range(40)]
            server.send("traces", otlp.traces([*spans, otlp.span(rng, trace_id=bytes(16))]).SerializeToString())
        span = otlp.span(rng, gen_ai__operation__name="chat", gen_ai__input__messages=messages)
        server.send("traces", otlp.traces([span]).SerializeToString())
        view = json.dumps({"kind": "view", "name": "errors", "body": {"q": "has:error"}}).encode()
        server.request("POST", "/api/v1/saved", view, {"content-type": "application/json"})
        before, saved = [server.sql(query) for query in SUMS], server.get("/api/v1/saved")
        # The last requests are in the log only.
        snapshot = _taken(server, tmp_path / "snapshot")
        server.send("traces", otlp.traces([otlp.chat(rng)]).SerializeToString())
        server.kill()
    assert snapshot.stat().st_mode == data.stat().st_mode, "put in its place, it can be used by the same user"
    shutil.rmtree(data)
    shutil.copytree(snapshot, data)
    with Server(data) as restored:
        assert [restored.sql(query) for query in SUMS] == before
        assert restored.get("/api/v1/saved") == saved
        assert restored.request("GET", f"/api/v1/blobs/{hashlib.sha256(image).hexdigest()}")[1] == image
        restored.send("traces", otlp.traces([otlp.chat(rng)]).SerializeToString())
        assert restored.sql("SELECT count(*) AS n FROM spans") == [{"n": before[0][0]["n"] + 1}]


def a_snapshot_does_not_change_with_the_server(tmp_path):
    rng = otlp.seeded(43)
    with Server(tmp_path / "data", f"[storage]\n{QUICK}") as server:
        server.send("traces", otlp.traces([otlp.chat(rng) for _ in range(40)]).SerializeToString())
        snapshot = _taken(server, tmp_path / "snapshot")
        before = _contents(snapshot)
        for _ in range(30):
            server.send("traces", otlp.traces([otlp.chat(rng, text="x" * 3000) for _ in range(40)]).SerializeToString())
    with server:
        assert server.sql("SELECT count(*) AS n FROM spans") == [{"n": 31 * 40}]
    assert _contents(snapshot) == before


def _contents(folder):
    # A name with `#` is a file being written, which no reader looks at.
    files = (path for path in folder.rglob("*") if path.is_file() and "#" not in path.name)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def a_snapshot_that_cannot_be_taken_says_why_and_leaves_the_server_running(tmp_path):
    data = tmp_path / "data"
    with Server(data) as server:
        pid = server.process.pid
        (tmp_path / "taken").mkdir()
        (tmp_path / "other").mkdir()
        for arguments, message in (
            (["--stopped", data, tmp_path / "s"], "is in use"),
            (["--pid", pid, data, tmp_path / "taken"], "exists, expected a name that is free"),
            (["--pid", pid, tmp_path / "other", tmp_path / "s"], "is not a data folder"),
            (["--pid", 2**22 + 1, data, tmp_path / "s"], "could not freeze the server"),
            (["--pid", os.getpid(), data, tmp_path / "s"], "could not freeze the server"),
            (["--pid", pid, data], "found 1 folders"),
            (["--pid", pid, data, "/proc/snapshot"], "/proc/snapshot.partial"),
            (["--halted", data, tmp_path / "s"], "found `--halted`, expected"),
        ):
            done = _snapshot(*arguments)
            assert done.returncode != 0 and message in done.stderr, (arguments, done.stderr)
            assert not (tmp_path / "s").exists()
            server.get("/readyz")
        # Ended half-way, it lets the server go on and leaves nothing behind.
        programs = tmp_path / "bin"
        programs.mkdir()
        (programs / "cp").write_text("#!/bin/sh\nexit 1\n")
        (programs / "cp").chmod(0o755)
        command = [SNAPSHOT, "--pid", str(pid), data, tmp_path / "s"]
        done = subprocess.run(command, env={"PATH": f"{programs}:/usr/bin:/bin"}, capture_output=True, timeout=60)
        assert done.returncode != 0
        server.get("/readyz")
        assert sorted(path.name for path in tmp_path.glob("s*")) == []
    assert "no process uses" in _snapshot("--pid", pid, data, tmp_path / "s").stderr
    assert _snapshot("--stopped", data, tmp_path / "s").returncode == 0


@pytest.mark.parametrize(
    ("how", "program", "commands"),
    [("--service", "systemctl", ["freeze assay", "thaw assay"]), ("--container", "docker", ["pause assay", "unpause assay"])],
)
def a_service_and_a_container_are_frozen_and_thawed_by_name(how, program, commands, tmp_path):
    """With a stand-in for the program, which freezes the process as the real one does: neither systemd nor Docker runs where tests do."""
    with Server(tmp_path / "data") as server:
        programs, calls = tmp_path / "bin", tmp_path / "calls"
        programs.mkdir()
        script = f'#!/bin/sh\necho "$@" >> {calls}\ncase $1 in freeze | pause) kill -STOP {server.process.pid};; *) kill -CONT {server.process.pid};; esac\n'
        (programs / program).write_text(script)
        (programs / program).chmod(0o755)
        environment = {"PATH": f"{programs}:/usr/bin:/bin"}
        command = [SNAPSHOT, how, "assay", server.data_dir, tmp_path / "snapshot"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert calls.read_text().splitlines() == commands
        server.get("/readyz")
    assert (tmp_path / "snapshot" / "node-id").exists()


@pytest.fixture(scope="module")
def _service(tmp_path_factory):
    with s3.SeaweedFS(tmp_path_factory.mktemp("s3") / "weed") as service:
        yield service


def _in_bucket(folder, service, more=UNHURRIED):
    return Server(folder, s3.config(service.address, "lake", more), environment=s3.credentials())


def a_folder_that_is_older_than_its_bucket_and_a_bucket_copied_under_load_lose_and_double_nothing(_service, tmp_path):
    server = _in_bucket(tmp_path / "data", _service).start()
    copied = {}

    def work(load):
        threading.Event().wait(1)
        before = load.acknowledged()
        _taken(server, tmp_path / "snapshot")
        # Folder first, bucket second, in the order of names: the logs of the tables come before their files.
        for name in sorted(_service.objects("lake/")):
            copied[name] = _service.request("GET", f"/assay/{name}")
        threading.Event().wait(0.5)
        return before

    before = _under_load(server, 44, work)
    load = set(row["span_id"] for row in server.sql("SELECT span_id FROM spans", row_limit=1_000_000))
    assert len(before) > 200 and before < load
    server.kill()
    # The machine is lost, the bucket is not: all that had been flushed is there, and all of the snapshot.
    shutil.copytree(tmp_path / "snapshot", tmp_path / "older")
    with _in_bucket(tmp_path / "older", _service) as restored:
        senders.assert_stored_once(restored, before)
        restored.send("traces", otlp.traces([otlp.chat(otlp.seeded(45))]).SerializeToString())
        positions = _requests(restored)
        assert positions[max(positions)] == 1, "new requests come behind all that are in the bucket"
    # The bucket is lost too: its copy takes its place.
    for name in _service.objects("lake/"):
        _service.request("DELETE", f"/assay/{name}")
    for name, content in copied.items():
        _service.request("PUT", f"/assay/{name}", content)
    with _in_bucket(tmp_path / "snapshot", _service) as restored:
        senders.assert_stored_once(restored, before)
        assert set(_requests(restored).values()) == {senders.SPANS_PER_REQUEST}
    assert not (Path(tmp_path) / "snapshot" / "lake").exists()


def columns_of_a_later_version_are_left_alone(tmp_path):
    """What going back to the version before meets, after an upgrade that added a column."""
    rng = otlp.seeded(46)
    with Server(tmp_path / "data") as server:
        server.send("traces", otlp.traces([otlp.chat(rng) for _ in range(5)]).SerializeToString())
    table = DeltaTable(tmp_path / "data" / "lake" / "spans")
    table.alter.add_columns([Field("of_tomorrow", "string")])
    with server:
        server.send("traces", otlp.traces([otlp.chat(rng) for _ in range(5)]).SerializeToString())
        assert server.sql("SELECT count(*) AS n, count(distinct span_id) AS ids FROM spans") == [{"n": 10, "ids": 10}]
    table.update_incremental()
    assert "of_tomorrow" in {field.name for field in table.schema().fields}
    with server:
        assert server.sql("SELECT count(*) AS n, count(distinct span_id) AS ids FROM spans") == [{"n": 10, "ids": 10}]
