/** Saves the query for the project: over the one it began as, or under a new name. */
import { useQuery } from '@tanstack/react-query';
import { Popover } from 'radix-ui';
import { useState } from 'react';

import { ApiError } from '../../api/client';
import { Button } from '../../components/Button';
import { Icon } from '../../components/Icon';
import '../../components/menu.css';
import { ErrorNotice } from '../../components/Notice';
import { differs, savedQueriesQuery, useSavedChange } from './saved';
import { title, type Tab } from './tabs';

type Props = {
  tab: Tab;
  open: boolean;
  onOpen: (open: boolean) => void;
  onSaved: (id: string, name: string) => void;
};

export function SaveButton({ tab, open, onOpen, onSaved }: Props) {
  const { data } = useQuery(savedQueriesQuery());
  const saved = data?.find((each) => each.id === tab.saved) ?? null;
  const change = useSavedChange();
  const [name, setName] = useState<string | null>(null);
  const empty = tab.text.trim() === '';
  const write = (as: string | null) => {
    const done = (id: string, called: string) => {
      onSaved(id, called);
      setName(null);
      onOpen(false);
    };
    if (as === null && saved) {
      change.mutate({ do: 'update', saved, tab }, { onSuccess: ({ id }) => done(id, saved.name) });
      return;
    }
    const called = (as ?? '').trim();
    if (called !== '') change.mutate({ do: 'create', name: called, tab }, { onSuccess: ({ id }) => done(id, called) });
  };
  return (
    <Popover.Root
      open={open}
      onOpenChange={(next) => {
        change.reset();
        setName(null);
        onOpen(next);
      }}
    >
      <Popover.Trigger className="button button--quiet" disabled={empty}>
        <Icon name={saved && !differs(tab, saved) ? 'check' : 'bookmark'} size={14} />
        {saved && !differs(tab, saved) ? 'Saved' : 'Save'}
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content className="popover save" align="end" sideOffset={5} collisionPadding={8} aria-label="Save the query">
          <form
            className="save__form"
            onSubmit={(event) => {
              event.preventDefault();
              write(name ?? suggestion(tab, saved?.name ?? null));
            }}
          >
            {saved && differs(tab, saved) && (
              <Button
                look="primary"
                disabled={change.isPending}
                onClick={() => {
                  write(null);
                }}
              >
                Save over “{saved.name}”
              </Button>
            )}
            <label className="save__label">
              {saved ? 'Save as another query' : 'Name'}
              <input
                className="text-field"
                value={name ?? suggestion(tab, saved?.name ?? null)}
                onChange={(event) => {
                  setName(event.target.value);
                }}
              />
            </label>
            <p className="faint save__note">
              Query, parameters with these values, and chart; for everyone who may see this project.
            </p>
            {change.isError && (
              <ErrorNotice
                title={change.error instanceof ApiError && change.error.status === 409 ? 'It was not saved' : 'Saving failed'}
                error={change.error}
              />
            )}
            <Button type="submit" look={saved ? 'plain' : 'primary'} disabled={change.isPending}>
              {saved ? 'Save as new' : 'Save'}
            </Button>
          </form>
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}

function suggestion(tab: Tab, saved: string | null): string {
  return saved === null ? title(tab).slice(0, 60) : `${saved}, changed`;
}
