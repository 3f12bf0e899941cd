//! How one record lies in a segment: a fixed header, the project name, the body.
//!
//! All integers little endian. `header_crc` covers everything after it up to the end of the project name; `body_crc` the body.
//! ```text
//! 0 magic u32 │ 4 header_crc u32 │ 8 body_len u32 │ 12 body_crc u32 │ 16 position u64 │ 24 received_at i64 │ 32 durable u64
//! 40 signal u8 │ 41 encoding u8 │ 42 project_len u8 │ 43 zero u8 │ 44 project … │ body …
//! ```
//! `durable` is the length of the segment that was fsynced before this record was written. A record that does not check out is a
//! torn write if no later record claims it durable, and damage otherwise.

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
    pub(crate) signal: Signal,
    pub(crate) encoding: Encoding,
    pub(crate) project_len: u8,
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
        let signal = match bytes[40] {
            0 => Signal::Traces,
            1 => Signal::Logs,
            2 => Signal::Metrics,
            other => return Err(format!("found signal code `{other}`")),
        };
        let encoding = match bytes[41] {
            0 => Encoding::Protobuf,
            1 => Encoding::Json,
            2 => Encoding::Rows,
            other => return Err(format!("found encoding code `{other}`")),
        };
        Ok(Self {
            body_len: u32_at(8),
            body_crc: u32_at(12),
            position: u64_at(16),
            received_at: i64::from_le_bytes(bytes[24..32].try_into().expect("eight bytes")),
            durable: u64_at(32),
            signal,
            encoding,
            project_len: bytes[42],
        })
    }

    /// Whether the checksum over the header and `project` holds.
    pub(crate) fn check(bytes: &[u8; FRAME_HEADER_BYTES], project: &[u8]) -> bool {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[8..]);
        crc.update(project);
        crc.finalize().to_le_bytes() == bytes[4..8]
    }

    /// The record, given its parts. `None` if the project name is not one (a checksum that holds by accident).
    pub(crate) fn into_record(self, project: &[u8], body: Bytes) -> Option<WalRecord> {
        let project = ProjectId::new(std::str::from_utf8(project).ok()?).ok()?;
        Some(WalRecord { project, signal: self.signal, encoding: self.encoding, received_at_unix_nano: self.received_at, body })
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
