/** Text of a message: Markdown where it is small enough to parse at once, plain text otherwise and where the parser is not loaded. */
import { useEffect, useState } from 'react';

import { LongText } from './JsonView';
import './markdown.css';
import { loadedParser, loadParser } from './markdownParser';

/** Above this, parsing would be felt. */
const MARKDOWN_CHARS_MAX = 60_000;

export function Markdown({ text }: { text: string }) {
  const [Parser, setParser] = useState(loadedParser);
  useEffect(() => {
    if (Parser !== null) return;
    void loadParser().then(() => {
      setParser(loadedParser);
    });
  }, [Parser]);
  if (Parser === null || text.length > MARKDOWN_CHARS_MAX) {
    return (
      <div className="markdown markdown--plain">
        <LongText text={text} />
      </div>
    );
  }
  return (
    <div className="markdown">
      <Parser text={text} />
    </div>
  );
}
