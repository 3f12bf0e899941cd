/** The whole trace in a strip, and in it the window that the timeline shows: dragged to move, drawn anew to choose, double click for all. */
import { useLayoutEffect, useMemo, useRef, type PointerEvent } from 'react';

import { useSize } from '../../lib/hooks';
import { useTheme } from '../../lib/theme';
import { clampWindow, isWhole, type Axis, type Window } from './axis';
import './overview.css';
import { overview, paintOverview, prepare, readColours } from './paint';
import type { TraceTree } from './tree';

const HEIGHT = 38;
/** Shorter drags are clicks: they centre the window. */
const DRAG_PX = 4;

type Props = { tree: TraceTree; axis: Axis; window: Window; onWindow: (window: Window) => void };

export function Overview({ tree, axis, window, onWindow }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [measure, { width }] = useSize<HTMLDivElement>();
  const { resolved } = useTheme();
  const picture = useMemo(() => (width > 0 ? overview(tree, axis, width) : null), [tree, axis, width]);
  useLayoutEffect(() => {
    const context = canvas.current && picture ? prepare(canvas.current, width, HEIGHT) : null;
    if (!context || !picture) return;
    void resolved;
    paintOverview(context, picture, HEIGHT, readColours());
  }, [picture, width, resolved]);

  const drag = useRef<{ x: number; window: Window; move: boolean } | null>(null);
  const whole = axis.whole;
  const span = whole.end - whole.start;
  const at = (x: number) => whole.start + (x / Math.max(1, width)) * span;
  const position = (event: PointerEvent) => event.clientX - event.currentTarget.getBoundingClientRect().left;
  const begin = (event: PointerEvent<HTMLDivElement>) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    const x = position(event);
    const inside = at(x) >= window.start && at(x) <= window.end;
    drag.current = { x, window, move: inside && !isWhole(window, whole) };
  };
  const move = (event: PointerEvent<HTMLDivElement>) => {
    const from = drag.current;
    if (!from) return;
    const x = position(event);
    if (from.move) {
      const by = at(x) - at(from.x);
      onWindow(clampWindow({ start: from.window.start + by, end: from.window.end + by }, whole));
    } else if (Math.abs(x - from.x) >= DRAG_PX) {
      const [left, right] = [Math.min(x, from.x), Math.max(x, from.x)];
      onWindow({ start: Math.max(whole.start, at(left)), end: Math.min(whole.end, at(right)) });
    }
  };
  const left = ((window.start - whole.start) / span) * 100;
  const right = ((whole.end - window.end) / span) * 100;
  return (
    <div
      ref={measure}
      className="overview"
      aria-hidden="true"
      onPointerDown={begin}
      onPointerMove={move}
      onPointerUp={() => {
        drag.current = null;
      }}
      onDoubleClick={() => {
        onWindow(whole);
      }}
    >
      <canvas ref={canvas} style={{ width, height: HEIGHT }} />
      {!isWhole(window, whole) && (
        <>
          <span className="overview__outside" style={{ left: 0, width: `${left}%` }} />
          <span className="overview__outside" style={{ right: 0, width: `${right}%` }} />
          <span className="overview__window" style={{ left: `${left}%`, right: `${right}%` }} />
        </>
      )}
    </div>
  );
}
