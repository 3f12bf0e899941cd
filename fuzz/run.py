"""`make fuzz MINUTES=n`: runs every target under libFuzzer, n minutes each, and prints what came of it.

Corpora are kept in `$ASSAY_CACHE/fuzz`, so that the next run goes on from there. A failing input is kept in `fuzz/artifacts`; moved to
`fuzz/regressions/TARGET-what-it-is`, `make test` runs it for ever.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# What one process may hold, whatever the input; the targets themselves hold each single input to less.
RSS_MB_MAX = 2048
# Threads of the server have stacks of this size.
STACK_BYTES = 2 << 20
# One input may take this long, in a build that is not optimised throughout.
INPUT_SECONDS_MAX = 25


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--binary", type=Path, required=True)
    arguments.add_argument("--minutes", type=float, default=1)
    arguments.add_argument("--corpus", type=Path, required=True)
    arguments.add_argument("--target", action="append")
    given = arguments.parse_args()
    targets = re.findall(r'Target \{\s*name: "(\w+)"', (HERE / "src" / "targets.rs").read_text())
    print(f"{'target':<16}{'executions':>12}{'per s':>8}{'paths at start':>16}{'new':>7}{'corpus':>8}{'RSS MB':>8}  result")
    failed = False
    for target in given.target or targets:
        failed |= not run(given, target)
    sys.exit(failed)


def run(given, target):
    corpus, seeds, artifacts = given.corpus / target, given.corpus / f"{target}-seeds", HERE / "artifacts"
    for folder in (corpus, seeds, artifacts):
        folder.mkdir(parents=True, exist_ok=True)
    # libFuzzer looks at the seed folder before the target writes it: a first run over nothing does.
    environment = {**os.environ, "ASSAY_FUZZ_TARGET": target, "ASSAY_FUZZ_SEEDS": str(seeds)}
    subprocess.run([given.binary, "-runs=0"], env=environment, capture_output=True, preexec_fn=small_stack, check=True)
    del environment["ASSAY_FUZZ_SEEDS"]
    command = [given.binary, corpus, seeds, f"-artifact_prefix={artifacts}/{target}-", f"-max_total_time={int(given.minutes * 60)}"]
    command += [f"-rss_limit_mb={RSS_MB_MAX}", f"-timeout={INPUT_SECONDS_MAX}", "-print_final_stats=1", "-max_len=16384"]
    log = given.corpus / f"{target}.log"
    with log.open("w") as file:
        done = subprocess.run(command, env=environment, stdout=file, stderr=file, preexec_fn=small_stack, check=False)
    text = log.read_text(errors="replace")
    paths = [int(n) for n in re.findall(r"\bcov: (\d+)", text)]
    stat = {name: int(n) for name, n in re.findall(r"stat::(\w+):\s+(\d+)", text)}
    start = re.search(r"INITED cov: (\d+)", text)
    begun = int(start[1]) if start else 0
    result = "no failure" if done.returncode == 0 else f"FAILED: {failure(text)}; see {log}"
    print(
        f"{target:<16}{stat.get('number_of_executed_units', 0):>12}{stat.get('average_exec_per_sec', 0):>8}{begun:>16}"
        f"{(max(paths, default=0) - begun):>7}{len(list(corpus.iterdir())):>8}{stat.get('peak_rss_mb', 0):>8}  {result}",
        flush=True,
    )
    return done.returncode == 0


def failure(text):
    """The first line that says what went wrong, and where the input is."""
    said = re.search(r"(panicked at .*\n.*|ERROR: libFuzzer: .*)", text)
    kept = re.search(r"Test unit written to (\S+)", text)
    return f"{said[0] if said else 'ended'} {kept[1] if kept else ''}".replace("\n", " ")[:300]


def small_stack():
    resource.setrlimit(resource.RLIMIT_STACK, (STACK_BYTES, resource.getrlimit(resource.RLIMIT_STACK)[1]))


if __name__ == "__main__":
    main()
