//! Text indexes: what occurs is never missed, what does not is mostly told, what is damaged is not believed.

use assay_schemas::{table::Row as _, tables::SpanRow};
use proptest::prelude::*;
use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use super::*;

fn row(name: &str, input: Option<&str>) -> SpanRow {
    let mut row = SpanRow { name: name.into(), ..SpanRow::default() };
    row.genai.input_preview = input.map(Into::into);
    row
}

fn index(rows: Vec<SpanRow>) -> FileText {
    let n_rows = rows.len() as u64;
    let mut text = TextCollector::default();
    text.add(&SpanRow::batch(rows));
    decode(text.encode(), n_rows).expect("what was just written")
}

fn rows_with(index: &FileText, fragment: &str) -> Vec<Range<u64>> {
    let grams = TextGrams::of([fragment]).expect("long enough");
    index.rows(|holds| holds(&grams))
}

#[test]
fn rows_that_cannot_hold_a_text_are_left_out() {
    let words = |nth: u64| format!("request {nth} about order {}", nth * 7919);
    let rows: Vec<_> = (0..20_000).map(|nth| row("chat", Some(&words(nth)))).collect();
    let index = index(rows);
    assert_eq!(rows_with(&index, "ABOUT order"), vec![Range { start: 0, end: 20_000 }]);
    assert_eq!(rows_with(&index, "no such words"), []);
    let read = rows_with(&index, &words(10_000).to_uppercase());
    assert!(read.iter().any(|rows| rows.contains(&10_000)), "{read:?}");
    assert!(read.iter().map(|rows| rows.end - rows.start).sum::<u64>() <= 8192, "{read:?}");
    assert_eq!(TextGrams::of(["abc", "d"]), None, "too short to tell");
}

#[test]
fn texts_without_end_make_smaller_sets() {
    let mut seed = 1_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from(seed >> 58).expect("six bits"))
    };
    let rows: Vec<_> = (0..2048).map(|_| row("noise", Some(&(0..1000).map(|_| noise()).collect::<String>()))).collect();
    let last = rows[2047].genai.input_preview.clone().unwrap();
    let index = index(rows);
    assert!(index.sets.len() > 4, "{}", index.sets.len());
    assert_eq!(rows_with(&index, &last[..64]).last().map(|r| r.end), Some(2048));
}

#[test]
fn letters_that_differ_in_case_alone_are_one() {
    for c in '\0'..'\u{20000}' {
        let mut class = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
        class.try_case_fold_simple().expect("regex-syntax knows the folding");
        for same in class.ranges().iter().flat_map(|range| range.start()..=range.end()) {
            assert_eq!(fold(same), fold(c), "{same:?} and {c:?}");
        }
    }
}

#[test]
fn a_damaged_index_is_not_believed() {
    let mut text = TextCollector::default();
    text.add(&SpanRow::batch([row("chat", None)]));
    let whole = text.encode();
    assert!(decode(whole.clone(), 1).is_some());
    assert!(decode(whole.clone(), 2).is_none(), "of another file");
    assert!(decode(whole.slice(..whole.len() - 1), 1).is_none());
    assert!(decode(Bytes::from_static(b"short"), 1).is_none());
}

proptest! {
    #[test]
    fn what_occurs_is_never_missed(texts in prop::collection::vec("[a-dA-D éßσςΣKſ]{0,12}", 1..40), at in any::<prop::sample::Index>(), from in 0_usize..8) {
        let index = index(texts.iter().map(|text| row(text, None)).collect());
        let text: String = at.get(&texts).chars().skip(from).collect();
        for part in [text.clone(), text.to_lowercase(), text.to_uppercase()] {
            // Only texts that are equal by simple case folding are found by `ILIKE`.
            let equal = part.chars().map(fold).eq(text.chars().map(fold));
            if let Some(grams) = TextGrams::of([part.as_str()]).filter(|_| equal) {
                prop_assert_eq!(index.rows(|holds| holds(&grams)), std::iter::once(0..texts.len() as u64).collect::<Vec<_>>());
            }
        }
    }
}
