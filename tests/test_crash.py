"""kill -9 at random moments under load: nothing acknowledged is lost, nothing is there twice, the ledger balances.

Property: after every crash and replay, the spans visible are exactly those that some request carried and the server acknowledged, each
once, whatever the client had to send again. `ASSAY_CRASH_SEED` and `ASSAY_CRASH_KILLS` change the run; the seed is printed.
"""

import os

import senders
import telemetry as otlp
from harness import Server

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
    load = senders.Load(server, rng.randrange(2**32))
    try:
        for _ in range(kills):
            load.run_for(rng.uniform(0.02, 0.6))
            server.kill()
            server.start()
            senders.assert_stored_once(server, load.acknowledged())
        load.run_for(0.2)
    finally:
        load.end()
    # What is visible must also be what is durable: once more from disk alone, after an orderly end.
    acknowledged = load.acknowledged()
    server.stop()
    server.start()
    senders.assert_stored_once(server, acknowledged)
    senders.assert_ledger(server, acknowledged, load.refused)
    server.stop()
    assert len(acknowledged) > kills * senders.SPANS_PER_REQUEST, "the load was too light to prove anything"
