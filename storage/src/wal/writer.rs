//! The one thread that writes segments: collects appends, writes them together, fsyncs once, answers all.

use std::{
    io::{self, IoSlice, Seek as _, Write},
    sync::{Arc, atomic::Ordering, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    AppendError, FULL_RETRY_AFTER, FrameHeader, Request, SegmentInfo, Shared, WalOptions, WalPosition,
    frame::FRAME_HEADER_BYTES,
    segment::{SEGMENT_MAGIC, segment_path},
};
use crate::outside::{fs, sync_dir};

/// A batch is written when it has so many bytes, however many more are waiting.
const BATCH_BYTES_MAX: usize = 8 << 20;

pub(crate) struct Writer {
    options: WalOptions,
    shared: Arc<Shared>,
    next_position: u64,
    open: Option<OpenSegment>,
    orphaned: Box<dyn Fn(WalPosition) + Send>,
}

/// A writer at work.
pub(crate) enum Serving {
    /// On its thread.
    Thread(JoinHandle<()>),
    /// Where there are no threads.
    #[cfg(test)]
    Simulated(crate::simulation::Turns),
}

impl Serving {
    /// Waits until everything is served. Every sender must be gone.
    pub(crate) fn end(self) {
        match self {
            Self::Thread(thread) => {
                if thread.join().is_err() {
                    tracing::error!("the write-ahead log writer had panicked");
                }
            }
            #[cfg(test)]
            Self::Simulated(turns) => turns.end(),
        }
    }

    /// Says that something is in the queue.
    #[cfg(test)]
    pub(crate) fn wake(&self) {
        if let Self::Simulated(turns) = self {
            turns.wake();
        }
    }
}

struct OpenSegment {
    file: fs::File,
    /// Bytes that are fsynced.
    durable: u64,
}

impl Writer {
    pub(crate) fn new(
        options: &WalOptions,
        shared: Arc<Shared>,
        next_position: u64,
        orphaned: Box<dyn Fn(WalPosition) + Send>,
    ) -> Self {
        Self { options: options.clone(), shared, next_position, open: None, orphaned }
    }

    /// Begins to serve the appends that come through `queue`, until every sender is gone.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn start(self, queue: mpsc::Receiver<Request>) -> io::Result<Serving> {
        #[cfg(test)]
        if let Some(world) = crate::simulation::world::current() {
            return Ok(Serving::Simulated(crate::simulation::Turns::start(&world, self, queue)));
        }
        let thread = std::thread::Builder::new().name("assay-wal".into()).spawn(move || self.run(&queue))?;
        Ok(Serving::Thread(thread))
    }

    /// Serves what waits now, one batch.
    #[cfg(test)]
    pub(crate) fn take_turn(&mut self, queue: &mpsc::Receiver<Request>) -> bool {
        let Ok(first) = queue.try_recv() else { return false };
        let batch = self.collect(first, queue, false);
        self.serve(batch);
        true
    }

    fn run(mut self, queue: &mpsc::Receiver<Request>) {
        let mut crowded = false;
        while let Ok(first) = queue.recv() {
            let batch = self.collect(first, queue, crowded);
            crowded = batch.len() > 1;
            self.serve(batch);
        }
    }

    /// What shares one fsync. Alone, nobody waits; where the last fsync was shared, it is worth waiting a moment for company.
    fn collect(&self, first: Request, queue: &mpsc::Receiver<Request>, crowded: bool) -> Vec<Request> {
        let deadline = Instant::now() + if crowded { self.options.group_commit_window } else { Duration::ZERO };
        let mut bytes = first.record.body.len();
        let mut batch = vec![first];
        while bytes < BATCH_BYTES_MAX {
            let next = queue.try_recv().ok().or_else(|| {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() { None } else { queue.recv_timeout(left).ok() }
            });
            let Some(request) = next else { break };
            bytes += request.record.body.len();
            batch.push(request);
        }
        batch
    }

    fn serve(&mut self, batch: Vec<Request>) {
        let reserved: u64 = batch.iter().map(frame_bytes).sum();
        if let Some(reason) = self.shared.failed.lock().clone() {
            self.shared.bytes.fetch_sub(reserved, Ordering::AcqRel);
            return answer_all(batch, &AppendError::Failed { reason });
        }
        match self.write(&batch) {
            Ok(first) => {
                self.shared.last.store(self.next_position - 1, Ordering::Release);
                self.shared.appended_records.fetch_add(batch.len() as u64, Ordering::Relaxed);
                let bodies: u64 = batch.iter().map(|r| r.record.body.len() as u64).sum();
                self.shared.appended_bytes.fetch_add(bodies, Ordering::Relaxed);
                for (position, request) in (first..).map(WalPosition).zip(batch) {
                    if request.reply.send(Ok(position)).is_err() {
                        (self.orphaned)(position);
                    }
                }
            }
            Err(error) => {
                self.shared.bytes.fetch_sub(reserved, Ordering::AcqRel);
                let error = self.failed(&error);
                answer_all(batch, &error);
            }
        }
    }

    /// Writes and fsyncs `batch`; returns the position of its first record.
    fn write(&mut self, batch: &[Request]) -> Result<u64, WriteError> {
        let first = self.next_position;
        let full = |open: &OpenSegment| open.durable >= self.options.segment_bytes;
        if self.open.as_ref().is_none_or(full) {
            self.open = None;
            self.open = Some(self.create_segment(first).map_err(|source| WriteError { source, recoverable: true })?);
        }
        let open = self.open.as_mut().expect("opened above");
        let headers = encode_headers(batch, first, open.durable);
        let mut slices = Vec::with_capacity(batch.len() * 2);
        for (header, request) in headers.iter().zip(batch) {
            slices.push(IoSlice::new(header));
            slices.push(IoSlice::new(&request.record.body));
        }
        if let Err(source) = write_all_vectored(&mut open.file, &mut slices) {
            // Cut off what was half written: if that succeeds, nothing of this batch can ever be replayed.
            let recoverable = open.file.set_len(open.durable).and_then(|()| open.file.sync_all()).is_ok()
                && open.file.seek(io::SeekFrom::Start(open.durable)).is_ok();
            return Err(WriteError { source, recoverable });
        }
        // After a failed fsync the page cache may call lost data clean: there is nothing to retry.
        open.file.sync_data().map_err(|source| WriteError { source, recoverable: false })?;
        self.shared.fsyncs.fetch_add(1, Ordering::Relaxed);
        open.durable += batch.iter().map(frame_bytes).sum::<u64>();
        self.next_position += batch.len() as u64;
        if let Some(segment) = self.shared.segments.lock().back_mut() {
            segment.bytes = open.durable;
            segment.last = self.next_position - 1;
        }
        Ok(first)
    }

    fn create_segment(&self, first: u64) -> io::Result<OpenSegment> {
        let path = segment_path(&self.options.dir, first);
        // A file of this name can only be what a failed attempt left: it holds no record, or `first` would be higher.
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        file.write_all(&SEGMENT_MAGIC)?;
        file.sync_all()?;
        sync_dir(&self.options.dir)?;
        let bytes = SEGMENT_MAGIC.len() as u64;
        self.shared.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.shared.segments.lock().push_back(SegmentInfo { path, first, last: first - 1, bytes });
        Ok(OpenSegment { file, durable: bytes })
    }

    /// A full disk is overload if nothing partial is left behind; anything else ends acknowledging.
    fn failed(&mut self, error: &WriteError) -> AppendError {
        let full = matches!(error.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if full && error.recoverable {
            tracing::warn!(error = %error.source, "no room for the write-ahead log");
            return AppendError::Overloaded { reason: error.source.to_string(), retry_after: FULL_RETRY_AFTER };
        }
        tracing::error!(error = %error.source, "the write-ahead log failed: nothing is acknowledged until the process is restarted");
        let reason: Arc<str> = error.source.to_string().into();
        *self.shared.failed.lock() = Some(Arc::clone(&reason));
        self.open = None;
        AppendError::Failed { reason }
    }
}

struct WriteError {
    source: io::Error,
    /// Whether the segment is as it was before.
    recoverable: bool,
}

fn frame_bytes(request: &Request) -> u64 {
    (FRAME_HEADER_BYTES + request.record.project.as_str().len() + request.record.body.len()) as u64
}

fn encode_headers(batch: &[Request], first: u64, durable: u64) -> Vec<Vec<u8>> {
    (first..)
        .zip(batch)
        .map(|(position, request)| {
            let mut header = Vec::with_capacity(FRAME_HEADER_BYTES + 64);
            FrameHeader::encode(&request.record, request.body_crc, position, durable, &mut header);
            header
        })
        .collect()
}

fn write_all_vectored(file: &mut fs::File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Empty bodies would make a write of nothing look like the end of the device.
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn answer_all(batch: Vec<Request>, error: &AppendError) {
    for request in batch {
        // An appender that went away needs no answer.
        drop(request.reply.send(Err(error.clone())));
    }
}
