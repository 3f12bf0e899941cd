//! `assay demo`: seeded, realistic traffic through the public OTLP endpoint, for a first look. The traffic is that of a small company
//! (`company`); what its services do is in `scenes`, what people and models say in `texts`.
//!
//! The plan of a run (who comes when, for what) is drawn first and is small; sessions are made one after another while sending, so
//! that a run of any size needs little memory. The same seed and end time give the same spans, identifiers included.

mod calls;
mod company;
pub(crate) mod dice;
mod openinference;
mod plan;
mod scenes;
mod texts;
pub(crate) mod trace;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::InstrumentationScope,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use reqwest::{Client, Response, StatusCode, header};

use self::{
    company::Service,
    plan::{Planned, Window},
    trace::Recorded,
};

/// Spans per request at most.
const BATCH_SPANS_MAX: usize = 512;
/// How often one request is tried while the server says that it has too much to do.
const TRIES_MAX: u32 = 60;

/// What to send, and where.
#[derive(Clone, Debug)]
pub(crate) struct DemoOptions {
    /// Address of the server; traces go to `v1/traces` below it.
    pub(crate) endpoint: reqwest::Url,
    pub(crate) project: String,
    /// Same seed and same end, same traffic.
    pub(crate) seed: u64,
    /// Traces to send.
    pub(crate) traces: usize,
    /// Days the traffic spreads over, up to now.
    pub(crate) days: u32,
}

/// What the server has acknowledged so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    spans: AtomicU64,
    traces: AtomicU64,
}

impl Progress {
    /// Spans acknowledged.
    pub(crate) fn spans(&self) -> u64 {
        self.spans.load(Ordering::Relaxed)
    }

    /// Traces acknowledged.
    pub(crate) fn traces(&self) -> u64 {
        self.traces.load(Ordering::Relaxed)
    }
}

/// Sends the traffic that `options` ask for, up to now.
///
/// # Errors
/// If the server cannot be reached, refuses a request, rejects a span, or has too much to do for a long time.
pub(crate) async fn run(options: &DemoOptions, progress: &Progress) -> anyhow::Result<()> {
    let endpoint = &options.endpoint;
    let url = endpoint.join("v1/traces").with_context(|| format!("`{endpoint}` is not the address of a server"))?;
    let client = Client::builder().timeout(Duration::from_secs(60)).build().context("could not set up the HTTP client")?;
    for batch in batches(options.seed, options.traces, Window::up_to(Utc::now(), options.days)) {
        let (spans, traces) = (batch.len() as u64, count_roots(&batch));
        let body = bytes::Bytes::from(request(batch).encode_to_vec());
        let sending = || {
            client
                .post(url.clone())
                .header("X-Assay-Project", &options.project)
                .header(header::CONTENT_TYPE, "application/x-protobuf")
                .body(body.clone())
                .send()
        };
        accepted(until_admitted(sending).await?).await?;
        progress.spans.fetch_add(spans, Ordering::Relaxed);
        progress.traces.fetch_add(traces, Ordering::Relaxed);
    }
    Ok(())
}

/// The traffic of a run in requests; no trace is split over two of them.
fn batches(seed: u64, traces: usize, window: Window) -> impl Iterator<Item = Vec<Recorded>> + Send {
    let mut sessions = plan::sessions(seed, traces, window).into_iter();
    let mut waiting = Vec::<Vec<Recorded>>::new();
    std::iter::from_fn(move || {
        let mut batch = vec![];
        loop {
            while let Some(trace) = waiting.pop() {
                if !batch.is_empty() && batch.len() + trace.len() > BATCH_SPANS_MAX {
                    waiting.push(trace);
                    return Some(batch);
                }
                batch.extend(trace);
            }
            match sessions.next() {
                Some(session) => waiting = by_trace(played(&session, window)),
                None if batch.is_empty() => return None,
                None => return Some(batch),
            }
        }
    })
}

/// The spans of one session, none of which ends after the window.
fn played(session: &Planned, window: Window) -> Vec<Recorded> {
    let mut rec = session.recorder();
    (session.scene)(&mut rec, session.turns);
    let start = session.start.min(window.end.saturating_sub(rec.elapsed()));
    rec.finish(start)
}

/// The traces of a session, the last first.
fn by_trace(spans: Vec<Recorded>) -> Vec<Vec<Recorded>> {
    let mut traces = Vec::<Vec<Recorded>>::new();
    for recorded in spans {
        match traces.last_mut() {
            Some(trace) if trace[0].span.trace_id == recorded.span.trace_id => trace.push(recorded),
            _ => traces.push(vec![recorded]),
        }
    }
    traces.reverse();
    traces
}

fn count_roots(batch: &[Recorded]) -> u64 {
    batch.iter().filter(|recorded| recorded.span.parent_span_id.is_empty()).count() as u64
}

/// The OTLP request for `batch`: spans by service and instrumentation scope.
fn request(batch: Vec<Recorded>) -> ExportTraceServiceRequest {
    let mut services = BTreeMap::<&str, (&Service, BTreeMap<&str, Vec<Span>>)>::new();
    for Recorded { service, scope, span } in batch {
        services.entry(service.name).or_insert((service, BTreeMap::new())).1.entry(scope).or_default().push(span);
    }
    let resource_spans = services.into_values().map(|(service, scopes)| ResourceSpans {
        resource: Some(service.resource()),
        scope_spans: scopes
            .into_iter()
            .map(|(name, spans)| ScopeSpans {
                scope: Some(InstrumentationScope { name: name.to_owned(), version: "1.3.0".to_owned(), ..Default::default() }),
                spans,
                schema_url: String::new(),
            })
            .collect(),
        schema_url: String::new(),
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
}

/// Sends until the server has room: it answers 429 or 503, and when to come back, while it has too much to do.
async fn until_admitted<F>(sending: impl Fn() -> F) -> anyhow::Result<Response>
where
    F: Future<Output = reqwest::Result<Response>>,
{
    for _ in 1..TRIES_MAX {
        let response = sending().await.context("could not reach the server (hint: is `assay serve` running?)")?;
        if !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return Ok(response);
        }
        tokio::time::sleep(retry_after(&response)).await;
    }
    sending().await.context("could not reach the server")
}

/// When the server wants to be asked again: what its `Retry-After` says, within a minute; half a second if it says nothing usable.
fn retry_after(response: &Response) -> Duration {
    let header = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let until = |date: &str| (DateTime::parse_from_rfc2822(date).ok()?.to_utc() - Utc::now()).to_std().ok();
    let said = header.and_then(|text| text.trim().parse().map(Duration::from_secs).ok().or_else(|| until(text)));
    said.unwrap_or(Duration::from_millis(500)).clamp(Duration::from_millis(10), Duration::from_secs(60))
}

/// An answer other than complete success becomes an error with what the server said.
async fn accepted(response: Response) -> anyhow::Result<()> {
    let status = response.status();
    let body = response.bytes().await.context("the server's answer broke off")?;
    if !status.is_success() {
        bail!("the server answered {status}: {}", String::from_utf8_lossy(&body));
    }
    let answer = ExportTraceServiceResponse::decode(body).context("the server's answer is not OTLP")?;
    match answer.partial_success {
        Some(partial) if partial.rejected_spans > 0 => {
            bail!("the server rejected {} spans: {}", partial.rejected_spans, partial.error_message)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
