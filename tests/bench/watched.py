"""What the operating system says about a running process: CPU time, memory, bytes written. And when Assay has come to rest."""

import os
import time
from pathlib import Path

# Files are merged soon, so that what they are at rest is known before long.
MERGE_SOON = '[storage]\ncompaction_interval = "5s"\n'
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """CPU time of a process so far, all threads, user and system; of its ended children too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _CLOCK_TICKS


def resident_mb(pid, peak=False):
    """Resident memory in MB (2^20): now, or the most there has been since `forget_peak`."""
    key = "VmHWM" if peak else "VmRSS"
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{key}:")).split()[1]) / 1024


def forget_peak(pid):
    """From here on the peak of resident memory is counted anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def bytes_written(pid):
    """Bytes the process caused to be written to the disk so far."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes:")).split()[1])


def until_flushed(server):
    """Returns when every row received is in a committed file."""
    while server.get("/api/v1/status")["storage"]["hot_rows"]:
        time.sleep(0.25)


def until_at_rest(server):
    """Returns when everything is in files and compaction, run as `MERGE_SOON` says, finds nothing to do."""
    before = None
    while True:
        storage = server.get("/api/v1/status")["storage"]
        compaction = storage["jobs"].get("compaction", {})
        rests = not storage["hot_rows"] and not compaction.get("running")
        if rests and before == (compaction.get("done"), storage["tables"]["spans"]["files"]):
            return
        before = (compaction.get("done"), storage["tables"]["spans"]["files"]) if rests else None
        # Longer than the pause between two rounds of compaction; in a small run there is nothing to wait for.
        time.sleep(8 if storage["tables"]["spans"]["rows"] > 100_000 else 0.2)
