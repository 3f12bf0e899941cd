//! The write-ahead log: requests as received, durable before they are acknowledged.
//!
//! ```text
//! append() ─┐                                   ┌─> segment file: header, record, record, …
//! append() ─┼─> queue ─> writer thread: write ──┤
//! append() ─┘            one fsync for all      └─> answer every append with its position
//! ```
//! A record is durable or it is not acknowledged. Life of a segment: created (folder fsynced), appended to, closed when full,
//! deleted when every record in it is committed to the lake. At start, what a crash left half-written at the very end (never
//! acknowledged) is cut off; damage anywhere else is reported, never skipped.

mod frame;
mod fuzz;
mod segment;
mod writer;
#[cfg(test)]
pub(crate) use self::writer::Writer;

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use assay_schemas::ids::{Encoding, ProjectId, Signal};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

#[doc(hidden)]
pub use self::fuzz::read_wal;
use self::{
    frame::{FRAME_HEADER_BYTES, FrameHeader},
    segment::{SEGMENT_SUFFIX, SegmentReader, segment_path},
    writer::Serving,
};
use crate::outside::{create_dir_durably, fs, sync_dir};

/// Place of a record in the write-ahead log: 1 for the first ever, then strictly increasing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct WalPosition(pub(crate) u64);

impl WalPosition {
    /// The number, at least 1 for a record.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for WalPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One OTLP request as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalRecord {
    /// Whose request.
    pub project: ProjectId,
    /// What it carries.
    pub signal: Signal,
    /// How `body` is encoded.
    pub encoding: Encoding,
    /// When it was received, nanoseconds since 1970.
    pub received_at_unix_nano: i64,
    /// The request after inflating.
    pub body: Bytes,
}

/// A record could not be made durable. [`AppendError::kind`] says what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// No room now.
    #[error("the write-ahead log is full: {reason}")]
    Overloaded {
        /// What is full.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk failed; nothing is acknowledged until the process is restarted.
    #[error("the write-ahead log has failed: {reason}")]
    Failed {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The record can never fit.
    #[error("a request of `{found}` bytes does not fit into the write-ahead log: expected at most `{limit}` bytes")]
    TooLarge {
        /// Size of the body.
        found: u64,
        /// Largest body.
        limit: u64,
    },
}

/// What the caller of an append should do about its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendErrorKind {
    /// Refuse the request as retryable.
    Overloaded {
        /// When the client should try again.
        retry_after: Duration,
    },
    /// Stop acknowledging.
    Failed,
    /// Refuse the request for good.
    TooLarge,
}

impl AppendError {
    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> AppendErrorKind {
        match self {
            Self::Overloaded { retry_after, .. } => AppendErrorKind::Overloaded { retry_after: *retry_after },
            Self::Failed { .. } => AppendErrorKind::Failed,
            Self::TooLarge { .. } => AppendErrorKind::TooLarge,
        }
    }
}

/// A segment holds what only a later version understands.
#[derive(Debug, thiserror::Error)]
#[error(
    "write-ahead log segment `{}` is of a later version of Assay, at byte `{offset}`: {found}, expected what this version writes (nothing is \
     lost: start the version that wrote it; when that is stopped in order, the log is empty)", path.display()
)]
pub struct LaterSegment {
    /// The segment.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is not understood.
    pub found: String,
}

/// The write-ahead log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenWalError {
    /// A file or folder operation failed.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What we were doing.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A later version wrote it, and this one must not touch it.
    #[error(transparent)]
    Later(#[from] LaterSegment),
}

/// A record that was not committed cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A segment cannot be read.
    #[error("could not read write-ahead log segment `{}`", path.display())]
    Io {
        /// The segment.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Acknowledged records are damaged.
    #[error(
        "write-ahead log segment `{}` is damaged at byte `{offset}`: {found}; expected record `{expected}` (to start without the records \
         of this segment, rename it so that it ends in `.lost`)", path.display()
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        found: String,
        /// The position whose record should be there.
        expected: WalPosition,
    },
    /// A later version wrote them.
    #[error(transparent)]
    Later(#[from] LaterSegment),
    /// Segments that held uncommitted records are not there.
    #[error("write-ahead log records `{from}` to `{to}` are missing: no segment in `{}` holds them", dir.display())]
    Missing {
        /// The folder.
        dir: PathBuf,
        /// First missing record.
        from: WalPosition,
        /// Last missing record.
        to: WalPosition,
    },
}

/// How a [`Wal`] is limited.
#[derive(Clone, Debug)]
pub(crate) struct WalOptions {
    pub(crate) dir: PathBuf,
    pub(crate) segment_bytes: u64,
    pub(crate) bytes_max: u64,
    pub(crate) group_commit_window: Duration,
}

/// Numbers for status and metrics.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct WalStatus {
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes it may take; requests are refused a little before.
    pub bytes_max: u64,
    /// Segment files.
    pub segments: u64,
    /// Oldest record on disk.
    pub oldest: Option<WalPosition>,
    /// Last record made durable.
    pub last: WalPosition,
    /// Everything up to here is committed to the lake.
    pub committed: WalPosition,
    /// Age of the oldest record that is not committed, in milliseconds.
    pub uncommitted_age_ms: u64,
    /// fsyncs since start.
    pub fsyncs: u64,
    /// Records appended since start.
    pub appended_records: u64,
    /// Bytes of bodies appended since start.
    pub appended_bytes: u64,
    /// Why appending stopped, if it did.
    pub failed: Option<String>,
}

/// A closed or open segment on disk.
#[derive(Clone, Debug)]
pub(crate) struct SegmentInfo {
    pub(crate) path: PathBuf,
    pub(crate) first: u64,
    /// Last record in it; grows while the segment is the one being written.
    pub(crate) last: u64,
    pub(crate) bytes: u64,
}

/// Shared between the appenders, the writer thread and the releaser.
pub(crate) struct Shared {
    pub(crate) segments: Mutex<VecDeque<SegmentInfo>>,
    /// Bytes on disk and bytes queued for it.
    pub(crate) bytes: AtomicU64,
    pub(crate) last: AtomicU64,
    pub(crate) fsyncs: AtomicU64,
    pub(crate) appended_records: AtomicU64,
    pub(crate) appended_bytes: AtomicU64,
    pub(crate) failed: Mutex<Option<Arc<str>>>,
}

/// One append on its way to the writer thread.
pub(crate) struct Request {
    pub(crate) record: WalRecord,
    pub(crate) body_crc: u32,
    pub(crate) reply: oneshot::Sender<Result<WalPosition, AppendError>>,
}

/// The log of one node.
pub(crate) struct Wal {
    options: WalOptions,
    shared: Arc<Shared>,
    queue: Mutex<Option<mpsc::Sender<Request>>>,
    serving: Mutex<Option<Serving>>,
    committed: AtomicU64,
    /// Positions before the next one that no segment holds: the tables are ahead of a log that was lost or restored from a copy.
    pub(crate) never_written: Range<u64>,
}

/// Clients should come back after this long when the log is full: a flush has then freed room.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(5);

impl Wal {
    /// Opens the log in `options.dir` and starts its writer. New records come after `floor`, the largest position that any table
    /// has (0 if none). `orphaned` is called with a record that became durable after its appender went away.
    ///
    /// # Errors
    /// [`OpenWalError`] if the folder cannot be read or written.
    pub(crate) fn open(
        options: WalOptions,
        floor: u64,
        orphaned: impl Fn(WalPosition) + Send + 'static,
    ) -> Result<Self, OpenWalError> {
        let dir = options.dir.as_path();
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| OpenWalError::Io { action, path, source }
        };
        create_dir_durably(dir).map_err(io("create folder", dir))?;
        // What an earlier process named here just before it was killed can be seen; now it also stays.
        sync_dir(dir).map_err(io("fsync folder", dir))?;

        let marked = read_committed(dir).map_err(io("read committed position in", dir))?;
        let mut segments = list_segments(dir).map_err(io("list folder", dir))?;
        // Before an empty newest segment goes: it is what tells where the one before it ends.
        for i in 1..segments.len() {
            segments[i - 1].last = segments[i].first - 1;
        }
        if let Some(mut newest) = segments.pop_back() {
            let end = segment::recover_end(&newest.path, newest.first).map_err(io("recover segment", &newest.path))?;
            if let Some((offset, found)) = end.later {
                return Err(LaterSegment { path: newest.path, offset, found }.into());
            }
            if end.records == 0 && !end.damaged {
                fs::remove_file(&newest.path).map_err(io("remove empty segment", &newest.path))?;
            } else {
                newest.bytes = end.bytes;
                newest.last = end.last;
                segments.push_back(newest);
            }
        }
        // Segments are deleted only when they are committed, so without a mark everything before the first one is.
        let committed = marked.max(segments.front().map_or(floor, |s| s.first - 1));
        let on_disk = segments.back().map_or(committed, |s| s.last.max(committed));
        let last = on_disk.max(floor);
        let bytes = segments.iter().map(|s| s.bytes).sum();
        let shared = Arc::new(Shared {
            segments: Mutex::new(segments),
            bytes: AtomicU64::new(bytes),
            last: AtomicU64::new(last),
            fsyncs: AtomicU64::new(0),
            appended_records: AtomicU64::new(0),
            appended_bytes: AtomicU64::new(0),
            failed: Mutex::new(None),
        });
        let (tx, rx) = mpsc::channel();
        let writer = writer::Writer::new(&options, Arc::clone(&shared), last + 1, Box::new(orphaned));
        let serving = writer.start(rx).map_err(io("start the writer thread for", dir))?;
        let wal = Self {
            options: options.clone(),
            shared,
            queue: Mutex::new(Some(tx)),
            serving: Mutex::new(Some(serving)),
            committed: AtomicU64::new(committed),
            never_written: on_disk + 1..last + 1,
        };
        wal.delete_committed_segments().map_err(io("delete a committed segment in", dir))?;
        Ok(wal)
    }

    /// Makes `record` durable and says where it is. Returns after the fsync.
    pub(crate) async fn append(&self, record: WalRecord) -> Result<WalPosition, AppendError> {
        let limit = self.options.bytes_max.min(u64::from(u32::MAX));
        let frame_bytes = FRAME_HEADER_BYTES as u64 + record.project.as_str().len() as u64 + record.body.len() as u64;
        if frame_bytes > limit {
            return Err(AppendError::TooLarge { found: record.body.len() as u64, limit });
        }
        self.check_failed()?;
        let reservation = self.reserve(frame_bytes)?;
        let (reply, answer) = oneshot::channel();
        let body_crc = crc32fast::hash(&record.body);
        let sent = match self.queue.lock().as_ref() {
            Some(queue) => queue.send(Request { record, body_crc, reply }).is_ok(),
            None => false,
        };
        if !sent {
            return Err(self.stopped());
        }
        #[cfg(test)]
        if let Some(serving) = self.serving.lock().as_ref() {
            serving.wake();
        }
        // The writer thread owns the reservation from here: it keeps it for what it wrote and gives it back for what it did not.
        std::mem::forget(reservation);
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Uncommitted records in order, read segment by segment.
    pub(crate) fn replay(&self) -> Replay {
        let segments = self.shared.segments.lock().clone();
        Replay {
            dir: self.options.dir.clone(),
            end: segments.back().map_or(0, |s| s.last),
            segments,
            current: None,
            next: self.committed.load(Ordering::Acquire) + 1,
            lost: list_lost(&self.options.dir),
            done: false,
        }
    }

    /// Remembers durably that everything up to `position` is in the lake, and deletes the segments that are no longer needed.
    pub(crate) fn release(&self, position: WalPosition) -> io::Result<()> {
        if position.0 <= self.committed.load(Ordering::Acquire) {
            return Ok(());
        }
        write_committed(&self.options.dir, position.0)?;
        self.committed.store(position.0, Ordering::Release);
        self.delete_committed_segments()
    }

    /// Everything up to here is committed.
    pub(crate) fn committed(&self) -> WalPosition {
        WalPosition(self.committed.load(Ordering::Acquire))
    }

    /// Bytes on disk and on the way to it.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Acquire)
    }

    /// Numbers for status and metrics; `uncommitted_age_ms` is filled by the caller, who knows the clock.
    pub(crate) fn status(&self) -> WalStatus {
        let segments = self.shared.segments.lock();
        WalStatus {
            bytes: self.bytes(),
            bytes_max: self.options.bytes_max,
            segments: segments.len() as u64,
            oldest: segments.front().map(|s| WalPosition(s.first)),
            last: WalPosition(self.shared.last.load(Ordering::Acquire)),
            committed: self.committed(),
            uncommitted_age_ms: 0,
            fsyncs: self.shared.fsyncs.load(Ordering::Relaxed),
            appended_records: self.shared.appended_records.load(Ordering::Relaxed),
            appended_bytes: self.shared.appended_bytes.load(Ordering::Relaxed),
            failed: self.shared.failed.lock().as_ref().map(|reason| reason.to_string()),
        }
    }

    /// Takes no more records; what is queued is still written. Returns when the writer thread has ended.
    pub(crate) fn close(&self) {
        drop(self.queue.lock().take());
        if let Some(serving) = self.serving.lock().take() {
            serving.end();
        }
    }

    /// After [`Wal::close`]: deletes all segments if everything in them is committed, so that any version can go on from here, whether it can read
    /// them or not. The mark of what is committed keeps the numbering alive.
    pub(crate) fn leave_empty(&self) -> io::Result<()> {
        if self.committed.load(Ordering::Acquire) < self.shared.last.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut segments = self.shared.segments.lock();
        while let Some(segment) = segments.front() {
            fs::remove_file(&segment.path)?;
            self.shared.bytes.fetch_sub(segment.bytes, Ordering::AcqRel);
            segments.pop_front();
        }
        sync_dir(&self.options.dir)
    }

    fn check_failed(&self) -> Result<(), AppendError> {
        match self.shared.failed.lock().as_ref() {
            Some(reason) => Err(AppendError::Failed { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }

    fn stopped(&self) -> AppendError {
        self.check_failed().err().unwrap_or_else(|| AppendError::Failed { reason: "it is closed".into() })
    }

    fn reserve(&self, frame_bytes: u64) -> Result<Reservation<'_>, AppendError> {
        let before = self.shared.bytes.fetch_add(frame_bytes, Ordering::AcqRel);
        let reservation = Reservation { bytes: &self.shared.bytes, taken: frame_bytes };
        if before + frame_bytes > self.options.bytes_max {
            let reason = format!("it holds `{before}` of at most `{}` bytes", self.options.bytes_max);
            return Err(AppendError::Overloaded { reason, retry_after: FULL_RETRY_AFTER });
        }
        Ok(reservation)
    }

    fn delete_committed_segments(&self) -> io::Result<()> {
        let committed = self.committed.load(Ordering::Acquire);
        let mut segments = self.shared.segments.lock();
        let mut deleted = false;
        // The newest segment may be the one being written, and keeps the numbering alive.
        while segments.len() > 1 && segments[0].last <= committed {
            fs::remove_file(&segments[0].path)?;
            if let Some(segment) = segments.pop_front() {
                self.shared.bytes.fetch_sub(segment.bytes, Ordering::AcqRel);
                deleted = true;
            }
        }
        if deleted { sync_dir(&self.options.dir) } else { Ok(()) }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.close();
    }
}

/// Bytes counted before they are written; given back unless the writer takes them over.
struct Reservation<'a> {
    bytes: &'a AtomicU64,
    taken: u64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.taken, Ordering::AcqRel);
    }
}

/// Iterator over the uncommitted records; ends after the first error.
pub(crate) struct Replay {
    dir: PathBuf,
    segments: VecDeque<SegmentInfo>,
    current: Option<SegmentReader>,
    next: u64,
    end: u64,
    /// First positions of segments that the operator gave up.
    lost: Vec<u64>,
    done: bool,
}

impl Iterator for Replay {
    type Item = Result<(WalPosition, WalRecord), ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.advance().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

impl Replay {
    fn advance(&mut self) -> Result<Option<(WalPosition, WalRecord)>, ReplayError> {
        loop {
            if let Some(reader) = &mut self.current {
                let path = reader.path().to_owned();
                match reader.next_record().map_err(|source| ReplayError::Io { path: path.clone(), source })? {
                    segment::Next::Record(header, record) if header.position < self.next => {
                        drop((header, record));
                        continue;
                    }
                    segment::Next::Record(header, record) if header.position == self.next => {
                        self.next += 1;
                        return Ok(Some((WalPosition(header.position), record)));
                    }
                    segment::Next::Record(header, _) => {
                        return Err(ReplayError::Damaged {
                            path,
                            offset: reader.record_offset(),
                            found: format!("found record `{}`", header.position),
                            expected: WalPosition(self.next),
                        });
                    }
                    segment::Next::Invalid { offset, found } => {
                        return Err(ReplayError::Damaged { path, offset, found, expected: WalPosition(self.next) });
                    }
                    segment::Next::Later { offset, found } => return Err(LaterSegment { path, offset, found }.into()),
                    segment::Next::End => self.current = None,
                }
            }
            let Some(segment) = self.segments.pop_front() else {
                return if self.next > self.end { Ok(None) } else { Err(self.missing(self.end)) };
            };
            if segment.last < self.next {
                continue;
            }
            if segment.first > self.next {
                if !self.lost.iter().any(|first| (self.next..segment.first).contains(first)) && !self.lost.contains(&self.next) {
                    return Err(self.missing(segment.first - 1));
                }
                tracing::error!(from = self.next, to = segment.first - 1, "records given up by the operator are skipped");
                self.next = segment.first;
            }
            let reader = SegmentReader::open(&segment.path, segment.bytes)
                .map_err(|source| ReplayError::Io { path: segment.path.clone(), source })?;
            self.current = Some(reader);
        }
    }

    fn missing(&self, to: u64) -> ReplayError {
        ReplayError::Missing { dir: self.dir.clone(), from: WalPosition(self.next), to: WalPosition(to) }
    }
}

fn list_segments(dir: &Path) -> io::Result<VecDeque<SegmentInfo>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(first) = name.to_str().and_then(|n| n.strip_suffix(SEGMENT_SUFFIX)).and_then(|n| n.parse().ok()) else {
            continue;
        };
        segments.push(SegmentInfo { path: segment_path(dir, first), first, last: first, bytes: entry.metadata()?.len() });
    }
    segments.sort_by_key(|s| s.first);
    Ok(segments.into())
}

/// First positions of the segments that were renamed to `….wal.lost`. An unreadable folder gives none: replay then reports the gap.
fn list_lost(dir: &Path) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let suffix = format!("{SEGMENT_SUFFIX}.lost");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(&suffix)?.parse().ok()).collect()
}

const COMMITTED_FILE: &str = "committed";

fn read_committed(dir: &Path) -> io::Result<u64> {
    match fs::read_to_string(dir.join(COMMITTED_FILE)) {
        Ok(text) => text.trim().parse().map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("found `{}`, expected a number", text.chars().take(80).collect::<String>()),
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn write_committed(dir: &Path, position: u64) -> io::Result<()> {
    let temporary = dir.join("committed.tmp");
    let mut file = fs::File::create(&temporary)?;
    writeln!(file, "{position}")?;
    file.sync_all()?;
    fs::rename(&temporary, dir.join(COMMITTED_FILE))?;
    sync_dir(dir)
}

#[cfg(test)]
mod tests;
