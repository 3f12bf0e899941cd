"""How fast spans come in by protocol, batch and number of connections: the same spans of 0.5 KB in all combinations."""

import load
import templates
import watched
from harness import Server
from measures import Figure, measures

CELLS = {
    Figure(f"send_{protocol}_{batch}_by_{connections}", f"{protocol}, batches of {batch}, {connections} connections", "spans/s"): (
        protocol,
        batch,
        connections,
    )
    for protocol in ("http", "grpc")
    for batch in (1, 50, 512)
    for connections in (1, 8, 64)
}


@measures(*CELLS)
def senders(bench):
    """Five seconds of each combination into one server, which flushes meanwhile as it does; CPU is counted up to the acknowledgement."""
    with Server(bench.folder / "data", bench.config) as server:
        for figure, (protocol, batch, connections) in CELLS.items():
            if not bench.wants(figure):
                continue
            corpus = templates.corpus(bench.folder, templates.small, batch)
            before = watched.cpu_seconds(server.process.pid)
            sent = load.send(server, corpus, protocol, connections, seconds=max(0.1, 5 * bench.scale))
            cpu = watched.cpu_seconds(server.process.pid) - before
            yield figure.found(
                sent["spans_per_second"],
                f"{sent['spans']} spans of {sent['bytes'] / sent['spans']:.0f} B",
                cpu_per_million=cpu / sent["spans"] * 1e6,
                ack_p50_ms=sent["ack_ms"]["p50"],
                ack_p99_ms=sent["ack_ms"]["p99"],
                ack_p999_ms=sent["ack_ms"]["p999"],
                retries=sent["retries"],
            )
