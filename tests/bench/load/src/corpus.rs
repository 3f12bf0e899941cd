//! Request bodies, and what is renewed in them each time they are sent.
//!
//! A body is read once: where its identifiers, times and marked texts lie is remembered. A copy is one allocation, one `memcpy` and a
//! few bytes written over, so that a core sends far more than another one receives. Lengths never change, so what surrounds a value stays
//! valid. Invariant: within one round through the corpus equal identifiers stay equal, so traces stay whole across spans and bodies.
//!
//! | in the body | becomes |
//! |---|---|
//! | trace, span and parent identifiers, those of links too | themselves XOR a key of the round |
//! | the hexadecimal tail of `chatcmpl-…`, `resp_…`, `msg_…` | likewise: a response identifier names one call |
//! | times of spans and events | moved so that the body's latest is now |
//! | a run of 8 to 63 `~` | random hexadecimal digits |
//! | a longer run of `~` | a piece of prose |
//! | the number 9001 or 9002 as an attribute | a number of input or output tokens |

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;

use crate::{
    random::{Random, mixed, prose},
    wire,
};

/// gRPC's prefix of a message: compressed or not, and its length. Kept in front of each body, so that both protocols send one buffer.
pub(crate) const PREFIX_BYTES: usize = 5;
/// Texts are cut from this much prose: far more than any compressor's window, so that a piece hardly ever comes twice within one.
const POOL_BYTES: usize = 64 << 20;
/// A run of `~` from this length on becomes prose, a shorter one hexadecimal digits.
const PROSE_FROM: usize = 64;
const RUN_FROM: usize = 8;
const RESPONSE_PREFIXES: [&[u8]; 3] = [b"chatcmpl-", b"resp_", b"msg_"];
/// Hexadecimal digits of a response identifier that are renewed: 64 bits.
const RESPONSE_DIGITS: usize = 16;
/// `int_value` (field 3 of `AnyValue`) of 9001 and 9002, and what range takes its place: as many bytes as varints.
const TOKENS: [([u8; 3], u64, u64); 2] = [([0x18, 0xa9, 0x46], 200, 9000), ([0x18, 0xaa, 0x46], 130, 900)];

#[derive(Debug)]
pub(crate) struct Corpus {
    bodies: Vec<Template>,
    pool: Vec<u8>,
    seed: u64,
}

/// A request ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The message behind its gRPC prefix.
    pub(crate) frame: Bytes,
    pub(crate) n_spans: u64,
}

/// When enough was taken from a corpus.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    pub(crate) spans: u64,
    pub(crate) bytes: u64,
    pub(crate) time: Option<Duration>,
}

/// What was taken so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) requests: u64,
    pub(crate) spans: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug)]
struct Template {
    frame: Vec<u8>,
    n_spans: u64,
    latest_ns: u64,
    places: Vec<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    at: usize,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// An identifier of so many bytes.
    Id(usize),
    /// The digits of a response identifier.
    Response,
    /// Nanoseconds since 1970, little-endian.
    Time,
    /// A run of so many `~`.
    Text(usize),
    /// A number of tokens between the two, as a varint of two bytes.
    Tokens(u64, u64),
}

impl Corpus {
    /// Reads a file of bodies.
    ///
    /// # Errors
    /// If it cannot be read, or a body is no trace export request.
    pub(crate) fn read(path: &Path, seed: u64) -> anyhow::Result<Self> {
        let file = std::fs::read(path).with_context(|| format!("could not read `{}`", path.display()))?;
        let mut bodies = Vec::new();
        let mut rest = file.as_slice();
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = u32::from_le_bytes(*length) as usize;
            ensure!(
                length <= after.len(),
                "found a body of {length} bytes in `{}`, expected at most {}",
                path.display(),
                after.len()
            );
            let (body, after) = after.split_at(length);
            bodies.push(Template::new(body).with_context(|| format!("body {} of `{}`", bodies.len(), path.display()))?);
            rest = after;
        }
        ensure!(!bodies.is_empty(), "found no body in `{}`", path.display());
        let with_prose = |place: &Place| matches!(place.what, What::Text(length) if length >= PROSE_FROM);
        let pool = if bodies.iter().flat_map(|body| &body.places).any(with_prose) { prose(42, POOL_BYTES) } else { Vec::new() };
        Ok(Self { bodies, pool, seed })
    }

    /// Spans of all bodies.
    pub(crate) fn n_spans(&self) -> u64 {
        self.bodies.iter().map(|body| body.n_spans).sum()
    }

    /// The request that comes after `taken`, unless that was enough.
    pub(crate) fn next(&self, budget: &Budget, taken: &mut Taken, since: Instant) -> Option<Request> {
        let out_of_time = budget.time.is_some_and(|time| since.elapsed() >= time);
        if taken.spans >= budget.spans || taken.bytes >= budget.bytes || out_of_time {
            return None;
        }
        let request = self.request(taken.requests, now_ns());
        taken.requests += 1;
        taken.spans += request.n_spans;
        taken.bytes += request.body_bytes();
        Some(request)
    }

    /// The request number `n`, as of `now`.
    fn request(&self, n: u64, now_ns: u64) -> Request {
        let n_bodies = self.bodies.len() as u64;
        let template = &self.bodies[usize::try_from(n % n_bodies).unwrap_or_default()];
        let key = mixed(mixed(self.seed) ^ (n / n_bodies)).to_le_bytes();
        let mut random = Random::new(mixed(self.seed).rotate_left(32) ^ n);
        let mut frame = template.frame.clone();
        let shift_ns = now_ns.wrapping_sub(template.latest_ns);
        for place in &template.places {
            renew(&mut frame[place.at..], place.what, key, shift_ns, &mut random, &self.pool);
        }
        Request { frame: frame.into(), n_spans: template.n_spans }
    }
}

impl Request {
    /// Bytes of the message without its prefix.
    pub(crate) fn body_bytes(&self) -> u64 {
        (self.frame.len() - PREFIX_BYTES) as u64
    }
}

impl Template {
    fn new(body: &[u8]) -> anyhow::Result<Self> {
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(body.len()).context("a body beyond 4 GB")?.to_be_bytes());
        frame.extend_from_slice(body);
        let mut template = Self { frame: Vec::new(), n_spans: 0, latest_ns: 0, places: Vec::new() };
        // Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto`.
        for resource_spans in wire::fields(&frame, PREFIX_BYTES, frame.len())?.iter().filter(|field| field.number == 1) {
            for scope_spans in
                wire::fields(&frame, resource_spans.start, resource_spans.end)?.iter().filter(|field| field.number == 2)
            {
                for span in wire::fields(&frame, scope_spans.start, scope_spans.end)?.iter().filter(|field| field.number == 2) {
                    template.add_span(&frame, *span)?;
                }
            }
        }
        ensure!(template.n_spans > 0, "found no span");
        template.frame = frame;
        Ok(template)
    }

    fn add_span(&mut self, frame: &[u8], span: wire::Field) -> anyhow::Result<()> {
        self.n_spans += 1;
        for field in wire::fields(frame, span.start, span.end)? {
            match field.number {
                1 | 2 | 4 => self.add_id(field),
                7 | 8 => self.add_time(frame, field)?,
                11 => {
                    for of_event in wire::fields(frame, field.start, field.end)?.into_iter().filter(|field| field.number == 1) {
                        self.add_time(frame, of_event)?;
                    }
                }
                13 => {
                    for of_link in wire::fields(frame, field.start, field.end)?.into_iter().filter(|field| field.number <= 2) {
                        self.add_id(of_link);
                    }
                }
                _ => {}
            }
        }
        self.add_texts(frame, span);
        Ok(())
    }

    fn add_id(&mut self, field: wire::Field) {
        self.places.push(Place { at: field.start, what: What::Id(field.end - field.start) });
    }

    fn add_time(&mut self, frame: &[u8], field: wire::Field) -> anyhow::Result<()> {
        let bytes = frame[field.start..field.end].try_into().context("a time that is no fixed64")?;
        self.latest_ns = self.latest_ns.max(u64::from_le_bytes(bytes));
        self.places.push(Place { at: field.start, what: What::Time });
        Ok(())
    }

    fn add_texts(&mut self, frame: &[u8], span: wire::Field) {
        let bytes = &frame[span.start..span.end];
        let mut next = 0;
        while let Some(at) = memchr::memchr(b'~', &bytes[next..]).map(|at| next + at) {
            let run = bytes[at..].iter().take_while(|&&byte| byte == b'~').count();
            if run >= RUN_FROM {
                self.places.push(Place { at: span.start + at, what: What::Text(run) });
            }
            next = at + run;
        }
        for prefix in RESPONSE_PREFIXES {
            for at in memchr::memmem::find_iter(bytes, prefix) {
                let digits = &bytes[at + prefix.len()..];
                if digits.iter().take_while(|byte| byte.is_ascii_hexdigit()).count() >= RESPONSE_DIGITS {
                    self.places.push(Place { at: span.start + at + prefix.len(), what: What::Response });
                }
            }
        }
        for (marker, least, most) in TOKENS {
            for at in memchr::memmem::find_iter(bytes, &marker) {
                self.places.push(Place { at: span.start + at + 1, what: What::Tokens(least, most) });
            }
        }
    }
}

fn renew(bytes: &mut [u8], what: What, key: [u8; 8], shift_ns: u64, random: &mut Random, pool: &[u8]) {
    match what {
        What::Id(length) => bytes[..length].iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key),
        What::Response => {
            let digits = bytes[..RESPONSE_DIGITS].iter().fold(0, |sum, &digit| sum << 4 | u64::from(value_of(digit)));
            write_hex(&mut bytes[..RESPONSE_DIGITS], digits ^ u64::from_le_bytes(key));
        }
        What::Time => {
            let (time, _) = bytes.split_first_chunk_mut().expect("a time is eight bytes");
            *time = u64::from_le_bytes(*time).wrapping_add(shift_ns).to_le_bytes();
        }
        What::Text(length) if length >= PROSE_FROM => {
            let from = random.below(pool.len() - length);
            bytes[..length].copy_from_slice(&pool[from..from + length]);
        }
        What::Text(length) => bytes[..length].chunks_mut(16).for_each(|chunk| write_hex(chunk, random.next())),
        What::Tokens(least, most) => {
            let tokens = least + random.next() % (most - least);
            bytes[..2].copy_from_slice(&[(tokens & 0x7f) as u8 | 0x80, (tokens >> 7) as u8]);
        }
    }
}

fn value_of(digit: u8) -> u8 {
    char::from(digit).to_digit(16).unwrap_or_default() as u8
}

/// The lowest bits of `number` as hexadecimal digits, as many as fit.
fn write_hex(bytes: &mut [u8], mut number: u64) {
    for byte in bytes.iter_mut().rev() {
        *byte = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

fn now_ns() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
