"""What a version of Assay leaves on disk and in a bucket, kept in `formats/`, so that later versions are held to reading it.

`python tests/formats.py` (`make formats`) writes one more folder with what the binary of today leaves; folders that are there are never changed:

- `server.tar.xz`: a data folder of `assay serve` that was killed: tables with merged and unmerged files and side indexes, blobs, saved views and
  notes, corrections in the tables and in the log, requests of every signal and encoding that are in the log alone;
- `nodes.tar.xz`: a bucket that two collectors wrote, of which one was stopped and one killed, and the data folders of both;
- `expected.json.xz`: what that version answered.
"""

import base64
import io
import json
import lzma
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path

import capture_files
import harness
import s3
import telemetry as otlp
from harness import Server

FORMATS = harness.TESTS / "formats"
# Flushed and compacted at once, or not at all.
QUICK = 'flush_interval = "200ms"\ncompaction_interval = "500ms"\nvacuum_grace = "1s"\n'
ALONE = 'flush_interval = "200ms"\ncompaction_interval = "1h"\n'
HELD = 'flush_interval = "1h"\ncompaction_interval = "1h"\n'
PRICE = '[[prices]]\nmodel = "house-model"\ninput_usd_per_million = "{}"\noutput_usd_per_million = "8.5"\n'
# With which the last process ran: what is read back from its log is priced anew.
LAST_PRICE = PRICE.format("3")
BUCKET_FOLDER = "formats"
DAY = ("--from", "2025-11-21T00:00:00Z", "--to", "2025-11-22T00:00:00Z")
# What belongs to a process and not to what it leaves.
PASSING = ("lock", "spill", "cache")
LIST = "/api/v1/traces?limit=3&from=2025-11-01T00:00:00Z&to=2026-01-01T00:00:00Z"


def versions():
    """The folders there are, the oldest first."""
    return sorted((path for path in FORMATS.iterdir() if path.is_dir()), key=lambda path: int(path.name))


def expected(version):
    """What that version answered."""
    return json.loads(lzma.decompress((version / "expected.json.xz").read_bytes()))


def unpack(version, name, into):
    """Puts the folder `name` of a version into `into`."""
    with lzma.open(version / f"{name}.tar.xz") as packed, tarfile.open(fileobj=packed) as archive:
        archive.extractall(into, filter="data")
    return into


def put_bucket(service, folder):
    """Puts the objects below `folder` into the bucket, under the names they had."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = urllib.request.quote(f"{BUCKET_FOLDER}/{path.relative_to(folder)}", safe="/=")
            service.request("PUT", f"/assay/{name}", path.read_bytes())


def rows_of(server, columns=None):
    """All rows of every table, each with the columns that `columns` names for it, or all it has: {table: {"columns": [...], "rows": [...]}}. What is NULL is left out of a row."""
    tables = {}
    listed = server.sql("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position")
    for row in listed:
        tables.setdefault(row["table_name"], []).append(row["column_name"])
    wanted = columns or {name: tables[name] for name in tables if name in _base_tables(server)}
    answer = {}
    for table, names in wanted.items():
        quoted = ", ".join(f'"{name}"' for name in names)
        rows = [{key: value for key, value in row.items() if value is not None} for row in server.sql(f"SELECT {quoted} FROM {table}")]
        answer[table] = {"columns": names, "rows": sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))}
    return answer


def _base_tables(server):
    rows = server.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'")
    return {row["table_name"] for row in rows}


def read_models(server):
    """What is answered beside SQL: the first page of traces, and what people saved."""
    return {"page": server.get(LIST), "saved": server.get("/api/v1/saved")["items"], "notes": server.get("/api/v1/notes?trace_id=" + "0a" * 16)["notes"]}


def _write(version):
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        made.mkdir()
        answers = {"assay": subprocess.check_output([harness.binary(), "--version"], text=True).strip()}
        answers["server"] = _write_server(made, Path(folder))
        answers["nodes"] = _write_nodes(made, Path(folder))
        (made / "expected.json.xz").write_bytes(lzma.compress(json.dumps(answers, sort_keys=True).encode(), preset=9))
        shutil.copytree(made, version)


def _write_server(version, folder):
    rng, data = otlp.seeded(71), folder / "server"
    server = Server(data, f"[storage]\n{QUICK}")
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n" + random.Random(71).randbytes(9000)).decode()
    part = {"type": "blob", "mime_type": "image/png", "modality": "image", "content": image}
    with server:
        n = 0
        # Until some are merged, and others are in a directory.
        while not (any((data / "lake-index" / "spans" / "directory").glob("*.dir")) and _merged(server)):
            spans = [otlp.chat(rng, model="house-model"), otlp.chat(rng, text=f"flush {n}")]
            if n == 0:
                messages = json.dumps([{"role": "user", "parts": [part]}])
                spans += [otlp.span(rng, gen_ai__operation__name="chat", gen_ai__input__messages=messages), otlp.span(rng, trace_id=bytes(16))]
            server.send("traces", otlp.traces(spans).SerializeToString())
            _until(lambda: server.get("/api/v1/status")["storage"]["hot_rows"] == 0)
            n += 1
    assert any((data / "lake-index" / "spans" / "directory").glob("*.dir")), "it was merged away: try again"
    server.configure(f"[storage]\n{ALONE}")
    with server:
        _send_captures(server)
        _call(server, "/api/v1/saved", {"kind": "view", "name": "errors", "body": {"q": "has:error"}, "is_default": True})
        _call(server, "/api/v1/saved", {"kind": "query", "name": "spans", "body": {"query": "SELECT count(*) FROM spans"}})
        _call(server, "/api/v1/notes", {"trace_id": "0a" * 16, "text": "ask the team"})
    # Corrections in the tables, then others in the log.
    for price, more in ((PRICE.format("2"), ALONE), (LAST_PRICE, HELD)):
        server.configure(f"{price}[storage]\n{more}")
        with server:
            server.cli("reprice", *DAY, "--apply")
            if more == HELD:
                server.send("traces", otlp.traces([otlp.chat(rng, model="house-model") for _ in range(3)]).SerializeToString())
                _send_captures(server)
                answers = {"tables": rows_of(server), **read_models(server), "image": image}
                answers["next"] = [row["trace_id"] for row in server.get(f"{LIST}&cursor={answers['page']['next_cursor']}")["traces"]]
                server.kill()
    _pack(version, "server", data)
    return answers


def _write_nodes(version, folder):
    rng, config = otlp.seeded(72), {}
    with s3.SeaweedFS(folder / "s3") as service:
        for name, more in (("stopped", QUICK), ("killed", QUICK), ("query", 'follow_interval = "200ms"\n')):
            part = "query" if name == "query" else "collector"
            config[name] = Server(folder / name, s3.config(service.address, BUCKET_FOLDER, more), environment=s3.credentials(), part=part)
        stopped, killed, query = config.values()
        with stopped, killed, query:
            for collector in (stopped, killed) * 3:
                collector.send("traces", otlp.traces([otlp.chat(rng) for _ in range(2)]).SerializeToString())
                _until(lambda: collector.get("/api/v1/status")["storage"]["hot_rows"] == 0)
            _until(lambda: query.sql("SELECT count(*) AS n FROM spans") == [{"n": 12}])
            killed.kill()
            killed.configure(s3.config(service.address, BUCKET_FOLDER, HELD))
            with killed:
                killed.send("traces", otlp.traces([otlp.chat(rng) for _ in range(2)]).SerializeToString())
                killed.kill()
            stopped.stop()
            answers = {"tables": rows_of(query)}
        for name in service.objects(f"{BUCKET_FOLDER}/"):
            path = folder / "nodes" / "bucket" / name.removeprefix(f"{BUCKET_FOLDER}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(service.request("GET", f"/assay/{urllib.request.quote(name, safe='/=')}"))
    for name in ("stopped", "killed"):
        shutil.copytree(folder / name, folder / "nodes" / name)
    _pack(version, "nodes", folder / "nodes")
    return answers


def _merged(server):
    return server.get("/api/v1/status")["storage"]["jobs"].get("compaction", {}).get("done", 0) > 0


def _send_captures(server):
    for requests in capture_files.scenarios("claude-code-json-cli").values():
        for meta, body in requests:
            capture_files.send(server, meta, body)


def _call(server, path, body):
    server.request("POST", path, json.dumps(body).encode(), {"content-type": "application/json"})


def _pack(version, name, folder):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if path.is_file() and not set(relative.parts) & set(PASSING):
                archive.add(path, arcname=str(relative), filter=_plain)
    (version / f"{name}.tar.xz").write_bytes(lzma.compress(packed.getvalue(), preset=9))


def _plain(entry):
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def _until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "the server did not come so far within 60 s"
        time.sleep(0.05)


if __name__ == "__main__":
    known = [int(path.name) for path in versions()] if FORMATS.exists() else []
    written = FORMATS / str(max(known, default=0) + 1)
    _write(written)
    print(f"{written}: {sum(path.stat().st_size for path in written.iterdir())} bytes", file=sys.stderr)
