//! OTLP/gRPC: `Export` of the three collector services, on any HTTP/2 server.
//!
//! A unary call is one frame in and one out, read here and not by tonic, for three reasons: what a frame inflates to is charged to
//! the budget while it inflates; a frame over the limit is `RESOURCE_EXHAUSTED` (tonic says `OUT_OF_RANGE`, which OTLP clients send
//! again for ever); and the message stays the bytes that the write-ahead log wants, without a copy.

use assay_schemas::ids::{Encoding, ProjectId, Signal};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
    routing::post,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message as _;
use tonic::Status;

use super::{
    PROJECT_HEADER, Receiver,
    body::{self, ContentEncoding, ReceivedBody},
    project_of,
    status::Refusal,
};
use crate::ingest::Outcome;

/// Compressed or not (1 byte), length of the message (4 bytes, big-endian).
const PREFIX_BYTES: usize = 5;
const ENCODINGS: HeaderValue = HeaderValue::from_static("gzip,zstd,deflate,identity");

/// The three services, as routes of a tonic or hyper HTTP/2 server.
pub fn grpc_router(receiver: Receiver) -> Router {
    let mut router = Router::new();
    for (service, signal) in [("trace", Signal::Traces), ("logs", Signal::Logs), ("metrics", Signal::Metrics)] {
        let name = match signal {
            Signal::Traces => "TraceService",
            Signal::Logs => "LogsService",
            Signal::Metrics => "MetricsService",
        };
        let path = format!("/opentelemetry.proto.collector.{service}.v1.{name}/Export");
        let export = move |State(receiver): State<Receiver>, request: Request| export(receiver, signal, request);
        router = router.route(&path, post(export));
    }
    router.fallback(unimplemented).with_state(receiver)
}

async fn export(receiver: Receiver, signal: Signal, request: Request) -> Response<Body> {
    let content_type = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !content_type.starts_with(b"application/grpc") {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let limit = receiver.limits.request_timeout;
    let call = async {
        let project = project_of(request.headers().get(PROJECT_HEADER).map(HeaderValue::as_bytes)).map_err(Refusal::into_grpc)?;
        receiver.admit(&project).await.map_err(Refusal::into_grpc)?;
        let message = read_message(&receiver, &project, request).await?;
        let accepted = receiver.accept(project, signal, Encoding::Protobuf, message.bytes.clone()).await;
        accepted.map_err(Refusal::into_grpc)
    };
    let result = tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(Refusal::timed_out(limit).into_grpc()));
    match result {
        Ok(outcome) => success(&response(outcome)),
        Err(status) => {
            receiver.metrics.refused(signal);
            let mut response = status.into_http();
            response.headers_mut().insert("grpc-accept-encoding", ENCODINGS);
            response
        }
    }
}

/// The message of a unary call, inflated. Keeps its charge to the budget.
async fn read_message(receiver: &Receiver, project: &ProjectId, request: Request) -> Result<ReceivedBody, Status> {
    let limit = receiver.limits.request_bytes_max;
    let encoding = request.headers().get("grpc-encoding").map_or(&b""[..], HeaderValue::as_bytes).to_owned();
    let charge = || receiver.budget.charge(project);
    let read = body::read(request.into_body(), ContentEncoding::Identity, limit.saturating_add(PREFIX_BYTES), charge());
    let mut frame = read.await.map_err(Refusal::into_grpc)?;
    let Some((prefix, message)) = frame.bytes.split_first_chunk::<PREFIX_BYTES>() else {
        let detail = format!("found `{}` bytes, expected a gRPC frame", frame.bytes.len());
        return Err(Refusal::bad_data(detail).into_grpc());
    };
    let [compressed, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length);
    if usize::try_from(length).ok() != Some(message.len()) {
        let detail = format!("found `{}` bytes after a prefix that says `{length}`, expected one message", message.len());
        return Err(Refusal::bad_data(detail).into_grpc());
    }
    let message = frame.bytes.slice(PREFIX_BYTES..);
    if compressed == 0 {
        frame.bytes = message;
        return Ok(frame);
    }
    let encoding = ContentEncoding::from_header(&encoding).ok_or_else(|| {
        let found = String::from_utf8_lossy(&encoding);
        Status::unimplemented(format!("found `grpc-encoding: {found}`, expected `gzip`, `zstd`, `deflate` or none"))
    })?;
    body::read(Full::new(message), encoding, limit, charge()).await.map_err(Refusal::into_grpc)
}

async fn unimplemented(request: Request) -> Response<Body> {
    Status::unimplemented(format!("found `{}`, expected `Export` of an OTLP collector service", request.uri().path())).into_http()
}

fn success(message: &ExportTraceServiceResponse) -> Response<Body> {
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.encoded_len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).expect("a count and a short text"));
    message.encode(&mut frame).expect("the buffer grows");
    let trailers = HeaderMap::from_iter([(header::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(frame)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert("grpc-accept-encoding", ENCODINGS);
    response
}

/// The response of `outcome`. `Export{Trace,Logs,Metrics}ServiceResponse` are one message on the wire: field 1 is the partial
/// success, in it field 1 is the count of refused records and field 2 the message.
pub(super) fn response(outcome: Outcome) -> ExportTraceServiceResponse {
    let partial = outcome.rejected > 0 || outcome.message.is_some();
    ExportTraceServiceResponse {
        partial_success: partial.then(|| ExportTracePartialSuccess {
            rejected_spans: i64::try_from(outcome.rejected).unwrap_or(i64::MAX),
            error_message: outcome.message.unwrap_or_default(),
        }),
    }
}
