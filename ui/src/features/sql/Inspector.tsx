/** A cell or a row of a result, whole: JSON as a tree, text as it is. */
import { Tabs } from 'radix-ui';
import { useState } from 'react';

import { IconButton } from '../../components/Button';
import { CopyButton } from '../../components/CopyButton';
import { JsonView } from '../../components/JsonView';
import '../../components/tabs.css';
import { WholeText } from '../../components/WholeText';
import { formatBytes } from '../../lib/format';
import { cellText } from '../../lib/table';
import { asStructure } from './cells';
import { linkOf } from './links';
import './inspector.css';

/** Text is shown in parts, so that a body of 50 MB opens at once. */
const TEXT_AT_ONCE = 20_000;

type Column = { readonly name: string; readonly type: string };
type Props = { columns: readonly Column[]; row: readonly unknown[]; rowNumber: number; column: number; onClose: () => void };

export function Inspector({ columns, row, rowNumber, column, onClose }: Props) {
  const [shown, setShown] = useState('cell');
  const current = columns[column];
  if (!current) return null;
  return (
    <section className="inspector" aria-label="Cell">
      <Tabs.Root className="inspector__tabs" value={shown} onValueChange={setShown}>
        <div className="inspector__head">
          <Tabs.List className="tabs inspector__list" aria-label="What to show">
            <Tabs.Trigger className="tabs__tab" value="cell">
              Cell
            </Tabs.Trigger>
            <Tabs.Trigger className="tabs__tab" value="row">
              Row {rowNumber}
            </Tabs.Trigger>
          </Tabs.List>
          <CopyButton
            label={shown === 'cell' ? 'Copy the cell' : 'Copy the row as JSON'}
            text={() =>
              shown === 'cell'
                ? cellText(row[column])
                : JSON.stringify(Object.fromEntries(columns.map((each, at) => [each.name, row[at]])), null, 2)
            }
          />
          <IconButton icon="close" label="Close the cell panel" onClick={onClose} />
        </div>
        <Tabs.Content className="inspector__body" value="cell">
          <Value key={`${rowNumber} ${column}`} column={current} value={row[column]} href={linkOf(columns, row, column)} />
        </Tabs.Content>
        <Tabs.Content className="inspector__body" value="row">
          <dl className="inspector__fields">
            {columns.map((each, at) => (
              <div key={at} className="inspector__field">
                <dt className="code">{each.name}</dt>
                <dd>
                  <Short value={row[at]} href={linkOf(columns, row, at)} />
                </dd>
              </div>
            ))}
          </dl>
        </Tabs.Content>
      </Tabs.Root>
    </section>
  );
}

function Value({ column, value, href }: { column: Column; value: unknown; href: string | null }) {
  const structure = asStructure(value);
  const text = cellText(value);
  return (
    <>
      <p className="inspector__what">
        <span className="code">{column.name}</span> <span className="faint">{column.type}</span>
        {text.length > 1_000 && <span className="faint"> · {formatBytes(new Blob([text]).size)}</span>}
        {href !== null && (
          <>
            {' · '}
            <a href={href}>open</a>
          </>
        )}
      </p>
      {value === null || value === undefined ? (
        <p className="faint">null: no value</p>
      ) : structure !== undefined ? (
        <JsonView value={structure} openDepth={3} />
      ) : (
        <WholeOrShort text={text} name={column.name} />
      )}
    </>
  );
}

function WholeOrShort({ text, name }: { text: string; name: string }) {
  return text.length > TEXT_AT_ONCE ? <WholeText text={text} label={name} /> : <pre className="inspector__text">{text}</pre>;
}

function Short({ value, href }: { value: unknown; href: string | null }) {
  if (value === null || value === undefined) return <span className="faint">null</span>;
  const structure = asStructure(value);
  if (structure !== undefined) return <JsonView value={structure} openDepth={0} />;
  const text = cellText(value);
  const shown = text.length > 600 ? `${text.slice(0, 600)}…` : text;
  return href === null ? <span className="inspector__short">{shown}</span> : <a href={href}>{shown}</a>;
}
