"""The lake in a bucket of another service: every claim of `test_s3.py`, outages, and several nodes over one bucket, with that service in the place of
SeaweedFS. MinIO is one that people run. Azurite and fake-gcs-server emulate Azure and Google; whether these answer as they do, no test asks."""

import os
import subprocess
import sys

import harness
import programs
import pytest
from harness import TESTS

TESTED = (
    "test_s3.py",
    "test_outages.py::nothing_acknowledged_is_lost_or_doubled_and_nobody_is_refused_for_good[bucket]",
    "test_roles.py::nothing_is_lost_or_doubled_or_seen_differently_whichever_node_is_killed",
)
# The variable that names the service's program to `s3.py`, how to come by the program, and what the service cannot do.
SERVICES = {
    # The newest there is: MinIO names its releases by date, which Go does not take for versions.
    "minio": ("ASSAY_MINIO", lambda: programs.from_go("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c"), ()),
    "azurite": ("ASSAY_AZURITE", lambda: harness.node_environment(TESTS / "external" / "azurite"), ()),
    # It knows no uploads in parts.
    "fake-gcs-server": (
        "ASSAY_FAKE_GCS",
        lambda: programs.from_go("github.com/fsouza/fake-gcs-server", "v1.56.1"),
        ("test_s3.py::a_large_blob_goes_up_in_parts_and_comes_back",),
    ),
}


@pytest.mark.parametrize("service", SERVICES)
def another_service_serves_as_a_bucket(service):
    variable, program, cannot = SERVICES[service]
    command = [sys.executable, "-m", "pytest", *TESTED, *(f"--deselect={test}" for test in cannot)]
    done = subprocess.run(command, cwd=TESTS, env={**os.environ, variable: str(program())}, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
