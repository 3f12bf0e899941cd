/** Formatting of SQL, loaded when it is first asked for. */

/** The text with one clause per line and keywords in capitals. Throws where the text cannot be read as SQL. */
export async function formatSql(text: string): Promise<string> {
  const { formatDialect, postgresql } = await import('sql-formatter');
  return formatDialect(text, {
    dialect: postgresql,
    keywordCase: 'upper',
    functionCase: 'preserve',
    dataTypeCase: 'upper',
    tabWidth: 2,
    expressionWidth: 90,
    linesBetweenQueries: 1,
    paramTypes: { numbered: ['$'], named: ['$'] },
  });
}
