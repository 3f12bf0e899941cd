/** The open queries. Not ARIA tabs: each has a button to close it beside it, which a tab list may not hold. */
import { useState } from 'react';

import { IconButton } from '../../components/Button';
import { Icon } from '../../components/Icon';
import type { Outcome } from './runs';
import { title, type Tab } from './tabs';
import './tab-strip.css';

type Props = {
  tabs: readonly Tab[];
  active: string;
  outcomeOf: (id: string) => Outcome;
  onPick: (id: string) => void;
  onClose: (id: string) => void;
  onNew: () => void;
  onRename: (id: string, name: string) => void;
};

export function TabStrip({ tabs, active, outcomeOf, onPick, onClose, onNew, onRename }: Props) {
  const [renaming, setRenaming] = useState<string | null>(null);
  return (
    <nav className="tab-strip" aria-label="Open queries">
      <ul className="tab-strip__list">
        {tabs.map((tab) => {
          const name = title(tab);
          const outcome = outcomeOf(tab.id).kind;
          return (
            <li key={tab.id} className="tab-strip__tab" data-active={tab.id === active}>
              {renaming === tab.id ? (
                <input
                  className="text-field tab-strip__name"
                  aria-label="Name of the query"
                  defaultValue={name}
                  // The person has just asked to type here.
                  ref={(field) => field?.select()}
                  onBlur={(event) => {
                    setRenaming(null);
                    onRename(tab.id, event.target.value.trim());
                  }}
                  onKeyDown={(event) => {
                    if (event.key === 'Enter') event.currentTarget.blur();
                    if (event.key === 'Escape') setRenaming(null);
                  }}
                />
              ) : (
                <button
                  type="button"
                  className="tab-strip__pick"
                  aria-current={tab.id === active ? 'true' : undefined}
                  title={`${name}\nDouble click or F2: give it a name`}
                  onClick={() => {
                    onPick(tab.id);
                  }}
                  onDoubleClick={() => {
                    setRenaming(tab.id);
                  }}
                  onKeyDown={(event) => {
                    if (event.key === 'F2') setRenaming(tab.id);
                    if (event.key === 'Delete') onClose(tab.id);
                  }}
                >
                  {outcome === 'running' && <span className="tab-strip__busy" role="img" aria-label="running" />}
                  {outcome === 'failed' && <Icon name="error" size={12} />}
                  <span className="truncate">{name}</span>
                </button>
              )}
              <button
                type="button"
                className="tab-strip__close"
                aria-label={`Close ${name}`}
                onClick={() => {
                  onClose(tab.id);
                }}
              >
                <Icon name="close" size={12} />
              </button>
            </li>
          );
        })}
      </ul>
      <IconButton icon="plus" label="New query" onClick={onNew} />
    </nav>
  );
}
