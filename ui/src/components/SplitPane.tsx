/** Two panes with a bar between that is dragged or moved by arrow keys. The size belongs to the caller, who keeps it. */
import { useRef, type KeyboardEvent, type PointerEvent, type ReactNode } from 'react';

import './split-pane.css';

type Props = {
  /** Whether the panes stand side by side or one above the other. */
  direction: 'row' | 'column';
  /** Size of the second pane, in CSS pixels. */
  size: number;
  min: number;
  max: number;
  label: string;
  onResize: (size: number) => void;
  first: ReactNode;
  /** `null`: the first pane has all the room, and keeps its state when the second comes or goes. */
  second: ReactNode;
};

export function SplitPane({ direction, size, min, max, label, onResize, first, second }: Props) {
  const container = useRef<HTMLDivElement>(null);
  const bounded = (value: number) => Math.round(Math.max(min, Math.min(max, value)));
  const drag = (event: PointerEvent<HTMLDivElement>) => {
    const box = container.current?.getBoundingClientRect();
    if (!box || !event.currentTarget.hasPointerCapture(event.pointerId)) return;
    onResize(bounded(direction === 'row' ? box.right - event.clientX : box.bottom - event.clientY));
  };
  const key = (event: KeyboardEvent) => {
    const [grow, shrink] = direction === 'row' ? ['ArrowLeft', 'ArrowRight'] : ['ArrowUp', 'ArrowDown'];
    if (event.key !== grow && event.key !== shrink) return;
    event.preventDefault();
    onResize(bounded(size + (event.key === grow ? 24 : -24)));
  };
  return (
    <div ref={container} className={`split split--${direction}`}>
      <div className="split__first">{first}</div>
      {second !== null && (
        <>
          <div
            className="split__bar"
            role="separator"
            tabIndex={0}
            aria-label={label}
            aria-orientation={direction === 'row' ? 'vertical' : 'horizontal'}
            aria-valuenow={bounded(size)}
            aria-valuemin={min}
            aria-valuemax={Math.round(max)}
            onKeyDown={key}
            onPointerDown={(event) => {
              event.preventDefault();
              event.currentTarget.setPointerCapture(event.pointerId);
            }}
            onPointerMove={drag}
          />
          <div className="split__second" style={{ flexBasis: bounded(size) }}>
            {second}
          </div>
        </>
      )}
    </div>
  );
}
