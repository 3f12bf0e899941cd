//! Reads a request's body: inflates it as it arrives, and stops at the limit whichever side of the inflating it is on.

use std::{
    io::{self, Write},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use zstd::stream::raw::Operation as _;

use super::{
    limits::{BudgetExhausted, Charge},
    status::Refusal,
};

/// A window above 64 MiB cannot be needed for a body that is at most so large, so a frame that asks for one is hostile.
const ZSTD_WINDOW_LOG_MAX: u32 = 26;

/// Longest time for reading what is left of a refused request.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// How a body was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentEncoding {
    Identity,
    Gzip,
    Zstd,
    Deflate,
}

impl ContentEncoding {
    /// The encoding that the header `Content-Encoding` names, in any case.
    pub(super) fn from_header(value: &[u8]) -> Option<Self> {
        match value.trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" | b"none" => Some(Self::Identity),
            b"gzip" | b"x-gzip" => Some(Self::Gzip),
            b"zstd" => Some(Self::Zstd),
            b"deflate" => Some(Self::Deflate),
            _ => None,
        }
    }
}

/// The inflated body. Holds its share of the budget of all requests until dropped.
#[derive(Debug, Default)]
pub(super) struct ReceivedBody {
    pub(super) bytes: Bytes,
    _charge: Option<Charge>,
}

/// Reads `body`, at most `limit` bytes as received and at most `limit` bytes inflated. What is kept of it is added to `charge`.
///
/// # Errors
/// Too large, not what its encoding says, broken off, or no room for `charge` to grow.
pub(super) async fn read<B>(body: B, encoding: ContentEncoding, limit: usize, charge: Charge) -> Result<ReceivedBody, Refusal>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let mut body = std::pin::pin!(body);
    let mut received = 0_usize;
    // A body of known size goes into one piece of memory. What a client only claims to send is never touched.
    let announced = if encoding == ContentEncoding::Identity { body.size_hint().exact().unwrap_or(0) } else { 0 };
    let capacity = usize::try_from(announced).unwrap_or(0).min(limit);
    let sink = Bounded { bytes: Vec::with_capacity(capacity), limit, charge, stopped: None };
    let mut inflater = Inflater::new(encoding, sink)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::bad_data(format!("the body broke off after {received} bytes: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if data.is_empty() {
            continue;
        }
        received += data.len();
        if received > limit {
            return Err(over(limit, "as received"));
        }
        inflater.write(&data).map_err(|error| inflater.refusal(encoding, &error))?;
    }
    if received == 0 {
        // Nothing came: an empty request, whatever its encoding says.
        return Ok(ReceivedBody::default());
    }
    inflater.finish(encoding)
}

/// Reads what is left of a refused request's `body`, at most `bytes_max` and not for long, and keeps nothing of it: a client that writes
/// all before it reads would otherwise see a broken connection instead of the answer, and send the same again.
pub(super) async fn discard<B>(body: &mut B, bytes_max: usize)
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let rest = async {
        let mut discarded = 0;
        while discarded < bytes_max
            && let Some(Ok(frame)) = body.frame().await
        {
            discarded += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // What has not come by then is cut off with the connection.
    let _cut_off = tokio::time::timeout(DISCARD_TIME, rest).await;
}

fn over(limit: usize, stage: &str) -> Refusal {
    Refusal::too_large(format!("the request is larger than `{limit}` bytes {stage}: expected it in smaller batches"))
}

/// Why a [`Bounded`] takes no more.
#[derive(Clone, Copy, Debug)]
enum Stop {
    TooLarge,
    NoBudget,
}

/// A buffer that refuses the byte after the last.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    charge: Charge,
    stopped: Option<Stop>,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + data.len() > self.limit {
            self.stopped = Some(Stop::TooLarge);
            return Err(io::Error::other("limit reached"));
        }
        if let Err(BudgetExhausted) = self.charge.add(data.len()) {
            self.stopped = Some(Stop::NoBudget);
            return Err(io::Error::other("budget exhausted"));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Inflater {
    Identity(Bounded),
    Gzip(flate2::write::MultiGzDecoder<Bounded>),
    /// zstd and deflate chunk by chunk: the crates' own writers do not say whether the stream was whole.
    Chunked {
        codec: Codec,
        whole: bool,
        chunk: Box<[u8]>,
        sink: Bounded,
    },
}

enum Codec {
    Zstd(zstd::stream::raw::Decoder<'static>),
    Deflate(flate2::Decompress),
}

impl Codec {
    fn zstd() -> io::Result<Self> {
        let mut decoder = zstd::stream::raw::Decoder::new()?;
        decoder.set_parameter(zstd::stream::raw::DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
        Ok(Self::Zstd(decoder))
    }

    /// Inflates from `input` into `output`: bytes taken, bytes given, whether a stream ended.
    fn run(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<(usize, usize, bool)> {
        match self {
            Self::Zstd(decoder) => {
                let status = decoder.run_on_buffers(input, output)?;
                Ok((status.bytes_read, status.bytes_written, status.remaining == 0))
            }
            Self::Deflate(decoder) => {
                let (read, written) = (decoder.total_in(), decoder.total_out());
                let status = decoder.decompress(input, output, flate2::FlushDecompress::None).map_err(io::Error::other)?;
                let moved = |now: u64, before: u64| usize::try_from(now - before).expect("at most the length of a buffer");
                let ended = status == flate2::Status::StreamEnd;
                Ok((moved(decoder.total_in(), read), moved(decoder.total_out(), written), ended))
            }
        }
    }

    /// Makes ready for a stream behind the last one.
    fn restart(&mut self) -> io::Result<()> {
        match self {
            Self::Zstd(decoder) => decoder.reinit(),
            Self::Deflate(_) => Err(io::Error::other("more data behind the end of the stream")),
        }
    }
}

impl Inflater {
    fn new(encoding: ContentEncoding, sink: Bounded) -> Result<Self, Refusal> {
        let chunked = |codec, sink| Self::Chunked { codec, whole: false, chunk: vec![0; 64 << 10].into(), sink };
        Ok(match encoding {
            ContentEncoding::Identity => Self::Identity(sink),
            ContentEncoding::Gzip => Self::Gzip(flate2::write::MultiGzDecoder::new(sink)),
            ContentEncoding::Deflate => chunked(Codec::Deflate(flate2::Decompress::new(true)), sink),
            ContentEncoding::Zstd => {
                let codec = Codec::zstd().map_err(|error| {
                    Refusal::unavailable(format!("could not make a zstd decoder: {error}"), Duration::from_secs(1))
                })?;
                chunked(codec, sink)
            }
        })
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Identity(sink) => sink.write_all(data),
            Self::Gzip(decoder) => decoder.write_all(data),
            Self::Chunked { codec, whole, chunk, sink } => {
                let mut input = data;
                loop {
                    if *whole && !input.is_empty() {
                        codec.restart()?;
                    }
                    let (read, written, ended) = codec.run(input, chunk)?;
                    *whole = ended;
                    sink.write_all(&chunk[..written])?;
                    input = &input[read..];
                    if input.is_empty() && (ended || written < chunk.len()) {
                        return Ok(());
                    }
                    if read == 0 && written == 0 {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                }
            }
        }
    }

    fn sink(&self) -> &Bounded {
        match self {
            Self::Identity(sink) | Self::Chunked { sink, .. } => sink,
            Self::Gzip(decoder) => decoder.get_ref(),
        }
    }

    fn refusal(&self, encoding: ContentEncoding, error: &io::Error) -> Refusal {
        let sink = self.sink();
        match sink.stopped {
            Some(Stop::TooLarge) => over(sink.limit, "inflated"),
            Some(Stop::NoBudget) => Refusal::overloaded(BudgetExhausted, Duration::from_secs(1)),
            None => Refusal::bad_data(format!("the body is not `{encoding:?}` as its `Content-Encoding` says: {error}")),
        }
    }

    fn finish(mut self, encoding: ContentEncoding) -> Result<ReceivedBody, Refusal> {
        let ended = match &mut self {
            Self::Identity(_) => Ok(()),
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Chunked { whole: true, .. } => Ok(()),
            Self::Chunked { whole: false, .. } => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        ended.map_err(|error| self.refusal(encoding, &error))?;
        let sink = match self {
            Self::Identity(sink) | Self::Chunked { sink, .. } => sink,
            Self::Gzip(decoder) => decoder.finish().map_err(|error| {
                Refusal::bad_data(format!("the body ends in the middle of its `{encoding:?}` stream: {error}"))
            })?,
        };
        Ok(ReceivedBody { bytes: sink.bytes.into(), _charge: Some(sink.charge) })
    }
}
