"""The benchmarks run, at a size that says nothing about speed: so that `make bench` works when it is needed."""

import json
import os
import re
import subprocess
import sys

import harness
from harness import TESTS


def every_benchmark_runs(tmp_path):
    variables = {**os.environ, "ASSAY_BINARY": str(harness.binary()), "TMPDIR": str(tmp_path)}
    command = [sys.executable, TESTS / "bench", "--scale", "0.001", "--json", tmp_path / "bench.json"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "bench.json").read_text())
    assert report == json.loads(done.stdout.splitlines()[-1])
    assert report["machine"]["cores"] == os.cpu_count() and report["version"]["assay"].startswith("assay ")
    listed = subprocess.check_output([sys.executable, TESTS / "bench", "--list"], env=variables, text=True)
    groups = re.split(r"^(?=\w)", listed, flags=re.MULTILINE)
    expected = {name for group in groups if "(only if named)" not in group for name in re.findall(r"^  (\w+)", group, re.MULTILINE)}
    assert expected == {result["measure"] for result in report["results"]}
    for result in report["results"]:
        assert isinstance(result["value"], (int, float)) and result["unit"] and result["input"], result
