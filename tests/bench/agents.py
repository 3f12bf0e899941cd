"""Agents at work, for what rows take on disk: their spans without messages, and their conversations. Seeded."""

import json

import telemetry as otlp


def spans(rng, n_spans, n_requests, seconds=10):
    """Traces of agents that call models and tools, no messages: (body, bytes of its spans) for each `seconds`, in the order they end."""
    spans_per_trace, start = 6, 1_763_692_800_000_000_000
    step = n_requests * seconds * 10**9 // max(1, n_spans // spans_per_trace)
    made = []
    for number in range(max(1, n_spans // spans_per_trace)):
        made.extend(_agent(rng, start + number * step + rng.randrange(step)))
    made.sort(key=lambda span: span.end_time_unix_nano)
    per_request = -(-len(made) // n_requests)
    for at in range(0, len(made), per_request):
        together = made[at : at + per_request]
        yield otlp.traces(together, "assistant").SerializeToString(), sum(span.ByteSize() for span in together)


def conversations(rng, n_talks, n_calls, seconds=10):
    """Agents at work side by side, each call sending the whole conversation so far: what ends within each `seconds` as one request.

    Half of them are one trace; the others, talks with a person, have a trace for each turn and the conversation's identifier in common.
    """
    words = ["".join(rng.choice("aeioubcdfglmnprst") for _ in range(rng.randrange(2, 10))) for _ in range(4000)]
    weights = [1 / (rank + 10) for rank in range(len(words))]
    calls = []
    for talk in range(n_talks):
        start = 1_763_692_800_000_000_000 + rng.randrange(800 * 10**9)
        conversation, trace_id = f"conv-{rng.randbytes(12).hex()}", rng.randbytes(16)
        messages = [_said("system", words, weights, rng, 400), _said("user", words, weights, rng, 60)]
        for call in range(n_calls):
            duration = rng.randrange(10**9, 8 * 10**9)
            span = otlp.chat(rng, duration_ns=duration, start=start, gen_ai__conversation__id=conversation)
            span.trace_id = trace_id if talk % 2 else rng.randbytes(16)
            next(a for a in span.attributes if a.key == "gen_ai.input.messages").value.string_value = json.dumps(messages)
            calls.append(span)
            start += duration + rng.randrange(10**8, 10 * 10**9)
            asked = {"type": "tool_call", "id": f"call_{rng.randbytes(12).hex()}", "name": "search", "arguments": {"query": _text(words, weights, rng, 8)}}
            answer = {"type": "tool_call_response", "id": asked["id"], "response": _text(words, weights, rng, rng.randrange(50, 400))}
            messages += [{"role": "assistant", "parts": [asked]}, {"role": "tool", "parts": [answer]}]
    calls.sort(key=lambda span: span.end_time_unix_nano)
    while calls:
        until = calls[0].end_time_unix_nano + seconds * 10**9
        together = [span for span in calls if span.end_time_unix_nano < until]
        calls = calls[len(together) :]
        yield otlp.traces(together, "agents")


def _agent(rng, start):
    trace_id, answers = rng.randbytes(16), ["gpt-4o-2024-08-06", "gpt-4o-mini-2024-07-18", "claude-sonnet-4-20250514"]
    about = {"gen_ai__conversation__id": f"conv_{rng.randbytes(12).hex()}", "user__id": f"user-{int(rng.paretovariate(0.7)) % 20_000:06d}"}
    at = start + 10**6 + rng.randrange(10**7)
    children = []
    for nth in range(5):
        duration = rng.randrange(3 * 10**8, 4 * 10**9)
        if nth % 2:
            more = {"gen_ai__operation__name": "execute_tool", "gen_ai__tool__name": rng.choice(["search", "browser", "sql", "calculator"])}
            more |= {"gen_ai__tool__type": "function", "gen_ai__tool__call__id": f"call_{_base62(rng, 24)}", "gen_ai__agent__name": "support"}
            more |= {"code__function__name": "assistant.tools.run", "thread__name": "worker", "server__address": "tools.internal.example.com"}
            child = otlp.span(rng, name=f"execute_tool {more['gen_ai__tool__name']}", **more, **about)
        else:
            model = rng.choice(answers)
            more = {"gen_ai__response__model": model, "gen_ai__response__id": f"chatcmpl-{_base62(rng, 29)}", "server__port": 443}
            more |= {"gen_ai__request__temperature": 0.7, "gen_ai__request__max_tokens": 4096, "server__address": "api.openai.com"}
            tokens = {"input_tokens": rng.randrange(200, 9000), "output_tokens": rng.randrange(10, 900)}
            child = otlp.chat(rng, model=model.partition("-20")[0], **tokens, **more, **about)
            del child.attributes[[item.key for item in child.attributes].index("gen_ai.input.messages")]
            child.attributes.add(key="gen_ai.response.finish_reasons").value.array_value.values.add(string_value="stop")
        child.start_time_unix_nano, child.end_time_unix_nano = at, at + duration
        at += duration + rng.randrange(10**5, 10**7)
        children.append(child)
    more = {"gen_ai__operation__name": "invoke_agent", "gen_ai__agent__name": "support", "gen_ai__agent__id": "asst_5j66UpCpwteGg4YSxUnt7lPY"}
    more |= {"gen_ai__provider__name": "openai", "gen_ai__request__model": "gpt-4o", "server__address": "assistant.internal.example.com"}
    root = otlp.span(rng, name="invoke_agent support", start=start, duration_ns=at - start + 10**6, http__route="/v1/assist", **more, **about)
    for span in (root, *children):
        span.trace_id = trace_id
    for child in children:
        child.parent_span_id = root.span_id
    return [root, *children]


def _base62(rng, n):
    return "".join(rng.choices("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", k=n))


def _said(role, words, weights, rng, n):
    return {"role": role, "parts": [{"type": "text", "content": _text(words, weights, rng, n)}]}


def _text(words, weights, rng, n):
    return " ".join(rng.choices(words, weights, k=n))
