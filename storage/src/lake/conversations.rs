//! Whether a column holds conversations: texts that begin with what an earlier row said, as every call of an agent sends all it has so far.

use std::collections::VecDeque;

use arrow::array::{Array as _, AsArray as _, RecordBatch, StringArray};

/// A column is one of conversations if at least this share of its bytes repeats the beginning of a row before.
const REPEATED_SHARE: f64 = 0.5;
/// A row is compared with so many before it: sub-agents talk in turns.
const LOOK_BACK: usize = 4;

/// Whether most bytes of the text column `idx`, its rows in the order `order` of (batch, row), repeat the beginning of a row shortly
/// before. Costs a comparison of what is equal.
pub(super) fn repeats_itself(batches: &[RecordBatch], idx: usize, order: &[(usize, usize)]) -> bool {
    let texts: Vec<&StringArray> = batches.iter().map(|batch| batch.column(idx).as_string::<i32>()).collect();
    let mut before: VecDeque<&[u8]> = VecDeque::with_capacity(LOOK_BACK);
    let (mut repeated, mut total) = (0, 0);
    for &(batch, row) in order.iter().filter(|(batch, row)| texts[*batch].is_valid(*row)) {
        let text = texts[batch].value(row).as_bytes();
        repeated += before.iter().map(|earlier| common_prefix(earlier, text)).max().unwrap_or(0);
        total += text.len();
        before.truncate(LOOK_BACK - 1);
        before.push_front(text);
    }
    repeated as f64 > total as f64 * REPEATED_SHARE
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const STEP: usize = 64;
    let steps = a.chunks_exact(STEP).zip(b.chunks_exact(STEP)).take_while(|(a, b)| a == b).count() * STEP;
    steps + a[steps..].iter().zip(&b[steps..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn check(rows: &[Option<String>]) -> bool {
        let column: StringArray = rows.iter().map(Option::as_deref).collect();
        let batch = RecordBatch::try_from_iter([("text", Arc::new(column) as _)]).unwrap();
        let order: Vec<_> = (0..rows.len()).map(|row| (0, row)).collect();
        repeats_itself(&[batch], 0, &order)
    }

    #[test]
    fn a_text_that_grows_is_a_conversation_even_when_two_take_turns() {
        let said = |who: &str, turns: usize| Some(format!("{who} {}", "and so on, ".repeat(turns)));
        assert!(check(&(1..20).map(|n| said("a", n)).collect::<Vec<_>>()));
        assert!(check(&(1..40).map(|n| said(["a", "b"][n % 2], n)).collect::<Vec<_>>()));
        assert!(check(&[said("a", 40), None, None, said("a", 41), None, said("a", 42)]));
    }

    #[test]
    fn texts_with_a_common_beginning_are_none() {
        let question = |n: usize| Some(format!("[{{\"role\":\"user\",\"content\":\"{n} {}\"}}]", format!("{n} ").repeat(100)));
        assert!(!check(&(0..20).map(question).collect::<Vec<_>>()));
        assert!(!check(&[]));
        assert!(!check(&[None, Some("alone".into())]));
    }

    #[test]
    fn what_two_texts_have_in_common_is_counted_to_the_byte() {
        let text = "x".repeat(200);
        for equal in [0, 1, 63, 64, 65, 128, 199] {
            let mut other = text.clone().into_bytes();
            other[equal] = b'y';
            assert_eq!(common_prefix(text.as_bytes(), &other), equal);
        }
        assert_eq!(common_prefix(text.as_bytes(), &text.as_bytes()[..70]), 70);
    }
}
