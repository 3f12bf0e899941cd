/** The command menu (Ctrl/⌘ K): pages, saved views, what the page in sight offers, and a jump to a trace by its id. */
import { Dialog } from 'radix-ui';
import { useEffect, useId, useRef, useState, type KeyboardEvent } from 'react';

import { Icon } from '../Icon';
import './command-menu.css';
import type { Command } from './commands';
import { findCommands } from './search';

export type CommandGroup = {
  readonly title: string;
  readonly commands: readonly Command[];
  /** They were made for what was typed, so they are not searched once more. */
  readonly found?: true;
};

type Props = {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  /** The groups for what was typed, in order. */
  groups: (typed: string) => readonly CommandGroup[];
};

export function CommandMenu({ open, onOpenChange, groups }: Props) {
  return (
    <Dialog.Root open={open} onOpenChange={onOpenChange}>
      <Dialog.Portal>
        <Dialog.Overlay className="command__overlay" />
        <Dialog.Content className="command" aria-describedby={undefined}>
          <Dialog.Title className="visually-hidden">Commands</Dialog.Title>
          <Menu
            groups={groups}
            onRun={(command) => {
              onOpenChange(false);
              // The dialog gives focus back first; a command may move it on.
              setTimeout(command.run, 0);
            }}
          />
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

function Menu({ groups, onRun }: { groups: Props['groups']; onRun: (command: Command) => void }) {
  const [typed, setTyped] = useState('');
  const [active, setActive] = useState(0);
  const list = useRef<HTMLDivElement>(null);
  const listId = useId();
  const shown = groups(typed)
    .map((group) => ({ ...group, commands: group.found ? group.commands : findCommands(group.commands, typed) }))
    .filter((group) => group.commands.length > 0);
  const flat = shown.flatMap((group) => group.commands);
  const at = Math.min(active, Math.max(0, flat.length - 1));
  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: 'nearest' });
  }, [at, typed]);
  const key = (event: KeyboardEvent) => {
    const command = flat[at];
    if (event.key === 'ArrowDown') setActive((at + 1) % Math.max(1, flat.length));
    else if (event.key === 'ArrowUp') setActive((at - 1 + flat.length) % Math.max(1, flat.length));
    else if (event.key === 'Enter' && command) onRun(command);
    else return;
    event.preventDefault();
  };
  const place = new Map(flat.map((command, index) => [command, index]));
  return (
    <>
      <div className="command__box">
        <Icon name="search" size={16} />
        <input
          className="command__input"
          role="combobox"
          aria-label="Command, page or trace id"
          aria-expanded="true"
          aria-controls={listId}
          aria-autocomplete="list"
          {...(flat[at] ? { 'aria-activedescendant': `${listId}-${at}` } : {})}
          placeholder="Go to, do, or paste a trace id"
          autoComplete="off"
          spellCheck={false}
          value={typed}
          onChange={(event) => {
            setTyped(event.target.value);
            setActive(0);
          }}
          onKeyDown={key}
        />
        <kbd className="command__key">Esc</kbd>
      </div>
      <div ref={list} id={listId} role="listbox" aria-label="Commands" className="command__list">
        {shown.map((group) => (
          <div key={group.title} role="group" aria-label={group.title} className="command__group">
            <div className="command__heading" aria-hidden="true">
              {group.title}
            </div>
            {group.commands.map((command) => {
              const index = place.get(command) ?? 0;
              return (
                <div
                  key={command.id}
                  id={`${listId}-${index}`}
                  role="option"
                  aria-selected={index === at}
                  className="command__option"
                  onPointerMove={() => {
                    setActive(index);
                  }}
                  onClick={() => {
                    onRun(command);
                  }}
                >
                  <Icon name={command.icon} size={14} />
                  <span className="truncate">{command.title}</span>
                  {command.keys !== undefined && <kbd className="command__key">{command.keys}</kbd>}
                </div>
              );
            })}
          </div>
        ))}
        {flat.length === 0 && <p className="command__none">Nothing is called so.</p>}
      </div>
    </>
  );
}
