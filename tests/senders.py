"""Senders that behave as OTLP clients do while the server crashes or its store fails, and what must be true afterwards."""

import threading
import time
import urllib.error
from http.client import HTTPException

import telemetry as otlp
from harness import Refused

SENDERS = 4
SPANS_PER_REQUEST = 25


class Load:
    """Senders that behave as OTLP clients do: a request that got no answer is sent again, unchanged, until it gets one."""

    def __init__(self, server, seed, sizes=None):
        """`sizes` says with a random generator how many spans a request has."""
        self.server = server
        self.refused = 0
        self._sizes = sizes or (lambda _: SPANS_PER_REQUEST)
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
                spans = [otlp.chat(rng, text="x" * rng.randrange(2000)) for _ in range(self._sizes(rng))]
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


def mostly_small(rng):
    """Sizes that come in another order than they are decided in: what is small overtakes what is large."""
    return 500 if rng.random() < 0.03 else 1


def under_failures(server, seed, failures, mended):
    """Sends to `server`, which runs, while each of `failures` (called with the load) is about; kills it after each, calls `mended`, starts it
    again. All that was acknowledged must be there once, each time and after a last restart. Returns the load, which has ended."""
    load = Load(server, seed)
    try:
        for fail in failures:
            fail(load)
            server.kill()
            mended()
            server.start()
            assert_stored_once(server, load.acknowledged())
        load.run_for(0.3)
    finally:
        mended()
        load.end()
    acknowledged = load.acknowledged()
    server.stop()
    server.start()
    assert_stored_once(server, acknowledged)
    assert len(acknowledged) > 500, "the load was too light to prove anything"
    return load


class LargeRequests:
    """Requests of 100 KB to `server`, one at a time: what was acknowledged, and with which status and patience others were refused."""

    def __init__(self, server, rng):
        self.server, self.rng = server, rng
        self.acknowledged, self.refusals = set(), []

    def send(self):
        spans = [otlp.chat(self.rng, text="x" * 5000) for _ in range(20)]
        try:
            self.server.send("traces", otlp.traces(spans).SerializeToString())
        except Refused as refused:
            self.refusals.append((refused.status, refused.headers.get("Retry-After")))
        else:
            self.acknowledged.update(span.span_id.hex() for span in spans)

    def until_told_to_wait(self):
        while len(self.refusals) < 10:
            self.send()
        assert {status for status, _ in self.refusals} <= {429, 503} and all(int(wait) > 0 for _, wait in self.refusals), self.refusals

    def acknowledges_again(self):
        """Whether a request is acknowledged, of which it sends one."""
        before = len(self.acknowledged)
        self.send()
        return len(self.acknowledged) > before


def assert_stored_once(server, acknowledged):
    """Every acknowledged span is there, and none twice."""
    rows = server.sql("SELECT span_id, count(*) AS n FROM spans GROUP BY span_id", row_limit=1_000_000)
    stored = {row["span_id"]: row["n"] for row in rows}
    missing = acknowledged - stored.keys()
    twice = [span_id for span_id, n in stored.items() if n > 1]
    assert not missing, f"{len(missing)} of {len(acknowledged)} acknowledged spans are missing, e.g. {sorted(missing)[:3]}"
    assert not twice, f"{len(twice)} of {len(stored)} spans are there more than once: {_where(server, twice)}"


def _where(server, span_ids):
    """Rows of the first of them: one position means that a flush is there twice, several that a request was taken for a new one."""
    names = ", ".join(f"'{span_id}'" for span_id in span_ids[:3])
    return server.sql(f"SELECT span_id, wal_position, received_at FROM spans WHERE span_id IN ({names}) ORDER BY 1, 2")


def assert_ledger(server, acknowledged, refused):
    """The ledger balances: accepted is stored and quarantined."""
    ledger = server.sql(
        "SELECT sum(accepted) AS accepted, sum(stored) AS stored, sum(quarantined) AS quarantined FROM ingest_ledger WHERE signal = 'traces'"
    )[0]
    spans = server.sql("SELECT count(*) AS n FROM spans")[0]["n"]
    quarantined = server.sql("SELECT count(*) AS n FROM quarantine")[0]["n"]
    assert ledger["accepted"] == ledger["stored"] + ledger["quarantined"], ledger
    assert ledger["stored"] == spans == len(acknowledged), (ledger, spans, len(acknowledged))
    assert ledger["quarantined"] == quarantined >= refused, (ledger, quarantined, refused)
