//! The sums of a range: which traces are looked at, and percentiles.

use super::*;

#[test]
fn a_percentile_lies_between_its_neighbours() {
    assert_eq!(percentile(&mut [], 0.5), None);
    assert_eq!(percentile(&mut [7.0], 0.95), Some(7.0));
    assert_eq!(percentile(&mut [4.0, 1.0, 3.0, 2.0], 0.5), Some(2.5));
    assert_eq!(percentile(&mut [5.0, 1.0, 3.0], 0.5), Some(3.0));
}

#[test]
fn a_trace_at_the_end_of_a_range_is_looked_at() {
    let range = Range { from: 10, to: 20 };
    let place = |first: i64, last: i64| match range.place((first * 1000, last * 1000 + 999)) {
        Place::Inside => "inside",
        Place::Outside => "outside",
        Place::Across => "across",
    };
    assert_eq!((place(10, 19), place(1, 9), place(20, 25)), ("inside", "outside", "outside"));
    assert_eq!((place(9, 10), place(19, 20), place(5, 30)), ("across", "across", "across"));
}
