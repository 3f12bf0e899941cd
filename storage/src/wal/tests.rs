//! Claims about the log: what was acknowledged is replayed, and nothing else.

use proptest::prelude::*;

use std::fs;

use super::*;
use crate::simulation::{
    bucket::Place,
    world::{Crash, Image, Mistake, World},
};

fn options(dir: &Path) -> WalOptions {
    WalOptions { dir: dir.to_owned(), segment_bytes: 64 << 20, bytes_max: 1 << 30, group_commit_window: Duration::from_millis(2) }
}

fn open(options: &WalOptions) -> Wal {
    Wal::open(options.clone(), 0, |_| {}).unwrap()
}

fn record(body: &[u8]) -> WalRecord {
    WalRecord {
        project: ProjectId::new("team-7").unwrap(),
        signal: Signal::Logs,
        encoding: Encoding::Json,
        received_at_unix_nano: -5,
        body: Bytes::copy_from_slice(body),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Appends one after the other: each is durable before the next is written.
fn append_all(wal: &Wal, bodies: &[Vec<u8>]) -> Vec<u64> {
    block_on(async {
        let mut positions = Vec::new();
        for body in bodies {
            positions.push(wal.append(record(body)).await.unwrap().get());
        }
        positions
    })
}

fn replayed(wal: &Wal) -> (Vec<Vec<u8>>, Option<ReplayError>) {
    let mut bodies = Vec::new();
    for item in wal.replay() {
        match item {
            Ok((_, found)) => {
                assert_eq!(found, record(&found.body), "everything but the body is as it was");
                bodies.push(found.body.to_vec());
            }
            Err(error) => return (bodies, Some(error)),
        }
    }
    (bodies, None)
}

fn only_segment(dir: &Path) -> PathBuf {
    let segments = list_segments(dir).unwrap();
    assert_eq!(segments.len(), 1);
    segments[0].path.clone()
}

/// Where each record begins in a segment, and where the last one ends.
fn frame_offsets(bodies: &[Vec<u8>]) -> Vec<u64> {
    let mut at = segment::SEGMENT_MAGIC.len() as u64;
    let mut offsets = vec![at];
    for body in bodies {
        at += (FRAME_HEADER_BYTES + "team-7".len() + body.len()) as u64;
        offsets.push(at);
    }
    offsets
}

fn bodies() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_a_cut_at_any_byte_the_whole_records_before_it_are_replayed(bodies in bodies(), cut in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let options = options(dir.path());
        append_all(&open(&options), &bodies);
        let path = only_segment(dir.path());
        let offsets = frame_offsets(&bodies);
        let cut = cut.index(usize::try_from(*offsets.last().unwrap()).unwrap() + 1) as u64;
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();

        let wal = open(&options);
        let whole = offsets[1..].iter().filter(|end| **end <= cut).count();
        let (found, error) = replayed(&wal);
        prop_assert!(error.is_none(), "{error:?}");
        prop_assert_eq!(&found, &bodies[..whole]);
        let next = append_all(&wal, &[b"next".to_vec()]);
        prop_assert_eq!(next, vec![whole as u64 + 1]);
        drop(wal);
        prop_assert_eq!(replayed(&open(&options)).0.len(), whole + 1);
    }

    #[test]
    fn damage_is_never_replayed_and_never_skipped(bodies in bodies(), at in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let dir = tempfile::tempdir().unwrap();
        let options = options(dir.path());
        append_all(&open(&options), &bodies);
        let path = only_segment(dir.path());
        let offsets = frame_offsets(&bodies);
        let mut content = fs::read(&path).unwrap();
        let at = at.index(content.len());
        content[at] ^= flip;
        fs::write(&path, &content).unwrap();

        if at == segment::NAME_BYTES && content[at] > segment::SEGMENT_MAGIC[at] {
            // That may be the log of a later version.
            let refused = Wal::open(options, 0, |_| {}).err();
            prop_assert!(matches!(refused, Some(OpenWalError::Later(_))), "{refused:?}");
            prop_assert_eq!(fs::read(&path).unwrap(), content);
            return Ok(());
        }
        // Bytes that no checksum covers: the magic is compared, the padding byte is inside the header checksum.
        let damaged = offsets[1..].iter().filter(|end| **end <= at as u64).count();
        let wal = open(&options);
        let (found, error) = replayed(&wal);
        let good = if at < segment::SEGMENT_MAGIC.len() { 0 } else { damaged };
        prop_assert_eq!(&found, &bodies[..good]);
        // Damage to the last record cannot be told from a torn write; a later record proves that an earlier one was durable.
        let proven = good + 1 < bodies.len() || (at < segment::SEGMENT_MAGIC.len());
        prop_assert_eq!(error.is_some(), proven, "{:?}", error);
    }

    #[test]
    fn any_bodies_come_back_in_order_over_any_segment_size(bodies in bodies(), segment_bytes in 1..600_u64) {
        let dir = tempfile::tempdir().unwrap();
        let options = WalOptions { segment_bytes, ..options(dir.path()) };
        let wal = open(&options);
        let positions = append_all(&wal, &bodies);
        prop_assert_eq!(&positions, &(1..=bodies.len() as u64).collect::<Vec<_>>());
        drop(wal);
        prop_assert_eq!(replayed(&open(&options)).0, bodies);
    }
}

#[test]
fn concurrent_appends_share_fsyncs_and_keep_apart() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(&options(dir.path()));
    let bodies: Vec<Vec<u8>> = (0..200_u32).map(|n| n.to_le_bytes().to_vec()).collect();
    let mut positions =
        block_on(futures::future::join_all(bodies.iter().map(|body| async { wal.append(record(body)).await.unwrap().get() })));
    positions.sort_unstable();
    assert_eq!(positions, (1..=200).collect::<Vec<_>>());
    assert!(wal.status().fsyncs < 100, "{} fsyncs for 200 records", wal.status().fsyncs);
    let (mut found, error) = replayed(&wal);
    assert!(error.is_none());
    found.sort();
    let mut expected = bodies;
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_released_record_is_not_replayed_and_its_segment_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let options = WalOptions { segment_bytes: 1, ..options(dir.path()) };
    let wal = open(&options);
    append_all(&wal, &[b"1".to_vec(), b"2".to_vec(), b"3".to_vec()]);
    wal.release(WalPosition(2)).unwrap();
    assert_eq!(replayed(&wal).0, [b"3"]);
    assert_eq!(wal.status().segments, 1);
    drop(wal);
    let wal = open(&options);
    assert_eq!(replayed(&wal).0, [b"3"]);
    wal.release(WalPosition(3)).unwrap();
    drop(wal);
    let wal = open(&options);
    assert!(replayed(&wal).0.is_empty());
    assert_eq!(append_all(&wal, &[b"4".to_vec()]), [4], "positions never begin anew");
}

#[test]
fn a_full_log_refuses_until_a_release_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let options = WalOptions { segment_bytes: 1, bytes_max: 1000, ..options(dir.path()) };
    let wal = open(&options);
    append_all(&wal, &[vec![0; 400], vec![0; 400]]);
    let refused = block_on(wal.append(record(&[0; 400]))).unwrap_err();
    assert!(matches!(refused.kind(), AppendErrorKind::Overloaded { .. }), "{refused}");
    let never = block_on(wal.append(record(&[0; 2000]))).unwrap_err();
    assert_eq!(never.kind(), AppendErrorKind::TooLarge);
    wal.release(WalPosition(2)).unwrap();
    assert_eq!(append_all(&wal, &[vec![0; 400]]), [3], "a refused record takes no position");
}

#[test]
fn a_failing_disk_stops_acknowledging_for_good() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("wal");
    let wal = open(&options(&dir));
    fs::remove_dir_all(&dir).unwrap();
    for _ in 0..2 {
        let failed = block_on(wal.append(record(b"x"))).unwrap_err();
        assert_eq!(failed.kind(), AppendErrorKind::Failed, "{failed}");
        fs::create_dir_all(&dir).unwrap();
    }
    assert!(wal.status().failed.is_some());
    assert_eq!(wal.bytes(), 0, "what was not written is not counted");
}

#[test]
fn a_missing_segment_is_reported_unless_it_was_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let options = WalOptions { segment_bytes: 1, ..options(dir.path()) };
    append_all(&open(&options), &[b"1".to_vec(), b"2".to_vec(), b"3".to_vec()]);
    let second = segment_path(dir.path(), 2);
    let aside = dir.path().join("aside");
    fs::rename(&second, &aside).unwrap();
    let (found, error) = replayed(&open(&options));
    assert_eq!(found, [b"1"]);
    assert!(matches!(error, Some(ReplayError::Missing { from: WalPosition(2), to: WalPosition(2), .. })), "{error:?}");
    fs::rename(&aside, second.with_extension("wal.lost")).unwrap();
    let (found, error) = replayed(&open(&options));
    assert!(error.is_none(), "{error:?}");
    assert_eq!(found, [b"1", b"3"]);
}

#[test]
fn after_the_log_was_lost_positions_go_on_behind_what_the_tables_have() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let wal = Wal::open(options.clone(), 7, |_| {}).unwrap();
    assert_eq!(wal.committed(), WalPosition(7));
    assert_eq!(append_all(&wal, &[b"8".to_vec()]), [8]);
    drop(wal);
    let wal = Wal::open(options.clone(), 7, |_| {}).unwrap();
    assert_eq!(replayed(&wal).0, [b"8"], "a lost mark is found again from the first segment");
    drop(wal);
    // Tables that are ahead of the log: a copy of it was put back.
    let wal = Wal::open(options, 10, |_| {}).unwrap();
    assert_eq!(wal.never_written, 9..11);
    assert_eq!(replayed(&wal).0, [b"8"]);
    assert_eq!(append_all(&wal, &[b"11".to_vec()]), [11]);
}

#[test]
fn a_crash_between_a_new_segment_and_its_first_record_forgets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    append_all(&open(&options), &[b"1".to_vec(), b"2".to_vec(), b"3".to_vec()]);
    for content in [&segment::SEGMENT_MAGIC[..], &segment::SEGMENT_MAGIC[..3], &[]] {
        fs::write(segment_path(dir.path(), 4), content).unwrap();
        let wal = open(&options);
        assert_eq!(wal.status().last, WalPosition(3));
        assert_eq!(replayed(&wal).0, [b"1", b"2", b"3"]);
    }
    assert_eq!(append_all(&open(&options), &[b"4".to_vec()]), [4]);
}

#[test]
fn an_appender_that_goes_away_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (tx, rx) = mpsc::channel();
    let wal = Wal::open(options(dir.path()), 0, move |position| tx.send(position).unwrap()).unwrap();
    block_on(async {
        let mut append = Box::pin(wal.append(record(b"x")));
        // One poll sends the record on its way; then the appender is gone.
        assert!(futures::poll!(&mut append).is_pending());
    });
    wal.close();
    // Whether the answer or the drop came first, the record is durable; in the usual order it is an orphan.
    let orphans: Vec<_> = rx.try_iter().collect();
    assert!(orphans.is_empty() || orphans == [WalPosition(1)]);
    assert_eq!(replayed(&wal).0, [b"x"]);
}

#[test]
fn what_a_killed_process_wrote_is_durable_before_more_is_acknowledged() {
    let (before, after) = (record(b"written, not fsynced"), record(b"acknowledged after the restart"));
    for seed in 0..40 {
        let world = World::new(seed, Image::default(), Place::Bucket, chrono::DateTime::UNIX_EPOCH, Some(Mistake::NoFsync));
        let options = WalOptions { dir: "/data/wal".into(), ..options(Path::new("")) };
        let (first, record) = (options.clone(), before.clone());
        world.run(async move { open(&first).append(record).await }).unwrap().unwrap();
        world.restart(Crash::Kill);
        // From here on fsync does what it says. A process that trusts what it reads lets the new record outlive the old one.
        let world = World::new(seed, world.image(), Place::Bucket, chrono::DateTime::UNIX_EPOCH, None);
        let (second, record) = (options.clone(), after.clone());
        world.run(async move { open(&second).append(record).await }).unwrap().unwrap();
        world.restart(Crash::PowerCut);
        let (found, error) = world.run(async move { replayed(&open(&options)) }).unwrap();
        assert!(error.is_none(), "seed {seed}: {error:?}");
        assert_eq!(found, [before.body.clone(), after.body.clone()], "seed {seed}");
    }
}
