//! What a filter says about text, in the words of an index: what a row must hold to pass, in whichever of the text columns. Rows that an index
//! leaves out are not read; the filter itself is applied to those that are. The index is that of a file of the lake, or one in ClickHouse.

use assay_schemas::tables::TEXT_COLUMNS;
use assay_storage::{FileText, TextGrams};
use datafusion::{
    common::ScalarValue,
    logical_expr::{BinaryExpr, Expr, Like, Operator, expr::InList},
};
use std::ops::Range;

use crate::like;

/// What a row must hold; `T` is how an index says so of the texts of one pattern.
#[derive(Debug, PartialEq)]
pub(crate) enum Text<T = TextGrams> {
    /// All these texts.
    Texts(T),
    /// All of these.
    All(Vec<Text<T>>),
    /// One of these.
    Any(Vec<Text<T>>),
}

impl<T: PartialEq> Text<T> {
    /// What all of `filters` together ask for, where `known` makes of texts what the index says of them; `None` if that is nothing the index knows.
    pub(crate) fn known(filters: &[Expr], known: &impl Fn(&[String]) -> Option<T>) -> Option<Self> {
        let mut parts: Vec<Self> = filters.iter().filter_map(|filter| of_filter(filter, known)).collect();
        if parts.len() > 1 { Some(Self::All(parts)) } else { parts.pop() }
    }
}

impl Text {
    /// What all of `filters` together ask for, for the index of a file.
    pub(crate) fn of(filters: &[Expr]) -> Option<Self> {
        Self::known(filters, &|texts| TextGrams::of(texts.iter().map(String::as_str)))
    }

    /// The rows of a file that can hold it.
    pub(crate) fn rows(&self, index: &FileText) -> Vec<Range<u64>> {
        index.rows(|holds| self.in_set(holds))
    }

    fn in_set(&self, holds: &dyn Fn(&TextGrams) -> bool) -> bool {
        match self {
            Self::Texts(grams) => holds(grams),
            Self::All(parts) => parts.iter().all(|part| part.in_set(holds)),
            Self::Any(parts) => parts.iter().any(|part| part.in_set(holds)),
        }
    }
}

fn of_filter<T: PartialEq>(filter: &Expr, known: &impl Fn(&[String]) -> Option<T>) -> Option<Text<T>> {
    let whole = |expr: &Expr| known(&[literal(expr)?.to_owned()]).map(Text::Texts);
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            match (of_filter(left, known), of_filter(right, known)) {
                (Some(left), Some(right)) => Some(Text::All(vec![left, right])),
                (left, right) => left.or(right),
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            any([of_filter(left, known)?, of_filter(right, known)?])
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (is_indexed(left), is_indexed(right)) {
            (true, false) => whole(right),
            (false, true) => whole(left),
            _ => None,
        },
        Expr::InList(InList { expr, list, negated: false }) if is_indexed(expr) => {
            any(list.iter().map(whole).collect::<Option<Vec<_>>>()?)
        }
        Expr::Like(Like { negated: false, expr, pattern, escape_char, .. }) if is_indexed(expr) => {
            known(&like::texts(literal(pattern)?, escape_char.unwrap_or('\\'))).map(Text::Texts)
        }
        _ => None,
    }
}

/// One of `parts`, each once: the same text is mostly looked for in several columns.
fn any<T: PartialEq>(parts: impl IntoIterator<Item = Text<T>>) -> Option<Text<T>> {
    let mut different: Vec<Text<T>> = Vec::new();
    for part in parts {
        let parts = if let Text::Any(parts) = part { parts } else { vec![part] };
        for part in parts {
            if !different.contains(&part) {
                different.push(part);
            }
        }
    }
    if different.len() > 1 { Some(Text::Any(different)) } else { different.pop() }
}

fn is_indexed(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if TEXT_COLUMNS.contains(&column.name.as_str()))
}

fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => ScalarValue::try_as_str(value).flatten(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    fn grams(text: &str) -> Text {
        Text::Texts(TextGrams::of([text]).unwrap())
    }

    #[test]
    fn a_filter_asks_for_what_a_row_must_hold() {
        let refund = col("name").ilike(lit("%Refund%")).or(col("input_preview").ilike(lit("%Refund%")));
        assert_eq!(Text::of(std::slice::from_ref(&refund)), Some(grams("refund")), "in whichever column");
        assert_eq!(Text::of(&[col("start_time").gt(lit(7)), refund.clone()]), Some(grams("refund")));
        let either = refund.clone().or(col("name").in_list(vec![lit("chat"), lit("tool")], false));
        assert_eq!(Text::of(&[either]), Some(Text::Any(vec![grams("refund"), grams("chat"), grams("tool")])));
        let both = refund.clone().and(col("name").eq(lit("chat")));
        assert_eq!(Text::of(&[both]), Some(Text::All(vec![grams("refund"), grams("chat")])));
    }

    #[test]
    fn what_an_index_cannot_tell_leaves_out_no_row() {
        let refund = || col("name").ilike(lit("%refund%"));
        for filter in [
            col("name").not_ilike(lit("%refund%")),
            refund().or(col("status_message").ilike(lit("%refund%"))),
            refund().is_not_true(),
            col("name").ilike(lit("%ref%")),
            col("name").in_list(vec![lit("refund")], true),
            col("name").not_eq(lit("refund")),
        ] {
            assert_eq!(Text::of(std::slice::from_ref(&filter)), None, "{filter}");
        }
    }
}
