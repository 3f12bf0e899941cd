"""Arize Phoenix and MLflow as they come from PyPI, sent the same bodies by OTLP/HTTP: what a stored span costs them, and Assay beside them.

Each is installed into an environment of its own (`peers/*.txt`, every version pinned) and runs with what it takes by default: SQLite. They
acknowledge before they store, so CPU counts until their database has every span. They are slow, so they are sent few. By name only.
"""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import harness
import load
import templates
import watched
from measures import Figure, measures

# What they are sent; Assay is sent as many as a steady state needs.
SPANS, SPANS_TO_ASSAY, BATCH = 10_000, 500_000, 100
START_TIMEOUT_SECONDS, STORE_TIMEOUT_SECONDS = 300, 1800
UNIT = "CPU s per million spans"


@dataclass(frozen=True)
class Peer:
    """A server to install and to send to. `command` and `environment` may name {bin}, {folder} and {port}."""

    name: str
    command: tuple
    database: str
    ready: str
    times_less: float
    aim: float
    environment: dict = field(default_factory=dict)
    headers: tuple = ()

    @property
    def cost(self):
        return Figure(f"{self.name}_cost", f"CPU of {self.name} per million 0.5 KB spans sent and stored", UNIT)

    @property
    def ratio(self):
        what = f"CPU of {self.name} against Assay's on the same bodies, stored"
        return Figure(f"{self.name}_ratio", what, "x", self.times_less, self.aim, at_least=True)


PEERS = [
    Peer(
        "phoenix",
        ("{bin}/phoenix", "serve"),
        "phoenix.db",
        "/healthz",
        500,
        1500,
        environment={"PHOENIX_WORKING_DIR": "{folder}", "PHOENIX_PORT": "{port}", "PHOENIX_GRPC_PORT": "{other_port}", "PHOENIX_HOST": "127.0.0.1"},
    ),
    Peer(
        "mlflow",
        ("{bin}/mlflow", "server", "--host", "127.0.0.1", "--port", "{port}", "--backend-store-uri", "sqlite:///{folder}/mlflow.db"),
        "mlflow.db",
        "/health",
        150,
        500,
        headers=("x-mlflow-experiment-id:0",),
    ),
]


@measures(*(figure for peer in PEERS for figure in (peer.cost, peer.ratio)), by_name_only=True)
def peers(bench):
    """The same small spans to Assay and to each."""
    corpus = templates.corpus(bench.folder, templates.small, BATCH)
    assay = _assay(bench, corpus)
    for peer in PEERS:
        if bench.wants(peer.cost) or bench.wants(peer.ratio):
            seconds, n_spans, broken, wall = _measure(bench, peer, corpus)
            per_million = seconds / n_spans * 1e6
            of_what = f"{n_spans} spans of 0.5 KB in batches of {BATCH}; Assay {bench.scaled(SPANS_TO_ASSAY)}"
            yield peer.cost.found(per_million, of_what, seconds_until_stored=wall, broken_connections=broken)
            yield peer.ratio.found(per_million / assay, of_what, assay_cpu_per_million=assay)


def _assay(bench, corpus):
    """CPU seconds of Assay per million spans until they are in committed files."""
    with harness.Server(bench.folder / "assay", bench.config) as server:
        before = watched.cpu_seconds(server.process.pid)
        sent = load.send(server, corpus, spans=bench.scaled(SPANS_TO_ASSAY))
        watched.until_flushed(server)
        return (watched.cpu_seconds(server.process.pid) - before) / sent["spans"] * 1e6


def _measure(bench, peer, corpus):
    """CPU seconds of all processes of a peer from the first span until all are stored, how many, connections it broke, and the time."""
    folder = bench.folder / peer.name
    folder.mkdir()
    with _running(peer, folder) as (group, port):
        # The first requests import and compile what later ones find ready.
        warm = load.send_to(f"127.0.0.1:{port}", corpus, connections=1, spans=BATCH, headers=peer.headers)["spans"]
        _until_stored(folder / peer.database, warm)
        before, started = _cpu_of_group(group), time.perf_counter()
        sent = load.send_to(f"127.0.0.1:{port}", corpus, connections=2, spans=bench.scaled(SPANS), headers=peer.headers)
        _until_stored(folder / peer.database, warm + sent["spans"])
        return _cpu_of_group(group) - before, sent["spans"], sent["broken_connections"], time.perf_counter() - started


@contextlib.contextmanager
def _running(peer, folder):
    """A peer that answers, in a process group of its own: its identifier and the port."""
    values = {
        "bin": harness.environment(Path(__file__).parent / "peers" / f"{peer.name}.txt") / "bin",
        "folder": folder,
        "port": _free_port(),
        "other_port": _free_port(),
    }
    environment = {**os.environ, **{key: value.format(**values) for key, value in peer.environment.items()}}
    command = [part.format(**values) for part in peer.command]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder, start_new_session=True)
    try:
        _until_ready(f"http://127.0.0.1:{values['port']}{peer.ready}", process, folder / "log")
        yield process.pid, values["port"]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _until_ready(url, process, log):
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"`{url}` does not answer:\n{log.read_text(errors='replace')[-3000:]}") from None
            time.sleep(0.5)


def _until_stored(database, n_spans):
    """Returns when the table `spans` has so many rows. Counting is this process's CPU, not the peer's."""
    deadline = time.monotonic() + STORE_TIMEOUT_SECONDS
    while (found := _stored(database)) < n_spans:
        if time.monotonic() > deadline:
            raise AssertionError(f"found {found} spans in `{database.name}` after {STORE_TIMEOUT_SECONDS} s, expected {n_spans}")
        time.sleep(0.5)


def _stored(database):
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute("SELECT count(*) FROM spans").fetchone()[0]


def _cpu_of_group(group):
    """CPU seconds so far of the processes of a group, and of those of their children that ended."""
    total = 0.0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                total += watched.cpu_seconds(entry.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
