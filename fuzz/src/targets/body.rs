//! Request bodies as they arrive: gzip, zstd and deflate, in chunks, bombs among them. What is inflated has at most the limit.

use std::{io::Write as _, sync::OnceLock};

use assay_collector::server::inflate;
use bytes::Bytes;

use super::split;

/// Limit of a request in this target.
const LIMIT: usize = 1 << 20;
const ENCODINGS: [&[u8]; 4] = [b"gzip", b"zstd", b"deflate", b"identity"];

/// The first byte chooses encoding and size of the chunks.
pub(super) fn run(input: &[u8]) {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    let (first, body) = split(input);
    let encoding = ENCODINGS[usize::from(first % 4)];
    let chunk = 1 + usize::from(first >> 2) * 17;
    let read = |body: &[u8], chunk: usize| {
        let chunks: Vec<Bytes> = body.chunks(chunk).map(Bytes::copy_from_slice).collect();
        runtime.block_on(inflate(encoding, chunks, LIMIT))
    };
    let inflated = read(body, chunk);
    let at_once = read(body, body.len().max(1));
    assert_eq!(inflated.as_ref().ok(), at_once.as_ref().ok(), "the size of the chunks decides nothing");
    if let Ok(inflated) = &inflated {
        assert!(inflated.len() <= LIMIT);
    }
    // What is compressed here comes out again.
    assert_eq!(read(&compressed(encoding, body), chunk).as_deref(), Ok(body), "compressed and inflated");
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![];
    for (code, encoding) in ENCODINGS.iter().enumerate() {
        for captured in crate::corpus::captures().iter().step_by(12) {
            seeds.push([&[code as u8 | 0xf0], compressed(encoding, &captured.body).as_slice()].concat());
        }
        // A bomb: 32 MiB of nothing.
        seeds.push(
            [&[code as u8 | 0xf0], compressed(encoding, &vec![0; if code < 3 { 32 << 20 } else { 0 }]).as_slice()].concat(),
        );
    }
    seeds
}

fn compressed(encoding: &[u8], body: &[u8]) -> Vec<u8> {
    const IN_MEMORY: &str = "a vector takes what is written to it";
    match encoding {
        b"gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
            encoder.write_all(body).expect(IN_MEMORY);
            encoder.finish().expect(IN_MEMORY)
        }
        b"deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::fast());
            encoder.write_all(body).expect(IN_MEMORY);
            encoder.finish().expect(IN_MEMORY)
        }
        b"zstd" => zstd::encode_all(body, 1).expect(IN_MEMORY),
        _ => body.to_vec(),
    }
}
