/** Saved views: open one, keep this list as one, make one the project's first page. */
import { useQuery } from '@tanstack/react-query';
import { Popover } from 'radix-ui';
import { useId, useState, type SyntheticEvent } from 'react';

import { Button, IconButton } from '../../components/Button';
import { Icon } from '../../components/Icon';
import '../../components/menu.css';
import { ErrorNotice, Skeleton } from '../../components/Notice';
import type { KindInfo } from './kinds';
import { differs, savedViewsQuery, useChangeView, type SavedView } from './saved';
import type { ListState } from './state';
import './views-menu.css';

type Props = {
  info: KindInfo;
  state: ListState;
  hrefOf: (view: SavedView) => string;
  onGo: (href: string) => void;
  /** The list now is this view. */
  onSaved: (id: string | null) => void;
};

export function ViewsMenu({ info, state, hrefOf, onGo, onSaved }: Props) {
  const [open, setOpen] = useState(false);
  const views = useQuery({ ...savedViewsQuery(), enabled: open || state.view !== null });
  const current = views.data?.find((view) => view.id === state.view);
  const changed = current !== undefined && (current.kind !== info.kind || differs(current, state));
  return (
    <Popover.Root open={open} onOpenChange={setOpen}>
      <Popover.Trigger
        className="button button--plain views"
        aria-label={current ? `Saved views: ${current.name}${changed ? ', changed' : ''}` : 'Saved views'}
      >
        <Icon name="bookmark" size={14} />
        <span className="views__name truncate">{current?.name ?? 'Views'}</span>
        {changed && <span className="views__changed" title="changed since it was saved" />}
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          className="popover views__panel"
          align="end"
          sideOffset={6}
          collisionPadding={8}
          aria-label="Saved views"
        >
          {views.isPending && <Skeleton lines={3} label="loading saved views" />}
          {views.isError && <ErrorNotice title="The saved views could not be read" error={views.error} />}
          {views.data?.length === 0 && (
            <p className="views__none">Keep this list – its time, filter, order and columns – under a name.</p>
          )}
          {views.data && views.data.length > 0 && (
            <ViewList
              views={views.data}
              current={current}
              onOpen={(view) => {
                setOpen(false);
                onGo(hrefOf(view));
              }}
              onDeleted={(id) => {
                if (id === state.view) onSaved(null);
              }}
            />
          )}
          <SaveForm
            info={info}
            state={state}
            current={changed ? current : undefined}
            onSaved={(id) => {
              setOpen(false);
              onSaved(id);
            }}
          />
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}

type ListProps = {
  views: readonly SavedView[];
  current: SavedView | undefined;
  onOpen: (view: SavedView) => void;
  onDeleted: (id: string) => void;
};

function ViewList({ views, current, onOpen, onDeleted }: ListProps) {
  const change = useChangeView();
  const [asked, setAsked] = useState<string | null>(null);
  return (
    <>
      {change.isError && <ErrorNotice title="The view was not changed" error={change.error} />}
      <ul className="views__list" aria-label="Views">
        {views.map((view) => (
          <li key={view.id} className="views__item">
            <button
              type="button"
              className="views__open"
              aria-current={view.id === current?.id}
              onClick={() => {
                onOpen(view);
              }}
            >
              <span className="truncate">{view.name}</span>
              <span className="views__about truncate">
                {view.kind}
                {view.search.q === undefined ? '' : ` · ${view.search.q}`}
              </span>
            </button>
            <IconButton
              icon="star"
              className={view.isDefault ? 'views__default' : ''}
              label={view.isDefault ? `${view.name} is the first page of the project` : `Make ${view.name} the first page`}
              aria-pressed={view.isDefault}
              onClick={() => {
                change.mutate({ do: 'default', id: view.id, isDefault: !view.isDefault });
              }}
            />
            <IconButton
              icon={asked === view.id ? 'check' : 'trash'}
              label={asked === view.id ? `Yes, delete ${view.name}` : `Delete ${view.name}`}
              onClick={() => {
                if (asked !== view.id) {
                  setAsked(view.id);
                  return;
                }
                change.mutate(
                  { do: 'delete', id: view.id },
                  {
                    onSuccess: () => {
                      onDeleted(view.id);
                    },
                  },
                );
              }}
            />
          </li>
        ))}
      </ul>
    </>
  );
}

type FormProps = { info: KindInfo; state: ListState; current: SavedView | undefined; onSaved: (id: string) => void };

function SaveForm({ info, state, current, onSaved }: FormProps) {
  const [name, setName] = useState('');
  const change = useChangeView();
  const field = useId();
  const done = { onSuccess: ({ id }: { id: string }) => { onSaved(id); } }; // prettier-ignore
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    if (name.trim() !== '') change.mutate({ do: 'create', name: name.trim(), kind: info.kind, state }, done);
  };
  return (
    <form className="views__save" onSubmit={submit}>
      {current && (
        <Button
          className="views__update"
          onClick={() => {
            change.mutate({ do: 'update', id: current.id, kind: info.kind, state }, done);
          }}
        >
          Save the changes to “{current.name}”
        </Button>
      )}
      <label className="views__label" htmlFor={field}>
        This list as a new view
      </label>
      <div className="views__line">
        <input
          id={field}
          className="field"
          value={name}
          maxLength={120}
          autoComplete="off"
          placeholder="Failing agents, last week"
          onChange={(event) => {
            setName(event.target.value);
          }}
        />
        <Button type="submit" look="primary" disabled={name.trim() === '' || change.isPending}>
          Save
        </Button>
      </div>
      {change.isError && <ErrorNotice title="The view was not saved" error={change.error} />}
    </form>
  );
}
