"""A small application with an unmodified `openai` client. It knows nothing of Assay: everything comes from environment variables.

Run as `opentelemetry-instrument python app.py`: one call, one streamed call, one call with a tool, one refused call.
"""

import openai
from openai import OpenAI

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

client = OpenAI(max_retries=0)

answer = client.chat.completions.create(
    model="gpt-4o-mini",
    temperature=0.2,
    messages=[
        {"role": "system", "content": "You answer in one sentence."},
        {"role": "user", "content": "What is the capital of France?"},
    ],
)
print(answer.choices[0].message.content)

chunks = client.chat.completions.create(
    model="gpt-4o-mini",
    stream=True,
    stream_options={"include_usage": True},
    messages=[{"role": "user", "content": "Write a haiku about tracing."}],
)
print("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))

call = client.chat.completions.create(
    model="gpt-4o-mini",
    tools=[WEATHER],
    messages=[{"role": "user", "content": "What is the weather in Paris?"}],
)
print(call.choices[0].message.tool_calls[0].function.arguments)

try:
    client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Refuse this, please."}])
except openai.RateLimitError as error:
    print(error.status_code)
