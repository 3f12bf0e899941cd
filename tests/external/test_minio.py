"""The lake in a bucket of MinIO: every claim of `test_s3.py`, and outages, with MinIO in the place of SeaweedFS. It is built from source (Go)."""

import os
import subprocess
import sys

import programs
from harness import TESTS

# The newest there is: MinIO names its releases by date, which Go does not take for versions.
VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
TESTED = ("test_s3.py", "test_outages.py::nothing_acknowledged_is_lost_or_doubled_and_nobody_is_refused_for_good[bucket]")


def minio_serves_as_a_bucket():
    environment = {**os.environ, "ASSAY_MINIO": str(programs.from_go("github.com/minio/minio", VERSION))}
    command = [sys.executable, "-m", "pytest", *TESTED]
    done = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
