//! Predicates in ClickHouse's SQL: those, and only those, that are true of the same rows on both sides.
//!
//! What is written here stands in a `WHERE`: NULL counts as false, so a form may give NULL on one side and false on the other. That holds only
//! as long as nothing negates it, and therefore nothing here is put under a `NOT`. Left to DataFusion are floats (NaN compares otherwise), casts,
//! functions but `lower` beside ASCII, and patterns with an escape before an ordinary character. `ILIKE` is a regular expression, because both have
//! the same rules of case for those, and ClickHouse others for its own `ILIKE`; a text whose letters have no case beyond ASCII is searched as bytes,
//! which takes two thirds of the time.
//!
//! Free text is looked for in four columns, which have one text index together ([`searched_text`]). What names that expression is answered by the
//! index, so the search of all four becomes a condition on it, and other patterns get one beside them.

use assay_schemas::{
    clickhouse::{SEARCHED_LETTERS_MIN, identifier, searched_letters, searched_text, text},
    tables::TEXT_COLUMNS,
};
use chrono::NaiveDate;
use datafusion::{
    arrow::datatypes::{DataType, SchemaRef},
    common::ScalarValue,
    logical_expr::{Between, BinaryExpr, Expr, Like, Operator, expr::InList},
};

use crate::{
    like::{self, Part},
    text_pruning::Text,
};

/// The long ones of the texts that are indexed.
const PREVIEWS: [&str; 2] = ["input_preview", "output_preview"];

/// `expr` over the columns of `schema` as ClickHouse says it; `None` if it is left to DataFusion.
pub(super) fn predicate(expr: &Expr, schema: &SchemaRef) -> Option<String> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            Some(format!("({} AND {})", predicate(left, schema)?, predicate(right, schema)?))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            if let Some(searched) = free_text(expr) {
                return Some(searched);
            }
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
        Expr::Like(Like { negated, expr, pattern, escape_char, case_insensitive }) => {
            let (column, data_type) = column(expr, schema)?;
            let Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) = pattern.as_ref() else { return None };
            let parts = like::parts(pattern, escape_char.unwrap_or('\\'));
            if data_type != DataType::Utf8 || pattern.contains('\0') || parts.contains(&Part::Unclear) {
                return None;
            }
            let not = if *negated { "NOT " } else { "" };
            Some(match (case_insensitive, parts.as_slice()) {
                (true, [Part::Any, Part::Text(searched), Part::Any]) if has_case_of_ascii(searched) => {
                    format!("{not}(positionCaseInsensitive({column}, {}) > 0)", text(searched))
                }
                (true, _) => format!("{not}match({column}, {})", text(&regex(&parts))),
                (false, _) => format!("{column} {not}LIKE {}", text(&like_pattern(&parts))),
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

/// Whether nothing but ASCII is `text` in another case: K is also the sign of Kelvin in lower case, S the long s in upper case.
fn has_case_of_ascii(text: &str) -> bool {
    text.is_ascii() && !text.contains(['k', 'K', 's', 'S'])
}

/// The regular expression that finds what `ILIKE` with these parts does.
fn regex(parts: &[Part]) -> String {
    let mut regex = String::from("(?is)");
    let ends_open = |part: Option<&Part>| part == Some(&Part::Any);
    if !ends_open(parts.first()) {
        regex.push('^');
    }
    let inner = parts.iter().skip_while(|part| **part == Part::Any).collect::<Vec<_>>();
    let n_inner = inner.len() - inner.iter().rev().take_while(|part| ***part == Part::Any).count();
    for part in &inner[..n_inner] {
        match part {
            Part::Text(text) => {
                for character in text.chars() {
                    match character {
                        _ if character.is_ascii() && !character.is_ascii_alphanumeric() => regex.extend(['\\', character]),
                        _ => regex.push(character),
                    }
                }
            }
            Part::Any => regex.push_str(".*"),
            Part::One | Part::Unclear => regex.push('.'),
        }
    }
    if !ends_open(parts.last()) {
        regex.push('$');
    }
    regex
}

/// The pattern of `LIKE` with these parts.
fn like_pattern(parts: &[Part]) -> String {
    let mut pattern = String::new();
    for part in parts {
        match part {
            Part::Text(text) => {
                for character in text.chars() {
                    if matches!(character, '%' | '_' | '\\') {
                        pattern.push('\\');
                    }
                    pattern.push(character);
                }
            }
            Part::Any => pattern.push('%'),
            Part::One | Part::Unclear => pattern.push('_'),
        }
    }
    pattern
}

/// What a row of `spans` must hold for `filter` to be true, as the text index is asked; `None` if that is nothing it knows. Where the index leaves
/// out little, this reads all texts: so it is not asked of short ones, which are read more quickly themselves.
pub(super) fn text_hint(filter: &Expr) -> Option<String> {
    if !filter.column_refs().iter().any(|column| PREVIEWS.contains(&column.name.as_str())) {
        return None;
    }
    // Of each text, the longest of what has one form of each letter.
    let known = |texts: &[String]| -> Option<Vec<String>> {
        let is_long = |letters: &String| letters.chars().count() >= SEARCHED_LETTERS_MIN;
        let letters: Vec<String> = texts.iter().flat_map(|text| searched_letters(text)).filter(is_long).collect();
        (!letters.is_empty()).then_some(letters)
    };
    Text::known(std::slice::from_ref(filter), &known).map(|text| hint_of(&text))
}

fn hint_of(asked: &Text<Vec<String>>) -> String {
    let joined = |parts: &[Text<Vec<String>>], operator: &str| parts.iter().map(hint_of).collect::<Vec<_>>().join(operator);
    match asked {
        Text::Texts(texts) => {
            let each: Vec<_> = texts.iter().map(|letters| has_text(letters)).collect();
            each.join(" AND ")
        }
        Text::All(parts) => joined(parts, " AND "),
        Text::Any(parts) => format!("({})", joined(parts, " OR ")),
    }
}

/// `expr` as a search of all texts at once, if it looks for one text in each column of theirs.
fn free_text(expr: &Expr) -> Option<String> {
    let mut columns = Vec::new();
    let pattern = one_pattern(expr, &mut columns)?;
    columns.sort_unstable();
    let mut all = TEXT_COLUMNS;
    all.sort_unstable();
    let parts = like::parts(pattern, '\\');
    let [Part::Any, Part::Text(text), Part::Any] = parts.as_slice() else { return None };
    let letters = searched_letters(text);
    let is_whole = letters.iter().map(String::len).sum::<usize>() == text.len();
    // A shorter one is found by no index, and quicker in each column.
    let is_known = is_whole && letters.len() == 1 && text.chars().count() >= SEARCHED_LETTERS_MIN;
    (is_known && columns == all).then(|| has_text(&letters[0]))
}

/// The pattern of which `expr` says that one of `columns` has it, whatever the case.
fn one_pattern<'a>(expr: &'a Expr, columns: &mut Vec<&'a str>) -> Option<&'a str> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (left, right) = (one_pattern(left, columns)?, one_pattern(right, columns)?);
            (left == right).then_some(left)
        }
        Expr::Like(Like { negated: false, expr, pattern, escape_char: None, case_insensitive: true }) => {
            let (Expr::Column(column), Expr::Literal(ScalarValue::Utf8(Some(pattern)), _)) = (expr.as_ref(), pattern.as_ref())
            else {
                return None;
            };
            columns.push(&column.name);
            Some(pattern)
        }
        _ => None,
    }
}

fn has_text(letters: &str) -> String {
    let parts = [Part::Any, Part::Text(letters.to_owned()), Part::Any];
    format!("{} LIKE {}", searched_text(), text(&like_pattern(&parts)))
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

    use super::{Expr, ScalarValue, TEXT_COLUMNS, predicate, searched_text, text_hint};

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
        insta::assert_snapshot!(check(col("name").ilike(lit("%Ab-1%"))), @"(positionCaseInsensitive(`name`, 'Ab-1') > 0)");
        insta::assert_snapshot!(check(col("name").not_ilike(lit("%ab1%"))), @"NOT (positionCaseInsensitive(`name`, 'ab1') > 0)");
        insta::assert_snapshot!(check(col("name").ilike(lit("%ask%"))), @r"match(`name`, '(?is)ask')");
        insta::assert_snapshot!(check(col("name").not_ilike(lit("%ß%"))), @"NOT match(`name`, '(?is)ß')");
        insta::assert_snapshot!(check(col("name").like(lit(r"a_%\_\\%\%"))), @r"`name` LIKE 'a_%\\_\\\\%\\%'");
        insta::assert_snapshot!(check(col("name").ilike(lit(r"%%a_%\_\\%"))), @r"match(`name`, '(?is)a..*\\_\\\\')");
        insta::assert_snapshot!(check(col("name").ilike(lit("%"))), @"match(`name`, '(?is)')");
        insta::assert_snapshot!(check(col("name").ilike(lit(""))), @"match(`name`, '(?is)^$')");
        insta::assert_snapshot!(check(lower(col("name")).eq(lit("a b"))), @"lowerUTF8(`name`) = 'a b'");
        insta::assert_snapshot!(check(col("date").eq(lit(ScalarValue::Date32(Some(20_000))))), @"`date` = toDate32('2024-10-04')");
        insta::assert_snapshot!(check(col("session_id").is_not_null()), @"`session_id` IS NOT NULL");
    }

    #[test]
    fn what_may_differ_is_left() {
        for expr in [
            col("name").like(lit(r"a\c")),
            col("name").ilike(lit("a\\")),
            lower(col("name")).eq(lit("ä")),
            lower(col("name")).lt(lit("a")),
            col("input_tokens").gt(lit(5_i32)),
            !col("name").eq(lit("a")),
            col("name").eq(lit(ScalarValue::Utf8(None))),
            col("input_tokens") + lit(1_i64),
            col("name").eq(lit("a")).or(col("name").ilike(lit(r"b\c"))),
            col("name").in_list(vec![lit("a"), lit(ScalarValue::Utf8(None))], false),
        ] {
            assert_eq!(check(expr.clone()), "-", "{expr}");
        }
    }

    fn free_text(pattern: &str) -> Expr {
        TEXT_COLUMNS.iter().map(|column| col(*column).ilike(lit(pattern))).reduce(Expr::or).unwrap()
    }

    #[test]
    fn free_text_is_looked_for_in_all_texts_at_once() {
        let check = |expr| check(expr).replace(&searched_text(), "TEXT");
        insta::assert_snapshot!(check(free_text("%Refund Policy%")), @"TEXT LIKE '%refund policy%'");
        insta::assert_snapshot!(check(free_text(r"%100\% 退款政策%")), @r"TEXT LIKE '%100\\% 退款政策%'");
        for other in ["%ref%", "%refund%policy%", "refund%", "%Über%", "%a_bcd%"] {
            let sql = check(free_text(other));
            assert!(sql.starts_with("((") && !sql.contains("TEXT"), "{other}: {sql}");
        }
        let three = TEXT_COLUMNS[1..].iter().map(|column| col(*column).ilike(lit("%refund%"))).reduce(Expr::or).unwrap();
        assert!(!check(three).contains("TEXT"));
    }

    #[test]
    fn other_patterns_say_what_the_text_index_must_hold() {
        let check = |expr: Expr| text_hint(&expr).map_or_else(|| "-".to_owned(), |hint| hint.replace(&searched_text(), "TEXT"));
        insta::assert_snapshot!(check(col("input_preview").ilike(lit("%Refund%policy%"))), @"TEXT LIKE '%refund%' AND TEXT LIKE '%policy%'");
        insta::assert_snapshot!(check(free_text("%Über Küchen%")), @"TEXT LIKE '%ber k%' AND TEXT LIKE '%chen%'");
        insta::assert_snapshot!(check(col("name").eq(lit("chat x")).or(col("input_preview").like(lit("%y%")))), @"-");
        insta::assert_snapshot!(check(col("output_preview").in_list(vec![lit("chat"), lit("tool")], false)), @"(TEXT LIKE '%chat%' OR TEXT LIKE '%tool%')");
        insta::assert_snapshot!(check(col("input_preview").not_ilike(lit("%refund%"))), @"-");
        insta::assert_snapshot!(check(col("name").ilike(lit("%refund%"))), @"-");
        insta::assert_snapshot!(check(col("status_message").ilike(lit("%refund%"))), @"-");
    }
}
