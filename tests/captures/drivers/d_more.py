# other providers' clients; INST = oi | tl | openlit | none ; scenarios pick the client
import os
os.environ.update(AWS_ACCESS_KEY_ID="mock", AWS_SECRET_ACCESS_KEY="mock", AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true", TRACELOOP_TELEMETRY="false", CO_API_KEY="mock")
from common import *
import openai_scen as S
INST = os.environ.get("INST", "oi"); flush = None; Q = "What is the capital of France?"; QS = "Write a haiku about distributed tracing."
if SCEN != "--list":
    if INST == "tl":
        from traceloop.sdk import Traceloop
        try: Traceloop.init(app_name="traceloop-demo", api_endpoint=CAP, api_key="mock", telemetry_enabled=False, disable_batch=False)
        except TypeError: Traceloop.init(app_name="traceloop-demo", api_endpoint=CAP, api_key="mock", disable_batch=False)
        from opentelemetry import trace; flush = lambda: trace.get_tracer_provider().force_flush()
    elif INST == "openlit":
        import openlit; openlit.init(otlp_endpoint=CAP, application_name="openlit-demo", environment="staging", disable_batch=False)
        from opentelemetry import trace; flush = lambda: trace.get_tracer_provider().force_flush()
    else:
        tp, flush = otel(metrics=False, logs=False)
        import importlib
        for m, c in [x.split(":") for x in os.environ.get("OIS", "").split(",") if x]:
            getattr(importlib.import_module("openinference.instrumentation." + m), c)().instrument(tracer_provider=tp)
def mistral(): 
    from mistralai import Mistral
    Mistral(api_key=KEY, server_url=MOCK).chat.complete(model="mistral-large-latest", messages=[{"role": "user", "content": Q}], temperature=0.2, max_tokens=50)
def mistral_stream():
    from mistralai import Mistral
    for _ in Mistral(api_key=KEY, server_url=MOCK).chat.stream(model="mistral-small-latest", messages=[{"role": "user", "content": QS}]): pass
def groq():
    from groq import Groq
    Groq(api_key=KEY, base_url=MOCK, max_retries=0).chat.completions.create(model="llama-3.3-70b-versatile", messages=[{"role": "user", "content": Q}], temperature=0.1)
def groq_err():
    from groq import Groq
    try: Groq(api_key=KEY, base_url=MOCK, max_retries=0).chat.completions.create(model="llama-3.3-70b-versatile", messages=[{"role": "user", "content": "TRIGGER_429"}])
    except Exception as e: facts(error_class=type(e).__name__)
def co():
    import cohere
    cohere.ClientV2(api_key=KEY, base_url=MOCK).chat(model="command-r-plus", messages=[{"role": "user", "content": Q}])
def co_embed():
    import cohere
    cohere.ClientV2(api_key=KEY, base_url=MOCK).embed(model="embed-english-v3.0", texts=["What is the refund policy?"], input_type="search_query", embedding_types=["float"])
def ollama_chat():
    import ollama
    ollama.Client(host=MOCK).chat(model="llama3.2", messages=[{"role": "user", "content": Q}])
def ollama_stream():
    import ollama
    for _ in ollama.Client(host=MOCK).chat(model="llama3.2", messages=[{"role": "user", "content": QS}], stream=True): pass
def g():
    from google import genai; return genai.Client(api_key=KEY, http_options={"base_url": MOCK})
def gemini_chat():
    from google.genai import types
    g().models.generate_content(model="gemini-2.5-flash", contents=Q, config=types.GenerateContentConfig(system_instruction=LONG_SYS, temperature=0.4))
def gemini_stream():
    for _ in g().models.generate_content_stream(model="gemini-2.5-flash", contents=QS): pass
def gemini_err():
    try: g().models.generate_content(model="gemini-2.5-flash", contents="TRIGGER_429")
    except Exception as e: facts(error_class=type(e).__name__)
def azure():
    from openai import AzureOpenAI
    AzureOpenAI(api_key=KEY, azure_endpoint=MOCK, api_version="2024-10-21", max_retries=0).chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": Q}])
def err400(): S._err(400)
def err401(): S._err(401)
def bedrock_invoke():
    import boto3
    r = boto3.client("bedrock-runtime", endpoint_url=MOCK).invoke_model(modelId="anthropic.claude-3-5-sonnet-20241022-v2:0", body=json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "system": "Be brief.", "messages": [{"role": "user", "content": Q}]})); r["body"].read()
def pyd():
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.models.instrumented import InstrumentationSettings
    if INST == "oi":
        from openinference.instrumentation.pydantic_ai import OpenInferenceSpanProcessor
        from opentelemetry import trace; tpp = trace.get_tracer_provider(); tpp._active_span_processor._span_processors = (OpenInferenceSpanProcessor(),) + tuple(tpp._active_span_processor._span_processors)
    a = Agent(OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(base_url=OAI, api_key=KEY)), name="weather_agent", instrument=InstrumentationSettings())
    @a.tool_plain(name="get_weather")
    def gw(city: str, unit: str) -> str:
        """w"""
        return get_weather(city, unit)
    a.run_sync("What is the weather in Paris?")
def instructor_():
    import instructor, openai; from pydantic import BaseModel
    class P(BaseModel): city: str; population: int
    instructor.from_openai(openai.OpenAI(base_url=OAI, api_key=KEY, max_retries=0), mode=instructor.Mode.JSON_SCHEMA).chat.completions.create(model="gpt-4o-mini", response_model=P, messages=[{"role": "user", "content": "Extract the city: I live in Paris."}])
def lc_anthropic():
    from langchain_anthropic import ChatAnthropic
    ChatAnthropic(model="claude-sonnet-4-5", base_url=MOCK, api_key=KEY, max_retries=0).invoke(Q)
import lc_scen as L
T = {"mistral": mistral, "mistral-stream": mistral_stream, "groq": groq, "groq-error": groq_err, "cohere": co, "cohere-embed": co_embed, "ollama": ollama_chat, "ollama-stream": ollama_stream, "gemini-chat": gemini_chat, "gemini-stream": gemini_stream, "gemini-error": gemini_err, "azure": azure, "error400": err400, "error401": err401, "bedrock-invoke": bedrock_invoke, "pydantic": pyd, "instructor": instructor_, "lc-anthropic": lc_anthropic, **L.LC, **{k: v for k, v in S.OPENAI.items()}, **S.ANTHROPIC}
scen(T, after=lambda: flush and flush())
