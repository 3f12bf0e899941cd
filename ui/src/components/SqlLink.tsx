/** "SQL" beside a number: opens the query that gives it in the workbench. The page above says how such an address looks. */
import { createContext, useContext } from 'react';

import './sql-link.css';

/** Parameters of a query as the address of the workbench names them: `p.name:number`. */
export type SqlParams = Readonly<Record<string, string>>;
type HrefOf = (sql: string, params?: SqlParams) => string;

const SqlHref = createContext<HrefOf>(() => '');

export const SqlHrefProvider = SqlHref.Provider;

/** Address of the workbench with a query in it. */
export function useSqlHref(): HrefOf {
  return useContext(SqlHref);
}

/** `of` names the number: "SQL of the totals". Nothing is drawn while the query is not known. */
export function SqlLink({ sql, of, params }: { sql: string | null | undefined; of: string; params?: SqlParams }) {
  const href = useSqlHref();
  if (sql === null || sql === undefined || sql === '') return null;
  return (
    <a className="sql-link" href={href(sql, params)} aria-label={`SQL of ${of}`} title={`Open the SQL of ${of}`}>
      SQL
    </a>
  );
}
