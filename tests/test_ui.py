"""The journeys of `ui/e2e`, in a real Chromium, against the real server with captured traces and demo traffic in it."""

import os
import subprocess

import capture_files as captures
from harness import REPOSITORY, Server


def browser_journeys_pass(tmp_path):
    with Server(tmp_path / "data") as server:
        for folder in captures.FOLDERS:
            for files in captures.scenarios(folder).values():
                for meta, body in files:
                    captures.send(server, meta, body)
        server.cli("demo", "--seed", "7", "--traces", "300", "--days", "2")
        variables = {**os.environ, "ASSAY_URL": server.url, "CI": "1"}
        done = subprocess.run(["npm", "run", "e2e"], cwd=REPOSITORY / "ui", env=variables, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
