/** The typed columns and, for each, the mapping rule that filled it. */
import type { SpanDetail } from '../../api/types';
import { Breakable } from '../../components/Breakable';
import { JsonView, LongText } from '../../components/JsonView';

/** Not canonical values: shown elsewhere, or the plumbing of the answer. */
const ELSEWHERE = new Set(['attributes', 'resource_attributes', 'scope_attributes', 'events', 'links', 'logs', 'scores', 'cost_lines', 'rules', 'sql', 'cost_sql', 'running', 'input_preview', 'output_preview', 'start_ns', 'event_count', 'flags', 'trace_state']); // prettier-ignore

export function CanonicalTab({ span }: { span: SpanDetail }) {
  const rules = new Map<string, unknown>(Object.entries(span.rules ?? {}));
  const rows = Object.entries(span).filter(([name, value]) => !ELSEWHERE.has(name) && (rules.has(name) || !isNothing(value)));
  rows.sort(([a], [b]) => Number(rules.has(b)) - Number(rules.has(a)));
  const others = [...rules.keys()].filter((name) => !(name in span));
  return (
    <>
      <p className="panel-none canonical__lead">
        {span.dialect ? (
          <>
            Dialect <strong>{span.dialect}</strong>. Each value names the rule that filled it.
          </>
        ) : (
          'No mapping applied: this span follows no known dialect of generative AI telemetry.'
        )}
      </p>
      <table className="panel-table">
        <thead>
          <tr>
            <th scope="col">Column</th>
            <th scope="col">Value</th>
            <th scope="col">Rule</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, value]) => (
            <tr key={name}>
              <td className="code panel-table__name">
                <Breakable text={name} />
              </td>
              <td className="code">
                {typeof value === 'object' && value !== null ? (
                  <JsonView value={value} openDepth={0} />
                ) : (
                  <LongText text={asText(value)} />
                )}
              </td>
              <td className="code faint panel-table__name">
                <Breakable text={asText(rules.get(name) ?? '')} />
              </td>
            </tr>
          ))}
          {others.map((name) => (
            <tr key={name}>
              <td className="code panel-table__name">
                <Breakable text={name} />
              </td>
              <td />
              <td className="code faint panel-table__name">
                <Breakable text={asText(rules.get(name))} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

function isNothing(value: unknown): boolean {
  return value === null || value === undefined || value === '' || (Array.isArray(value) && value.length === 0);
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}
