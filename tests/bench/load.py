"""The load generator (`tests/bench/load`, built beside the server as `assay-load`): what it sends, and what it found."""

import itertools
import json
import os
import struct
import subprocess
from pathlib import Path

import harness

# Each run renews identifiers in its own way, so that nothing is sent twice to one server.
_SEEDS = itertools.count(1)


class Corpus:
    """Request bodies in a file, for the generator to renew and send as often as it takes.

    What it renews on the way is described in `load/src/corpus.rs`: identifiers, times, runs of `~`, the token counts of `templates`.
    """

    def __init__(self, path, bodies):
        self.path = Path(path)
        with self.path.open("wb") as file:
            for body in bodies:
                file.write(struct.pack("<I", len(body)) + body)


def send(server, corpus, protocol="http", connections=8, **until):
    """Sends until one of `spans`, `bytes`, `seconds` is reached; `rate` is in requests per second. Nothing may have been refused."""
    address = server.addresses["otlp_grpc" if protocol == "grpc" else "http"]
    return send_to(address, corpus, protocol, connections, **until)


def send_to(address, corpus, protocol="http", connections=8, headers=(), **until):
    """The same to any OTLP server."""
    options = [f"--{key}={value}" for key, value in until.items()] + [f"--header={header}" for header in headers]
    options += [f"--protocol={protocol}", f"--connections={connections}", f"--seed={next(_SEEDS)}"]
    found = _run("send", corpus, f"--to={address}", *options)
    if found["refused"] or found["rejected_spans"]:
        raise AssertionError(f"{found['refused']} requests and {found['rejected_spans']} spans were refused: {found['first_refusal']}")
    return found


def floor(corpus, **until):
    """CPU seconds that decoding (prost) and compressing (zstd 1) the same bytes once takes, with how much that was."""
    found = _run("floor", corpus, *(f"--{key}={value}" for key, value in until.items()))
    return {**found, "cpu_seconds": found["decode_cpu_seconds"] + found["pack_cpu_seconds"]}


def _run(command, corpus, *options):
    environment = {**os.environ, "RUST_BACKTRACE": "0"}
    done = subprocess.run([_binary(), command, corpus.path, *options], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise AssertionError(f"assay-load {command} ended with status {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def _binary():
    """`$ASSAY_LOAD`, else the one beside the server's binary."""
    path = Path(os.environ.get("ASSAY_LOAD") or harness.binary().with_name("assay-load"))
    if not path.is_file():
        raise SystemExit(f"found no load generator at `{path}`: build it (`cargo build --release --package assay-load`) or name one in ASSAY_LOAD")
    return path
