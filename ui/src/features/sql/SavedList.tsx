/** The saved queries of the project. */
import { useQuery } from '@tanstack/react-query';
import { DropdownMenu } from 'radix-ui';
import { useState } from 'react';

import { copyText } from '../../components/CopyButton';
import { Icon } from '../../components/Icon';
import '../../components/menu.css';
import { ErrorNotice, Skeleton } from '../../components/Notice';
import { savedQueriesQuery, useSavedChange, type SavedQuery } from './saved';

type Props = { onOpen: (saved: SavedQuery) => void; hrefOf: (id: string) => string };

export function SavedList({ onOpen, hrefOf }: Props) {
  const { data, isPending, isError, error } = useQuery(savedQueriesQuery());
  const change = useSavedChange();
  const [renaming, setRenaming] = useState<string | null>(null);
  if (isError) return <ErrorNotice title="The saved queries could not be read" error={error} />;
  if (isPending) return <Skeleton lines={6} label="loading the saved queries" />;
  if (data.length === 0)
    return (
      <p className="library__none">Queries that you save are here for everyone who may see this project, with a link to share.</p>
    );
  return (
    <>
      {change.isError && <ErrorNotice title="It was not changed" error={change.error} />}
      <ul className="library__list" aria-label="Saved queries">
        {data.map((saved) => (
          <li key={saved.id} className="library__item">
            {renaming === saved.id ? (
              <input
                className="text-field library__rename"
                aria-label={`New name of ${saved.name}`}
                defaultValue={saved.name}
                ref={(field) => field?.select()}
                onBlur={(event) => {
                  setRenaming(null);
                  const name = event.target.value.trim();
                  if (name !== '' && name !== saved.name) change.mutate({ do: 'rename', saved, name });
                }}
                onKeyDown={(event) => {
                  if (event.key === 'Enter') event.currentTarget.blur();
                  if (event.key === 'Escape') setRenaming(null);
                }}
              />
            ) : (
              <button
                type="button"
                className="library__query"
                title={saved.query}
                onClick={() => {
                  onOpen(saved);
                }}
              >
                <span className="library__name truncate">{saved.name}</span>
                <span className="code library__text">{saved.query.replace(/\s+/g, ' ')}</span>
              </button>
            )}
            <DropdownMenu.Root>
              <DropdownMenu.Trigger className="icon-button" aria-label={`More of ${saved.name}`}>
                <Icon name="chevron-down" size={14} />
              </DropdownMenu.Trigger>
              <DropdownMenu.Portal>
                <DropdownMenu.Content className="menu" align="end" sideOffset={4}>
                  <DropdownMenu.Item
                    className="menu__item"
                    onSelect={() => {
                      void copyText(window.location.origin + hrefOf(saved.id));
                    }}
                  >
                    Copy its link
                  </DropdownMenu.Item>
                  <DropdownMenu.Item
                    className="menu__item"
                    onSelect={() => {
                      // After the menu has given back the focus.
                      setTimeout(() => {
                        setRenaming(saved.id);
                      });
                    }}
                  >
                    Rename
                  </DropdownMenu.Item>
                  <DropdownMenu.Sub>
                    <DropdownMenu.SubTrigger className="menu__item">Delete</DropdownMenu.SubTrigger>
                    <DropdownMenu.Portal>
                      <DropdownMenu.SubContent className="menu" sideOffset={4}>
                        <DropdownMenu.Item
                          className="menu__item menu__item--danger"
                          onSelect={() => {
                            change.mutate({ do: 'delete', saved });
                          }}
                        >
                          Delete it for everyone
                        </DropdownMenu.Item>
                      </DropdownMenu.SubContent>
                    </DropdownMenu.Portal>
                  </DropdownMenu.Sub>
                </DropdownMenu.Content>
              </DropdownMenu.Portal>
            </DropdownMenu.Root>
          </li>
        ))}
      </ul>
    </>
  );
}
