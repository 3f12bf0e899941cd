"""A model provider on loopback that speaks OpenAI's chat completions. It stands in for the provider, never for Assay.

Its answers and its bill are fixed by the last user message, so that a test knows every token and every cent beforehand.
"""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RESPONSE_MODEL = "gpt-4o-mini-2024-07-18"


@dataclass(frozen=True)
class Answer:
    """What the provider says to a prompt, and what it bills."""

    text: str | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    response_id: str
    tool_arguments: str | None = None


ANSWERS = {
    "What is the capital of France?": Answer("The capital of France is Paris.", 1201, 1024, 9, "chatcmpl-capital"),
    "Write a haiku about tracing.": Answer("Silent spans align,\nlatency falls like soft rain.", 17, 0, 13, "chatcmpl-haiku"),
    "What is the weather in Paris?": Answer(None, 83, 0, 15, "chatcmpl-weather", '{"city": "Paris"}'),
}
"""Every other prompt is refused with status 429."""


class Provider:
    """The provider, listening on a free port of loopback while the `with` block runs."""

    def __enter__(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self):
        """Base URL for `OPENAI_BASE_URL`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = [m["content"] for m in request["messages"] if m["role"] == "user"][-1]
        answer = ANSWERS.get(prompt)
        if answer is None:
            error = {"message": "Rate limit reached for requests", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
            self._send(429, "application/json", json.dumps({"error": error}))
        elif request.get("stream"):
            self._send(200, "text/event-stream", "".join(f"data: {event}\n\n" for event in _events(answer)))
        else:
            self._send(200, "application/json", json.dumps(_completion(answer)))

    def log_message(self, *_):
        """Keeps test output clean."""

    def _send(self, status, content_type, body):
        data = body.encode()
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _completion(answer):
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    finish_reason = "stop"
    if answer.tool_arguments is not None:
        function = {"name": "get_weather", "arguments": answer.tool_arguments}
        message["tool_calls"] = [{"id": "call_weather", "type": "function", "function": function}]
        finish_reason = "tool_calls"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    return {**_head(answer, "chat.completion"), "choices": [choice], "usage": _usage(answer)}


def _events(answer):
    head = _head(answer, "chat.completion.chunk")
    words = answer.text.split(" ")
    for index, word in enumerate(words):
        delta = {"content": word if index == 0 else " " + word}
        if index == 0:
            delta["role"] = "assistant"
        yield json.dumps({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}], "usage": None})
    yield json.dumps({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None})
    yield json.dumps({**head, "choices": [], "usage": _usage(answer)})
    yield "[DONE]"


def _head(answer, kind):
    return {"id": answer.response_id, "object": kind, "created": 1763692800, "model": RESPONSE_MODEL, "service_tier": "default"}


def _usage(answer):
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
