//! What a filter says about text, in the words of the text indexes of files: which sequences of letters a row must hold to pass. Rows that
//! an index leaves out are not read; the filter itself is applied to those that are.

use assay_storage::{FileText, TEXT_COLUMNS, TextGrams};
use datafusion::{
    common::ScalarValue,
    logical_expr::{BinaryExpr, Expr, Like, Operator, expr::InList},
};
use std::ops::Range;

/// What a row must hold.
#[derive(Debug, PartialEq)]
pub(crate) enum Text {
    /// All these sequences.
    Grams(TextGrams),
    /// All of these.
    All(Vec<Text>),
    /// One of these.
    Any(Vec<Text>),
}

impl Text {
    /// What all of `filters` together ask for; `None` if that is nothing an index knows.
    pub(crate) fn of(filters: &[Expr]) -> Option<Self> {
        let mut known: Vec<Self> = filters.iter().filter_map(of_filter).collect();
        if known.len() > 1 { Some(Self::All(known)) } else { known.pop() }
    }

    /// The rows of a file that can hold it.
    pub(crate) fn rows(&self, index: &FileText) -> Vec<Range<u64>> {
        index.rows(|holds| self.in_set(holds))
    }

    fn in_set(&self, holds: &dyn Fn(&TextGrams) -> bool) -> bool {
        match self {
            Self::Grams(grams) => holds(grams),
            Self::All(parts) => parts.iter().all(|part| part.in_set(holds)),
            Self::Any(parts) => parts.iter().any(|part| part.in_set(holds)),
        }
    }
}

fn of_filter(filter: &Expr) -> Option<Text> {
    match filter {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => match (of_filter(left), of_filter(right)) {
            (Some(left), Some(right)) => Some(Text::All(vec![left, right])),
            (left, right) => left.or(right),
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => any([of_filter(left)?, of_filter(right)?]),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (is_indexed(left), is_indexed(right)) {
            (true, false) => whole(right),
            (false, true) => whole(left),
            _ => None,
        },
        Expr::InList(InList { expr, list, negated: false }) if is_indexed(expr) => {
            any(list.iter().map(whole).collect::<Option<Vec<_>>>()?)
        }
        Expr::Like(Like { negated: false, expr, pattern, escape_char, .. }) if is_indexed(expr) => {
            let fragments = fragments(literal(pattern)?, escape_char.unwrap_or('\\'));
            TextGrams::of(fragments.iter().map(String::as_str)).map(Text::Grams)
        }
        _ => None,
    }
}

/// One of `parts`, each once: the same text is mostly looked for in several columns.
fn any(parts: impl IntoIterator<Item = Text>) -> Option<Text> {
    let mut different: Vec<Text> = Vec::new();
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

fn whole(expr: &Expr) -> Option<Text> {
    TextGrams::of([literal(expr)?]).map(Text::Grams)
}

fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => ScalarValue::try_as_str(value).flatten(),
        _ => None,
    }
}

/// The texts between the wildcards of a `LIKE` pattern.
fn fragments(pattern: &str, escape: char) -> Vec<String> {
    let mut fragments = vec![String::new()];
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '%' | '_' => fragments.push(String::new()),
            // An escape before an ordinary letter: engines differ on whether it is a letter itself, so neither counts.
            _ if letter == escape => match letters.next() {
                Some(escaped) if matches!(escaped, '%' | '_') || escaped == escape => {
                    fragments.last_mut().expect("never empty").push(escaped);
                }
                _ => fragments.push(String::new()),
            },
            _ => fragments.last_mut().expect("never empty").push(letter),
        }
    }
    fragments
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    fn grams(text: &str) -> Text {
        Text::Grams(TextGrams::of([text]).unwrap())
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

    #[test]
    fn wildcards_part_a_pattern_unless_escaped() {
        assert_eq!(fragments(r"%100\% of_\_x\\y\z", '\\'), ["", "100% of", r"_x\y", ""]);
    }
}
