//! Predicates in ClickHouse's SQL: those, and only those, that are true of the same rows on both sides.
//!
//! What is written here stands in a `WHERE`: NULL counts as false, so a form may give NULL on one side and false on the other. That holds only
//! as long as nothing negates it, and therefore nothing here is put under a `NOT`. Left to DataFusion are floats (NaN compares otherwise), casts,
//! functions but `lower` beside ASCII, and patterns with `_` or an escape. `ILIKE` is a regular expression, because both have the same rules of
//! case for those, and ClickHouse others for its own `ILIKE`.

use assay_schemas::clickhouse::{identifier, text};
use chrono::NaiveDate;
use datafusion::{
    arrow::datatypes::{DataType, SchemaRef},
    common::ScalarValue,
    logical_expr::{Between, BinaryExpr, Expr, Like, Operator, expr::InList},
};

/// `expr` over the columns of `schema` as ClickHouse says it; `None` if it is left to DataFusion.
pub(super) fn predicate(expr: &Expr, schema: &SchemaRef) -> Option<String> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            Some(format!("({} AND {})", predicate(left, schema)?, predicate(right, schema)?))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            Some(format!("({} OR {})", predicate(left, schema)?, predicate(right, schema)?))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => comparison(left, *op, right, schema),
        Expr::Between(Between { expr, negated: false, low, high }) => Some(format!(
            "({} AND {})",
            comparison(expr, Operator::GtEq, low, schema)?,
            comparison(expr, Operator::LtEq, high, schema)?
        )),
        Expr::InList(InList { expr, list, negated }) => {
            let (column, data_type) = column(expr, schema)?;
            let values = list.iter().map(|value| literal(value, &data_type)).collect::<Option<Vec<_>>>()?;
            let values = values.join(", ");
            Some(match negated {
                false => format!("{column} IN ({values})"),
                true => format!("({column} IS NOT NULL AND {column} NOT IN ({values}))"),
            })
        }
        Expr::Like(Like { negated, expr, pattern, escape_char: None, case_insensitive }) => {
            let (column, data_type) = column(expr, schema)?;
            let Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) = pattern.as_ref() else { return None };
            if data_type != DataType::Utf8 || pattern.contains(['_', '\\', '\0']) {
                return None;
            }
            let not = if *negated { "NOT " } else { "" };
            Some(match case_insensitive {
                true => format!("{not}match({column}, {})", text(&regex(pattern))),
                false => format!("{column} {not}LIKE {}", text(pattern)),
            })
        }
        Expr::IsNull(expr) => Some(format!("{} IS NULL", column(expr, schema)?.0)),
        Expr::IsNotNull(expr) => Some(format!("{} IS NOT NULL", column(expr, schema)?.0)),
        Expr::IsTrue(expr) => predicate(expr, schema),
        Expr::Column(_) => {
            let (column, data_type) = column(expr, schema)?;
            (data_type == DataType::Boolean).then_some(column)
        }
        Expr::Not(expr) => {
            let (column, data_type) = column(expr, schema)?;
            (data_type == DataType::Boolean).then(|| format!("NOT {column}"))
        }
        Expr::Literal(ScalarValue::Boolean(Some(value)), _) => Some(if *value { "1" } else { "0" }.to_owned()),
        _ => None,
    }
}

fn comparison(left: &Expr, op: Operator, right: &Expr, schema: &SchemaRef) -> Option<String> {
    let sign = match op {
        Operator::Eq => "=",
        Operator::NotEq => "!=",
        Operator::Lt => "<",
        Operator::LtEq => "<=",
        Operator::Gt => ">",
        Operator::GtEq => ">=",
        _ => return None,
    };
    if let (Some((left, left_type)), Some((right, right_type))) = (column(left, schema), column(right, schema)) {
        return (left_type == right_type).then(|| format!("{left} {sign} {right}"));
    }
    if let Some((column, data_type)) = column(left, schema) {
        return Some(format!("{column} {sign} {}", literal(right, &data_type)?));
    }
    if let Some((column, data_type)) = column(right, schema) {
        return Some(format!("{} {sign} {column}", literal(left, &data_type)?));
    }
    // What becomes ASCII in lower case does so on both sides.
    let Expr::Literal(ScalarValue::Utf8(Some(value)), _) = right else { return None };
    let equals = matches!(op, Operator::Eq | Operator::NotEq) && value.is_ascii();
    equals.then(|| lower(left, schema)).flatten().map(|lower| format!("{lower} {sign} {}", text(value)))
}

/// A column of text in lower case.
fn lower(expr: &Expr, schema: &SchemaRef) -> Option<String> {
    let Expr::ScalarFunction(function) = expr else { return None };
    let [argument] = function.args.as_slice() else { return None };
    let (column, data_type) = column(argument, schema)?;
    (function.name() == "lower" && data_type == DataType::Utf8).then(|| format!("lowerUTF8({column})"))
}

/// The regular expression that finds what `ILIKE pattern` does, `%` being all that means something in it.
fn regex(pattern: &str) -> String {
    let inner = pattern.trim_matches('%');
    let mut regex = String::from("(?is)");
    if !pattern.starts_with('%') {
        regex.push('^');
    }
    for character in inner.chars() {
        match character {
            '%' => regex.push_str(".*"),
            _ if character.is_ascii() && !character.is_ascii_alphanumeric() => regex.extend(['\\', character]),
            _ => regex.push(character),
        }
    }
    if !pattern.ends_with('%') {
        regex.push('$');
    }
    regex
}

/// A column, of a type that compares alike on both sides.
fn column(expr: &Expr, schema: &SchemaRef) -> Option<(String, DataType)> {
    let Expr::Column(column) = expr else { return None };
    let field = schema.field_with_name(&column.name).ok()?;
    let is_float = field.data_type().is_floating();
    (!is_float).then(|| (identifier(field.name()), field.data_type().clone()))
}

/// A value of exactly `data_type`.
fn literal(expr: &Expr, data_type: &DataType) -> Option<String> {
    let Expr::Literal(value, _) = expr else { return None };
    if value.data_type() != *data_type {
        return None;
    }
    Some(match value {
        ScalarValue::Utf8(Some(value)) => text(value),
        ScalarValue::Int64(Some(value)) => format!("toInt64({value})"),
        ScalarValue::Boolean(Some(value)) => value.to_string(),
        ScalarValue::TimestampMicrosecond(Some(micros), _) => format!("fromUnixTimestamp64Micro(toInt64({micros}), 'UTC')"),
        ScalarValue::Date32(Some(days)) => format!("toDate32('{}')", NaiveDate::from_epoch_days(*days)?),
        ScalarValue::Decimal128(Some(value), _, scale) => {
            format!("toDecimal128('{}', {scale})", crate::format::decimal_text(*value, *scale))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use assay_schemas::tables::TableId;
    use datafusion::{
        functions::expr_fn::lower,
        prelude::{col, lit},
    };

    use super::{Expr, ScalarValue, predicate};

    fn check(expr: Expr) -> String {
        predicate(&expr, &TableId::Spans.schema()).unwrap_or_else(|| "-".to_owned())
    }

    #[test]
    fn what_means_the_same_is_written() {
        let utc = |micros| lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())));
        insta::assert_snapshot!(check(col("name").eq(lit("it's")).and(col("input_tokens").gt(lit(5_i64)))), @r#"(`name` = 'it\'s' AND `input_tokens` > toInt64(5))"#);
        insta::assert_snapshot!(check(col("start_time").gt_eq(utc(-5)).or(col("counted"))), @"(`start_time` >= fromUnixTimestamp64Micro(toInt64(-5), 'UTC') OR `counted`)");
        insta::assert_snapshot!(check(col("cost_usd").lt(lit(ScalarValue::Decimal128(Some(-1_500_000_000_000_000), 28, 15)))), @"`cost_usd` < toDecimal128('-1.5', 15)");
        insta::assert_snapshot!(check(col("service_name").in_list(vec![lit("a"), lit("b")], true)), @"(`service_name` IS NOT NULL AND `service_name` NOT IN ('a', 'b'))");
        insta::assert_snapshot!(check(col("name").like(lit("100%"))), @"`name` LIKE '100%'");
        insta::assert_snapshot!(check(col("name").ilike(lit("a.b%C'd"))), @r"match(`name`, '(?is)^a\\.b.*C\\\'d$')");
        insta::assert_snapshot!(check(col("name").not_ilike(lit("%ß%"))), @"NOT match(`name`, '(?is)ß')");
        insta::assert_snapshot!(check(lower(col("name")).eq(lit("a b"))), @"lowerUTF8(`name`) = 'a b'");
        insta::assert_snapshot!(check(col("date").eq(lit(ScalarValue::Date32(Some(20_000))))), @"`date` = toDate32('2024-10-04')");
        insta::assert_snapshot!(check(col("session_id").is_not_null()), @"`session_id` IS NOT NULL");
    }

    #[test]
    fn what_may_differ_is_left() {
        for expr in [
            col("name").like(lit("a_c")),
            col("name").ilike(lit("a_")),
            lower(col("name")).eq(lit("ä")),
            lower(col("name")).lt(lit("a")),
            col("input_tokens").gt(lit(5_i32)),
            !col("name").eq(lit("a")),
            col("name").eq(lit(ScalarValue::Utf8(None))),
            col("input_tokens") + lit(1_i64),
            col("name").eq(lit("a")).or(col("name").ilike(lit("b_"))),
            col("name").in_list(vec![lit("a"), lit(ScalarValue::Utf8(None))], false),
        ] {
            assert_eq!(check(expr.clone()), "-", "{expr}");
        }
    }
}
