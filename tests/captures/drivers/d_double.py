# a framework's instrumentation and the client's, both switched on; WHAT = smol | agno | autogen
import os
os.environ["INST"] = os.environ["WHAT"]
src = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "d_frameworks.py")).read()
head, tail = src.split("base = INST.split", 1)
exec(compile(head, "d_frameworks.py", "exec"))
if SCEN != "--list":
    from openinference.instrumentation.openai import OpenAIInstrumentor; OpenAIInstrumentor().instrument(tracer_provider=tp)
exec(compile("base = INST.split" + tail, "d_frameworks.py", "exec"))
