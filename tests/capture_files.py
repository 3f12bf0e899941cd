"""The captures in `captures/`: which there are, what really happened, and how to send them as their SDK did."""

import json
import time

import grpc
import telemetry as otlp
from harness import CAPTURES, Refused

# An SDK gives up after a minute or so.
TRIES = 30
FOLDERS = sorted(path.parent.name for path in CAPTURES.glob("*/expected.json"))


def expected(folder):
    """Scenario → what the provider and the driver say happened."""
    return json.loads((CAPTURES / folder / "expected.json").read_text())


def scenarios(folder):
    """Scenario → its requests in order of arrival, as (meta, inflated body)."""
    out = {}
    for path in sorted((CAPTURES / folder).glob("*.meta.json"), key=_arrival):
        meta = json.loads(path.read_text())
        stem = path.name.removesuffix(".meta.json")
        scenario = stem.split(".")[0].rpartition("-")[0]
        suffix = ".json" if "json" in meta["content_type"] else ".pb"
        out.setdefault(scenario, []).append((meta, path.with_name(stem + suffix).read_bytes()))
    return out


def send(server, meta, body, project="default"):
    """Sends a capture by the protocol, content type and encoding that the SDK used, to the path it used if Assay answers there; again where the
    server is busy, as an SDK does."""
    for _ in range(TRIES - 1):
        try:
            _send_once(server, meta, body, project)
            return
        except (Refused, grpc.RpcError) as refused:
            if not _is_busy(refused):
                raise
        time.sleep(1)
    _send_once(server, meta, body, project)


def _send_once(server, meta, body, project):
    if meta["protocol"] == "grpc":
        server.send_grpc(meta["signal"], body, project)
        return
    standard = f"/v1/{meta['signal']}"
    path = meta["path"] if meta["path"] in (f"/api/public/otel{standard}", f"/otel{standard}") else standard
    encoding = meta["content_encoding"]
    sent = otlp.COMPRESS[encoding](body) if encoding else body
    server.send(meta["signal"], sent, meta["content_type"], encoding, project, path)


def _is_busy(refused):
    if isinstance(refused, Refused):
        return refused.status == 503
    return refused.code() == grpc.StatusCode.UNAVAILABLE


def _arrival(path):
    scenario, _, number = path.name.split(".")[0].rpartition("-")
    return scenario, int(number)
