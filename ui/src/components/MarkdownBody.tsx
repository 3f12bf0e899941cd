/** Markdown as models write it, sanitised. Loaded only when the first message is shown (see `Markdown`). */
import ReactMarkdown from 'react-markdown';
import rehypeSanitize from 'rehype-sanitize';
import remarkGfm from 'remark-gfm';

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
        h1: ({ children }) => <h4>{children}</h4>,
        h2: ({ children }) => <h4>{children}</h4>,
        h3: ({ children }) => <h4>{children}</h4>,
        // A region that scrolls sideways must be reachable by keyboard.
        pre: ({ children }) => (
          <pre role="region" tabIndex={0} aria-label="code">
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
