"""What there is to measure, and what was found: every module of this folder registers its measures here when it is imported.

A figure is declared with its name, what it is, its unit and its target, and found by a function that is registered for it:

    WAIT = Figure("wait", "from asking to the answer", "ms", target=100)

    @measures(WAIT)
    def wait(bench):
        yield WAIT.found(1.5, "200 questions, one at a time", p99=3.1)

The function gets an empty folder and the scale from `bench`, and yields what it finds as it finds it. It runs if its own name or that of
one of its figures was asked for; `bench.wants(figure)` lets it leave out the others.
"""

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

GROUPS = []


@dataclass(frozen=True)
class Figure:
    """Something measured. `target` is what must be met, `aim` what would be better still: at most, or with `at_least` at least."""

    name: str
    what: str
    unit: str
    target: float | None = None
    aim: float | None = None
    at_least: bool = False

    def found(self, value, from_what, **more):
        """What was found, as one entry of the results: `from_what` says in words what was measured, `more` are figures beside it."""
        return {
            "measure": self.name,
            "what": self.what,
            "unit": self.unit,
            "value": rounded(value),
            "target": self._limit(self.target),
            "aim": self._limit(self.aim),
            "met": None if self.target is None else self._meets(value),
            "input": from_what,
            **{key: rounded(item) for key, item in more.items()},
        }

    def _meets(self, value):
        return bool(value >= self.target if self.at_least else value <= self.target)

    def _limit(self, value):
        return None if value is None else f"{'>=' if self.at_least else '<='} {value:g}"


@dataclass(frozen=True)
class Group:
    """Figures that one function finds. `by_name_only`: it takes long or installs things, so it runs only if it is asked for."""

    name: str
    figures: tuple
    run: object
    by_name_only: bool


@dataclass
class Bench:
    """What a measuring function is given."""

    scale: float
    wanted: frozenset
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="assay-bench-")))

    @property
    def quick(self):
        """Whether this run only shows that the bench works: its figures mean nothing."""
        return self.scale < 0.1

    @property
    def config(self):
        """Configuration of a server that is measured: its defaults; in a quick run it flushes at once, where else one would wait for it."""
        return '[storage]\nflush_interval = "200ms"\n' if self.quick else ""

    def scaled(self, n):
        """`n` at this run's scale, at least one."""
        return max(1, int(n * self.scale))

    def wants(self, figure):
        """Whether this figure was asked for; all of a group are, if the group was."""
        return not self.wanted or figure.name in self.wanted


def measures(*figures, by_name_only=False):
    """Registers the function that finds `figures`. The function's name is the name of the group."""

    def register(run):
        GROUPS.append(Group(run.__name__, figures, run, by_name_only))
        return run

    return register


def results(names, scale):
    """Runs what `names` ask for (nothing: all that need not be asked for), each in a folder of its own, and yields what is found."""
    unknown = set(names) - {name for group in GROUPS for name in (group.name, *(figure.name for figure in group.figures))}
    if unknown:
        raise SystemExit(f"found no measure `{'`, `'.join(sorted(unknown))}`: `--list` shows them")
    for group in GROUPS:
        figures = frozenset(names) & {figure.name for figure in group.figures}
        if (not names and group.by_name_only) or (names and group.name not in names and not figures):
            continue
        bench = Bench(scale, frozenset() if group.name in names else figures)
        try:
            yield from group.run(bench)
        finally:
            shutil.rmtree(bench.folder, ignore_errors=True)


def rounded(value):
    """Four digits that matter, for numbers at any depth."""
    if isinstance(value, float):
        return float(f"{value:.4g}") if abs(value) < 1000 else round(value, 1)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value
