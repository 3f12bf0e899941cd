"""kill -9 at random moments under load: nothing acknowledged is lost, nothing is there twice, the ledger balances.

Property: after every crash and replay, the spans visible are exactly those that some request carried and the server acknowledged, each
once, whatever the client had to send again. `ASSAY_CRASH_SEED` and `ASSAY_CRASH_KILLS` change the run; the seed is printed.
"""

import os
import threading
import time
import urllib.error
from http.client import HTTPException

import telemetry as otlp
from harness import Refused, Server

SENDERS = 4
SPANS_PER_REQUEST = 25

# Short intervals, so that kills fall into flushes, commits and compactions too, not only between them.
CONFIG = """
[storage]
flush_interval = "300ms"
flush_bytes = "256KiB"
compaction_interval = "1s"
"""


def every_acknowledged_span_survives_kill_9_exactly_once(tmp_path):
    seed = int(os.environ.get("ASSAY_CRASH_SEED") or 20261121)
    kills = int(os.environ.get("ASSAY_CRASH_KILLS") or 30)
    print(f"seed {seed}, {kills} kills (ASSAY_CRASH_SEED, ASSAY_CRASH_KILLS)")
    rng = otlp.seeded(seed)
    server = Server(tmp_path / "data", CONFIG).start()
    load = _Load(server, rng.randrange(2**32))
    try:
        for _ in range(kills):
            load.run_for(rng.uniform(0.02, 0.6))
            server.kill()
            server.start()
            _check(server, load.acknowledged())
        load.run_for(0.2)
    finally:
        load.end()
    # What is visible must also be what is durable: once more from disk alone, after an orderly end.
    acknowledged = load.acknowledged()
    server.stop()
    server.start()
    _check(server, acknowledged)
    _check_ledger(server, acknowledged, load.refused)
    server.stop()
    assert len(acknowledged) > kills * SPANS_PER_REQUEST, "the load was too light to prove anything"


def _check(server, acknowledged):
    rows = server.sql("SELECT span_id, count(*) AS n FROM spans GROUP BY span_id", row_limit=1_000_000)
    stored = {row["span_id"]: row["n"] for row in rows}
    missing = acknowledged - stored.keys()
    twice = [span_id for span_id, n in stored.items() if n > 1]
    assert not missing, f"{len(missing)} of {len(acknowledged)} acknowledged spans are missing, e.g. {sorted(missing)[:3]}"
    assert not twice, f"{len(twice)} of {len(stored)} spans are there more than once, e.g. {twice[:3]}"


def _check_ledger(server, acknowledged, refused):
    ledger = server.sql(
        "SELECT sum(accepted) AS accepted, sum(stored) AS stored, sum(quarantined) AS quarantined FROM ingest_ledger WHERE signal = 'traces'"
    )[0]
    spans = server.sql("SELECT count(*) AS n FROM spans")[0]["n"]
    quarantined = server.sql("SELECT count(*) AS n FROM quarantine")[0]["n"]
    assert ledger["accepted"] == ledger["stored"] + ledger["quarantined"], ledger
    assert ledger["stored"] == spans == len(acknowledged), (ledger, spans, len(acknowledged))
    assert ledger["quarantined"] == quarantined >= refused, (ledger, quarantined, refused)


class _Load:
    """Senders that behave as OTLP clients do: a request that got no answer is sent again, unchanged, until it gets one."""

    def __init__(self, server, seed):
        self.server = server
        self.refused = 0
        self._acknowledged = set()
        self._lock = threading.Lock()
        self._running = threading.Event()
        self._ended = threading.Event()
        self._failure = None
        self._threads = [threading.Thread(target=self._send, args=(otlp.seeded(seed + n),), daemon=True) for n in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def run_for(self, seconds):
        """Sends for so long, then pauses new requests. A request in flight stays in flight: the kill must hit it."""
        self._running.set()
        time.sleep(seconds)
        self._running.clear()

    def acknowledged(self):
        """Identifiers of the spans acknowledged so far."""
        if self._failure:
            raise self._failure
        with self._lock:
            return set(self._acknowledged)

    def end(self):
        """Lets every request in flight reach its answer, then ends the senders."""
        self._ended.set()
        self._running.set()
        for thread in self._threads:
            thread.join(timeout=60)
            assert not thread.is_alive(), "a sender got no answer within 60 s"
        if self._failure:
            raise self._failure

    def _send(self, rng):
        try:
            while self._running.wait() and not self._ended.is_set():
                spans = [otlp.chat(rng, text="x" * rng.randrange(2000)) for _ in range(SPANS_PER_REQUEST)]
                bad = otlp.span(rng, trace_id=bytes(16)) if rng.random() < 0.1 else None
                request = otlp.traces(spans + ([bad] if bad else []))
                self._send_until_acknowledged(request.SerializeToString())
                with self._lock:
                    self._acknowledged.update(span.span_id.hex() for span in spans)
                    self.refused += bad is not None
        except BaseException as error:
            self._failure = error

    def _send_until_acknowledged(self, body):
        while True:
            try:
                self.server.send("traces", body)
                return
            except Refused as refused:
                if refused.status not in (429, 502, 503, 504):
                    raise
            except (urllib.error.URLError, HTTPException, OSError):
                pass
            # The server is down, starting, or asked for patience. How long a client waits decides nothing here.
            time.sleep(0.02)
