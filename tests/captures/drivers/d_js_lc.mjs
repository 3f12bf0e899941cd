// LangChain JS under OpenInference, and the Vercel AI SDK through OpenInference's span processor; INST = lc | vercel
import { MOCK, OAI, CAP, KEY, SYS, facts, getWeather, run, SCEN } from './js_common.mjs';
import { createRequire } from 'node:module';
const INST = process.env.INST, req = createRequire(process.env.JSDIR + '/package.json'); const T = {}; let after;
if (SCEN === '--list') for (const n of (INST === 'lc' ? 'chat stream' : 'chat tools stream').split(' ')) T[n] = null; else {
  const { NodeSDK } = req('@opentelemetry/sdk-node'); const { OTLPTraceExporter } = req('@opentelemetry/exporter-trace-otlp-proto');
  const exp = new OTLPTraceExporter({ url: CAP + '/v1/traces' });
  if (INST === 'lc') {
    const sdk = new NodeSDK({ traceExporter: exp }); sdk.start(); after = () => sdk.shutdown();
    const { LangChainInstrumentation } = req('@arizeai/openinference-instrumentation-langchain'); new LangChainInstrumentation().manuallyInstrument(req('@langchain/core/callbacks/manager'));
    const { ChatOpenAI } = req('@langchain/openai'); const m = (k) => new ChatOpenAI({ model: 'gpt-4o-mini', apiKey: KEY, configuration: { baseURL: OAI }, maxRetries: 0, ...k });
    T.chat = () => m({ temperature: 0.2 }).invoke([['system', SYS], ['human', 'What is the capital of France?']]);
    T.stream = async () => { for await (const _ of await m({ streamUsage: true }).stream('Write a haiku about distributed tracing.')); };
  } else {
    const { OpenInferenceSimpleSpanProcessor } = req('@arizeai/openinference-vercel');
    const sdk = new NodeSDK({ spanProcessors: [new OpenInferenceSimpleSpanProcessor({ exporter: exp })] }); sdk.start(); after = () => sdk.shutdown();
    const ai = req('ai'); const { createOpenAI } = req('@ai-sdk/openai'); const { z } = req('zod'); const oa = createOpenAI({ baseURL: OAI, apiKey: KEY }); const tel = { experimental_telemetry: { isEnabled: true, functionId: 'f', metadata: { sessionId: 'session-9', userId: 'user-42' } } };
    T.chat = () => ai.generateText({ model: oa.chat('gpt-4o-mini'), system: SYS, prompt: 'What is the capital of France?', maxRetries: 0, ...tel });
    T.tools = () => ai.generateText({ model: oa.chat('gpt-4o-mini'), prompt: 'What is the weather in Paris?', maxRetries: 0, stopWhen: ai.stepCountIs(4), tools: { get_weather: ai.tool({ description: 'w', inputSchema: z.object({ city: z.string(), unit: z.string() }), execute: async (a) => getWeather(a) }) }, ...tel });
    T.stream = async () => { const r = ai.streamText({ model: oa.chat('gpt-4o-mini'), prompt: 'Write a haiku about distributed tracing.', maxRetries: 0, ...tel }); for await (const _ of r.textStream); };
  }
}
await run(T, after); if (SCEN !== '--list') process.exit(0);
