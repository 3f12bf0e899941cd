"""Images in messages: stored once, as bytes, for their project alone; served by name; exported as they were received."""

import base64
import hashlib
import json
import random

import telemetry as otlp
from harness import Refused, Server


def an_image_is_stored_once_served_to_its_project_and_exported_as_received(tmp_path):
    rng = otlp.seeded(5)
    image = b"\x89PNG\r\n\x1a\n" + random.Random(5).randbytes(20_000)
    name, digits = hashlib.sha256(image).hexdigest(), base64.b64encode(image).decode()
    part = {"type": "blob", "mime_type": "image/png", "modality": "image", "content": digits}
    canonical = [{"role": "user", "parts": [{"type": "text", "content": "What is it?"}, part]}]
    openai = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{digits}"}}]}]
    spans = [
        otlp.span(rng, gen_ai__operation__name="chat", gen_ai__input__messages=json.dumps(canonical)),
        otlp.span(rng, openinference__span__kind="LLM", input__value=json.dumps({"messages": openai}), input__mime_type="application/json"),
        otlp.span(rng, gen_ai__operation__name="execute_tool", gen_ai__tool__call__result=json.dumps({"data": digits})),
    ]
    request = otlp.traces(spans)
    with Server(tmp_path / "data") as server:
        server.send("traces", request.SerializeToString())
        messages = [row["input_messages"] for row in server.sql("SELECT input_messages FROM spans WHERE input_messages IS NOT NULL")]
        kept = json.loads(messages[0])[0]["parts"][1]
        assert kept == {**part, "content": {"$blob": name, "bytes": len(image)}}
        assert len(list((tmp_path / "data" / "blobs").rglob("*.zst"))) == 1

        headers, body = server.request("GET", f"/api/v1/blobs/{name}")
        assert body == image
        assert headers["content-type"] == "image/png" and headers["content-disposition"] == "inline"
        assert headers["x-content-type-options"] == "nosniff" and "immutable" in headers["cache-control"]
        assert _status(server, name, "other") == 404
        assert _status(server, "0" * 64, "default") == 404
        assert _status(server, "..%2f..%2fnode", "default") == 400

        _, exported = server.request("GET", "/api/v1/export/otlp?signal=traces", headers={"Accept": "application/x-protobuf"})
        assert otlp.records("traces", otlp.REQUESTS["traces"].FromString(exported)) == otlp.records("traces", request)


def _status(server, name, project):
    try:
        server.request("GET", f"/api/v1/blobs/{name}", headers={"X-Assay-Project": project})
    except Refused as refused:
        assert refused.problem()["status"] == refused.status
        return refused.status
    return 200
