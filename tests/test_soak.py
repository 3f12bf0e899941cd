"""`assay probe` against the real server: what is there is found equal, what is lost is found out, and kill -9 at any moment costs nothing.

The long form is `make soak KILLS=200`.
"""

import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

import harness
import telemetry as otlp
from harness import REPOSITORY, Refused, Server

# Short intervals, so that kills fall into flushes, commits and compactions too, not only between them.
CONFIG = """
[storage]
flush_interval = "300ms"
flush_bytes = "256KiB"
compaction_interval = "1s"
"""


def a_prober_finds_everything_equal_under_kill_9(tmp_path):
    seed = int(os.environ.get("ASSAY_SOAK_SEED") or 20261121)
    kills = int(os.environ.get("ASSAY_SOAK_KILLS") or 6)
    print(f"seed {seed}, {kills} kills (ASSAY_SOAK_SEED, ASSAY_SOAK_KILLS)")
    rng = otlp.seeded(seed)
    server = Server(tmp_path / "data", CONFIG, keep_addresses=True).start()
    load = _Load(server, rng.randrange(2**32))
    # One looks at everything it sent. The other mostly sends, so that kills fall into its requests.
    mostly_sends = ["--look-every", "16"]
    probers = [
        _Prober(server, tmp_path / f"state-{n}.json", rng.randrange(2**32), f"probe-{n}", more)
        for n, more in enumerate([[], mostly_sends])
    ]
    figures = _Figures()
    try:
        for _ in range(kills):
            # At a moment of its own, but not before they got on since the last kill.
            sent = probers[1].sent()
            load.wait(rng.uniform(0.05, 1.2))
            probers[1].wait_until_sent(sent + 2, load)
            figures.before_kill(server, probers[1], load)
            server.kill()
            figures.started(server)
        # A prober that is killed too goes on where it was.
        probers[0].process.kill()
        probers[0].process.wait()
        sent = probers[0].sent()
        probers[0] = _Prober(server, tmp_path / "state-0.json", project="probe-0")
        probers[0].wait_until_sent(sent + 2, load)
        summaries = [prober.end() for prober in probers]
    finally:
        load.end()
        for prober in probers:
            prober.process.kill()
    figures.print()
    # Fewer kills say nothing about growth.
    if kills >= 20:
        figures.are_flat()
    for prober, (status, summary) in zip(probers, summaries):
        print(json.dumps({key: value for key, value in summary.items() if key != "inequalities"}))
        assert status == 0 and summary["outcome"] == "equal", summary
        assert summary["stored"]["calls"] > 0 and set(summary["checks"]) >= {"visible", "trace", "otlp", "search", "window", "total"}
    assert summaries[1][1]["retries"] > 0, "no kill was noticed: the load was too light to prove anything"
    # Once more from disk alone, after an orderly end.
    server.stop()
    server.start()
    for n in range(2):
        status, summary = _Prober(server, tmp_path / f"state-{n}.json", project=f"probe-{n}", more=["--rounds", "1"]).ended()
        assert status == 0, summary
    server.stop()


def a_prober_says_what_was_lost(tmp_path):
    server = Server(tmp_path / "data", keep_addresses=True).start()
    state = tmp_path / "state.json"
    status, summary = _Prober(server, state, more=["--rounds", "2"]).ended()
    assert (status, summary["outcome"], summary["unequal"]) == (0, "equal", 0), summary
    server.stop()
    shutil.rmtree(tmp_path / "data")
    server.start()
    status, summary = _Prober(server, state, more=["--rounds", "1"]).ended()
    server.stop()
    assert (status, summary["outcome"]) == (1, "unequal")
    assert {found["check"] for found in summary["inequalities"]} == {"window", "total"}, summary["inequalities"]


def a_prober_finds_a_row_that_is_there_twice(server, tmp_path):
    state = tmp_path / "state.json"
    assert _Prober(server, state, more=["--rounds", "2"]).ended()[0] == 0
    trace = server.sql("SELECT trace_id FROM spans LIMIT 1")[0]["trace_id"]
    copy = server.get(f"/api/v1/traces/{trace}/otlp")
    # The same spans, as if they had begun a nanosecond later: other records of the same identity.
    for scope in [scope for resource in copy["resourceSpans"] for scope in resource["scopeSpans"]]:
        for span in scope["spans"]:
            span["startTimeUnixNano"] = str(int(span["startTimeUnixNano"]) + 1)
    server.send("traces", json.dumps(copy).encode(), "application/json")
    status, summary = _Prober(server, state, more=["--rounds", "1"]).ended()
    assert (status, summary["outcome"]) == (1, "unequal"), summary


def a_prober_says_that_nobody_is_there(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    command = [harness.binary(), "probe", "--target", url, "--patience", "200ms", "--json"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 2, done
    assert json.loads(done.stdout)["outcome"] == "unreachable"


def the_documented_metrics_of_the_prober_are_those_there_are(server, tmp_path):
    prober = _Prober(server, tmp_path / "state.json", more=["--metrics", "127.0.0.1:0"])
    url = re.search(rb"http://\S+/metrics", prober.process.stderr.readline())[0].decode()
    text = ""
    while 'assay_probe_checks_total{check="window"}' not in text:
        assert prober.process.poll() is None
        text = urllib.request.urlopen(url, timeout=10).read().decode()
    assert prober.end()[0] == 0
    # A counter with labels shows once it has counted.
    served = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE)) | {"assay_probe_unequal_total"}
    page = (REPOSITORY / "docs" / "probe.md").read_text()
    assert served == set(re.findall(r"^\| `(assay_\w+)`", page, re.MULTILINE))


def every_flag_of_the_prober_is_documented():
    help_text = subprocess.run([harness.binary(), "probe", "--help"], capture_output=True, check=True).stdout.decode()
    flags = set(re.findall(r"(--[a-z-]+)", help_text)) - {"--help", "--version"}
    documented = set(re.findall(r"`(--[a-z-]+)", (REPOSITORY / "docs" / "probe.md").read_text()))
    assert flags == documented


class _Figures:
    """What is measured at each kill. Over many kills nothing may grow but the data."""

    def __init__(self):
        self._begun = time.monotonic()
        self._acknowledged = 0
        self._kinds = {"server RSS, MB": [], "prober RSS, MB": [], "start after the kill, ms": []}

    def before_kill(self, server, prober, load):
        """Notes what the processes hold."""
        self._kinds["server RSS, MB"].append(_rss_mb(server.process.pid))
        self._kinds["prober RSS, MB"].append(_rss_mb(prober.process.pid))
        self._acknowledged = load.acknowledged

    def started(self, server):
        """Starts the server, and notes how long that takes until it is ready."""
        begun = time.monotonic()
        server.start()
        self._kinds["start after the kill, ms"].append(1000 * (time.monotonic() - begun))

    def print(self):
        """A line for each kind: the median of the first quarter and of the last, and the highest."""
        minutes = (time.monotonic() - self._begun) / 60
        print(f"{minutes:.1f} minutes; the load beside the probers had {self._acknowledged} requests acknowledged")
        for kind, seen in self._kinds.items():
            first, last = self._quarters(seen)
            print(f"{kind}: {first:.0f} at first, {last:.0f} at last, {max(seen):.0f} at most")

    def are_flat(self):
        """Fails if a process of the last quarter holds more than one of the first, by more than chance explains."""
        for kind in ("server RSS, MB", "prober RSS, MB"):
            first, last = self._quarters(self._kinds[kind])
            assert last <= 1.5 * first + 50, f"{kind}: {first:.0f} at first, {last:.0f} at last"

    @staticmethod
    def _quarters(seen):
        quarter = max(1, len(seen) // 4)
        return statistics.median(seen[:quarter]), statistics.median(seen[-quarter:])


def _rss_mb(pid):
    """What the process `pid` holds of memory now."""
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


class _Prober:
    """A running `assay probe` without pauses."""

    def __init__(self, server, state, seed=None, project="default", more=()):
        command = [harness.binary(), "probe", "--target", server.url, "--project", project, "--state", state, "--rate", "0", "--json"]
        command += ["--seed", str(seed)] if seed is not None else []
        self.state = state
        self.process = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def sent(self):
        """Rounds that it sent so far, earlier processes included."""
        return json.loads(self.state.read_text())["next"] if self.state.exists() else 0

    def wait_until_sent(self, rounds, load):
        """Returns when it has sent so many rounds, while `load` goes on."""
        while self.sent() < rounds:
            assert self.process.poll() is None, self.ended()
            load.wait(0.05)

    def end(self):
        """Asks it to end; gives its status and summary."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self):
        """Waits for its end; gives its status and summary."""
        out, err = self.process.communicate(timeout=120)
        assert out, err.decode()
        return self.process.returncode, json.loads(out)


class _Load:
    """Other traffic beside the probers: chat spans with texts of any size, again and again, whoever answers."""

    def __init__(self, server, seed):
        self.server = server
        self.acknowledged = 0
        self._ended = threading.Event()
        rng = otlp.seeded(seed)
        self._bodies = [
            otlp.traces([otlp.chat(rng, text="x" * rng.randrange(8000)) for _ in range(rng.randrange(1, 100))]).SerializeToString()
            for _ in range(20)
        ]
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def wait(self, seconds):
        """Lets it send for so long."""
        self._ended.wait(seconds)

    def end(self):
        """Ends it."""
        self._ended.set()
        self._thread.join(timeout=60)
        assert not self._thread.is_alive(), "the load got no answer within 60 s"

    def _send(self):
        turn = 0
        while not self._ended.wait(0.02):
            try:
                self.server.send("traces", self._bodies[turn % len(self._bodies)], project="load")
                self.acknowledged += 1
            except (Refused, urllib.error.URLError, HTTPException, OSError):
                pass
            turn += 1
