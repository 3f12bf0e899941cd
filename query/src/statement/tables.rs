//! How many tables a statement reads once its common table expressions stand wherever they are named: `WITH b AS (… a JOIN a …), c AS (… b JOIN b …)`
//! doubles with each of them. Planning takes a millisecond for each table, and memory, and cannot be stopped; so this is counted before.

use std::{collections::HashMap, ops::ControlFlow};

use datafusion::sql::{
    parser::Statement,
    planner::IdentNormalizer,
    sqlparser::ast::{ObjectName, ObjectNamePart, Query, Visit as _, Visitor},
};

use crate::error::{QueryError, QueryErrorKind};

/// Statements that read more tables are refused.
const TABLES_MAX: u64 = 1000;

/// Refuses `statement` if it reads too many tables.
pub(crate) fn check(statement: &Statement) -> Result<(), QueryError> {
    let found = tables(statement);
    if found <= TABLES_MAX {
        return Ok(());
    }
    let found = if found < 1_000_000_000 { found.to_string() } else { "more than a billion".to_owned() };
    Err(QueryError::new(QueryErrorKind::TooLarge, "the query reads too many tables")
        .found(format!("{found} tables, those of a common table expression wherever it is named"))
        .expected(format!("at most {TABLES_MAX}"))
        .hint("common table expressions that each name another one twice double with each of them"))
}

fn tables(statement: &Statement) -> u64 {
    match statement {
        Statement::Statement(statement) => {
            let mut counted = Tables::default();
            match statement.visit(&mut counted) {
                ControlFlow::Continue(()) => counted.total,
            }
        }
        Statement::Explain(explain) => tables(&explain.statement),
        _ => 0,
    }
}

/// The queries that are being counted, each inside the one before; [`u64::MAX`] is more than can be counted.
#[derive(Default)]
struct Tables {
    open: Vec<OpenQuery>,
    total: u64,
}

/// A query of which not all was seen yet.
struct OpenQuery {
    /// Its common table expressions, by address.
    ctes: HashMap<*const Query, String>,
    /// The tables of those that were seen, by name.
    named: HashMap<String, u64>,
    tables: u64,
}

impl Visitor for Tables {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        let ctes = ctes
            .map(|cte| (std::ptr::from_ref(&*cte.query), IdentNormalizer::default().normalize(cte.alias.name.clone())))
            .collect();
        self.open.push(OpenQuery { ctes, named: HashMap::new(), tables: 0 });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let tables = self.open.pop().map_or(0, |done| done.tables);
        match self.open.last_mut() {
            Some(around) => match around.ctes.remove(&std::ptr::from_ref(query)) {
                // Without a table it is planned wherever it is named all the same.
                Some(name) => drop(around.named.insert(name, tables.max(1))),
                None => around.tables = around.tables.saturating_add(tables),
            },
            None => self.total = self.total.saturating_add(tables),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Self::Break> {
        let named = |name: &String| self.open.iter().rev().find_map(|query| query.named.get(name).copied());
        let tables = match relation.0.as_slice() {
            [ObjectNamePart::Identifier(name)] => named(&IdentNormalizer::default().normalize(name.clone())).unwrap_or(1),
            _ => 1,
        };
        if let Some(query) = self.open.last_mut() {
            query.tables = query.tables.saturating_add(tables);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> u64 {
        tables(&crate::statement::parse(sql).unwrap().statement)
    }

    #[test]
    fn tables_count_wherever_they_are_read() {
        assert_eq!(of("SELECT 1"), 0);
        assert_eq!(of("SELECT * FROM spans a JOIN spans b USING (trace_id) WHERE a.name IN (SELECT name FROM logs)"), 3);
        assert_eq!(of("EXPLAIN SELECT * FROM spans UNION ALL SELECT * FROM spans"), 2);
        assert_eq!(of("WITH a AS (SELECT 1), b AS (SELECT * FROM spans) SELECT * FROM a, b, a"), 3);
    }

    #[test]
    fn a_common_table_expression_counts_wherever_it_is_named() {
        assert_eq!(of("WITH a AS (SELECT * FROM spans, logs) SELECT * FROM a x, A y, \"a\" z, \"A\""), 7);
        assert_eq!(of("WITH a AS (SELECT * FROM spans, logs) SELECT * FROM public.a WHERE 1 IN (SELECT 1 FROM a)"), 3);
        // One that is named like a table of which it is made, and like another one further out.
        assert_eq!(
            of(
                "WITH spans AS (SELECT * FROM spans, logs) SELECT * FROM (WITH spans AS (SELECT * FROM spans, spans) SELECT * FROM spans), spans"
            ),
            6
        );
        // Planning knows no other case than that of ASCII: these are two.
        assert_eq!(of("WITH Ä AS (SELECT * FROM spans, logs), ä AS (SELECT 1) SELECT * FROM Ä"), 2);
        assert_eq!(of("WITH RECURSIVE a AS (SELECT 1 UNION ALL SELECT * FROM a, spans) SELECT * FROM a"), 2);
    }

    #[test]
    fn what_doubles_is_refused() {
        let chain = |levels: usize| {
            let each = (1..=levels).map(|n| format!(", c{n} AS (SELECT x.a FROM c{} x JOIN c{0} y USING (a))", n - 1));
            format!("WITH c0 AS (SELECT 1 AS a){} SELECT * FROM c{levels}", each.collect::<String>())
        };
        assert_eq!(of(&chain(9)), 512);
        let refused = |sql: &str| check(&crate::statement::parse(sql).unwrap().statement).unwrap_err();
        let error = refused(&chain(10));
        assert_eq!(error.kind, QueryErrorKind::TooLarge);
        assert!(error.found.unwrap().starts_with("1024 tables"));
        assert!(refused(&chain(80)).found.unwrap().starts_with("more than a billion tables"));
        assert!(check(&crate::statement::parse(&chain(9)).unwrap().statement).is_ok());
    }
}
