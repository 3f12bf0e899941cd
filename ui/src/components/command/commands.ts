/** What the page in sight offers the command menu. A page names its commands while it is drawn; the menu asks for them when it opens. */
import { useEffect, useSyncExternalStore } from 'react';

import type { IconName } from '../Icon';

export type Command = {
  readonly id: string;
  readonly title: string;
  readonly icon: IconName;
  /** The key that does the same without the menu. */
  readonly keys?: string;
  /** Further words that find it. */
  readonly words?: string;
  readonly run: () => void;
};

let offered: readonly (readonly Command[])[] = [];
const listeners = new Set<() => void>();

function announce(): void {
  for (const listener of listeners) listener();
}

/** Offers commands as long as the component is there. Pass the same array until something changes. */
export function useCommands(commands: readonly Command[]): void {
  useEffect(() => {
    offered = [...offered, commands];
    announce();
    return () => {
      offered = offered.filter((each) => each !== commands);
      announce();
    };
  }, [commands]);
}

export function useOfferedCommands(): readonly (readonly Command[])[] {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => offered,
  );
}
