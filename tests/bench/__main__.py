"""Measures what the project promises, on the release binary: `make bench`. Prints a table and, as its last line, JSON.

`python tests/bench [NAME…]` runs only the measures named (`reads`: all questions over 5 million spans; `strip`: that one of them);
`--list` shows what there is. Inputs are seeded. What moves a figure: the disk's fsync (freshness, acknowledgements), the number of cores,
the page cache (start, cold reads), the build: `ASSAY_BINARY` names the binary, `make bench` takes a release build.
`--json FILE` keeps the results, and `--against FILE` shows those of another run beside what was kept: as so many times the earlier figure.

`ASSAY_BENCH_SCALE=0.01` (or `--scale`) runs it small, as the tests do, to see that it works; its figures then mean nothing.
`ASSAY_BENCH_LAKE=DIR` keeps the folder that `reads` fills, about 2 GB, and uses it again; `ASSAY_QUERYBENCH_LAKE=DIR` that of `querybench`.
"""

import argparse
import importlib
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import machine
import measures

# Each module of this folder registers what it measures, in the order of their names.
for module in sorted(path.stem for path in HERE.glob("[!_]*.py")):
    importlib.import_module(module)


def main():
    """Runs what was asked for. Ends with status 1 if a measure could not be taken, not if a target was missed."""
    arguments = _arguments()
    if arguments.list:
        return _list()
    head = {"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "scale": arguments.scale}
    head |= {"version": machine.version(), "machine": machine.description()}
    print(_about(head), flush=True)
    results, earlier = [], _by_occurrence(json.loads(arguments.against.read_text())["results"] if arguments.against else [])
    for result in measures.results(arguments.names, arguments.scale):
        results.append(result)
        before = earlier.get(list(_by_occurrence(results))[-1])
        print(_line(result, arguments.scale >= 1, before), flush=True)
    report = json.dumps({**head, "results": results})
    if arguments.json:
        arguments.json.write_text(report + "\n")
    print(report)


def _arguments():
    parser = argparse.ArgumentParser(prog="python tests/bench", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a measure or a group of them (default: all that need not be named)")
    parser.add_argument("--list", action="store_true", help="show what there is to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with what an earlier run wrote with --json")
    parser.add_argument("--scale", type=float, default=float(os.environ.get("ASSAY_BENCH_SCALE") or 1), help="size of the inputs, 1 is full")
    return parser.parse_args()


def _list():
    for group in measures.GROUPS:
        print(f"{group.name}{'   (only if named)' if group.by_name_only else ''}")
        for figure in group.figures:
            print(f"  {figure.name:30} {_limit(figure):>10} {figure.unit:26} {figure.what}")


def _about(head):
    about, disk = head["machine"], head["machine"]["disk"]
    return (
        f"{head['version']['assay']} ({head['version']['commit']}), {head['date']}, scale {head['scale']:g}\n"
        f"{about['cores']} cores ({about['cpu']}), {about['memory_gb']} GB, Linux {about['kernel']}, load {about['load_before']:.1f}; "
        f"{disk['filesystem']}, fsync {disk['fsync_ms']['p50']} ms (p99 {disk['fsync_ms']['p99']})\n"
    )


def _by_occurrence(results):
    """Results by name and by how often that name came before: a measure that is taken in steps gives several."""
    seen, found = Counter(), {}
    for result in results:
        found[result["measure"], seen[result["measure"]]] = result
        seen[result["measure"]] += 1
    return found


def _line(result, judged, before):
    """A result as one line: name, value, unit, target, and beside them what else was found as far as it is one number each.

    `judged`: whether it says if the target was missed; of a small run that means nothing. `before`: the same of an earlier run.
    """
    missed = "   MISSED" if judged and result["met"] is False else ""
    compared = f"   {result['value'] / before['value']:.2f} x" if before and before["value"] else ""
    known = {"measure", "what", "unit", "value", "target", "aim", "met", "input"}
    beside = ", ".join(f"{key} {value:g}" for key, value in result.items() if key not in known and isinstance(value, (int, float)))
    said = f"{result['measure']:30} {result['value']:>10g} {result['unit']:26} {result['target'] or '':>10}{missed}{compared}"
    return f"{said}   {result['input']}{beside and '; '}{beside}"


def _limit(figure):
    return "" if figure.target is None else f"{'>=' if figure.at_least else '<='} {figure.target:g}"


if __name__ == "__main__":
    main()
