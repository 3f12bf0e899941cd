//! The SQL we read: `DataFusion`'s generic dialect, with the precedence of operators that `PostgreSQL` has.
//!
//! There, `->>` and its kin bind tighter than comparisons, `LIKE`, `IN`, `BETWEEN` and `IS`, and looser than `+`; `||` stands beside them:
//! `attributes ->> 'k' IS NOT NULL` is `(attributes ->> 'k') IS NOT NULL`. The generic dialect reads `attributes ->> ('k' IS NOT NULL)`.
//! Source: the operator precedence table of the `PostgreSQL` manual, section 4.1.6.

use std::any::TypeId;

use datafusion::sql::sqlparser::{
    dialect::{Dialect, GenericDialect},
    parser::{Parser, ParserError},
    tokenizer::Token,
};

/// Precedence of operators that are not in `PostgreSQL`'s table by name: below `+` (30), above comparisons (20).
const OTHER_OPERATOR: u8 = 25;

/// The dialect of questions.
#[derive(Debug)]
pub(crate) struct AssayDialect;

/// What the generic dialect supports beyond the default.
macro_rules! as_generic {
    ($($method:ident,)*) => {
        $(fn $method(&self) -> bool {
            GenericDialect.$method()
        })*
    };
}

impl Dialect for AssayDialect {
    /// The parser asks by type in places: there, this is the generic dialect.
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        match &parser.peek_token_ref().token {
            Token::Arrow
            | Token::LongArrow
            | Token::HashArrow
            | Token::HashLongArrow
            | Token::AtArrow
            | Token::ArrowAt
            | Token::AtQuestion
            | Token::QuestionAnd
            | Token::QuestionPipe
            | Token::StringConcat => Some(Ok(OTHER_OPERATOR)),
            _ => None,
        }
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    as_generic! {
        supports_unicode_string_literal, supports_partition_by_after_order_by, supports_array_join_syntax,
        supports_group_by_expr, supports_group_by_with_modifier, supports_left_associative_joins_without_parens,
        supports_connect_by, supports_match_recognize, supports_pipe_operator, supports_start_transaction_modifier,
        supports_window_function_null_treatment_arg, supports_dictionary_syntax, supports_window_clause_named_window_reference,
        supports_parenthesized_set_variables, supports_select_wildcard_except, support_map_literal_syntax,
        allow_extract_custom, allow_extract_single_quotes, supports_extract_comma_syntax, supports_create_view_comment_syntax,
        supports_parens_around_table_factor, supports_values_as_table_factor, supports_create_index_with_clause,
        supports_explain_with_utility_options, supports_limit_comma, supports_update_order_by, supports_from_first_select,
        supports_projection_trailing_commas, supports_asc_desc_in_column_definition, supports_try_convert,
        supports_bitwise_shift_operators, supports_comment_on, supports_load_extension,
        supports_named_fn_args_with_assignment_operator, supports_struct_literal, supports_empty_projections,
        supports_nested_comments, supports_multiline_comment_hints, supports_user_host_grantee,
        supports_string_escape_constant, supports_array_typedef_with_brackets, supports_match_against, supports_set_names,
        supports_comma_separated_set_assignments, supports_filter_during_aggregation, supports_select_wildcard_exclude,
        supports_data_type_signed_suffix, supports_interval_options, supports_quote_delimited_string,
        supports_select_wildcard_replace, supports_select_wildcard_ilike, supports_select_wildcard_rename,
        supports_optimize_table, supports_install, supports_detach, supports_prewhere, supports_with_fill, supports_limit_by,
        supports_interpolate, supports_settings, supports_select_format, supports_comment_optimizer_hint,
        supports_constraint_keyword_without_name, supports_key_column_option, supports_comma_separated_trim,
        supports_cte_without_as, supports_select_item_multi_column_alias, supports_xml_expressions,
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use datafusion::sql::sqlparser::ast::{Expr, visit_expressions_mut};

    use super::*;

    /// `sql` with every operation in parentheses.
    fn grouped(sql: &str) -> String {
        let mut expr = Parser::new(&AssayDialect).try_with_sql(sql).unwrap().parse_expr().unwrap();
        let _ = visit_expressions_mut(&mut expr, |expr| {
            *expr = match expr.clone() {
                Expr::Nested(inner) if matches!(*inner, Expr::Nested(_)) => *inner,
                kept @ (Expr::Nested(_) | Expr::Identifier(_) | Expr::Value(_)) => kept,
                operation => Expr::Nested(Box::new(operation)),
            };
            ControlFlow::<()>::Continue(())
        });
        expr.to_string()
    }

    fn same(sql: &str, explicit: &str) {
        assert_eq!(grouped(sql), grouped(explicit));
    }

    #[test]
    fn json_access_binds_as_in_postgresql() {
        same("a ->> 'k' IS NOT NULL", "(a ->> 'k') IS NOT NULL");
        same("a ->> 'k' = 'x' AND b", "((a ->> 'k') = 'x') AND b");
        same("'x' = a ->> 'k'", "'x' = (a ->> 'k')");
        same("a ->> 'k' LIKE 'x%'", "(a ->> 'k') LIKE 'x%'");
        same("a ->> 'k' NOT IN ('x', 'y')", "(a ->> 'k') NOT IN ('x', 'y')");
        same("a ->> 'k' BETWEEN 'x' AND 'y'", "(a ->> 'k') BETWEEN 'x' AND 'y'");
        same("a -> 'b' ->> 'k' <> 'x'", "((a -> 'b') ->> 'k') <> 'x'");
        same("a ->> 'k' || 'x' = 'y'", "((a ->> 'k') || 'x') = 'y'");
        same("NOT a ->> 'k' = 'x'", "NOT ((a ->> 'k') = 'x')");
        same("a -> 1 + 1", "a -> (1 + 1)");
        same("a ->> 'k'::int", "a ->> ('k'::int)");
        same("x || 'a' = 'b' || 'c'", "(x || 'a') = ('b' || 'c')");
    }
}
