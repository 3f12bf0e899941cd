/** Markdown as models write it, sanitised. Loaded when the first messages are read (see `markdownParser`). */
import type { ReactNode } from 'react';
import ReactMarkdown from 'react-markdown';
import rehypeSanitize from 'rehype-sanitize';
import remarkGfm from 'remark-gfm';

/** A heading of a message is not one of the page: whoever goes from heading to heading through the page does not meet it. */
function Heading({ children }: { children?: ReactNode }) {
  return (
    <p>
      <strong>{children}</strong>
    </p>
  );
}

export default function MarkdownBody({ text }: { text: string }) {
  return (
    <ReactMarkdown
      remarkPlugins={[remarkGfm]}
      rehypePlugins={[rehypeSanitize]}
      components={{
        // A message must not make the reader's browser call a third party: remote images become links.
        img: ({ src, alt }) => (typeof src === 'string' ? <a href={src}>{alt === undefined || alt === '' ? src : alt}</a> : null),
        a: ({ href, children }) => (
          <a href={href} target="_blank" rel="noreferrer noopener">
            {children}
          </a>
        ),
        h1: Heading,
        h2: Heading,
        h3: Heading,
        h4: Heading,
        h5: Heading,
        h6: Heading,
        // What scrolls sideways must be reachable by keyboard. Not a region: a message has many, of one name.
        pre: ({ children }) => (
          <pre role="group" tabIndex={0} aria-label="code">
            {children}
          </pre>
        ),
        // The box of a task list says nothing that its mark does not, and has no name of its own.
        input: ({ checked }) => <span aria-label={checked ? 'done' : 'open'}>{checked ? '☑' : '☐'}</span>,
      }}
    >
      {text}
    </ReactMarkdown>
  );
}
