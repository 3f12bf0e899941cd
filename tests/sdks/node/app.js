// A small application with an unmodified `openai` client. It knows nothing of Assay: everything comes from environment variables.
import OpenAI from 'openai';

const client = new OpenAI({ maxRetries: 0 });

const answer = await client.chat.completions.create({
  model: 'gpt-4o-mini',
  messages: [{ role: 'user', content: 'What is the capital of France?' }],
});
console.log(answer.choices[0].message.content);

const chunks = await client.chat.completions.create({
  model: 'gpt-4o-mini',
  stream: true,
  stream_options: { include_usage: true },
  messages: [{ role: 'user', content: 'Write a haiku about tracing.' }],
});
let text = '';
for await (const chunk of chunks) text += chunk.choices[0]?.delta.content ?? '';
console.log(text);
