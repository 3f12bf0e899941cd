"""The documentation says what is so: links lead somewhere, SQL runs, configuration starts a server, metrics exist."""

import re

import pytest
import telemetry as otlp
from harness import REPOSITORY, Refused, Server

PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "deploy").rglob("*.md")])


def _blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (REPOSITORY / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def _with_data(shared_server):
    rng = otlp.seeded(21)
    spans = [otlp.chat(rng, session__id=f"s-{n % 3}", user__id=f"u-{n % 2}") for n in range(12)]
    shared_server.send("traces", otlp.traces(spans).SerializeToString())
    return shared_server


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith(("http://", "https://", "#", "mailto:")):
            assert (page.parent / target.split("#")[0]).exists(), f"`{target}` does not exist"


@pytest.mark.parametrize("page", ["README.md", "docs/sql.md", "docs/search.md", "docs/cost.md", "docs/operations.md", "docs/ingest.md"])
def every_query_of_a_page_runs(_with_data, page):
    queries = _blocks(page, "sql")
    assert queries or page != "docs/sql.md"
    for query in queries:
        try:
            _with_data.sql(query)
        except Refused as refused:
            pytest.fail(f"{query}\n{refused}")


def every_view_and_own_function_is_documented(_with_data):
    schema = _with_data.get("/api/v1/schema")
    page = (REPOSITORY / "docs" / "sql.md").read_text()
    views = [table["name"] for table in schema["tables"] if table["kind"] == "view"]
    functions = [function["name"] for function in schema["functions"]]
    own = [name for name in functions if name.startswith(("json_", "llm_", "time_bucket", "normalise_"))]
    assert {"llm_calls", "traces", "sessions", "users"} <= set(views) and {"llm_cost", "time_bucket", "json_get_str"} <= set(own)
    for name in [*views, *own]:
        assert f"`{name}" in page, f"docs/sql.md does not mention `{name}`"
    for name in re.findall(r"^\| `(\w+)\(", page, re.MULTILINE):
        assert name in functions, f"docs/sql.md documents `{name}`, which does not exist"


def every_column_has_a_comment(_with_data):
    for table in _with_data.get("/api/v1/schema")["tables"]:
        for column in table["columns"]:
            assert column["doc"], f"{table['name']}.{column['name']}"


def the_documented_configuration_starts_a_server(tmp_path):
    blocks = _blocks("docs/configuration.md", "toml")
    # Addresses and folder are given on the command line here, as flags take precedence over the file.
    for number, block in enumerate(blocks):
        with Server(tmp_path / f"data-{number}", block):
            pass
    folder = REPOSITORY / "assay" / "src"
    sources = [path.read_text() for path in (folder / "config.rs", *sorted((folder / "config").glob("*.rs")))]
    keys = set(re.findall(r"^    pub\(crate\) (\w+): ", "".join(sources), re.MULTILINE))
    missing = {key for key in keys if not re.search(rf"\b{key}\b", blocks[0])}
    assert keys and not missing, f"docs/configuration.md does not show {sorted(missing)}"


def the_documented_metrics_are_those_there_are(_with_data):
    # A counter with labels shows once it has counted.
    with pytest.raises(Refused):
        _with_data.sql("SELECT nothing")
    served = set(re.findall(r"^# TYPE (\w+) ", _with_data.get("/metrics"), re.MULTILINE))
    documented = set(re.findall(r"^\| `(assay_\w+)`", (REPOSITORY / "docs" / "operations.md").read_text(), re.MULTILINE))
    # Those of Kafka and of queries over several nodes are there where they are built in: `tests/external/test_kafka.py`, `tests/distributed/`.
    documented = {name for name in documented if not name.startswith(("assay_kafka_", "assay_query_nodes_"))}
    own = {name for name in served if name.startswith("assay_")}
    assert documented - served == set(), "documented, but not served"
    assert own - documented == set(), "served, but not documented"
