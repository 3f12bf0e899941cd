/** Messages one after another, tool calls beside their results, for pages that show more than one span. */
import { useMemo } from 'react';

import './content-tab.css';
import { MessageCard } from './ContentTab';
import { pairToolCalls, parseMessages } from './messages';

export function Conversation({ messages, label }: { messages: readonly unknown[]; label: string }) {
  const parsed = useMemo(() => pairToolCalls(parseMessages(messages)), [messages]);
  return (
    <ol className="messages" aria-label={label}>
      {parsed.map((message, index) => (
        <MessageCard key={index} message={message} />
      ))}
    </ol>
  );
}
