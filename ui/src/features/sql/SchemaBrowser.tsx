/** Tables, views and functions with their documentation; a click writes the name into the query. */
import { useState } from 'react';

import type { ServerSchema } from '../../api/types';
import { Icon } from '../../components/Icon';
import './schema-browser.css';

export function SchemaBrowser({ schema, onInsert }: { schema: ServerSchema; onInsert: (text: string) => void }) {
  const [filter, setFilter] = useState('');
  const wanted = filter.trim().toLowerCase();
  const tables = schema.tables
    .map((table) => ({
      ...table,
      columns:
        wanted === '' || table.name.includes(wanted)
          ? table.columns
          : table.columns.filter((column) => column.name.toLowerCase().includes(wanted)),
    }))
    .filter((table) => wanted === '' || table.name.includes(wanted) || table.columns.length > 0);
  const functions = schema.functions.filter((each) => wanted === '' || each.name.includes(wanted));
  const system = tables.filter((table) => table.name.includes('.'));
  const views = tables.filter((table) => table.kind === 'view' && !system.includes(table));
  const stored = tables.filter((table) => table.kind !== 'view' && !system.includes(table));
  return (
    <div className="schema">
      <input
        className="library__filter"
        aria-label="Filter tables and columns"
        placeholder="Tables, columns, functions"
        value={filter}
        spellCheck={false}
        onChange={(event) => {
          setFilter(event.target.value);
        }}
      />
      <div className="schema__list">
        <Tables title="Views" tables={views} open={wanted !== ''} onInsert={onInsert} />
        <Tables title="Tables" tables={stored} open={wanted !== ''} onInsert={onInsert} />
        <Tables title="System" tables={system} open={wanted !== ''} onInsert={onInsert} />
        {functions.length > 0 && (
          <details className="schema__group" open={wanted !== ''}>
            <summary className="schema__title">
              <Icon name="chevron-right" size={12} />
              Functions
            </summary>
            <ul>
              {functions.map((each) => (
                <li key={each.signature}>
                  <button
                    type="button"
                    className="schema__column"
                    title={each.doc}
                    onClick={() => {
                      onInsert(`${each.name}(`);
                    }}
                  >
                    <span className="code truncate">{each.name}</span>
                    <span className="schema__type truncate">{each.signature.replace(each.name, '')}</span>
                  </button>
                </li>
              ))}
            </ul>
          </details>
        )}
      </div>
    </div>
  );
}

type TablesProps = { title: string; tables: ServerSchema['tables']; open: boolean; onInsert: (text: string) => void };

function Tables({ title, tables, open, onInsert }: TablesProps) {
  if (tables.length === 0) return null;
  return (
    <section aria-label={title}>
      <h2 className="schema__kind">{title}</h2>
      {tables.map((table) => (
        <details key={`${table.name} ${open}`} className="schema__group" open={open}>
          <summary className="schema__title" title={table.doc}>
            <Icon name="chevron-right" size={12} />
            <span className="code">{table.name}</span>
          </summary>
          <p className="schema__doc">{table.doc}</p>
          <ul>
            {table.columns.map((column) => (
              <li key={column.name}>
                <button
                  type="button"
                  className="schema__column"
                  title={`${column.doc}${column.nullable ? '' : ' Never NULL.'}`}
                  onClick={() => {
                    onInsert(column.name);
                  }}
                >
                  <span className="code truncate">{column.name}</span>
                  <span className="schema__type truncate">{column.type}</span>
                </button>
              </li>
            ))}
          </ul>
        </details>
      ))}
    </section>
  );
}
