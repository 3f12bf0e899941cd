/** The first minute: how to send a span by environment variables alone, or demo traffic. The page waits for the first span by itself. */
import { useMutation } from '@tanstack/react-query';
import { Tabs } from 'radix-ui';

import { Button } from '../../components/Button';
import { CopyButton } from '../../components/CopyButton';
import { ErrorNotice } from '../../components/Notice';
import '../../components/tabs.css';
import { formatCountExact } from '../../lib/format';
import './onboarding.css';
import { startDemo } from './queries';

const endpoint = () => window.location.origin;

const guides = () => [
  {
    id: 'python',
    title: 'Python',
    lead: 'Any OpenTelemetry instrumentation. For the OpenAI client, for example:',
    text: `pip install opentelemetry-distro opentelemetry-exporter-otlp-proto-http \\
            opentelemetry-instrumentation-openai-v2

export OTEL_EXPORTER_OTLP_ENDPOINT=${endpoint()}
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
export OTEL_SERVICE_NAME=my-app
export OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true
opentelemetry-instrument python app.py`,
  },
  {
    id: 'typescript',
    title: 'TypeScript',
    lead: 'Node, with the automatic instrumentations:',
    text: `npm install @opentelemetry/api @opentelemetry/auto-instrumentations-node

export OTEL_EXPORTER_OTLP_ENDPOINT=${endpoint()}
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
export OTEL_SERVICE_NAME=my-app
export OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true
export NODE_OPTIONS="--require @opentelemetry/auto-instrumentations-node/register"
node app.js`,
  },
  {
    id: 'other',
    title: 'Anything else',
    lead: 'OpenInference, OpenLLMetry, Langfuse, Vercel AI, Pydantic AI, LangSmith … all speak OTLP. Point their exporter here:',
    text: `OTLP over HTTP   ${endpoint()}/v1/traces
OTLP over gRPC   http://${window.location.hostname}:4317`,
  },
];

export function Onboarding({ demo }: { demo: { running: boolean; sent: number } | null }) {
  const start = useMutation({ mutationFn: startDemo });
  const running = demo?.running === true || start.isPending;
  return (
    <div className="onboarding">
      <h1 className="onboarding__title">Send the first span</h1>
      <p className="onboarding__lead">
        Assay listens for OpenTelemetry. Set the variables below where your program runs; its traces appear here by themselves.
      </p>
      <Tabs.Root defaultValue="python" className="onboarding__guides">
        <Tabs.List className="tabs" aria-label="How to send">
          {guides().map((guide) => (
            <Tabs.Trigger key={guide.id} value={guide.id} className="tabs__tab">
              {guide.title}
            </Tabs.Trigger>
          ))}
        </Tabs.List>
        {guides().map((guide) => (
          <Tabs.Content key={guide.id} value={guide.id}>
            <p className="onboarding__note">{guide.lead}</p>
            <div className="onboarding__code">
              <pre role="region" tabIndex={0} aria-label={`${guide.title} set-up`}>
                {guide.text}
              </pre>
              <CopyButton text={guide.text} label={`Copy the ${guide.title} set-up`} />
            </div>
          </Tabs.Content>
        ))}
      </Tabs.Root>
      <div className="onboarding__demo">
        <div>
          <strong>Nothing to send yet?</strong>
          <p className="onboarding__note">Realistic traffic of several days: chats, agents with tools, retrieval, errors.</p>
        </div>
        <Button
          look="primary"
          disabled={running}
          onClick={() => {
            start.mutate();
          }}
        >
          {running ? `Sending … ${demo && demo.sent > 0 ? formatCountExact(demo.sent) : ''}` : 'Send demo traffic'}
        </Button>
      </div>
      {start.isError && <ErrorNotice title="The demo did not start" error={start.error} />}
      <p className="onboarding__waiting" role="status">
        <span className="onboarding__pulse" aria-hidden="true" />
        Waiting for the first span
      </p>
    </div>
  );
}
