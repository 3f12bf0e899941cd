"""Every capture of a real SDK, sent to the real server, read back through SQL and through the export.

Properties: `llm_calls` gives what the capture's `expected.json` says (which the provider wrote, not the SDK), and OTLP out equals OTLP in,
from the hot buffer and from the lake. Field by field, with every message and tool call, the collector's own tests check the same captures;
here the whole way through the binary counts: totals and the fields people filter by.
"""

import tomllib

import capture_files as captures
import pytest
import telemetry as otlp
from harness import REPOSITORY, Server

LOSSES = REPOSITORY / "collector" / "tests" / "captures" / "known_losses.toml"

TOTALS = {
    "calls": "count(*)",
    "input_tokens": "coalesce(sum(input_tokens), 0)",
    "output_tokens": "coalesce(sum(output_tokens), 0)",
    "cache_read_tokens": "coalesce(sum(cache_read_tokens), 0)",
    "cache_write_tokens": "coalesce(sum(cache_write_tokens), 0)",
    "reasoning_tokens": "coalesce(sum(reasoning_tokens), 0)",
    "errors": "count(*) FILTER (WHERE status_code = 'ERROR' OR error_type IS NOT NULL)",
}
CANONICAL = {
    "input_tokens": "input_total",
    "output_tokens": "output_total",
    "cache_read_tokens": "cache_read",
    "cache_write_tokens": "cache_write",
    "reasoning_tokens": "reasoning",
}

# What the list of known losses calls a field, where it is not the column's name.
LOSS_NAMES = {**CANONICAL, "errors": "error"}


@pytest.fixture(scope="module")
def _loaded(tmp_path_factory):
    """A server that received every capture, each scenario in a project of its own."""
    with Server(tmp_path_factory.mktemp("captures") / "data", '[storage]\nflush_interval = "1h"\n') as server:
        for folder in captures.FOLDERS:
            for scenario, files in captures.scenarios(folder).items():
                for meta, body in files:
                    captures.send(server, meta, body, _project(folder, scenario))
        yield server


@pytest.mark.parametrize("folder", captures.FOLDERS)
def llm_calls_are_what_the_provider_saw(_loaded, folder):
    losses = _known_losses()
    wrong = []
    for scenario, expected in captures.expected(folder).items():
        if not expected["calls"]:
            continue
        select = ", ".join(f"{sql} AS {name}" for name, sql in TOTALS.items())
        found = _loaded.sql(f"SELECT {select} FROM llm_calls", project=_project(folder, scenario))[0]
        for field, value in _truth(expected).items():
            if found[field] != value and not losses(folder, scenario, field):
                wrong.append(f"{scenario}: {field}: found {found[field]}, expected {value}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", captures.FOLDERS)
def sessions_and_users_are_what_the_application_set(_loaded, folder):
    losses = _known_losses()
    wrong = []
    for scenario, expected in captures.expected(folder).items():
        facts = expected["driver_facts"]
        for column in {"session_id", "user_id"} & facts.keys():
            rows = _loaded.sql(f"SELECT DISTINCT {column} AS value FROM llm_calls", project=_project(folder, scenario))
            if [row["value"] for row in rows] != [facts[column]] and not losses(folder, scenario, column):
                wrong.append(f"{scenario}: {column}: found {rows}, expected `{facts[column]}` on every call")
    assert not wrong, "\n".join(wrong)


def otlp_out_equals_otlp_in_from_hot_buffer_and_lake(_loaded, tmp_path):
    _check_round_trip(_loaded, tmp_path)
    _loaded.stop()
    _loaded.start()
    assert not _loaded.get("/api/v1/status")["storage"].get("hot_rows"), "an orderly end flushed everything"
    _check_round_trip(_loaded, tmp_path)


def _check_round_trip(server, tmp_path):
    wrong = []
    for folder in captures.FOLDERS:
        for scenario, files in captures.scenarios(folder).items():
            for signal in sorted({meta["signal"] for meta, _ in files}):
                sent = _sent(files, signal)
                output = tmp_path / "export.pb"
                server.cli("export", "otlp", "--signal", signal, "--project", _project(folder, scenario), "--output", output)
                back = otlp.records(signal, otlp.REQUESTS[signal].FromString(output.read_bytes()))
                if back != sent:
                    wrong.append(f"{folder}/{scenario} {signal}: sent {len(sent)} records, got {len(back)}; {_first_difference(sent, back)}")
    assert not wrong, f"{len(wrong)} differ:\n" + "\n".join(wrong[:20])


def _sent(files, signal):
    bodies = [(meta["content_type"], body) for meta, body in files if meta["signal"] == signal]
    records = [record for content_type, body in bodies for record in otlp.records(signal, otlp.parse(signal, content_type, body))]
    # One capture holds the same spans twice, in two compressions: what is sent twice is stored once.
    return sorted(set(records) if signal == "traces" else records)


def _first_difference(sent, back):
    missing = [record for record in sent if record not in back][:1]
    added = [record for record in back if record not in sent][:1]
    return f"sent only: {missing}; got only: {added}"


def _truth(expected):
    """What SQL must give for a scenario. Tokens the provider never sent cannot be known to anyone, so such a scenario claims none."""
    truth = {"calls": len(expected["calls"]), "errors": sum(call["error"] for call in expected["calls"])}
    if all(call["error"] or call.get("usage_sent_to_client", True) for call in expected["calls"]):
        truth |= {field: expected["canonical_totals"].get(key, 0) for field, key in CANONICAL.items()}
    return truth


def _known_losses():
    """Whether `field` of a scenario cannot be right because the SDK never sent it; the reasons are in the file."""
    losses = tomllib.loads(LOSSES.read_text())["loss"]

    def known(folder, scenario, field):
        # Where a call is missing altogether, its tokens are missing from every total.
        names = {field, LOSS_NAMES.get(field), "calls"}
        return any(
            loss["folder"] == folder and scenario in loss["scenarios"] and names & set(loss["fields"])
            for loss in losses
        )

    return known


def _project(folder, scenario):
    return f"{folder}_{scenario}"[:64]
