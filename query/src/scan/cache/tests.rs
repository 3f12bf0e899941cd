//! What the cache of columns keeps, and what it lets go.

use arrow::array::Int64Array;
use assay_schemas::{
    ids::{Encoding, Signal},
    table::Row as _,
    tables::SpanRow,
};
use assay_storage::{Storage, StorageConfig, WalRecord};

use super::*;

fn column() -> Chunk {
    rows(1000)
}

/// Numbers that cannot be packed.
fn rows(rows: i64) -> Chunk {
    Chunk::Plain(Arc::new(Int64Array::from_iter_values((0..rows).map(|n| n.wrapping_mul(i64::MAX / 3)))))
}

/// A cache that holds 20 columns, and a file.
async fn cache_and_file() -> (ColumnCache, Arc<DataFile>) {
    let dir = tempfile::tempdir().unwrap();
    let config = StorageConfig { data_dir: dir.path().to_owned(), ..StorageConfig::default() };
    let storage = Storage::open(config).await.unwrap();
    let project = ProjectId::default_project();
    let (signal, encoding) = (Signal::Traces, Encoding::Protobuf);
    let record = WalRecord { project: project.clone(), signal, encoding, received_at_unix_nano: 0, body: vec![0].into() };
    let position = storage.append(record).await.unwrap();
    let mut row = SpanRow::default();
    row.origin.project_id = project.as_str().into();
    storage.publish(position, vec![(SpanRow::TABLE, SpanRow::batch(vec![row]))]);
    storage.flush().await.unwrap();
    let file = storage.view().files(TableId::Spans, &project).remove(0);
    (ColumnCache::new(20 * column().bytes(), ColumnMetrics::default()), file)
}

fn kept(cache: &ColumnCache) -> Vec<usize> {
    let mut columns: Vec<usize> = cache.inner.lock().chunks.keys().map(|place| place.column).collect();
    columns.sort_unstable();
    columns
}

#[tokio::test]
async fn what_was_used_last_stays() {
    let (cache, file) = cache_and_file().await;
    let first = cache.begin_scan();
    assert!((0..20).all(|c| cache.put(first, &file, 0, c, &column())));
    let second = cache.begin_scan();
    assert!(cache.get(second, &file, 0, 0).is_some());
    assert!(cache.get(second, &file, 1, 0).is_none(), "another row group");
    let third = cache.begin_scan();
    assert!((20..22).all(|c| cache.put(third, &file, 0, c, &column())));
    assert_eq!(kept(&cache), [&[0][..], &(3..22).collect::<Vec<_>>()].concat());
    // A scan larger than the cache keeps what it put in first.
    let large = cache.begin_scan();
    let put: Vec<bool> = (100..130).map(|c| cache.put(large, &file, 0, c, &column())).collect();
    assert_eq!(put.iter().filter(|kept| **kept).count(), 20);
    assert_eq!(kept(&cache), (100..120).collect::<Vec<_>>());
    assert!(!cache.put(large, &file, 0, 1, &rows(2000)), "too large a part of it");
}

#[tokio::test]
async fn what_nobody_uses_goes() {
    let (cache, file) = cache_and_file().await;
    let scan = cache.begin_scan();
    assert!((0..3).all(|c| cache.put(scan, &file, 0, c, &column())));
    cache.forget_unused();
    assert!(cache.get(cache.begin_scan(), &file, 0, 1).is_some());
    cache.forget_unused();
    assert_eq!(kept(&cache), [1]);
    cache.forget_unused();
    assert_eq!((kept(&cache), cache.inner.lock().bytes), (vec![], 0));
}

#[tokio::test]
async fn queries_come_first() {
    let (cache, file) = cache_and_file().await;
    let scan = cache.begin_scan();
    assert!((0..20).all(|c| cache.put(scan, &file, 0, c, &column())));
    cache.leave(5 * column().bytes());
    assert_eq!(kept(&cache).len(), 5);
    assert!(!cache.put(scan, &file, 0, 30, &column()));
    cache.leave(usize::MAX);
    assert!(cache.put(scan, &file, 0, 30, &column()));
}
