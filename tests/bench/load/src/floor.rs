//! The least that receiving can cost: decode each body with prost, compress the same bytes with zstd 1, once.

use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use crate::corpus::{Budget, Corpus, PREFIX_BYTES, Taken};

/// Bodies are compressed together up to this size, as a file's pages are: small bodies by themselves would cost more.
const CHUNK_BYTES: usize = 1 << 20;
/// The system counts a thread's CPU in steps of some milliseconds, so that each reading of the clock must have much between.
const BATCH_BYTES: u64 = 64 << 20;

/// Takes from `corpus` what `budget` allows, and returns spans, bytes, bytes packed, CPU seconds of decoding and of packing.
///
/// # Errors
/// If a body does not decode, or the system does not say what CPU a thread used.
pub(crate) fn measure(corpus: &Corpus, budget: &Budget) -> anyhow::Result<serde_json::Value> {
    let mut taken = Taken::default();
    let mut compressor = zstd::bulk::Compressor::new(1).context("starting zstd")?;
    let mut packed = Vec::new();
    let (mut decode_ns, mut pack_ns, mut packed_bytes, mut n_attributes) = (0, 0, 0, 0);
    let since = Instant::now();
    loop {
        let bodies = batch(corpus, budget, &mut taken, since);
        if bodies.is_empty() {
            break;
        }
        let before = cpu_ns()?;
        for body in &bodies {
            n_attributes += count(&ExportTraceServiceRequest::decode(&body[..]).context("a body of the corpus")?);
        }
        decode_ns += cpu_ns()? - before;

        let joined = bodies.concat();
        let before = cpu_ns()?;
        for chunk in joined.chunks(CHUNK_BYTES) {
            packed.resize(zstd::zstd_safe::compress_bound(chunk.len()), 0);
            packed_bytes += compressor.compress_to_buffer(chunk, &mut packed).context("compressing")?;
        }
        pack_ns += cpu_ns()? - before;
    }
    Ok(serde_json::json!({
        "spans": taken.spans,
        "bytes": taken.bytes,
        "packed_bytes": packed_bytes,
        "attributes": n_attributes,
        "decode_cpu_seconds": decode_ns as f64 / 1e9,
        "pack_cpu_seconds": pack_ns as f64 / 1e9,
    }))
}

/// The next bodies of the corpus.
fn batch(corpus: &Corpus, budget: &Budget, taken: &mut Taken, since: Instant) -> Vec<Bytes> {
    let end = taken.bytes + BATCH_BYTES;
    let mut bodies = Vec::new();
    while taken.bytes < end {
        let Some(request) = corpus.next(budget, taken, since) else { break };
        bodies.push(request.frame.slice(PREFIX_BYTES..));
    }
    bodies
}

/// Looks at what was decoded, so that it has to be.
fn count(message: &ExportTraceServiceRequest) -> usize {
    let scopes = message.resource_spans.iter().flat_map(|resource_spans| &resource_spans.scope_spans);
    scopes.flat_map(|scope_spans| &scope_spans.spans).map(|span| span.attributes.len()).sum()
}

/// CPU time of this thread so far, in nanoseconds.
pub(crate) fn cpu_ns() -> anyhow::Result<u64> {
    let path = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(path).with_context(|| format!("could not read `{path}`"))?;
    let first = text.split_whitespace().next().with_context(|| format!("`{path}` is empty"))?;
    first.parse().with_context(|| format!("found `{first}` in `{path}`, expected nanoseconds"))
}
