/** React hooks that talk to the browser: the clock, media queries, key presses, storage. */
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from 'react';

/** The time in milliseconds, renewed every `everyMs`. */
export function useNow(everyMs: number): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => {
      setNow(Date.now());
    }, everyMs);
    return () => {
      clearInterval(timer);
    };
  }, [everyMs]);
  return now;
}

export function useMediaQuery(query: string): boolean {
  const subscribe = useCallback(
    (changed: () => void) => {
      const list = window.matchMedia(query);
      list.addEventListener('change', changed);
      return () => {
        list.removeEventListener('change', changed);
      };
    },
    [query],
  );
  return useSyncExternalStore(subscribe, () => window.matchMedia(query).matches);
}

/** Calls `handler` for key presses anywhere but in a text field. */
export function useShortcut(handler: (event: KeyboardEvent) => void): void {
  const latest = useRef(handler);
  useEffect(() => {
    latest.current = handler;
  });
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      if (event.defaultPrevented || isTyping(event.target)) return;
      latest.current(event);
    };
    window.addEventListener('keydown', listen);
    return () => {
      window.removeEventListener('keydown', listen);
    };
  }, []);
}

/** j, k and the arrows reach what they move in from anywhere on the page where nothing else has the focus. */
export function useReach(find: () => HTMLElement | null | undefined): void {
  useShortcut((event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !['j', 'k', 'ArrowDown', 'ArrowUp'].includes(event.key)) return;
    if (document.activeElement !== document.body) return;
    const found = find();
    if (!found) return;
    event.preventDefault();
    found.focus();
  });
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

/** The width and height of an element, in CSS pixels. */
export function useSize<T extends HTMLElement>(): [(element: T | null) => void, { width: number; height: number }] {
  const [size, setSize] = useState({ width: 0, height: 0 });
  const [element, setElement] = useState<T | null>(null);
  useEffect(() => {
    if (!element) return;
    const observer = new ResizeObserver(() => {
      setSize({ width: element.clientWidth, height: element.clientHeight });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
    };
  }, [element]);
  return [setElement, size];
}

/** A value kept in this browser. Storage that is forbidden or full loses the value at reload and nothing else. */
export function useStored<T>(key: string, initial: T, isValid: (value: unknown) => value is T): [T, (value: T) => void] {
  const [value, setValue] = useState<T>(() => {
    try {
      const text = localStorage.getItem(key);
      const stored: unknown = text === null ? null : JSON.parse(text);
      return isValid(stored) ? stored : initial;
    } catch {
      return initial;
    }
  });
  const store = useCallback(
    (next: T) => {
      setValue(next);
      try {
        localStorage.setItem(key, JSON.stringify(next));
      } catch {
        // Forbidden or full: the value holds until reload.
      }
    },
    [key],
  );
  return [value, store];
}

export const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);
