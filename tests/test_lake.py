"""The bucket is the database: other engines open the lake and read the same numbers that Assay's SQL gives."""

import duckdb
import pytest
import telemetry as otlp
from deltalake import DeltaTable
from harness import Server

NUMBERS = {
    "spans": "count(*), sum(duration_ns), sum(input_tokens), sum(output_tokens), sum(cost_usd), count(distinct trace_id), count(distinct start_time)",
    "cost_lines": "count(*), sum(units), sum(cost_usd), count(distinct span_id)",
    "ingest_ledger": "sum(accepted), sum(stored), sum(quarantined)",
    "quarantine": "count(*), sum(record_bytes)",
}


@pytest.fixture(scope="module")
def _lake(tmp_path_factory):
    """A lake with several commits, and the numbers that SQL gave over it, by table."""
    folder = tmp_path_factory.mktemp("lake") / "data"
    rng = otlp.seeded(11)
    server = Server(folder)
    for _ in range(3):
        with server:
            for _ in range(4):
                spans = [otlp.chat(rng, input_tokens=rng.randrange(5000), output_tokens=rng.randrange(500)) for _ in range(50)]
                server.send("traces", otlp.traces([*spans, otlp.span(rng, trace_id=bytes(16))]).SerializeToString())
    with server:
        numbers = {table: list(server.sql(f"SELECT {what} FROM {table}")[0].values()) for table, what in NUMBERS.items()}
    assert numbers["spans"][0] == 600
    return folder / "lake", numbers


@pytest.mark.parametrize("table", NUMBERS)
def duckdb_reads_the_same_numbers_through_deltalake(_lake, table):
    lake, numbers = _lake
    delta = DeltaTable(lake / table)
    assert delta.version() > 0
    rows = delta.to_pyarrow_dataset()
    assert rows.count_rows() > 0
    connection = duckdb.connect()
    connection.register(table, rows)
    found = connection.execute(f"SELECT {NUMBERS[table]} FROM {table}").fetchone()
    assert [_plain(value) for value in found] == [_plain(value) for value in numbers[table]]


def the_delta_log_names_the_partition_columns(_lake):
    lake, _ = _lake
    for table in NUMBERS:
        assert DeltaTable(lake / table).metadata().partition_columns == ["project_id", "date"]


def _plain(value):
    """A value as text in the one form that both engines' answers have: money without trailing zeros."""
    text = str(value)
    return text.rstrip("0").rstrip(".") if "." in text else text
