//! Reading a segment back: record by record, and finding where its good part ends.

use std::{
    io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    WalRecord,
    frame::{FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, NotARecord},
};
use crate::outside::fs;

/// Ending of a segment's file name; before it stands its first position, 20 digits.
pub(crate) const SEGMENT_SUFFIX: &str = ".wal";
/// A segment begins with this: a name and a format version, at least 1.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"ASSAYW\0\x01";
/// Length of the name.
pub(crate) const NAME_BYTES: usize = 7;

/// Where the segment that begins with record `first` lies.
pub(crate) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}{SEGMENT_SUFFIX}"))
}

/// What [`SegmentReader::next_record`] found.
pub(crate) enum Next {
    /// A record whose checksums hold.
    Record(FrameHeader, WalRecord),
    /// Something else.
    Invalid {
        /// Where.
        offset: u64,
        /// What.
        found: String,
    },
    /// What a later version wrote, whole as far as can be told.
    Later {
        /// Where.
        offset: u64,
        /// What.
        found: String,
    },
    /// The end of the segment, between two records.
    End,
}

/// Reads one segment from its start. Holds one record in memory at a time.
pub(crate) struct SegmentReader {
    path: PathBuf,
    file: BufReader<fs::File>,
    offset: u64,
    record_offset: u64,
    len: u64,
}

impl SegmentReader {
    /// Reads the first `len` bytes of the segment at `path`.
    pub(crate) fn open(path: &Path, len: u64) -> io::Result<Self> {
        let file = BufReader::with_capacity(256 << 10, fs::File::open(path)?);
        Ok(Self { path: path.to_owned(), file, offset: 0, record_offset: 0, len })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the record last returned begins.
    pub(crate) fn record_offset(&self) -> u64 {
        self.record_offset
    }

    pub(crate) fn next_record(&mut self) -> io::Result<Next> {
        if self.offset == 0
            && let Some(invalid) = self.read_magic()?
        {
            return Ok(invalid);
        }
        self.record_offset = self.offset;
        let left = self.len - self.offset;
        if left == 0 {
            return Ok(Next::End);
        }
        if left < FRAME_HEADER_BYTES as u64 {
            return Ok(self.invalid(format!("found `{left}` bytes where a record header has `{FRAME_HEADER_BYTES}`")));
        }
        let mut fixed = [0; FRAME_HEADER_BYTES];
        self.file.read_exact(&mut fixed)?;
        let header = match FrameHeader::decode(&fixed) {
            Ok(header) => header,
            Err(found) => return Ok(self.invalid(found)),
        };
        let rest = u64::from(header.project_len) + u64::from(header.body_len);
        if left - (FRAME_HEADER_BYTES as u64) < rest {
            return Ok(self.invalid(format!("the segment ends inside record `{}`", header.position)));
        }
        let mut project = vec![0; usize::from(header.project_len)];
        self.file.read_exact(&mut project)?;
        if !FrameHeader::check(&fixed, &project) {
            return Ok(self.invalid("the checksum of a record header does not hold".into()));
        }
        if let Err(NotARecord::Later(found)) = header.kind() {
            return Ok(Next::Later { offset: self.offset, found });
        }
        let mut body = vec![0; header.body_len as usize];
        self.file.read_exact(&mut body)?;
        if crc32fast::hash(&body) != header.body_crc {
            return Ok(self.invalid(format!("the checksum of the body of record `{}` does not hold", header.position)));
        }
        let record = match header.into_record(&project, Bytes::from(body)) {
            Ok(record) => record,
            Err(NotARecord::Later(found)) => return Ok(Next::Later { offset: self.offset, found }),
            Err(NotARecord::Damaged(found)) => return Ok(self.invalid(found)),
        };
        self.offset += FRAME_HEADER_BYTES as u64 + rest;
        Ok(Next::Record(header, record))
    }

    fn read_magic(&mut self) -> io::Result<Option<Next>> {
        if self.len < SEGMENT_MAGIC.len() as u64 {
            return Ok(Some(self.invalid("the segment ends inside its header".into())));
        }
        let mut magic = [0; SEGMENT_MAGIC.len()];
        self.file.read_exact(&mut magic)?;
        let (name, version) = (&magic[..NAME_BYTES], magic[NAME_BYTES]);
        // A version 0 is a page that was torn.
        if *name == SEGMENT_MAGIC[..NAME_BYTES] && version > SEGMENT_MAGIC[NAME_BYTES] {
            return Ok(Some(Next::Later { offset: 0, found: format!("found format version `{version}`") }));
        }
        if magic != SEGMENT_MAGIC {
            return Ok(Some(self.invalid(format!("found `{}` where a segment begins", hex::encode(magic)))));
        }
        self.offset = SEGMENT_MAGIC.len() as u64;
        Ok(None)
    }

    fn invalid(&self, found: String) -> Next {
        Next::Invalid { offset: self.offset, found }
    }
}

/// The good part of the newest segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RecoveredEnd {
    /// Length of the segment now.
    pub(crate) bytes: u64,
    /// Good records before the first bad one.
    pub(crate) records: u64,
    /// Highest position seen; the segment's first minus one if none.
    pub(crate) last: u64,
    /// Whether acknowledged records are damaged: the file was left as it is, and replay will report it.
    pub(crate) damaged: bool,
    /// Where something is that a later version wrote, and what; the file was left as it is.
    pub(crate) later: Option<(u64, String)>,
}

/// Finds where the segment at `path` ends and cuts a torn write off.
pub(crate) fn recover_end(path: &Path, first: u64) -> io::Result<RecoveredEnd> {
    let len = fs::metadata(path)?.len();
    let mut reader = SegmentReader::open(path, len)?;
    let mut records = 0;
    let mut last = first - 1;
    // What the last record proves to have been fsynced before it.
    let mut durable = 0;
    let (bad_offset, found) = loop {
        match reader.next_record()? {
            Next::Record(header, _) => {
                records += 1;
                last = header.position;
                durable = header.durable;
            }
            Next::End => {
                write_again(path, durable, len)?;
                return Ok(RecoveredEnd { bytes: len, records, last, damaged: false, later: None });
            }
            Next::Invalid { offset, found } => break (offset, found),
            Next::Later { offset, found } => {
                return Ok(RecoveredEnd { bytes: len, records, last, damaged: false, later: Some((offset, found)) });
            }
        }
    };
    drop(reader);
    if let Some(later) = last_record_that_proves(path, len, bad_offset)? {
        tracing::error!(segment = %path.display(), offset = bad_offset, found, "acknowledged records are damaged");
        return Ok(RecoveredEnd { bytes: len, records, last: last.max(later), damaged: true, later: None });
    }
    tracing::warn!(segment = %path.display(), offset = bad_offset, cut_bytes = len - bad_offset, found, "a torn write was cut off");
    fs::OpenOptions::new().write(true).open(path)?.set_len(bad_offset)?;
    write_again(path, durable.min(bad_offset), bad_offset)?;
    Ok(RecoveredEnd { bytes: bad_offset, records, last, damaged: false, later: None })
}

/// Makes the bytes of `path` from `from` to `to`, where it ends, durable. They are what the last process wrote and perhaps did not fsync, or
/// could not: they are in the page cache, from which they are replayed, and what follows them must not outlive them. After an fsync that
/// failed the cache may call them clean, so an fsync alone would not write them.
fn write_again(path: &Path, from: u64, to: u64) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    io::Read::by_ref(&mut file).take(to - from).read_to_end(&mut tail)?;
    file.seek(SeekFrom::Start(from))?;
    file.write_all(&tail)?;
    file.sync_all()
}

/// The highest position among the record headers after `bad_offset`, if any of them proves that the bytes at `bad_offset` had been
/// fsynced, and so were acknowledged.
fn last_record_that_proves(path: &Path, len: u64, bad_offset: u64) -> io::Result<Option<u64>> {
    const CHUNK: usize = 1 << 20;
    const OVERLAP: usize = FRAME_HEADER_BYTES + u8::MAX as usize;
    let mut file = fs::File::open(path)?;
    let mut proof = None;
    let mut at = bad_offset + 1;
    while at < len {
        file.seek(SeekFrom::Start(at))?;
        let mut chunk = Vec::with_capacity(CHUNK + OVERLAP);
        io::Read::by_ref(&mut file).take((CHUNK + OVERLAP) as u64).read_to_end(&mut chunk)?;
        for start in 0..chunk.len().min(CHUNK) {
            if !chunk[start..].starts_with(&FRAME_MAGIC) || chunk.len() - start < FRAME_HEADER_BYTES {
                continue;
            }
            let fixed: [u8; FRAME_HEADER_BYTES] =
                chunk[start..start + FRAME_HEADER_BYTES].try_into().expect("the length was checked");
            let Ok(header) = FrameHeader::decode(&fixed) else { continue };
            let project_end = start + FRAME_HEADER_BYTES + usize::from(header.project_len);
            let Some(project) = chunk.get(start + FRAME_HEADER_BYTES..project_end) else { continue };
            if FrameHeader::check(&fixed, project) && header.durable > bad_offset {
                proof = proof.max(Some(header.position));
            }
        }
        at += CHUNK as u64;
    }
    Ok(proof)
}
