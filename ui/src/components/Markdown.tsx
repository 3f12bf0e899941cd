/** Text of a message: Markdown where it is small enough to parse at once, plain text otherwise and until the parser is loaded. */
import { lazy, Suspense } from 'react';

import { LongText } from './JsonView';
import './markdown.css';

const MarkdownBody = lazy(() => import('./MarkdownBody'));

/** Above this, parsing would be felt. */
const MARKDOWN_CHARS_MAX = 60_000;

export function Markdown({ text }: { text: string }) {
  const plain = (
    <div className="markdown markdown--plain">
      <LongText text={text} />
    </div>
  );
  if (text.length > MARKDOWN_CHARS_MAX) return plain;
  return (
    <Suspense fallback={plain}>
      <div className="markdown">
        <MarkdownBody text={text} />
      </div>
    </Suspense>
  );
}
