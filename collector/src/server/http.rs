//! OTLP/HTTP: `POST /v1/{traces,logs,metrics}`, protobuf or JSON by `Content-Type`, on any number of listeners.

use assay_schemas::ids::{Encoding, Signal};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
    routing::any,
};
use prost::Message as _;

use super::{
    PROJECT_HEADER, Receiver,
    body::{self, ContentEncoding},
    project_of,
    status::Refusal,
};
use crate::ingest::Outcome;

/// The paths of OTLP/HTTP, and those that Langfuse's and LangSmith's exporters use.
pub fn http_router(receiver: Receiver) -> Router {
    let mut router = Router::new();
    for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
        for prefix in ["/v1", "/otel/v1", "/api/public/otel/v1"] {
            let receive = move |State(receiver): State<Receiver>, request: Request| receive(receiver, signal, request);
            router = router.route(&format!("{prefix}/{}", signal.as_str()), any(receive));
        }
    }
    // LangSmith's JavaScript SDK posts traces to the configured endpoint as it stands.
    let bare = |State(receiver): State<Receiver>, request: Request| receive(receiver, Signal::Traces, request);
    router.route("/otel", any(bare)).with_state(receiver)
}

/// The two encodings of OTLP/HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    Protobuf,
    Json,
}

impl MediaType {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    fn encoding(self) -> Encoding {
        match self {
            Self::Protobuf => Encoding::Protobuf,
            Self::Json => Encoding::Json,
        }
    }

    /// The media type of a `Content-Type` header, whatever its parameters.
    fn from_headers(headers: &HeaderMap) -> Result<Self, Refusal> {
        let value = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let essence = value.split(|&b| b == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        match essence.as_slice() {
            b"application/x-protobuf" | b"application/protobuf" => Ok(Self::Protobuf),
            b"application/json" => Ok(Self::Json),
            _ => Err(Refusal::http_only(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!(
                    "found content type `{}`, expected `application/x-protobuf` or `application/json`",
                    String::from_utf8_lossy(value)
                ),
            )),
        }
    }
}

async fn receive(receiver: Receiver, signal: Signal, request: Request) -> Response<Body> {
    let (head, mut body) = request.into_parts();
    let (method, headers) = (head.method, head.headers);
    let media_type = MediaType::from_headers(&headers);
    let answer_in = media_type.as_ref().copied().unwrap_or(MediaType::Json);
    let result = match media_type {
        _ if method != Method::POST => {
            let message = format!("found method `{method}`, expected `POST`");
            Err(Refusal::http_only(StatusCode::METHOD_NOT_ALLOWED, message))
        }
        Ok(media_type) => accept(&receiver, signal, media_type, &headers, &mut body).await,
        Err(refusal) => Err(refusal),
    };
    match result {
        Ok(outcome) => success(signal, answer_in, outcome),
        Err(refusal) => {
            receiver.metrics.refused(signal);
            if !refusal.is_timeout() {
                body::discard(&mut body, receiver.limits.request_bytes_max).await;
            }
            refusal.into_http(answer_in)
        }
    }
}

async fn accept(
    receiver: &Receiver,
    signal: Signal,
    media_type: MediaType,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Outcome, Refusal> {
    let encoding = headers.get(header::CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
    let encoding = ContentEncoding::from_header(encoding).ok_or_else(|| {
        let found = String::from_utf8_lossy(encoding);
        let message = format!("found content encoding `{found}`, expected `gzip`, `zstd`, `deflate` or none");
        Refusal::http_only(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    })?;
    let project = project_of(headers.get(PROJECT_HEADER).map(HeaderValue::as_bytes))?;
    receiver.admit(&project).await?;
    let limits = receiver.limits;
    let read = body::read(body, encoding, limits.request_bytes_max, receiver.budget.charge(&project));
    let body =
        tokio::time::timeout(limits.request_timeout, read).await.map_err(|_| Refusal::timed_out(limits.request_timeout))??;
    receiver.accept(project, signal, media_type.encoding(), body.bytes.clone()).await
}

/// The `Export…ServiceResponse` of `outcome`; the three have one shape but for the name of the count in JSON.
fn success(signal: Signal, media_type: MediaType, outcome: Outcome) -> Response<Body> {
    let body = match media_type {
        MediaType::Protobuf => super::grpc::response(outcome).encode_to_vec(),
        MediaType::Json => json_response(signal, &outcome).into_bytes(),
    };
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type.as_str()));
    response
}

fn json_response(signal: Signal, outcome: &Outcome) -> String {
    if outcome.rejected == 0 && outcome.message.is_none() {
        return "{}".to_owned();
    }
    let count = match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Logs => "rejectedLogRecords",
        Signal::Metrics => "rejectedDataPoints",
    };
    let message = outcome.message.as_deref().unwrap_or_default();
    serde_json::json!({ "partialSuccess": { count: outcome.rejected.to_string(), "errorMessage": message } }).to_string()
}
