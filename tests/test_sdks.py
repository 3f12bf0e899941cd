"""An unmodified `openai` client, instrumented by three instrumentations, each configured by environment variables alone.

Property: what the provider billed is what SQL says, to the last digit. The provider is made up (`provider.py`); client, instrumentation,
exporter, wire and server are the real ones.
"""

import os
import subprocess
from decimal import Decimal

import harness
import pytest
from harness import TESTS
from provider import ANSWERS, RESPONSE_MODEL, Provider

# US dollars per million tokens of gpt-4o-mini: input, cached input, output.
INPUT, CACHED, OUTPUT = Decimal("0.15"), Decimal("0.075"), Decimal("0.60")

# Instrumentation → more environment variables, and whether it reports how many input tokens came from the provider's cache.
INSTRUMENTATIONS = {
    "otel": ({}, False),
    "otel-latest": ({"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}, False),
    "openinference": ({}, True),
    "openllmetry": ({}, True),
}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("instrumentation", INSTRUMENTATIONS)
def tokens_and_cost_are_what_the_provider_billed(shared_server, instrumentation, protocol):
    more, reports_cached = INSTRUMENTATIONS[instrumentation]
    service = f"{instrumentation}-{protocol.replace('/', '-')}"
    _run_python(shared_server, instrumentation.removesuffix("-latest"), protocol, service, more)

    calls = shared_server.sql(
        f"SELECT * FROM llm_calls WHERE service_name = '{service}' ORDER BY start_time", project=service
    )
    assert len(calls) == 4, [call["name"] for call in calls]
    for call, (prompt, answer) in zip(calls, ANSWERS.items()):
        assert call["request_model"] in ("gpt-4o-mini", None) and call["response_model"] in (RESPONSE_MODEL, None), prompt
        assert "gpt-4o-mini" in (call["response_model"] or call["request_model"]), prompt
        assert call["provider"] == "openai" and call["operation"] == "chat"
        assert call["input_tokens"] == answer.input_tokens, prompt
        assert call["output_tokens"] == answer.output_tokens, prompt
        assert (call["cache_read_tokens"] or 0) == (answer.cached_tokens if reports_cached else 0), prompt
        assert Decimal(call["cost_usd"]) == _bill(answer, reports_cached), prompt
        assert call["cost_source"] == "computed" and call["status_code"] != "ERROR"

    refused = calls[3]
    assert refused["status_code"] == "ERROR" and refused["error_type"].endswith("RateLimitError")
    assert refused["input_tokens"] is None and refused["cost_usd"] is None, "a refused call has no tokens, not zero"
    total = shared_server.sql("SELECT sum(cost_usd) AS usd FROM llm_calls", project=service)[0]["usd"]
    assert Decimal(total) == sum(_bill(answer, reports_cached) for answer in ANSWERS.values())

    trace = shared_server.get(f"/api/v1/traces/{calls[0]['trace_id']}", service)
    assert [span["span_id"] for span in trace["spans"]] == [calls[0]["span_id"]]
    span = shared_server.get(f"/api/v1/traces/{calls[0]['trace_id']}/spans/{calls[0]['span_id']}", service)
    assert "What is the capital of France?" in str(span["input_messages"]), "the prompt is on screen"
    assert "The capital of France is Paris." in str(span["output_messages"]), "the answer is on screen"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def a_node_application_needs_environment_variables_only(shared_server, protocol):
    folder = harness.node_environment(TESTS / "sdks" / "node")
    service = f"node-{protocol.replace('/', '-')}"
    options = "--experimental-loader=@opentelemetry/instrumentation/hook.mjs --import=@opentelemetry/auto-instrumentations-node/register"
    variables = {"PATH": os.environ["PATH"], "NODE_OPTIONS": options, "OTEL_NODE_RESOURCE_DETECTORS": "env"}
    output = _run(shared_server, ["node", "app.js"], protocol, service, variables, cwd=folder)
    assert output.startswith("The capital of France is Paris.\n")
    calls = shared_server.sql(
        f"SELECT input_tokens, output_tokens, cost_usd FROM llm_calls WHERE service_name = '{service}' ORDER BY start_time",
        project=service,
    )
    answers = list(ANSWERS.values())[:2]
    found = [(call["input_tokens"], call["output_tokens"], Decimal(call["cost_usd"])) for call in calls]
    assert found == [(answer.input_tokens, answer.output_tokens, _bill(answer, reports_cached=False)) for answer in answers]


def _bill(answer, reports_cached):
    cached = answer.cached_tokens if reports_cached else 0
    return ((answer.input_tokens - cached) * INPUT + cached * CACHED + answer.output_tokens * OUTPUT) / 1_000_000


def _run_python(server, name, protocol, service, more):
    """Runs `opentelemetry-instrument python app.py`; the exporter flushes at its end, so telemetry is acknowledged when it returns."""
    folder = harness.environment(TESTS / "sdks" / f"{name}.txt") / "bin"
    content = "span_and_event" if more else "true"
    variables = {"PATH": f"{folder}:{os.environ['PATH']}", "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": content, **more}
    command = [folder / "opentelemetry-instrument", folder / "python", TESTS / "sdks" / "app.py"]
    output = _run(server, command, protocol, service, variables)
    assert output.endswith("429\n"), output


def _run(server, command, protocol, service, variables, cwd=None):
    """Runs an application with the provider's address, Assay's address and `variables` in its environment, and nothing else."""
    address = server.addresses["otlp_grpc" if protocol == "grpc" else "otlp_http"]
    with Provider() as provider:
        environment = {
            "OPENAI_API_KEY": "any",
            "OPENAI_BASE_URL": provider.url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}",
            # A project of its own: the provider's response identifiers repeat, and the same response told twice is one call.
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-assay-project={service}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_SERVICE_NAME": service,
            **variables,
        }
        done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
