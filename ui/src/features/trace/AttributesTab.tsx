/** Attributes as received, with their types, of the span, its resource and its scope. */
import { useState } from 'react';

import type { SpanDetail } from '../../api/types';
import { Breakable } from '../../components/Breakable';
import { CopyButton } from '../../components/CopyButton';
import { JsonView, LongText } from '../../components/JsonView';
import { formatCountExact } from '../../lib/format';
import './attributes-tab.css';

type Props = {
  span: SpanDetail;
  /** What is looked for at first; `onFilter` is told what is looked for next. */
  filter: string;
  onFilter: (filter: string) => void;
};

export function AttributesTab({ span, filter: first, onFilter }: Props) {
  const [filter, setFilter] = useState(first);
  return (
    <>
      <input
        className="attributes__filter"
        aria-label="Filter attributes"
        placeholder="Filter attributes"
        value={filter}
        spellCheck={false}
        onChange={(event) => {
          setFilter(event.target.value);
          onFilter(event.target.value);
        }}
      />
      <Group title="Span" attributes={span.attributes} filter={filter} />
      <Group title="Resource" attributes={span.resource_attributes} filter={filter} />
      <Group title={`Scope ${span.scope_name ?? ''}`} attributes={span.scope_attributes} filter={filter} />
    </>
  );
}

function Group({ title, attributes, filter }: { title: string; attributes: unknown; filter: string }) {
  const all = typeof attributes === 'object' && attributes !== null ? Object.entries(attributes) : [];
  const wanted = filter.trim().toLowerCase();
  const shown = wanted === '' ? all : all.filter(([key, value]) => `${key} ${asText(value)}`.toLowerCase().includes(wanted));
  return (
    <div role="group" className="panel-block" aria-label={`${title} attributes`}>
      <h3 className="panel-block__title">
        {title}
        <span className="faint num">
          {wanted === '' ? formatCountExact(all.length) : `${formatCountExact(shown.length)} of ${formatCountExact(all.length)}`}
        </span>
        {all.length > 0 && (
          <CopyButton text={() => JSON.stringify(attributes, null, 2)} label={`Copy the ${title.toLowerCase()} attributes`} />
        )}
      </h3>
      {all.length === 0 ? (
        <p className="panel-none">none</p>
      ) : (
        <table className="panel-table attributes">
          <tbody>
            {shown.map(([key, value]) => (
              <tr key={key}>
                <th scope="row" className="code">
                  <Breakable text={key} />
                </th>
                <td className="code">
                  <Value value={value} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </div>
  );
}

function Value({ value }: { value: unknown }) {
  if (typeof value === 'string') return <LongText text={value} />;
  if (typeof value === 'object' && value !== null) return <JsonView value={value} openDepth={1} />;
  return <span className="json__number">{asText(value)}</span>;
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? 'null');
}
