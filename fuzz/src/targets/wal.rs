//! A segment of the write-ahead log, damaged in any way: opening and reading it never panics, takes no memory for what a header only
//! claims, gives the same records when it is done again, and goes on behind them.

use std::{fs, path::Path, sync::OnceLock};

use assay_schemas::ids::{Encoding, ProjectId, Signal};
use assay_storage::{WalRecord, read_wal};
use bytes::Bytes;

use crate::corpus::{self, Captured};

/// The input is the newest segment.
pub(super) fn run(input: &[u8]) {
    let folder = tempfile::tempdir_in(scratch()).expect("a folder");
    let segment = folder.path().join(format!("{:020}.wal", 1));
    fs::write(&segment, input).expect("the segment is written");
    let read = || with_runtime(read_wal(folder.path(), vec![]));
    let (first, again) = (read(), read());
    if let (Ok(first), Ok(again)) = (&first, &again) {
        assert_eq!(first, again, "what is cut off is cut off at the first opening");
        let left = fs::metadata(&segment).map_or(0, |segment| segment.len());
        assert!(left <= input.len() as u64, "a segment that is opened does not grow");
    }
    assert_eq!(first.is_ok(), again.is_ok(), "what cannot be read stays so");
    // A log that can be read takes what comes next, and gives it back behind the rest.
    if let Ok(mut expected) = first {
        let next = record(&Captured { signal: Signal::Logs, json: true, body: b"next".to_vec() });
        let found = with_runtime(read_wal(folder.path(), vec![next.clone()])).expect("the log takes another record");
        let position = found.last().map_or(0, |(position, _)| *position);
        assert!(expected.last().is_none_or(|(last, _)| *last < position), "positions go on");
        expected.push((position, next));
        assert_eq!(found, expected, "what was there, and what came");
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir_in(scratch()).expect("a folder");
    let captures = corpus::captures();
    let few = || captures.iter().step_by(7).take(12).map(record);
    let append = |n: usize| {
        let path = folder.path().join(n.to_string());
        with_runtime(read_wal(&path, few().take(n).collect())).expect("a new log");
        whole_segment(&path)
    };
    let mut seeds: Vec<_> = [0, 1, 3, 12].into_iter().map(append).collect();
    let whole = seeds[3].clone();
    seeds.push(whole[..whole.len() - 5].to_vec());
    seeds.push([whole.as_slice(), &[0; 100]].concat());
    let empty = WalRecord { signal: Signal::Logs, body: Bytes::new(), ..record(&captures[0]) };
    let path = folder.path().join("empty");
    with_runtime(read_wal(&path, vec![empty])).expect("a new log");
    seeds.push(whole_segment(&path));
    seeds
}

fn record(captured: &Captured) -> WalRecord {
    WalRecord {
        project: ProjectId::default_project(),
        signal: captured.signal,
        encoding: if captured.json { Encoding::Json } else { Encoding::Protobuf },
        received_at_unix_nano: 1_763_700_000_000_000_000,
        body: Bytes::copy_from_slice(&captured.body[..captured.body.len().min(600)]),
    }
}

fn whole_segment(folder: &Path) -> Vec<u8> {
    fs::read(folder.join(format!("{:020}.wal", 1))).unwrap_or_default()
}

fn with_runtime<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime")).block_on(work)
}

/// In memory where the system has such a folder: nothing here needs to outlive the process.
fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<std::path::PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
    })
}
