//! One connection that exports bodies as they are: OTLP/HTTP over HTTP/1.1, or OTLP/gRPC with the frame already around the body.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::{http1, http2},
    header::{HOST, HeaderName, HeaderValue, RETRY_AFTER},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tokio::net::TcpStream;

use crate::{
    Protocol,
    corpus::{PREFIX_BYTES, Request},
};

const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// What a client waits that was not told how long.
const WAIT: Duration = Duration::from_secs(1);
/// The gRPC codes that OTLP has a client retry; `RESOURCE_EXHAUSTED` (8) only if it says when.
const UNAVAILABLE: &str = "14";
const RESOURCE_EXHAUSTED: &str = "8";

/// Where requests go and how.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    protocol: Protocol,
    uri: Uri,
    headers: HeaderMap,
}

/// What the server said to a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Acknowledged, but for so many spans that it refused.
    Accepted { rejected: u64 },
    /// To be sent again, after so long.
    Later(Duration),
    /// Not to be sent again.
    Refused(String),
}

#[derive(Debug)]
pub(crate) struct Client {
    target: Target,
    sender: Sender,
}

#[derive(Debug)]
enum Sender {
    Http(http1::SendRequest<Full<Bytes>>),
    Grpc(http2::SendRequest<Full<Bytes>>),
}

impl Target {
    /// `headers` are of the form `name:value`.
    ///
    /// # Errors
    /// If path or headers are none.
    pub(crate) fn new(address: SocketAddr, protocol: Protocol, path: &str, headers: &[String]) -> anyhow::Result<Self> {
        let (path, content_type) = match protocol {
            Protocol::Http => (path, "application/x-protobuf"),
            Protocol::Grpc => (GRPC_PATH, "application/grpc"),
        };
        let mut all = HeaderMap::new();
        all.insert("content-type", HeaderValue::from_static(content_type));
        match protocol {
            Protocol::Http => all.insert(HOST, HeaderValue::from_str(&address.to_string())?),
            Protocol::Grpc => all.insert("te", HeaderValue::from_static("trailers")),
        };
        for header in headers {
            let (name, value) =
                header.split_once(':').with_context(|| format!("found header `{header}`, expected `name:value`"))?;
            all.insert(HeaderName::try_from(name)?, HeaderValue::from_str(value.trim())?);
        }
        let uri = match protocol {
            Protocol::Http => path.parse(),
            Protocol::Grpc => format!("http://{address}{path}").parse(),
        };
        Ok(Self {
            address,
            protocol,
            uri: uri.with_context(|| format!("found path `{path}`, expected that of a URL"))?,
            headers: all,
        })
    }
}

impl Client {
    /// Opens a connection.
    ///
    /// # Errors
    /// If nobody listens.
    pub(crate) async fn connect(target: &Target) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(target.address).await.with_context(|| format!("could not connect to `{}`", target.address))?;
        stream.set_nodelay(true).context("setting TCP_NODELAY")?;
        let io = TokioIo::new(stream);
        // The tasks end with their connections. How a connection failed is said where a request on it fails.
        let sender = match target.protocol {
            Protocol::Http => {
                let (sender, connection) = http1::handshake(io).await.context("opening HTTP/1.1")?;
                drop(tokio::spawn(connection));
                Sender::Http(sender)
            }
            Protocol::Grpc => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.context("opening HTTP/2")?;
                drop(tokio::spawn(connection));
                Sender::Grpc(sender)
            }
        };
        Ok(Self { target: target.clone(), sender })
    }

    /// Sends one request and waits for the whole answer.
    ///
    /// # Errors
    /// If the connection broke.
    pub(crate) async fn export(&mut self, request: &Request) -> anyhow::Result<Answer> {
        let body = match self.sender {
            Sender::Http(_) => request.frame.slice(PREFIX_BYTES..),
            Sender::Grpc(_) => request.frame.clone(),
        };
        let mut message = hyper::Request::post(self.target.uri.clone()).body(Full::new(body)).context("a request")?;
        *message.headers_mut() = self.target.headers.clone();
        match &mut self.sender {
            Sender::Http(sender) => {
                sender.ready().await.context("the connection was closed")?;
                http_answer(sender.send_request(message).await.context("sending")?).await
            }
            Sender::Grpc(sender) => {
                sender.ready().await.context("the connection was closed")?;
                grpc_answer(sender.send_request(message).await.context("sending")?).await
            }
        }
    }
}

async fn http_answer(response: Response<Incoming>) -> anyhow::Result<Answer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.context("reading the answer")?.to_bytes();
    if head.status.is_success() {
        return accepted(&body);
    }
    if matches!(
        head.status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    ) {
        let seconds = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        return Ok(Answer::Later(seconds.map_or(WAIT, Duration::from_secs)));
    }
    Ok(Answer::Refused(format!("{}: {}", head.status, String::from_utf8_lossy(&body))))
}

async fn grpc_answer(response: Response<Incoming>) -> anyhow::Result<Answer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.context("reading the answer")?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    // An answer without a message has its status among the headers.
    let said = |name: &str| trailers.get(name).or_else(|| head.headers.get(name)).and_then(|value| value.to_str().ok());
    match said("grpc-status") {
        Some("0") => accepted(body.to_bytes().get(PREFIX_BYTES..).unwrap_or_default()),
        Some(UNAVAILABLE) => Ok(Answer::Later(WAIT)),
        Some(RESOURCE_EXHAUSTED) if said("grpc-status-details-bin").is_some() => Ok(Answer::Later(WAIT)),
        Some(code) => Ok(Answer::Refused(format!("gRPC status {code}: {}", said("grpc-message").unwrap_or_default()))),
        None => bail!("found an answer without gRPC status (HTTP {})", head.status),
    }
}

fn accepted(message: &[u8]) -> anyhow::Result<Answer> {
    // Some servers acknowledge with a JSON text or with nothing.
    let partial = ExportTraceServiceResponse::decode(message).ok().and_then(|response| response.partial_success);
    let rejected = partial.map_or(0, |partial| partial.rejected_spans);
    Ok(Answer::Accepted { rejected: u64::try_from(rejected).unwrap_or_default() })
}
