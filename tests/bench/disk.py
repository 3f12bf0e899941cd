"""What rows take on disk: small spans of model calls, prompts, and conversations that are sent anew with every call.

Each is measured as flushes left it and again after compaction, when there is nothing left to merge. Only files that queries read count,
of all tables that the spans fill, with what lies beside them (`lake-index`).
"""

import time
from pathlib import Path

import agents
import shapes
import telemetry as otlp
import watched
import zstandard
from harness import Server
from measures import Figure, measures

SPAN = Figure("disk_small_spans", "bytes on disk for a GenAI span of 0.5 KB without messages, all tables and indexes", "B per span", target=70, aim=50)
SPAN_FLUSHED = Figure("disk_small_spans_flushed", "the same before compaction", "B per span")
CHAT = Figure("disk_chat", "bytes of the column of prompts, against zstd-3 of all prompts in one piece", "x zstd-3", target=1)
CHAT_FLUSHED = Figure("disk_chat_flushed", "the same before compaction", "x zstd-3")
TALK = Figure("disk_conversation", "bytes of the prompts of conversations of 50 calls, against zstd-3 row by row", "x zstd-3 by row", target=0.25, aim=0.1)
TALK_FLUSHED = Figure("disk_conversation_flushed", "the same before compaction", "x zstd-3 by row")

# Each request of these measures is flushed by itself, and nothing is merged before the second start.
FLUSHING = '[storage]\nflush_interval = "50ms"\ncompaction_interval = "1d"\n'
MERGING = '[storage]\nflush_interval = "50ms"\ncompaction_interval = "1s"\n'
TABLES = ("spans", "cost_lines", "ingest_ledger")


@measures(SPAN, SPAN_FLUSHED)
def small_spans(bench):
    """Agents that call models and tools, ten minutes of them, flushed every ten seconds."""
    n_flushes, n_spans = 3 if bench.quick else 64, bench.scaled(256_000)
    sent = 0

    def requests():
        nonlocal sent
        for body, bytes_ in agents.spans(otlp.seeded(5), n_spans, n_flushes):
            sent += bytes_
            yield body

    for figure, server in _flushed_then_merged(bench, SPAN_FLUSHED, SPAN, requests()):
        spans = server.sql("SELECT count(*) AS n FROM spans")[0]["n"]
        tables = _bytes_by_table(server)
        columns = {row["column_name"]: row["compressed_bytes"] / spans for row in _columns(server, "spans")}
        largest = dict(sorted(columns.items(), key=lambda item: -item[1])[:16])
        per_table = {table: total / spans for table, total in tables.items()}
        what = f"{spans} spans, {sent / spans:.0f} B each as sent, {n_flushes} flushes"
        yield figure.found(sum(tables.values()) / spans, what, tables=per_table, columns=largest)


@measures(CHAT, CHAT_FLUSHED)
def chats(bench):
    """Single calls of 5 KB with prompts of their own."""
    rng, n_requests = otlp.seeded(6), 3 if bench.quick else 32
    bodies = [shapes.chat(rng, bench.scaled(1000)) for _ in range(n_requests)]
    prompts = [_attribute(span, "gen_ai.input.messages") for body in bodies for span in _spans(body)]
    compress = zstandard.ZstdCompressor(level=3).compress
    whole, by_row = len(compress("".join(prompts).encode())), sum(len(compress(prompt.encode())) for prompt in prompts)
    what = f"{len(prompts)} prompts, {sum(map(len, prompts)) / 1e6:.0f} MB, {n_requests} flushes"
    for figure, server in _flushed_then_merged(bench, CHAT_FLUSHED, CHAT, (body.SerializeToString() for body in bodies)):
        stored = _bytes_of(server, "input_messages")
        yield figure.found(stored / whole, what, by_row=stored / by_row)


@measures(TALK, TALK_FLUSHED)
def conversations(bench):
    """Agents at work at the same time, each sending all it has so far with each of its 50 calls, flushed every ten seconds."""
    calls, talks = (50, 24) if not bench.quick else (6, 2)
    bodies = list(agents.conversations(otlp.seeded(7), talks, calls))
    compress = zstandard.ZstdCompressor(level=3).compress
    prompts = [_attribute(span, "gen_ai.input.messages").encode() for body in bodies for span in _spans(body)]
    by_row = sum(len(compress(prompt)) for prompt in prompts)
    what = f"{talks} conversations of {calls} calls, {sum(map(len, prompts)) / 1e6:.1f} MB, {by_row / 1e6:.2f} MB by row, {len(bodies)} flushes"
    for figure, server in _flushed_then_merged(bench, TALK_FLUSHED, TALK, (body.SerializeToString() for body in bodies)):
        yield figure.found(_bytes_of(server, "input_messages") / by_row, what, **_reads(server, bodies))


def _flushed_then_merged(bench, flushed, merged, bodies):
    """Sends `bodies`, a flush after each, and yields the figure to find and the server, before and after compaction."""
    with Server(bench.folder / "data", FLUSHING) as server:
        for body in bodies:
            server.send("traces", body)
            watched.until_flushed(server)
        yield flushed, server
        server.stop()
        server.configure(MERGING)
        server.start()
        _until_merged(server)
        yield merged, server


def _until_merged(server):
    """Returns when a whole round of compaction since the start found nothing to do."""
    rounds, before = set(), None
    while len(rounds) < 3:
        compaction = server.get("/api/v1/status")["storage"]["jobs"].get("compaction", {})
        if before != compaction.get("done"):
            rounds, before = set(), compaction.get("done")
        if not compaction.get("running") and compaction.get("last_unix_ms"):
            rounds.add(compaction["last_unix_ms"])
        time.sleep(0.2)


def _reads(server, bodies):
    """Milliseconds to read one prompt of a conversation, the last call of it by SQL and by the endpoint of the span."""
    span = next(_spans(bodies[-1]))
    trace_id, span_id = span.trace_id.hex(), span.span_id.hex()

    def by_sql():
        rows = server.sql(f"SELECT input_messages FROM spans WHERE trace_id = '{trace_id}' AND span_id = '{span_id}'")
        assert rows == [{"input_messages": _attribute(span, "gen_ai.input.messages")}]

    return {"sql_ms": _median_ms(by_sql), "span_ms": _median_ms(lambda: server.get(f"/api/v1/traces/{trace_id}/spans/{span_id}"))}


def _median_ms(question, runs=11):
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        question()
        times.append((time.perf_counter() - started) * 1000)
    return sorted(times)[runs // 2]


def _bytes_by_table(server):
    """Bytes of the live files of each table, and of what lies beside them."""
    totals = dict.fromkeys((*TABLES, "indexes"), 0)
    for file in server.sql("SELECT table_name, path, bytes FROM system.files"):
        if file["table_name"] in totals:
            totals[file["table_name"]] += file["bytes"]
            beside = (server.data_dir / "lake-index" / file["table_name"]).glob(f"{Path(file['path']).name}.*")
            totals["indexes"] += sum(path.stat().st_size for path in beside)
    return totals


def _columns(server, table):
    return server.sql(f"SELECT column_name, compressed_bytes FROM system.columns WHERE table_name = '{table}'")


def _bytes_of(server, column):
    return next(row["compressed_bytes"] for row in _columns(server, "spans") if row["column_name"] == column)


def _spans(request):
    return (span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans)


def _attribute(span, key):
    return next(item.value.string_value for item in span.attributes if item.key == key)
