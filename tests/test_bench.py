"""The benchmarks run, at a size that says nothing about speed: so that `make bench` works when it is needed."""

import json
import os
import subprocess
import sys

import harness
from harness import TESTS


def every_benchmark_runs():
    variables = {**os.environ, "ASSAY_BENCH_SCALE": "0.001", "ASSAY_BINARY": str(harness.binary())}
    done = subprocess.run([sys.executable, TESTS / "bench"], env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])["results"]
    assert {"freshness", "start_with_full_wal", "trace_by_id", "strip"} <= {result["measure"] for result in results}
