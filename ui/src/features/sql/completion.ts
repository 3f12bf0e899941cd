/** Completion in the editor: what the query reads comes first, then the rest of the schema, functions and words. */
import { snippet, type Completion, type CompletionContext, type CompletionResult } from '@codemirror/autocomplete';

import type { ServerSchema } from '../../api/types';
import { statements } from './lex';
import { scopeOf, wantedAt, type Scope } from './scope';

/** The most frequent values of a column, for text after `column = '`. */
export type ValuesOf = (column: string, signal: AbortSignal) => Promise<readonly { value: string; count: number }[]>;

const WORDS =
  'SELECT FROM WHERE GROUP BY ORDER BY HAVING LIMIT OFFSET JOIN LEFT JOIN ON USING WITH AS DISTINCT UNION ALL AND OR NOT IN IS NULL LIKE ILIKE BETWEEN CASE WHEN THEN ELSE END ASC DESC NULLS LAST FILTER OVER PARTITION BY INTERVAL CAST EXPLAIN ANALYZE SHOW TABLES DESCRIBE VALUES EXISTS TRUE FALSE'
    .match(/GROUP BY|ORDER BY|LEFT JOIN|PARTITION BY|NULLS LAST|UNION ALL|SHOW TABLES|IS NULL|\w+/g)
    ?.map((word): Completion => ({ label: word, type: 'keyword', boost: -3 })) ?? [];

export function complete(schema: ServerSchema, valuesOf: ValuesOf) {
  const tables: Completion[] = schema.tables.map((table) => ({
    label: table.name,
    type: 'class',
    detail: table.kind,
    info: table.doc,
  }));
  const functions: Completion[] = unique(
    schema.functions.map((each) => ({
      label: each.name,
      type: 'function',
      detail: each.signature.replace(each.name, ''),
      info: each.doc,
      boost: -1,
      apply: snippet(`${each.name}(#{})`),
    })),
  );
  return async (context: CompletionContext): Promise<CompletionResult | null> => {
    const text = context.state.doc.toString();
    const statement = statements(text).find((each) => each.from <= context.pos && context.pos <= each.to + 1);
    const before = text.slice(statement?.from ?? 0, context.pos);
    const wanted = wantedAt(before);
    const word = context.matchBefore(/[\p{L}_][\p{L}\p{N}_]*$/u);
    const from = word?.from ?? context.pos;
    const scope = scopeOf(statement?.text ?? text);
    switch (wanted.kind) {
      case 'nothing':
        return null;
      case 'value':
        return valueOptions(context, wanted.column, (statement?.from ?? 0) + wanted.from, valuesOf);
      case 'table':
        return { from, options: [...scope.ctes.map(cte), ...tables], validFor: /^[\w.]*$/ };
      case 'member':
        return { from, options: members(schema, scope, wanted.of), validFor: /^\w*$/ };
      case 'any':
        if (!word && !context.explicit) return null;
        return {
          from,
          options: [...inScope(schema, scope), ...functions, ...scope.ctes.map(cte), ...tables, ...WORDS],
          validFor: /^\w*$/,
        };
    }
  };
}

function cte(name: string): Completion {
  return { label: name, type: 'class', detail: 'of this query', boost: 3 };
}

/** Columns of a table or alias, or tables of a schema. */
function members(schema: ServerSchema, scope: Scope, of: string): Completion[] {
  const source = scope.sources.find((each) => each.alias.toLowerCase() === of.toLowerCase());
  const table = tableNamed(schema, source?.table ?? of);
  if (table) return table.columns.map((column) => columnOption(column, table.name, 2));
  return schema.tables
    .filter((each) => each.name.startsWith(`${of}.`))
    .map((each) => ({ label: each.name.slice(of.length + 1), type: 'class', detail: each.kind, info: each.doc }));
}

/** Columns of the tables that the query reads; of all tables while it reads none. */
function inScope(schema: ServerSchema, scope: Scope): Completion[] {
  const read = scope.sources.flatMap((source) => {
    const table = tableNamed(schema, source.table);
    return table ? [{ table, alias: source.alias }] : [];
  });
  const aliases = scope.sources
    .filter((source) => source.alias !== source.table)
    .map((source): Completion => ({ label: source.alias, type: 'variable', detail: source.table, boost: 2 }));
  const own = scope.names.map((name): Completion => ({ label: name, type: 'variable', detail: 'of this query', boost: 1 }));
  const columns =
    read.length > 0
      ? read.flatMap(({ table }) => table.columns.map((column) => columnOption(column, table.name, 2)))
      : schema.tables.flatMap((table) => table.columns.map((column) => columnOption(column, table.name, 0)));
  return unique([...columns, ...own, ...aliases]);
}

function columnOption(column: ServerSchema['tables'][number]['columns'][number], table: string, boost: number): Completion {
  return { label: column.name, type: 'property', detail: `${table} · ${column.type}`, info: column.doc, boost };
}

function tableNamed(schema: ServerSchema, name: string) {
  return schema.tables.find((table) => table.name.toLowerCase() === name.toLowerCase());
}

function unique(options: readonly Completion[]): Completion[] {
  const seen = new Set<string>();
  return options.filter((option) => !seen.has(option.label) && Boolean(seen.add(option.label)));
}

async function valueOptions(
  context: CompletionContext,
  column: string,
  from: number,
  valuesOf: ValuesOf,
): Promise<CompletionResult | null> {
  const controller = new AbortController();
  context.addEventListener('abort', () => {
    controller.abort();
  });
  const values = await valuesOf(column, controller.signal);
  if (values.length === 0) return null;
  return {
    from,
    options: values.map(({ value, count }, at) => ({
      label: value,
      detail: String(count),
      type: 'text',
      boost: -at,
      apply: `${value.replace(/'/g, "''")}'`,
    })),
    validFor: /^[^']*$/,
  };
}
