//! Several nodes over one bucket in memory; `tests/test_roles.py` does the same with processes that are killed.

use std::time::Duration;

use assay_schemas::{
    table::Row as _,
    tables::{CorrectionRow, SpanRow},
};
use chrono::TimeDelta;
use tempfile::TempDir;

use super::*;
use crate::{
    BucketConfig, BucketError, FlushError, LakeError, OpenStorageError, Storage, StorageConfig, WalPosition,
    storage::tests::{self as one, ingest, origin, project, record, recover, spans, visible},
};

/// Nodes that share a bucket, each in a folder of its own.
struct Nodes {
    dir: TempDir,
    url: String,
}

impl Nodes {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), url: format!("memory://{}", outside::unique_id()) }
    }

    fn config(&self, name: &str, role: Role) -> StorageConfig {
        let never = Duration::from_secs(1_000_000);
        StorageConfig {
            data_dir: self.dir.path().join(name),
            bucket: Some(BucketConfig::at(&self.url)),
            role,
            follow_interval: never,
            flush_interval: never,
            compaction_interval: never,
            vacuum_grace: Duration::ZERO,
            ..StorageConfig::default()
        }
    }

    async fn open(&self, name: &str, role: Role) -> Storage {
        Storage::open(self.config(name, role)).await.unwrap()
    }

    async fn refused(&self, name: &str, role: Role) -> OpenStorageError {
        Storage::open(self.config(name, role)).await.err().expect("a refusal")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_collectors_commit_is_seen_once_by_every_reader() {
    let nodes = Nodes::new();
    let (a, b) = (nodes.open("a", Role::Collector).await, nodes.open("b", Role::Collector).await);
    let (reader, member) = (nodes.open("reader", Role::Query).await, nodes.open("member", Role::Member).await);
    for round in 0..3 {
        // Their positions are the same; their commits rest on the same version.
        ingest(&a, 1, 10 * round).await;
        ingest(&b, 1, 10 * round + 1).await;
        ingest(&member, 1, 10 * round + 2).await;
        let (in_a, in_b) = tokio::join!(a.flush(), b.flush());
        in_a.unwrap();
        in_b.unwrap();
    }
    let of_member = [2, 12, 22];
    let committed = [0, 1, 10, 11, 20, 21];
    assert_eq!(visible(&reader).await, Vec::<u64>::new(), "it has not looked yet");
    for storage in [&reader, &member] {
        storage.follow().await.unwrap();
    }
    assert_eq!(visible(&reader).await, committed);
    assert_eq!(visible(&member).await, [0, 1, 2, 10, 11, 12, 20, 21, 22], "what is hot here and committed there");
    member.flush().await.unwrap();
    for storage in [&reader, &member] {
        storage.follow().await.unwrap();
        assert_eq!(visible(storage).await.len(), committed.len() + of_member.len());
    }
    let refused = reader.append(record("5")).await.unwrap_err();
    assert!(refused.to_string().contains("answers questions only"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_was_killed_replays_beside_others() {
    let nodes = Nodes::new();
    let (a, b) = (nodes.open("a", Role::Collector).await, nodes.open("b", Role::Collector).await);
    for n in 0..20 {
        ingest(&b, 2, 100 + n).await;
        b.flush().await.unwrap();
    }
    ingest(&a, 1, 1).await;
    a.flush().await.unwrap();
    ingest(&a, 1, 2).await;
    drop(a);
    ingest(&b, 2, 120).await;
    b.flush().await.unwrap();
    let a = nodes.open("a", Role::Collector).await;
    assert_eq!(recover(&a), [2], "positions of others mean nothing to its log");
    a.flush().await.unwrap();
    let reader = nodes.open("reader", Role::Query).await;
    assert_eq!(visible(&reader).await, [[1, 2].to_vec(), (100..=120).collect()].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_a_process_that_has_ended_does_not_land() {
    for role in [Role::Alone, Role::Member] {
        let nodes = Nodes::new();
        let folder = nodes.dir.path().join("a");
        let a = nodes.open("a", role).await;
        for n in 1..=3 {
            ingest(&a, 1, n).await;
        }
        let node_id = std::fs::read_to_string(folder.join("node-id")).unwrap();
        let (ended, _) = crate::lake::Lake::open(a.object_store(), &node_id, true).await.unwrap();
        let rows = (1..=3).map(|n| one::span(WalPosition(n), 1, n));
        let batches = vec![crate::lake::without_partition_columns(&SpanRow::batch(rows))];
        let rows = crate::lake::FileRows { project: project(), date: one::DATE, batches, corrected_to: 0 };
        let files = ended.write_files(TableId::Spans, &[rows], 3, crate::lake::Effort::Quick).await.unwrap();
        drop(a);
        let a = nodes.open("a", role).await;
        ended.commit_rows(TableId::Spans, &files, 3).await.expect_err("the table was taken over");
        assert_eq!(recover(&a), [1, 2, 3]);
        a.flush().await.unwrap();
        ended.commit_rows(TableId::Spans, &files, 3).await.expect_err("the table was taken over");
        assert_eq!(visible(&a).await, [1, 2, 3]);
        a.close().await.unwrap();
        assert_eq!(visible(&nodes.open("a", role).await).await, [1, 2, 3]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_says_up_to_when_it_is_complete() {
    let nodes = Nodes::new();
    let (a, b) = (nodes.open("a", Role::Collector).await, nodes.open("b", Role::Collector).await);
    let reader = nodes.open("reader", Role::Query).await;
    let look = async || {
        reader.follow().await.unwrap();
        reader.view().complete_until.expect("others write")
    };
    ingest(&a, 1, 1).await;
    let acknowledged = outside::wall_clock();
    a.flush().await.unwrap();
    assert!(look().await < acknowledged, "b may have acknowledged something that is not committed");
    b.flush().await.unwrap();
    assert!(look().await >= acknowledged && visible(&reader).await == [1]);
    // What a holds and does not commit keeps it back, whatever others do, also across a kill.
    ingest(&a, 1, 2).await;
    let held = outside::wall_clock();
    drop(a);
    b.flush().await.unwrap();
    assert!(look().await < held);
    let a = nodes.open("a", Role::Collector).await;
    a.flush().await.unwrap();
    assert!(look().await < held, "its log was not replayed");
    recover(&a);
    a.flush().await.unwrap();
    b.flush().await.unwrap();
    assert!(look().await >= held && visible(&reader).await == [1, 2]);
    // A node that ended in order holds nothing back.
    a.close().await.unwrap();
    b.close().await.unwrap();
    let ended = outside::wall_clock();
    assert!(look().await >= ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_correction_made_elsewhere_is_applied_and_folded_in_by_one_node() {
    let nodes = Nodes::new();
    let (a, b) = (nodes.open("a", Role::Collector).await, nodes.open("b", Role::Collector).await);
    let reader = nodes.open("reader", Role::Query).await;
    ingest(&a, 1, 7).await;
    a.flush().await.unwrap();
    for user in ["first", "second"] {
        // Each at another node; the one that was received later wins, though its position is smaller.
        let node = if user == "first" { &b } else { &a };
        let mut position = WalPosition(0);
        for _ in 0..if user == "first" { 3 } else { 1 } {
            position = node.append(record("0")).await.unwrap();
            node.publish(position, Vec::new());
        }
        let position = node.append(record("0")).await.unwrap().max(position);
        let mut row = CorrectionRow {
            origin: origin(position, one::DATE),
            trace_id: format!("{:032x}", 1),
            span_id: format!("{:016x}", 7),
            patch: format!(r#"{{"user_id":"{user}"}}"#),
            reason: "late_child".into(),
            log_id: None,
        };
        row.origin.received_at += i64::from(user == "second");
        node.publish(position, vec![(TableId::SpanCorrections, CorrectionRow::batch([row]))]);
        node.flush().await.unwrap();
    }
    let user = async |storage: &Storage| {
        storage.follow().await.unwrap();
        let rows: Vec<SpanRow> = one::rows(storage, &storage.view()).await;
        (rows[0].genai.user_id.clone().unwrap(), storage.status().pending_corrections)
    };
    assert_eq!(user(&reader).await, ("second".to_owned(), 2));
    assert_eq!(user(&a).await, ("second".to_owned(), 2));
    // Rows of that day were received long ago: they are settled.
    b.flush().await.unwrap();
    assert_eq!(b.compact().await.unwrap(), 1);
    assert_eq!(a.compact().await.unwrap(), 0, "the other one has the lease");
    for storage in [&reader, &a, &b] {
        assert_eq!(user(storage).await, ("second".to_owned(), 0));
    }
    assert_eq!(user(&nodes.open("late", Role::Query).await).await, ("second".to_owned(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_compact_the_same_files_one_does_nothing() {
    let nodes = Nodes::new();
    let (a, b) = (nodes.open("a", Role::Collector).await, nodes.open("b", Role::Collector).await);
    for n in 0..16 {
        let node = if n % 2 == 0 { &a } else { &b };
        ingest(node, 1, n).await;
        node.flush().await.unwrap();
    }
    for node in [&a, &b] {
        node.inner.follow(true).await.unwrap();
    }
    // Both believe to have the lease: a was asleep, and b has taken it.
    assert!(a.inner.bucket.as_ref().unwrap().hold_lease().await.unwrap());
    let (by_a, by_b) = (a.inner.merge_all().await.unwrap(), b.inner.merge_all().await.unwrap());
    assert_eq!((by_a, by_b), (16, 0), "the inputs of the second were gone");
    let reader = nodes.open("reader", Role::Query).await;
    assert_eq!(visible(&reader).await, (0..16).collect::<Vec<_>>());
    assert_eq!(reader.view().files(TableId::Spans, &project()).len(), 1);
    // And b goes on from what there is.
    ingest(&b, 1, 16).await;
    b.flush().await.unwrap();
    assert_eq!(visible(&b).await, (0..=16).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_passes_on_when_its_holder_ends_or_says_nothing() {
    let nodes = Nodes::new();
    let (a, b) = (nodes.open("a", Role::Collector).await, nodes.open("b", Role::Collector).await);
    let lease = |storage: &Storage| storage.inner.bucket.clone().unwrap();
    assert!(lease(&a).hold_lease().await.unwrap());
    assert!(lease(&a).hold_lease().await.unwrap(), "it is renewed");
    assert!(!lease(&b).hold_lease().await.unwrap());
    a.close().await.unwrap();
    assert!(lease(&b).hold_lease().await.unwrap());
    drop(b);
    let c = nodes.open("c", Role::Collector).await;
    assert!(!lease(&c).hold_lease().await.unwrap(), "b may still work");
    lease(&c).age_lease(TimeDelta::seconds(80)).await;
    assert!(lease(&c).hold_lease().await.unwrap());
    drop(c);
    // A later version says it in another way.
    let store = crate::bucket::in_memory(&nodes.url);
    let path = Path::from("assay-lease.json");
    object_store::ObjectStoreExt::put(&*store, &path, r#"{"holders": ["b"]}"#.into()).await.unwrap();
    let d = nodes.open("d", Role::Collector).await;
    assert!(!lease(&d).hold_lease().await.unwrap(), "it was written just now");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_hold_the_lease_drops_no_days_and_deletes_no_files() {
    let nodes = Nodes::new();
    let open = async |name| {
        let retention = Some(Duration::from_secs(24 * 3600));
        Storage::open(StorageConfig { retention, ..nodes.config(name, Role::Collector) }).await.unwrap()
    };
    let (a, b) = (open("a").await, open("b").await);
    ingest(&a, 1, 1).await;
    a.flush().await.unwrap();
    for node in [&a, &b] {
        node.inner.follow(true).await.unwrap();
    }
    let later = DateTime::from_timestamp(i64::from(one::DATE + 40) * 86_400, 0).unwrap();
    assert!(b.inner.bucket.as_ref().unwrap().hold_lease().await.unwrap());
    assert_eq!((a.inner.checkpoint(1).await.unwrap(), a.inner.apply_retention(later).await.unwrap()), (0, 0));
    assert_eq!(b.inner.apply_retention(later).await.unwrap(), 1);
    a.inner.follow(true).await.unwrap();
    assert_eq!((a.vacuum().await.unwrap(), b.vacuum().await.unwrap()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_is_shared_or_it_is_not() {
    let nodes = Nodes::new();
    let refused = nodes.refused("reader", Role::Query).await;
    assert!(refused.to_string().contains("there is no `assay-owner.json`"), "{refused}");
    let alone = nodes.open("a", Role::Alone).await;
    ingest(&alone, 1, 1).await;
    alone.close().await.unwrap();
    for role in [Role::Query, Role::Collector] {
        let refused = nodes.refused("b", role).await.to_string();
        assert!(refused.contains("has it to itself since"), "{refused}");
    }
    // Its own node shares it, and it stays shared.
    let member = nodes.open("a", Role::Member).await;
    assert_eq!(visible(&member).await, [1]);
    let b = nodes.open("b", Role::Collector).await;
    member.close().await.unwrap();
    let refused = nodes.refused("a", Role::Alone).await;
    assert!(matches!(refused, OpenStorageError::Bucket(BucketError::Shared { .. })), "{refused}");
    let on_disk = StorageConfig { bucket: None, ..nodes.config("c", Role::Collector) };
    assert!(matches!(Storage::open(on_disk).await, Err(OpenStorageError::NoBucket)));
    b.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_data_folder_takes_the_name_over() {
    let nodes = Nodes::new();
    let a = nodes.open("a", Role::Collector).await;
    ingest(&a, 1, 1).await;
    a.flush().await.unwrap();
    let copy = nodes.config("copy", Role::Collector);
    std::fs::create_dir(&copy.data_dir).unwrap();
    std::fs::copy(nodes.dir.path().join("a/node-id"), copy.data_dir.join("node-id")).unwrap();
    let copy = Storage::open(copy).await.unwrap();
    ingest(&a, 1, 2).await;
    let refused = a.flush().await.unwrap_err();
    assert!(matches!(refused, FlushError::Bucket(BucketError::OtherProcess { .. })), "{refused}");
    ingest(&copy, 1, 3).await;
    copy.flush().await.unwrap();
    let reader = nodes.open("reader", Role::Query).await;
    assert_eq!(visible(&reader).await, [1, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_between_a_look_that_fails_and_the_next() {
    let nodes = Nodes::new();
    let a = nodes.open("a", Role::Collector).await;
    let reader = nodes.open("reader", Role::Query).await;
    ingest(&a, 1, 1).await;
    let position = a.append(record("0")).await.unwrap();
    let row = CorrectionRow {
        origin: origin(position, one::DATE),
        trace_id: format!("{:032x}", 1),
        span_id: format!("{:016x}", 9),
        patch: r#"{"user_id":"u"}"#.into(),
        reason: "late_child".into(),
        log_id: None,
    };
    a.publish(
        position,
        [spans(vec![one::span(position, 1, 2)]), vec![(TableId::SpanCorrections, CorrectionRow::batch([row]))]].concat(),
    );
    a.flush().await.unwrap();
    // The file of corrections cannot be read; then it is back.
    let store = crate::bucket::in_memory(&nodes.url);
    let file = a.view().lake.of_table(TableId::SpanCorrections).next().unwrap().path.clone();
    let content = object_store::ObjectStoreExt::get(&*store, &file).await.unwrap().bytes().await.unwrap();
    object_store::ObjectStoreExt::delete(&*store, &file).await.unwrap();
    assert!(matches!(reader.follow().await, Err(FollowError::Lake(LakeError::Store { .. }))));
    assert!(reader.status().follow_error.is_some() && visible(&reader).await.is_empty());
    object_store::ObjectStoreExt::put(&*store, &file, content.into()).await.unwrap();
    reader.follow().await.unwrap();
    assert_eq!((visible(&reader).await, reader.status().pending_corrections), (vec![1, 2], 1));
}
