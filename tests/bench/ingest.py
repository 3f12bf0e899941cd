"""What ingest costs the server, for spans of several sizes: CPU from OTLP bytes to committed Parquet, memory, disk, and the same beside
the least that reading those bytes can cost.
"""

import re
from dataclasses import dataclass

import load
import templates
import watched
from harness import Server
from measures import Figure, measures

PER_MILLION, PER_GB = "CPU s per million spans", "CPU s per GB"
BATCH, CONNECTIONS = 512, 8


@dataclass(frozen=True)
class Subject:
    """A shape of spans, how much of it is sent at full scale, and the figures it gives."""

    shape: object
    bytes: float
    cpu: Figure
    ratio: Figure
    memory: Figure
    disk: Figure


def _subject(shape, gigabytes, what, unit, target=None, aim=None, ratio=()):
    name = shape.__name__
    return Subject(
        shape,
        gigabytes * 1e9,
        Figure(f"ingest_{name}", f"the server's CPU for {what}, from OTLP bytes to committed Parquet, flushes included", unit, target, aim),
        Figure(f"ingest_{name}_ratio", f"that CPU against decoding (prost) and compressing (zstd 1) the same bytes once: {what}", "x", *ratio),
        Figure(f"ingest_{name}_memory", f"the most resident memory while as much as the machine takes comes in: {what}", "MB resident", 600, 300),
        Figure(f"ingest_{name}_disk", f"bytes in Parquet per span, merged: {what}", "B per span"),
    )


SUBJECTS = [
    _subject(templates.small, 0.47, "spans of 0.5 KB that know nothing of models", PER_MILLION, 9, 5),
    _subject(templates.call, 0.47, "model calls of 0.5 KB, without content", PER_MILLION, 9, 5),
    _subject(templates.chat, 1, "chat spans of 5 KB", PER_GB, 7, 4),
    _subject(templates.rag, 1, "spans of 20 KB with retrieved documents", PER_GB, ratio=(2, 1.5)),
    _subject(templates.mix, 0.5, "spans that real SDKs sent, 1 KB on average", PER_GB),
]


@measures(*(figure for s in SUBJECTS for figure in (s.cpu, s.ratio, s.memory, s.disk)))
def ingest(bench):
    """Each shape into a server of its own, as fast as it takes it."""
    for subject in SUBJECTS:
        if any(bench.wants(figure) for figure in (subject.cpu, subject.ratio, subject.memory, subject.disk)):
            yield from _measure(bench, subject)


def _measure(bench, subject):
    corpus = templates.corpus(bench.folder, subject.shape, BATCH)
    n_bytes = int(subject.bytes * bench.scale)
    floor = load.floor(corpus, bytes=n_bytes)
    server = Server(bench.folder / subject.shape.__name__, bench.config).start()
    before, written = watched.cpu_seconds(server.process.pid), watched.bytes_written(server.process.pid)
    sent = load.send(server, corpus, connections=CONNECTIONS, bytes=n_bytes)
    watched.until_flushed(server)
    cpu = watched.cpu_seconds(server.process.pid) - before
    peak, written = watched.resident_mb(server.process.pid, peak=True), watched.bytes_written(server.process.pid) - written
    _check(server, sent["spans"])
    flushes, files = _flushes(server)
    server.stop()

    spans, gigabytes = sent["spans"], sent["bytes"] / 1e9
    of_what = f"{spans} spans of {sent['bytes'] / spans:.0f} B in batches of {BATCH} over {CONNECTIONS} connections"
    per_million, per_gb = cpu / spans * 1e6, cpu / gigabytes
    floor_per_gb = floor["cpu_seconds"] / floor["bytes"] * 1e9
    yield subject.cpu.found(
        per_million if subject.cpu.unit == PER_MILLION else per_gb,
        of_what,
        cpu_per_million=per_million,
        cpu_per_gb=per_gb,
        spans_per_second=sent["spans_per_second"],
        mb_per_second=sent["mb_per_second"],
        ack_p50_ms=sent["ack_ms"]["p50"],
        ack_p99_ms=sent["ack_ms"]["p99"],
        ack_p999_ms=sent["ack_ms"]["p999"],
        retries=sent["retries"],
        broken_connections=sent["broken_connections"],
        sender_cpu_per_million=sent["sender_cpu_seconds"] / spans * 1e6,
        written_per_byte=written / sent["bytes"],
        spans_per_flush=spans / flushes,
        files_per_flush=files / flushes,
    )
    yield subject.ratio.found(
        per_gb / floor_per_gb,
        of_what,
        floor_cpu_per_gb=floor_per_gb,
        floor_decode_cpu_per_gb=floor["decode_cpu_seconds"] / floor["bytes"] * 1e9,
        floor_packs=floor["bytes"] / floor["packed_bytes"],
    )
    yield subject.memory.found(peak, of_what)
    if bench.wants(subject.disk):
        yield _disk(server, subject, spans, of_what, sent["bytes"] / spans)


def _disk(server, subject, spans, of_what, sent_per_span):
    """Bytes per span by column, once everything is merged, and what merging cost."""
    server.configure(watched.MERGE_SOON)
    server.start()
    watched.until_at_rest(server)
    rows = server.sql("SELECT column_name, sum(compressed_bytes) AS bytes FROM system.columns WHERE table_name = 'spans' GROUP BY 1 ORDER BY 2 DESC")
    merging = watched.cpu_seconds(server.process.pid)
    server.stop()
    columns = {row["column_name"]: row["bytes"] / spans for row in rows}
    return subject.disk.found(
        sum(columns.values()), of_what, sent=sent_per_span, start_and_merge_cpu_per_million=merging / spans * 1e6, columns=columns
    )


def _check(server, spans):
    """What was acknowledged is there, once: otherwise the figures are of something else. Some captures hold a span twice."""
    stored = server.sql("SELECT count(*) AS n FROM spans")[0]["n"]
    ledger = server.sql("SELECT sum(stored) AS stored, sum(resent) AS resent FROM ingest_ledger")[0]
    assert ledger["stored"] == stored, f"found {stored} spans, the ledger has {ledger['stored']}"
    assert stored + ledger["resent"] == spans, f"found {stored} spans and {ledger['resent']} once more, {spans} were acknowledged"


def _flushes(server):
    """How many flushes there were, and files of all tables they wrote. A flush is counted when its rows have been in files for a moment."""
    flushes = 0.0
    while not flushes:
        flushes = float(re.search(r"^assay_storage_flushes_total (\S+)$", server.get("/metrics"), re.MULTILINE)[1])
    files = server.sql("SELECT sum(files) AS files FROM system.jobs WHERE kind = 'flush'")[0]["files"]
    return flushes, files
