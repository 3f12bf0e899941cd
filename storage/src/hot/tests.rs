//! Claims about the hot buffer: nothing is cut too early, nothing twice, small batches are joined.

use arrow::compute::concat_batches;
use assay_schemas::{
    table::Row as _,
    tables::{Origin, ScoreRow},
};
use proptest::prelude::*;

use super::*;

fn batch(project: &str, date: i32, names: &[&str]) -> RecordBatch {
    let origin = Origin { project_id: project.into(), date, ..Origin::default() };
    ScoreRow::batch(names.iter().map(|name| ScoreRow { origin: origin.clone(), name: (*name).into(), ..ScoreRow::default() }))
}

/// One row, with its position as its name.
fn at(position: u64) -> RecordBatch {
    let origin = Origin { project_id: "a".into(), date: 1, wal_position: position.cast_signed(), ..Origin::default() };
    ScoreRow::batch([ScoreRow { origin, name: position.to_string(), ..ScoreRow::default() }])
}

fn names<'a>(chunks: impl IntoIterator<Item = &'a HotChunk>) -> Vec<String> {
    let of = |c: &HotChunk| (0..c.batch.num_rows()).map(|row| ScoreRow::read(&c.batch, row).name).collect::<Vec<_>>();
    chunks.into_iter().flat_map(of).collect()
}

fn counted_bytes(buffer: &HotBuffer) -> u64 {
    buffer.rows.values().flat_map(|r| r.flushing.iter().chain(r.active.iter())).map(|c| c.bytes).sum()
}

#[test]
fn a_batch_of_several_days_and_projects_is_parted() {
    let schema = TableId::Scores.schema();
    let parts = [batch("a", 1, &["a1"]), batch("b", 1, &["b1"]), batch("a", 2, &["a2"]), batch("a", 1, &["a1 too"])];
    let mixed = concat_batches(&schema, &parts).unwrap();
    let split: Vec<_> = split_by_partition(&mixed).into_iter().map(|(p, d, b)| (p.to_string(), d, b.num_rows())).collect();
    assert_eq!(split, [("a".into(), 1, 2), ("b".into(), 1, 1), ("a".into(), 2, 1)]);
}

#[test]
fn thousands_of_small_batches_become_few() {
    let mut buffer = HotBuffer::new(0);
    for position in 1..=5000 {
        buffer.add(position, TableId::Scores, &at(position));
        buffer.complete(position);
    }
    let rows = &buffer.rows[&(TableId::Scores, ProjectId::new("a").unwrap())];
    assert!(rows.active.len() < 60, "{} chunks", rows.active.len());
    assert_eq!(names(rows.active.iter()), (1..=5000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(buffer.bytes(), counted_bytes(&buffer));
    assert_eq!(buffer.row_count(), 5000);
}

#[test]
fn null_columns_count_where_they_have_memory_of_their_own() {
    let rows = |n| ScoreRow::batch(std::iter::repeat_n(ScoreRow::default(), n));
    let per_row = |n| memory_of(&rows(n)) / n as u64;
    assert!(per_row(NULLS_SHARED_MAX + 1) > per_row(NULLS_SHARED_MAX) * 3 / 2);
}

#[test]
fn a_flush_that_was_begun_before_ends_where_it_did() {
    let mut buffer = HotBuffer::new(0);
    buffer.next_flush_ends_at(40);
    let publish = |buffer: &mut HotBuffer, positions: std::ops::RangeInclusive<u64>| {
        for position in positions {
            buffer.add(position, TableId::Scores, &at(position));
            buffer.complete(position);
        }
    };
    publish(&mut buffer, 1..=39);
    assert!(buffer.flush_waits() && buffer.begin_flush(u64::MAX).is_none());
    // Many small batches are joined meanwhile, also across the end.
    publish(&mut buffer, 40..=400);
    let (cut, moved) = buffer.begin_flush(u64::MAX).unwrap();
    assert_eq!((cut, moved[0].1.iter().map(|chunk| chunk.batch.num_rows()).sum::<usize>()), (40, 40));
    buffer.finish_flush();
    let (cut, moved) = buffer.begin_flush(u64::MAX).unwrap();
    assert_eq!((cut, moved[0].1.iter().map(|chunk| chunk.batch.num_rows()).sum::<usize>()), (400, 360));
    assert_eq!(buffer.bytes(), counted_bytes(&buffer));
}

#[test]
fn a_flush_takes_no_more_than_it_may_and_at_least_one_request() {
    let mut buffer = HotBuffer::new(0);
    for position in 1..=100 {
        buffer.add(position, TableId::Scores, &at(position));
        buffer.complete(position);
    }
    let mut flushed = Vec::new();
    for bytes_max in [buffer.bytes() / 3, buffer.bytes() / 3, 1, u64::MAX] {
        let (cut, moved) = buffer.begin_flush(bytes_max).unwrap();
        let chunks = || moved.iter().flat_map(|(_, chunks)| chunks.iter());
        flushed.extend(names(chunks()).iter().map(|name| name.parse::<u64>().unwrap()));
        assert_eq!(flushed, (1..=cut).collect::<Vec<_>>());
        assert!(chunks().map(|chunk| chunk.bytes).sum::<u64>() <= bytes_max || chunks().count() == 1);
        assert_eq!(buffer.bytes(), counted_bytes(&buffer));
        buffer.finish_flush();
    }
    assert_eq!((flushed.len(), buffer.bytes()), (100, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Positions are published in any order, with flushes in between: every row is flushed once, in no flush before all its
    /// predecessors are published.
    #[test]
    fn a_flush_takes_exactly_what_is_complete(
        order in Just((1..=60_u64).collect::<Vec<_>>()).prop_shuffle(),
        every in 1..20_usize,
        bytes_max in 1..20_000_u64,
    ) {
        let mut buffer = HotBuffer::new(0);
        let mut flushed: Vec<u64> = Vec::new();
        for (nth, position) in order.iter().enumerate() {
            buffer.add(*position, TableId::Scores, &at(*position));
            buffer.complete(*position);
            if nth % every == 0 || nth + 1 == order.len() {
                let bytes_max = if nth + 1 == order.len() { u64::MAX } else { bytes_max };
                let (cut, moved) = buffer.begin_flush(bytes_max).expect("nothing was begun before");
                for (_, chunks) in &moved {
                    flushed.extend(names(chunks.iter()).iter().map(|n| n.parse::<u64>().unwrap()));
                }
                flushed.sort_unstable();
                prop_assert_eq!(&flushed, &(1..=cut).collect::<Vec<_>>());
                buffer.finish_flush();
                prop_assert_eq!(buffer.bytes(), counted_bytes(&buffer));
            }
        }
        prop_assert_eq!(flushed.len(), 60);
        prop_assert_eq!(buffer.bytes(), 0);
    }
}
