"""Programs that tests ask, and that `make test` does without."""

import os
import subprocess

from harness import CACHE


def from_go(module, version):
    """A program built from a Go module; once, then taken from the cache."""
    folder = CACHE / "go" / f"{module.replace('/', '-')}-{version}"
    if not (folder / "complete").exists():
        environment = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-modcacherw", "GOPATH": str(CACHE / "go" / "path")}
        subprocess.run(["go", "install", f"{module}@{version}"], env=environment, check=True)
        (folder / "complete").touch()
    return next(path for path in folder.iterdir() if path.name != "complete")
