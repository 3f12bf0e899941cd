//! OTLP/gRPC: `Export` of the three collector services. tonic does the framing; the message stays bytes, because the write-ahead log
//! wants it as received and decoding belongs to [`crate::Ingest`].

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use assay_schemas::ids::{Encoding, Signal};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Response, header},
    middleware::{self, Next},
    routing::post,
};
use bytes::{Buf as _, Bytes};
use http_body::Frame;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use parking_lot::Mutex;
use prost::Message as _;
use tonic::{
    Code, Status,
    codec::{BufferSettings, Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, UnaryService},
};

use super::{
    PROJECT_HEADER, Receiver,
    limits::{BudgetExhausted, Charge},
    project_of,
    status::Refusal,
};
use crate::ingest::Outcome;

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
    router.fallback(unimplemented).layer(middleware::from_fn(oversize_is_final)).with_state(receiver)
}

async fn export(receiver: Receiver, signal: Signal, request: Request) -> Response<tonic::body::Body> {
    if let Err(refusal) = receiver.admit() {
        receiver.metrics.refused(signal);
        return refusal.into_grpc().into_http();
    }
    let limits = receiver.limits;
    let charge = Arc::new(Mutex::new(receiver.budget.charge()));
    let request = request.map(|body| ChargedBody { body, charge: Arc::clone(&charge) });
    let mut grpc = Grpc::new(BytesCodec)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .apply_max_message_size_config(Some(limits.request_bytes_max), None);
    let unary = grpc.unary(ExportService { receiver, signal, charge }, request);
    match tokio::time::timeout(limits.request_timeout, unary).await {
        Ok(response) => response,
        Err(_) => Refusal::timed_out(limits.request_timeout).into_grpc().into_http(),
    }
}

async fn unimplemented(request: Request) -> Response<tonic::body::Body> {
    Status::unimplemented(format!("found `{}`, expected `Export` of an OTLP collector service", request.uri().path())).into_http()
}

/// tonic answers `OUT_OF_RANGE` where a message is over the limit on the wire. OTLP clients send that again, for ever; OTLP 1.11
/// wants `RESOURCE_EXHAUSTED` without `RetryInfo`, which they do not. Nothing else here answers `OUT_OF_RANGE`.
async fn oversize_is_final(request: Request, next: Next) -> axum::response::Response {
    const OUT_OF_RANGE: &[u8] = b"11";
    const RESOURCE_EXHAUSTED: HeaderValue = HeaderValue::from_static("8");
    let mut response = next.run(request).await;
    if let Some(code) = response.headers_mut().get_mut("grpc-status")
        && code.as_bytes() == OUT_OF_RANGE
    {
        *code = RESOURCE_EXHAUSTED;
    }
    debug_assert!(response.headers().contains_key(header::CONTENT_TYPE));
    response
}

struct ExportService {
    receiver: Receiver,
    signal: Signal,
    charge: Arc<Mutex<Charge>>,
}

impl UnaryService<Bytes> for ExportService {
    type Response = ExportTraceServiceResponse;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Self::Response>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (receiver, signal, charge) = (self.receiver.clone(), self.signal, Arc::clone(&self.charge));
        Box::pin(async move {
            charge.lock().add(request.get_ref().len()).map_err(|BudgetExhausted| no_budget())?;
            let project = project_of(request.metadata().get(PROJECT_HEADER).map(|value| value.as_bytes()));
            let result = match project {
                Ok(project) => receiver.accept(project, signal, Encoding::Protobuf, request.into_inner()).await,
                Err(refusal) => Err(refusal),
            };
            result.map(|outcome| tonic::Response::new(response(outcome))).map_err(Refusal::into_grpc)
        })
    }
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

/// Requests stay bytes, responses are messages.
#[derive(Clone, Copy, Debug, Default)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = ExportTraceServiceResponse;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn encode(&mut self, item: Self::Item, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|error| Status::internal(error.to_string()))
    }
    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}

/// A request body that charges what passes to the budget of all requests; the charge lasts as long as the request.
struct ChargedBody {
    body: Body,
    charge: Arc<Mutex<Charge>>,
}

fn no_budget() -> Status {
    Refusal::overloaded(std::time::Duration::from_secs(1)).into_grpc()
}

impl http_body::Body for ChargedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(match self.charge.lock().add(frame.data_ref().map_or(0, Bytes::len)) {
                Ok(()) => Ok(frame),
                Err(BudgetExhausted) => Err(no_budget()),
            }),
            Some(Err(error)) => Some(Err(Status::new(Code::Cancelled, format!("the request broke off: {error}")))),
            None => None,
        })
    }
}
