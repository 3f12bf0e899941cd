//! How one record lies in a segment: a fixed header, the project name, the body.
//!
//! All integers little endian. `header_crc` covers everything after it up to the end of the project name; `body_crc` the body.
//! ```text
//! 0 magic u32 │ 4 header_crc u32 │ 8 body_len u32 │ 12 body_crc u32 │ 16 position u64 │ 24 received_at i64 │ 32 durable u64
//! 40 signal u8 │ 41 encoding u8 │ 42 project_len u8 │ 43 flags u8 │ 44 project … │ body …
//! ```
//! `durable` is the length of the segment that was fsynced before this record was written. A record that does not check out is a
//! torn write if no later record claims it durable, and damage otherwise.
//!
//! A later version that has something new to say in this layout uses a new code, or a flag, of which there are none today: a header that checks out
//! and has one is neither torn nor damaged, it is not understood. What does not fit the layout is in a segment of a new version.

use assay_schemas::ids::{Encoding, ProjectId, Signal};
use bytes::Bytes;

use super::WalRecord;

/// Bytes before the project name.
pub(crate) const FRAME_HEADER_BYTES: usize = 44;
/// `AWR1`.
pub(crate) const FRAME_MAGIC: [u8; 4] = *b"AWR1";

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) body_len: u32,
    pub(crate) body_crc: u32,
    pub(crate) position: u64,
    pub(crate) received_at: i64,
    pub(crate) durable: u64,
    pub(crate) project_len: u8,
    signal: u8,
    encoding: u8,
    flags: u8,
}

/// Why parts that check out are no record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotARecord {
    /// This version does not know what it says.
    Later(String),
    /// A checksum holds by accident.
    Damaged(String),
}

impl FrameHeader {
    /// The header and project name of `record`, to be followed by its body.
    pub(crate) fn encode(record: &WalRecord, body_crc: u32, position: u64, durable: u64, out: &mut Vec<u8>) {
        let project = record.project.as_str().as_bytes();
        let start = out.len();
        out.extend_from_slice(&FRAME_MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&u32::try_from(record.body.len()).expect("append refuses larger bodies").to_le_bytes());
        out.extend_from_slice(&body_crc.to_le_bytes());
        out.extend_from_slice(&position.to_le_bytes());
        out.extend_from_slice(&record.received_at_unix_nano.to_le_bytes());
        out.extend_from_slice(&durable.to_le_bytes());
        let project_len = u8::try_from(project.len()).expect("a project name has at most 64 bytes");
        out.extend_from_slice(&[signal_code(record.signal), encoding_code(record.encoding), project_len, 0]);
        out.extend_from_slice(project);
        let crc = crc32fast::hash(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the fixed part of a header; says what is wrong with it otherwise. The checksum needs the project name: see
    /// [`FrameHeader::check`].
    pub(crate) fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<Self, String> {
        if bytes[..4] != FRAME_MAGIC {
            return Err(format!("found `{}` where a record begins", hex::encode(&bytes[..4])));
        }
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Ok(Self {
            body_len: u32_at(8),
            body_crc: u32_at(12),
            position: u64_at(16),
            received_at: i64::from_le_bytes(bytes[24..32].try_into().expect("eight bytes")),
            durable: u64_at(32),
            signal: bytes[40],
            encoding: bytes[41],
            project_len: bytes[42],
            flags: bytes[43],
        })
    }

    /// Whether the checksum over the header and `project` holds.
    pub(crate) fn check(bytes: &[u8; FRAME_HEADER_BYTES], project: &[u8]) -> bool {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[8..]);
        crc.update(project);
        crc.finalize().to_le_bytes() == bytes[4..8]
    }

    /// What the record carries and how, if the header checks out.
    pub(crate) fn kind(&self) -> Result<(Signal, Encoding), NotARecord> {
        let later = |what: &str, code: u8| Err(NotARecord::Later(format!("found {what} `{code}`")));
        let signal = match self.signal {
            0 => Signal::Traces,
            1 => Signal::Logs,
            2 => Signal::Metrics,
            other => return later("signal code", other),
        };
        let encoding = match self.encoding {
            0 => Encoding::Protobuf,
            1 => Encoding::Json,
            2 => Encoding::Rows,
            other => return later("encoding code", other),
        };
        if self.flags != 0 { later("flags", self.flags) } else { Ok((signal, encoding)) }
    }

    /// The record, given its parts, which check out.
    pub(crate) fn into_record(self, project: &[u8], body: Bytes) -> Result<WalRecord, NotARecord> {
        let (signal, encoding) = self.kind()?;
        let project = std::str::from_utf8(project).ok().and_then(|name| ProjectId::new(name).ok());
        let not_one = || NotARecord::Damaged(format!("the project name of record `{}` is not one", self.position));
        Ok(WalRecord { project: project.ok_or_else(not_one)?, signal, encoding, received_at_unix_nano: self.received_at, body })
    }
}

fn signal_code(signal: Signal) -> u8 {
    match signal {
        Signal::Traces => 0,
        Signal::Logs => 1,
        Signal::Metrics => 2,
    }
}

fn encoding_code(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::Protobuf => 0,
        Encoding::Json => 1,
        Encoding::Rows => 2,
    }
}
