//! From text to the one statement that may run: a question. Everything else is refused by its kind before anything is planned.

mod depth;
pub(crate) mod tables;

use std::collections::VecDeque;

use datafusion::sql::{
    parser::{DFParserBuilder, Statement},
    sqlparser::{
        ast::{self, SetExpr},
        tokenizer::{TokenWithSpan, Tokenizer},
    },
};

use crate::{
    dialect::AssayDialect,
    error::{QueryError, QueryErrorKind, syntax},
};

/// Nesting beyond this is not a question a person asks.
const RECURSION_MAX: usize = 50;
/// Longer texts are refused before they are parsed.
const SQL_BYTES_MAX: usize = 1 << 20;
/// Stack for walking trees as deep as [`depth`] lets them become, by recursion: some steps of the parser and of planning take 5 KiB for each
/// level in a debug build. Only what is used becomes memory.
pub(crate) const STACK_BYTES: usize = 64 << 20;

/// A statement that only reads.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) statement: Statement,
    /// Whether a row limit can be put around it.
    pub(crate) is_query: bool,
}

/// Parses `sql` and refuses what is not a question.
pub(crate) fn parse(sql: &str) -> Result<Question, QueryError> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(QueryError::new(QueryErrorKind::TooLarge, "the query text is too long")
            .found(format!("{} bytes", sql.len()))
            .expected(format!("at most {SQL_BYTES_MAX} bytes")));
    }
    let mut statements = statements(sql)?;
    let first = statements.pop_front().ok_or_else(|| QueryError::invalid("the query is empty").expected("a `SELECT`"))?;
    if !statements.is_empty() {
        return Err(QueryError::invalid("more than one statement")
            .found(format!("{} statements", statements.len() + 1))
            .expected("one"));
    }
    question(first)
}

/// The tokens of `sql`, if they cannot become a tree that is too deep to walk.
pub(crate) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>, QueryError> {
    let tokens = Tokenizer::new(&AssayDialect, sql).tokenize_with_location().map_err(|e| syntax(&e.to_string(), sql))?;
    let found = depth::depth(&tokens);
    if found <= depth::DEPTH_MAX {
        return Ok(tokens);
    }
    Err(QueryError::new(QueryErrorKind::TooLarge, "too much in one expression or query: operators, conditions, joins or unions")
        .found(format!("about {found} operators and keywords between two commas"))
        .expected(format!("at most {}", depth::DEPTH_MAX))
        .hint("`x IN ('a', 'b')` and `VALUES ('a'), ('b')` may be as long as you like"))
}

fn statements(sql: &str) -> Result<VecDeque<Statement>, QueryError> {
    DFParserBuilder::new(tokens(sql)?)
        .with_dialect(&AssayDialect)
        .with_recursion_limit(RECURSION_MAX)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| syntax(&root_text(&error), sql))
}

fn root_text(error: &datafusion::error::DataFusionError) -> String {
    match error.find_root() {
        datafusion::error::DataFusionError::SQL(error, _) => error.to_string(),
        other => other.to_string(),
    }
}

fn question(statement: Statement) -> Result<Question, QueryError> {
    match statement {
        Statement::Explain(explain) => {
            let inner = question((*explain.statement).clone())?;
            if !inner.is_query {
                return Err(refused("EXPLAIN of a statement that is not a query"));
            }
            Ok(Question { statement: Statement::Explain(explain), is_query: false })
        }
        Statement::Statement(sql) => standard(*sql),
        Statement::CreateExternalTable(_) => Err(refused("CREATE EXTERNAL TABLE")),
        Statement::CopyTo(_) => Err(refused("COPY")),
        Statement::Reset(_) => Err(refused("RESET")),
    }
}

fn standard(statement: ast::Statement) -> Result<Question, QueryError> {
    match statement {
        ast::Statement::Query(query) => {
            if let Some(kind) = writes(&query) {
                return Err(refused(kind));
            }
            Ok(Question { statement: Statement::Statement(Box::new(ast::Statement::Query(query))), is_query: true })
        }
        ast::Statement::ShowTables { .. } => {
            rewritten("SELECT table_schema, table_name, table_type, comment FROM information_schema.tables ORDER BY 1, 2", None)
        }
        ast::Statement::ShowColumns { show_options, .. } => {
            let name = show_options.show_in.and_then(|s| s.parent_name).map(|n| n.to_string()).unwrap_or_default();
            columns_of(&name)
        }
        ast::Statement::ExplainTable { table_name, .. } => columns_of(&table_name.to_string()),
        ast::Statement::ShowFunctions { .. } => {
            rewritten("SELECT routine_name, signature, comment FROM information_schema.routines ORDER BY 1", None)
        }
        other => {
            let words: Vec<_> = other.to_string().split_whitespace().take(2).map(str::to_uppercase).collect();
            Err(refused(words.first().map_or("a statement", String::as_str)))
        }
    }
}

fn columns_of(table: &str) -> Result<Question, QueryError> {
    let bare = table.rsplit('.').next().unwrap_or(table).trim_matches('"').to_lowercase();
    if !crate::catalog::ProjectCatalog::has(crate::catalog::PUBLIC, &bare) {
        return Err(no_table(&bare));
    }
    let sql = "SELECT column_name, data_type, is_nullable, comment FROM information_schema.columns WHERE table_name = '{}' ORDER BY ordinal_position";
    rewritten(sql, Some(&bare))
}

fn rewritten(sql: &str, name: Option<&str>) -> Result<Question, QueryError> {
    let sql = sql.replace("{}", &name.unwrap_or_default().replace('\'', "''"));
    let statement = statements(&sql)?.pop_front().expect("the text is ours and holds one statement");
    Ok(Question { statement, is_query: true })
}

/// The writing part of a query, if it has one: `SELECT … INTO`, `WITH x AS (INSERT …)`.
fn writes(query: &ast::Query) -> Option<&'static str> {
    let with = query.with.iter().flat_map(|with| &with.cte_tables).find_map(|cte| writes(&cte.query));
    with.or_else(|| writes_body(&query.body))
}

fn writes_body(body: &SetExpr) -> Option<&'static str> {
    match body {
        SetExpr::Select(select) => select.into.is_some().then_some("SELECT INTO"),
        SetExpr::Query(query) => writes(query),
        SetExpr::SetOperation { left, right, .. } => writes_body(left).or_else(|| writes_body(right)),
        SetExpr::Values(_) | SetExpr::Table(_) => None,
        SetExpr::Insert(_) => Some("INSERT"),
        SetExpr::Update(_) => Some("UPDATE"),
        SetExpr::Delete(_) => Some("DELETE"),
        SetExpr::Merge(_) => Some("MERGE"),
    }
}

fn refused(kind: &str) -> QueryError {
    QueryError::new(QueryErrorKind::ReadOnly, format!("`{kind}` is not allowed: queries only read"))
        .found(kind)
        .expected("`SELECT`, `WITH`, `VALUES`, `EXPLAIN`, `SHOW TABLES`, `SHOW COLUMNS`, `SHOW FUNCTIONS` or `DESCRIBE`")
}

/// No such table.
pub(crate) fn no_table(name: &str) -> QueryError {
    let error = QueryError::new(QueryErrorKind::NotFound, format!("no table `{name}`")).found(name);
    let names: Vec<_> = crate::catalog::ProjectCatalog::names().collect();
    match crate::error::nearest(name, names.iter().copied()) {
        Some(meant) => error.hint(format!("did you mean `{meant}`?")),
        None => error.expected(format!("one of {}", names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "))),
    }
}
