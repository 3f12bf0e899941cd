/** What a page says when it has nothing, waits, or failed. */
import type { ReactNode } from 'react';

import { Button } from './Button';
import { Icon } from './Icon';
import './notice.css';

export function EmptyState({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <h2 className="empty__title">{title}</h2>
      {children}
    </div>
  );
}

type ErrorProps = { title: string; error: unknown; onRetry?: () => unknown; children?: ReactNode };

/** A failure: what, then why as the server told it, then what can be done. */
export function ErrorNotice({ title, error, onRetry, children }: ErrorProps) {
  return (
    <div className="notice notice--error" role="alert">
      <Icon name="error" />
      <div className="notice__body">
        <strong>{title}</strong>
        <p>
          <Prose text={explain(error)} />
        </p>
        {children}
        {onRetry && (
          <Button
            onClick={() => {
              onRetry();
            }}
          >
            Try again
          </Button>
        )}
      </div>
    </div>
  );
}

export function WarningNotice({ children }: { children: ReactNode }) {
  return (
    <div className="notice notice--warning" role="note">
      <Icon name="warning" />
      <div className="notice__body">{children}</div>
    </div>
  );
}

/** Grey bars where lines of text will be. */
export function Skeleton({ lines, label }: { lines: number; label: string }) {
  return (
    <div className="skeleton" role="status" aria-label={label}>
      {Array.from({ length: lines }, (_, index) => (
        <span key={index} className="skeleton__line" style={{ width: `${92 - ((index * 37) % 45)}%` }} />
      ))}
    </div>
  );
}

/** Text of the server, in which names stand between backticks. */
export function Prose({ text }: { text: string }) {
  return text.split('`').map((part, at) => (at % 2 === 1 ? <code key={at}>{part}</code> : part));
}

function explain(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const hint = typeof error === 'object' && error !== null && 'hint' in error && typeof error.hint === 'string' ? error.hint : '';
  return hint === '' ? message : `${message}; ${hint}`;
}
