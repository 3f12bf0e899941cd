"""What the figures were measured on, so that two runs can be compared: the machine, its disk, the version of Assay."""

import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import harness


def description():
    """Machine, disk and version, as JSON has it."""
    folder = Path(tempfile.gettempdir())
    return {
        "cores": os.cpu_count(),
        "cpu": _first(Path("/proc/cpuinfo"), "model name"),
        "memory_gb": round(int(_first(Path("/proc/meminfo"), "MemTotal").split()[0]) / 1e6, 1),
        "kernel": platform.release(),
        "disk": {"folder": str(folder), "filesystem": _filesystem(folder), "fsync_ms": _fsync_ms(folder)},
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def version():
    """What was measured: the version the binary says, and the commit of this checkout."""
    said = subprocess.check_output([harness.binary(), "--version"], text=True).strip()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=harness.REPOSITORY, capture_output=True, text=True)
    return {"assay": said, "commit": commit.stdout.strip() or None, "binary_mb": round(harness.binary().stat().st_size / 1e6)}


def _filesystem(folder):
    """Type and device of the file system that holds `folder`: the mount with the longest path above it."""
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [mount for mount in mounts if folder.resolve().is_relative_to(mount[1])]
    device, _, kind = max(above, key=lambda mount: len(mount[1]))
    return f"{kind} on {device}"


def _fsync_ms(folder):
    """Median and 99th percentile of writing 4 KiB to the end of a file and waiting for the disk."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(100):
            started = time.perf_counter()
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    times.sort()
    return {"p50": round(statistics.median(times), 2), "p99": round(times[98], 2)}


def _first(path, key):
    """The value of the first line `key: value`."""
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == key), "unknown")
