"""A store that fails in each way that stores and networks fail, for a while, under load: what was acknowledged is there, once; senders are told to
wait, and are acknowledged again when it is over.

`ASSAY_OUTAGE_SECONDS` is how long each failure lasts (1, so that the tests are quick); `make outages MINUTES=5` lets each last minutes. The kinds
are those of `s3.FAULTS`: every request meets it, reads included.
"""

import os
import threading
import time
from contextlib import ExitStack

import clickhouse_server
import pytest
import s3
import senders
from harness import Refused, Server

SECONDS = float(os.environ.get("ASSAY_OUTAGE_SECONDS") or 1)
# Longer than a request to either store may take, if there is time for it.
HANG_SECONDS = min(SECONDS / 2, 40)
RECOVERY_SECONDS = 120
# The log is full in a moment.
SETTINGS = 'flush_interval = "300ms"\nflush_bytes = "256KiB"\nhot_bytes_max = "4MiB"\nwal_bytes_max = "4MiB"\ncompaction_interval = "5s"'
SEED = 20261121


class PatientLoad(senders.Load):
    """Keeps count of who was told to come again, and of who had to wait for an answer as long as half an outage. Whatever is not an
    acknowledgement must say that it is not for good."""

    def __init__(self, server, seed):
        self.told, self.waited = 0, 0
        self.answered = threading.Event()
        super().__init__(server, seed)

    def _send_until_acknowledged(self, body):
        while True:
            sent = time.monotonic()
            try:
                self.server.send("traces", body)
                self.waited += time.monotonic() - sent > SECONDS / 2
                self.answered.set()
                return
            except Refused as refused:
                assert refused.status in (429, 503) and int(refused.headers["Retry-After"]) > 0, refused
                self.told += 1
            # Sooner than it was asked to: more load.
            time.sleep(0.05)


def _in_a_bucket(stack, folder):
    service = stack.enter_context(s3.service(folder / "store"))
    proxy = stack.enter_context(s3.Proxy(service.address, SEED))
    return proxy, Server(folder / "data", s3.config(proxy.address, "outage", SETTINGS), environment=s3.credentials())


def _in_clickhouse(stack, folder):
    service = stack.enter_context(clickhouse_server.ClickHouse(folder / "store"))
    proxy = stack.enter_context(s3.Proxy(service.address, SEED))
    server = Server(folder / "data", clickhouse_server.config(proxy.address, "outage", SETTINGS))
    return proxy, clickhouse_server.migrated(server)


@pytest.mark.parametrize("store", [_in_a_bucket, _in_clickhouse], ids=["bucket", "clickhouse"])
def nothing_acknowledged_is_lost_or_doubled_and_nobody_is_refused_for_good(store, tmp_path):
    with ExitStack() as stack:
        proxy, server = store(stack, tmp_path)
        proxy.hang_seconds = HANG_SECONDS
        server.start()
        load = PatientLoad(server, SEED)
        try:
            for fault in s3.FAULTS:
                load.run_for(0.5)
                told_before, waited_before = load.told, load.waited
                proxy.failing(1, (fault,))
                load.run_for(SECONDS)
                proxy.failing(0)
                mended = time.monotonic()
                _until_acknowledged(load)
                again = time.monotonic() - mended
                told, waited = load.told - told_before, load.waited - waited_before
                _until(lambda: server.get("/api/v1/status")["storage"]["hot_rows"] == 0, "all rows in the store")
                acknowledged = load.acknowledged()
                senders.assert_stored_once(server, acknowledged)
                print(f"{fault} for {SECONDS:.0f} s: {waited} waited, {told} told to come again, acknowledged again after {again:.1f} s, {len(acknowledged)} spans are there once")
                assert waited + told > 0, "the load was too light to prove anything"
        finally:
            proxy.failing(0)
            load.end()
        senders.assert_ledger(server, load.acknowledged(), load.refused)
        server.kill()
        server.start()
        senders.assert_stored_once(server, load.acknowledged())
        server.stop()


def _until_acknowledged(load):
    load.answered.clear()
    deadline = time.monotonic() + RECOVERY_SECONDS
    while not load.answered.is_set():
        assert time.monotonic() < deadline, f"nothing was acknowledged within {RECOVERY_SECONDS} s of the end of the outage"
        load.run_for(0.2)


def _until(holds, what):
    deadline = time.monotonic() + RECOVERY_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"{what} was not seen within {RECOVERY_SECONDS} s"
        time.sleep(0.1)
