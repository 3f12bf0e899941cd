/** "SQL" beside a number: opens the query that gives it in the workbench. The page above says how such an address looks. */
import { createContext, useContext } from 'react';

import './sql-link.css';

const SqlHref = createContext<(sql: string) => string>(() => '');

export const SqlHrefProvider = SqlHref.Provider;

/** Address of the workbench with a query in it. */
export function useSqlHref(): (sql: string) => string {
  return useContext(SqlHref);
}

/** `of` names the number: "SQL of the totals". Nothing is drawn while the query is not known. */
export function SqlLink({ sql, of }: { sql: string | null | undefined; of: string }) {
  const href = useSqlHref();
  if (sql === null || sql === undefined || sql === '') return null;
  return (
    <a className="sql-link" href={href(sql)} aria-label={`SQL of ${of}`} title={`Open the SQL of ${of}`}>
      SQL
    </a>
  );
}
