"""Rules of the project that no compiler checks: who may know whom, which licences come in, how files open."""

import json
import re
import subprocess
import tomllib

import pytest
from harness import REPOSITORY

# The arrows of docs/code-map.md: a crate may know these crates of the workspace and no other.
ARROWS = {
    "schemas": set(),
    "storage": {"schemas"},
    "collector": {"schemas", "storage"},
    "query": {"schemas", "storage"},
    "accounts": {"schemas"},
    "assay": {"schemas", "storage", "collector", "query", "accounts"},
    "tests/bench/load": set(),
    "fuzz": {"schemas", "storage", "collector", "query"},
}

# What a crate must not build on, although the workspace has it.
FORBIDDEN = {
    "schemas": {"tokio", "object_store", "axum", "tonic", "datafusion", "deltalake-core"},
    "storage": {"datafusion", "axum", "tonic", "opentelemetry-proto"},
    "collector": {"datafusion", "deltalake-core"},
    "accounts": {"axum", "datafusion", "object_store"},
    "query": {"deltalake-core", "tonic", "opentelemetry-proto"},
}
# But for a feature: with `distributed`, query nodes talk to each other by gRPC.
OPTIONAL = {"query": {"tonic"}}


def _members():
    return tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["workspace"]["members"]


def _dependencies(crate):
    return tomllib.loads((REPOSITORY / crate / "Cargo.toml").read_text()).get("dependencies", {}).keys()


def every_crate_has_its_arrows_and_its_paragraph():
    page = (REPOSITORY / "docs" / "code-map.md").read_text()
    assert set(_members()) == ARROWS.keys()
    for crate in _members():
        assert f"## {crate}/" in page, f"docs/code-map.md has no paragraph on `{crate}`"


@pytest.mark.parametrize("crate", ARROWS)
def a_crate_knows_only_whom_the_code_map_allows(crate):
    known = {name.removeprefix("assay-") for name in _dependencies(crate) if name.startswith("assay-")}
    assert known == ARROWS[crate]
    manifest = tomllib.loads((REPOSITORY / crate / "Cargo.toml").read_text())["dependencies"] if crate in OPTIONAL else {}
    optional = {name for name in OPTIONAL.get(crate, set()) if manifest[name].get("optional")}
    assert not _dependencies(crate) & FORBIDDEN.get(crate, set()) - optional


def versions_live_in_the_workspace_table_only():
    for crate in _members():
        manifest = tomllib.loads((REPOSITORY / crate / "Cargo.toml").read_text())
        for section in ("dependencies", "dev-dependencies", "build-dependencies"):
            for name, entry in manifest.get(section, {}).items():
                assert isinstance(entry, dict) and entry.get("workspace"), f"{crate}: `{name}` names a version of its own"


def every_dependency_has_a_permissive_licence():
    rules = tomllib.loads((REPOSITORY / "deny.toml").read_text())
    allowed = set(rules["licenses"]["allow"])
    exceptions = {rule["crate"]: set(rule["allow"]) for rule in rules["licenses"]["exceptions"]}
    banned = {rule["name"]: set(rule.get("wrappers", [])) for rule in rules["bans"]["deny"]}
    host = re.search(r"host: (\S+)", subprocess.check_output(["rustc", "-vV"], text=True))[1]
    command = ["cargo", "metadata", "--locked", "--all-features", "--format-version", "1", "--filter-platform", host]
    metadata = json.loads(subprocess.check_output(command, cwd=REPOSITORY))
    packages = metadata["packages"]
    names = {package["id"]: package["name"] for package in packages}
    users = {package["id"]: set() for package in packages}
    for node in metadata["resolve"]["nodes"]:
        for dependency in node["deps"]:
            users[dependency["pkg"]].add(names[node["id"]])
    assert len(packages) > 100
    for package in packages:
        assert package["name"] not in banned or users[package["id"]] <= banned[package["name"]], package["name"]
        licence = package["license"] or "none"
        assert _permitted(licence, allowed | exceptions.get(package["name"], set())), f"{package['name']}: `{licence}` is not in deny.toml"


def _permitted(expression, allowed):
    """Whether an SPDX expression can be met with `allowed` alone. `A/B` is the old way to write `A OR B`."""
    expression = expression.replace("/", " OR ").strip()
    parts = _split(expression, " OR ")
    if len(parts) > 1:
        return any(_permitted(part, allowed) for part in parts)
    parts = _split(expression, " AND ")
    if len(parts) > 1:
        return all(_permitted(part, allowed) for part in parts)
    if expression.startswith("("):
        return _permitted(expression[1:-1], allowed)
    return expression in allowed


def _split(expression, operator):
    """Splits at `operator` outside parentheses."""
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(expression):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0 and expression.startswith(operator, index):
            parts.append(expression[start:index])
            start = index + len(operator)
    return [*parts, expression[start:]]


def every_rust_file_says_what_it_is_for():
    for path in (file for crate in _members() for file in (REPOSITORY / crate).rglob("*.rs")):
        assert path.read_text().startswith("//!"), f"{path.relative_to(REPOSITORY)} does not open with `//!`"


def ci_runs_make_test_and_nothing_else():
    commands = [line for line in (REPOSITORY / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "exec make test"]
