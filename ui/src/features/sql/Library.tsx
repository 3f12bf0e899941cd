/** Beside the editor: the schema, saved queries, history. */
import { Tabs } from 'radix-ui';
import type { ReactNode } from 'react';

import '../../components/tabs.css';
import { useStored } from '../../lib/hooks';
import './library.css';

export type Shelf = { readonly id: string; readonly title: string; readonly content: ReactNode };

const isText = (value: unknown): value is string => typeof value === 'string';

export function Library({ shelves }: { shelves: readonly Shelf[] }) {
  const [chosen, setChosen] = useStored('assay.sql-shelf', 'schema', isText);
  const shown = shelves.some((shelf) => shelf.id === chosen) ? chosen : (shelves[0]?.id ?? '');
  return (
    <aside className="library" aria-label="Schema, saved queries and history">
      <Tabs.Root className="library__tabs" value={shown} onValueChange={setChosen}>
        <Tabs.List className="tabs" aria-label="Library">
          {shelves.map((shelf) => (
            <Tabs.Trigger key={shelf.id} className="tabs__tab" value={shelf.id}>
              {shelf.title}
            </Tabs.Trigger>
          ))}
        </Tabs.List>
        {shelves.map((shelf) => (
          <Tabs.Content key={shelf.id} className="library__shelf" value={shelf.id}>
            {shelf.content}
          </Tabs.Content>
        ))}
      </Tabs.Root>
    </aside>
  );
}
