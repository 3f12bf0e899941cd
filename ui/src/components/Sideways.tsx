/** A table that may be wider than the screen: it scrolls by itself, and takes the keyboard where it does. */
import { useCallback, useState, type ReactNode } from 'react';

import { useSize } from '../lib/hooks';
import './facts.css';

type Props = { label: string; className?: string; children: ReactNode };

export function Sideways({ label, className, children }: Props) {
  const [measure, { width, height }] = useSize<HTMLDivElement>();
  const [element, setElement] = useState<HTMLDivElement | null>(null);
  const attach = useCallback(
    (found: HTMLDivElement | null) => {
      measure(found);
      setElement(found);
    },
    [measure],
  );
  // Read while drawing: the size is what makes it be drawn again.
  const scrolls = element !== null && width > 0 && (element.scrollWidth > width || element.scrollHeight > height);
  return (
    <div
      ref={attach}
      className={`facts__scroll ${className ?? ''}`}
      {...(scrolls ? { role: 'region', tabIndex: 0, 'aria-label': label } : {})}
    >
      {children}
    </div>
  );
}
