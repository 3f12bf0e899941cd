/** What went in and what came out: messages, tool calls beside their results, documents, or plain input and output. */
import { useMemo, type ReactNode } from 'react';

import type { SpanDetail } from '../../api/types';
import { CopyButton } from '../../components/CopyButton';
import { CutText, findCuts, readCut, sizeOf } from '../../components/Cut';
import { Icon } from '../../components/Icon';
import { JsonView } from '../../components/JsonView';
import { Markdown } from '../../components/Markdown';
import { WarningNotice } from '../../components/Notice';
import { formatBytes, formatCountExact } from '../../lib/format';
import { extensionOf, MediaBox, StoredMedia } from './StoredMedia';
import './content-tab.css';
import {
  decode,
  isRecord,
  pairToolCalls,
  parseInstructions,
  parseMessages,
  parseToolDefinitions,
  type Message,
  type Part,
} from './messages';

/** Where long values may stand. */
const CONTENT = ['system_instructions', 'input_messages', 'output_messages', 'tool_definitions', 'tool_arguments', 'tool_result', 'input_value', 'output_value', 'retrieval_query', 'retrieval_documents'] as const; // prettier-ignore
const CUTS_NAMED = 3;

export function ContentTab({ span }: { span: SpanDetail }) {
  const conversation = useMemo(
    () =>
      pairToolCalls([
        ...parseInstructions(span.system_instructions),
        ...parseMessages(span.input_messages),
        ...parseMessages(span.output_messages).map(asAnswer),
      ]),
    [span],
  );
  const tools = useMemo(() => parseToolDefinitions(span.tool_definitions), [span.tool_definitions]);
  const cuts = useMemo(() => CONTENT.flatMap((name) => findCuts(span[name])), [span]);
  const blocks: ReactNode[] = [];
  if (tools.length > 0) {
    blocks.push(
      <details key="tools" className="content-tools">
        <summary>
          <Icon name="tool" size={14} /> {formatCountExact(tools.length)} {tools.length === 1 ? 'tool' : 'tools'} offered:{' '}
          <span className="faint">{tools.map((tool) => tool.name).join(', ')}</span>
        </summary>
        {tools.map((tool, index) => (
          <div key={`${tool.name} ${index}`} className="content-tools__tool">
            <strong className="code">{tool.name}</strong>
            {tool.description !== null && <p>{tool.description}</p>}
            {tool.parameters !== null && <JsonView value={tool.parameters} openDepth={1} />}
          </div>
        ))}
      </details>,
    );
  }
  if (conversation.length > 0) {
    blocks.push(
      <ol key="messages" className="messages" aria-label="Messages">
        {conversation.map((message, index) => (
          <MessageCard key={index} message={message} />
        ))}
      </ol>,
    );
  }
  const value = (title: string, content: unknown) => {
    if (content !== null && content !== undefined && content !== '')
      blocks.push(<ValueBlock key={title} title={title} value={content} />);
  };
  value('Tool arguments', span.tool_arguments);
  value('Tool result', span.tool_result);
  value('Retrieval query', span.retrieval_query);
  const documents = decode(span.retrieval_documents);
  if (Array.isArray(documents) && documents.length > 0) blocks.push(<Documents key="documents" documents={documents} />);
  // A step that says the same in a more telling column does not say it twice.
  if (conversation.length === 0) {
    if (!span.tool_arguments && !span.retrieval_query) value('Input', span.input_value);
    if (!span.tool_result && !(Array.isArray(documents) && documents.length > 0)) value('Output', span.output_value);
  }
  if (blocks.length === 0) {
    return (
      <p className="panel-none">
        This span carries no messages, input or output. Instrumentations often need a switch for it, such as{' '}
        <code>OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true</code>.
      </p>
    );
  }
  return (
    <div className="content">
      {cuts.length > 0 && (
        <WarningNotice>
          <strong>Shown in part:</strong>{' '}
          {cuts
            .slice(0, CUTS_NAMED)
            .map((cut) => `${cut.path.slice(1)} (${sizeOf(cut)})`)
            .join(', ')}
          {cuts.length > CUTS_NAMED && ` and ${formatCountExact(cuts.length - CUTS_NAMED)} more`}. Each says so where it stands
          and can be had whole.
        </WarningNotice>
      )}
      {blocks}
    </div>
  );
}

const asAnswer = (message: Message): Message => (message.role === 'unknown' ? { ...message, role: 'assistant' } : message);

export function MessageCard({ message }: { message: Message }) {
  const text = message.parts.flatMap((part) => (part.kind === 'text' ? [part.text] : [])).join('\n\n');
  return (
    <li className={`message message--${/^(system|developer|user|assistant|tool)$/.test(message.role) ? message.role : 'other'}`}>
      <header className="message__head">
        <span className="message__role">{message.role}</span>
        {message.name !== null && <span className="faint">{message.name}</span>}
        {message.finishReason !== null && <span className="message__finish">{message.finishReason}</span>}
        {text !== '' && (
          <span className="message__copy">
            <CopyButton text={text} label={`Copy the ${message.role} message`} />
          </span>
        )}
      </header>
      {message.parts.length === 0 && <p className="panel-none">empty</p>}
      {message.parts.map((part, index) => (
        <PartView key={index} part={part} />
      ))}
    </li>
  );
}

export function PartView({ part }: { part: Part }) {
  switch (part.kind) {
    case 'text':
      return <TextPart text={part.text} />;
    case 'reasoning':
      return (
        <details className="part-reasoning">
          <summary>Reasoning{part.text === '' ? ' (not sent)' : `, ${formatCountExact(part.text.length)} characters`}</summary>
          {part.text !== '' && <Markdown text={part.text} />}
        </details>
      );
    case 'tool-call':
      return (
        <div className="part-call">
          <div className="part-call__side">
            <div className="part-call__title">
              <Icon name="tool" size={14} />
              <strong className="code">{part.name}</strong>
              {part.id !== null && <span className="faint code truncate">{part.id}</span>}
            </div>
            <AnyValue value={part.args} />
          </div>
          <div className="part-call__side">
            <div className="part-call__title faint">{part.result ? 'result' : 'no result in these messages'}</div>
            {part.result && <AnyValue value={part.result.value} />}
          </div>
        </div>
      );
    case 'tool-result':
      return (
        <div className="part-call part-call--single">
          <div className="part-call__side">
            <div className="part-call__title faint">
              result{part.name === null ? '' : ` of ${part.name}`} {part.id !== null && <span className="code">{part.id}</span>}
            </div>
            <AnyValue value={part.value} />
          </div>
        </div>
      );
    case 'cut':
      return <CutText cut={part.cut}>{(text) => <Markdown text={text} />}</CutText>;
    case 'media':
      return <Media part={part} />;
    case 'stored':
      return <StoredMedia part={part} />;
    case 'other':
      return <JsonView value={part.value} />;
  }
}

/** Structured answers are JSON in a text: shown as such, else as Markdown. */
function TextPart({ text }: { text: string }) {
  const value = decode(text);
  if (typeof value === 'object' && value !== null) return <JsonView value={value} openDepth={3} />;
  return <Markdown text={text} />;
}

export function AnyValue({ value }: { value: unknown }) {
  const cut = readCut(value);
  if (cut) return <CutText cut={cut}>{(text) => <Markdown text={text} />}</CutText>;
  const decoded = decode(value);
  if (decoded === null || decoded === undefined || decoded === '') return <span className="faint">empty</span>;
  if (typeof decoded === 'string') return <Markdown text={decoded} />;
  if (
    Array.isArray(decoded) &&
    decoded.every((each) => isRecord(each) && each['type'] === 'text' && typeof each['text'] === 'string')
  ) {
    return (
      <Markdown
        text={decoded
          .map((each: unknown) => (isRecord(each) && typeof each['text'] === 'string' ? each['text'] : ''))
          .join('\n\n')}
      />
    );
  }
  return <JsonView value={decoded} openDepth={3} />;
}

function Media({ part }: { part: Extract<Part, { kind: 'media' }> }) {
  const what = `${part.modality}${part.mime === null ? '' : `, ${part.mime}`}`;
  if (part.source === null) return <p className="part-media">{[what, part.note].filter(Boolean).join(': ')}</p>;
  if (!part.source.startsWith('data:')) {
    // Remote media is not loaded: the page must not tell a third party what is being read.
    const safe = /^https?:\/\//.test(part.source);
    return (
      <p className="part-media">
        {what}:{' '}
        {safe ? (
          <a href={part.source} target="_blank" rel="noreferrer noopener">
            {part.source}
          </a>
        ) : (
          <code>{part.source}</code>
        )}
      </p>
    );
  }
  const type = /^data:([^;,]*)/.exec(part.source)?.[1] ?? '';
  const bytes = Math.floor(((part.source.length - part.source.indexOf(',') - 1) * 3) / 4);
  return <MediaBox url={part.source} type={type} what={`${what}, ${formatBytes(bytes)}`} file={`media${extensionOf(type)}`} />;
}

function Documents({ documents }: { documents: unknown[] }) {
  return (
    <div role="group" className="panel-block" aria-label="Documents">
      <h3 className="panel-block__title">
        Documents <span className="faint">{documents.length}</span>
      </h3>
      <ol className="documents">
        {documents.map((document, index) => {
          if (!isRecord(document)) {
            return (
              <li key={index}>
                <JsonView value={document} />
              </li>
            );
          }
          const { id, content, score, metadata } = document;
          return (
            <li key={index} className="panel-box">
              <div className="documents__head">
                <span className="faint num">{index + 1}</span>
                {typeof id === 'string' && <span className="code truncate">{id}</span>}
                {typeof score === 'number' && <span className="documents__score num">score {score.toPrecision(4)}</span>}
              </div>
              {content !== null && content !== undefined && <AnyValue value={content} />}
              {isRecord(metadata) && Object.keys(metadata).length > 0 && <JsonView value={metadata} openDepth={0} />}
            </li>
          );
        })}
      </ol>
    </div>
  );
}

function ValueBlock({ title, value }: { title: string; value: unknown }) {
  return (
    <div role="group" className="panel-block" aria-label={title}>
      <h3 className="panel-block__title">
        {title}
        <CopyButton
          text={() => (typeof value === 'string' ? value : JSON.stringify(value, null, 2))}
          label={`Copy the ${title.toLowerCase()}`}
        />
      </h3>
      <div className="panel-box">
        <AnyValue value={value} />
      </div>
    </div>
  );
}
