//! The server rules of OTLP 1.11, each test under the section it is about, over real sockets.

use std::{io::Write as _, net::SocketAddr, num::NonZeroUsize, time::Duration};

use assay_schemas::prices::PriceTable;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{ExportLogsServiceRequest, logs_service_client::LogsServiceClient},
        metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
        trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_client::TraceServiceClient},
    },
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;
use reqwest::{RequestBuilder, StatusCode};
use tonic::{Code, transport::Channel};
use tonic_types::{StatusExt as _, pb};

use super::*;
use crate::normalise::Normaliser;

struct Server {
    http: SocketAddr,
    grpc: SocketAddr,
    _data_dir: tempfile::TempDir,
}

async fn serve(limits: Limits) -> Server {
    let data_dir = tempfile::tempdir().unwrap();
    let config = assay_storage::StorageConfig { data_dir: data_dir.path().to_owned(), ..Default::default() };
    let storage = assay_storage::Storage::open(config).await.unwrap();
    let ingest = Arc::new(Ingest::new(storage, Normaliser::embedded(), Arc::new(PriceTable::embedded())));
    let receiver = Receiver::new(ingest, limits, &prometheus::Registry::new()).unwrap();
    let bind = async || tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (http, grpc) = (bind().await, bind().await);
    let server = Server { http: http.local_addr().unwrap(), grpc: grpc.local_addr().unwrap(), _data_dir: data_dir };
    let routes = http_router(receiver.clone());
    tokio::spawn(async move { axum::serve(http, routes).await });
    let routes = tonic::service::Routes::from(grpc_router(receiver));
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(grpc);
    tokio::spawn(tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(incoming));
    server
}

impl Server {
    fn post(&self, signal: &str, content_type: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let url = format!("http://{}/v1/{signal}", self.http);
        reqwest::Client::new().post(url).header("content-type", content_type).body(body)
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }
}

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

fn limits() -> Limits {
    Limits::default()
}

fn small(request_bytes_max: usize) -> Limits {
    Limits { request_bytes_max, ..limits() }
}

fn span(id: u8) -> Span {
    Span {
        trace_id: vec![7; 16],
        span_id: vec![id; 8],
        name: "a span".into(),
        start_time_unix_nano: 1_700_000_000_000_000_001,
        end_time_unix_nano: 1_700_000_000_000_000_009,
        ..Span::default()
    }
}

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }
}

/// A request whose protobuf is well above `bytes` and compresses to almost nothing.
fn large(bytes: usize) -> ExportTraceServiceRequest {
    request(vec![Span { name: "x".repeat(bytes), ..span(1) }])
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

async fn status_of(request: RequestBuilder) -> (StatusCode, pb::Status) {
    let response = request.send().await.unwrap();
    let status = response.status();
    assert_eq!(response.headers()["content-type"], PROTOBUF);
    (status, pb::Status::decode(response.bytes().await.unwrap()).unwrap())
}

/// OTLP/HTTP Request: both encodings on one port, told apart by `Content-Type`; OTLP/HTTP Response: answered in the same.
#[tokio::test]
async fn http_answers_in_the_content_type_of_the_request() {
    let server = serve(limits()).await;
    let response = server.post("traces", PROTOBUF, request(vec![span(1)]).encode_to_vec()).send().await.unwrap();
    assert_eq!((response.status(), &response.headers()["content-type"]), (StatusCode::OK, &PROTOBUF.parse().unwrap()));
    let body = ExportTraceServiceResponse::decode(response.bytes().await.unwrap()).unwrap();
    assert_eq!(body.partial_success, None, "full success leaves partial_success unset");
    for content_type in [JSON, "application/json; charset=utf-8", "Application/JSON"] {
        let response = server.post("traces", content_type, r#"{"resourceSpans":[]}"#).send().await.unwrap();
        assert_eq!((response.status(), &response.headers()["content-type"]), (StatusCode::OK, &JSON.parse().unwrap()));
        assert_eq!(response.text().await.unwrap(), "{}");
    }
}

/// OTLP: an empty request is a success, for every signal and both encodings.
#[tokio::test]
async fn an_empty_request_succeeds() {
    let server = serve(limits()).await;
    for signal in ["traces", "logs", "metrics"] {
        assert_eq!(server.post(signal, PROTOBUF, "").send().await.unwrap().status(), StatusCode::OK);
        assert_eq!(server.post(signal, JSON, "{}").send().await.unwrap().status(), StatusCode::OK);
        for encoding in ["gzip", "zstd", "deflate"] {
            let request = server.post(signal, PROTOBUF, "").header("content-encoding", encoding);
            assert_eq!(request.send().await.unwrap().status(), StatusCode::OK, "{signal} {encoding}");
        }
    }
    let channel = server.channel().await;
    TraceServiceClient::new(channel.clone()).export(request(vec![])).await.unwrap();
    LogsServiceClient::new(channel.clone()).export(ExportLogsServiceRequest::default()).await.unwrap();
    MetricsServiceClient::new(channel).export(ExportMetricsServiceRequest::default()).await.unwrap();
}

/// OTLP/HTTP Request: `gzip` must be understood; `zstd` and `deflate` are ours to offer.
#[tokio::test]
async fn http_bodies_may_be_compressed() {
    let server = serve(limits()).await;
    let body = request(vec![span(1), span(2)]).encode_to_vec();
    let bodies = [("gzip", gzip(&body)), ("zstd", zstd::encode_all(&body[..], 1).unwrap()), ("deflate", deflate(&body))];
    for (encoding, body) in bodies {
        let whole = server.post("traces", PROTOBUF, body.clone()).header("content-encoding", encoding);
        assert_eq!(whole.send().await.unwrap().status(), StatusCode::OK, "{encoding}");
        let cut = body[..body.len() - 4].to_vec();
        let (status, refusal) = status_of(server.post("traces", PROTOBUF, cut).header("content-encoding", encoding)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{encoding}: {}", refusal.message);
    }
    let unknown = server.post("traces", PROTOBUF, body).header("content-encoding", "br").send().await.unwrap();
    assert_eq!(unknown.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(unknown.headers()["accept-encoding"], "gzip, zstd, deflate, identity");
}

/// OTLP/HTTP Request, size limits (1.11): before and after inflating, 413 with a `google.rpc.Status`; exactly the limit passes.
#[tokio::test]
async fn http_refuses_what_is_over_the_limit_for_good() {
    let body = large(100_000).encode_to_vec();
    let server = serve(small(body.len())).await;
    assert_eq!(server.post("traces", PROTOBUF, body.clone()).send().await.unwrap().status(), StatusCode::OK);
    let server = serve(small(body.len() - 1)).await;
    let (status, refusal) = status_of(server.post("traces", PROTOBUF, body.clone())).await;
    assert_eq!((status, refusal.code), (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted as i32));
    assert!(refusal.details.is_empty(), "nothing invites a retry");
    for (encoding, body) in
        [("gzip", gzip(&body)), ("zstd", zstd::encode_all(&body[..], 1).unwrap()), ("deflate", deflate(&body))]
    {
        assert!(body.len() < 10_000, "far below the limit on the wire");
        let (status, _) = status_of(server.post("traces", PROTOBUF, body).header("content-encoding", encoding)).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{encoding} inflates beyond the limit");
    }
}

/// OTLP/HTTP Response, Bad Data: 400 with a `google.rpc.Status` that says what is wrong; the status is in the request's encoding.
#[tokio::test]
async fn http_bad_data_is_400_with_the_reason() {
    let server = serve(limits()).await;
    let (status, refusal) = status_of(server.post("traces", PROTOBUF, &b"\xff\xff\xff"[..])).await;
    assert_eq!((status, refusal.code), (StatusCode::BAD_REQUEST, Code::InvalidArgument as i32));
    assert_eq!(refusal.details[0].type_url, "type.googleapis.com/google.rpc.BadRequest");
    let response = server.post("logs", JSON, r#"{"resourceLogs": 7}"#).send().await.unwrap();
    assert_eq!((response.status(), &response.headers()["content-type"]), (StatusCode::BAD_REQUEST, &JSON.parse().unwrap()));
    let body: serde_json::Value = response.json().await.unwrap();
    assert_eq!(body["code"], 3);
    assert!(body["message"].as_str().unwrap().contains("resourceLogs"), "{body}");
    let response = server.post("traces", JSON, "{}").header("x-assay-project", "../etc").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

/// HTTP: unknown content types are 415, methods other than POST 405, both with a status body.
#[tokio::test]
async fn http_says_what_it_does_not_speak() {
    let server = serve(limits()).await;
    for content_type in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let response = server.post("traces", content_type, "x").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
        assert!(response.json::<serde_json::Value>().await.unwrap()["message"].as_str().unwrap().contains("expected"));
    }
    let response = reqwest::get(format!("http://{}/v1/traces", server.http)).await.unwrap();
    assert_eq!((response.status(), &response.headers()["allow"]), (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap()));
}

/// OTLP, Partial Success: one bad record costs itself, over both transports; the count and a message say so.
#[tokio::test]
async fn one_bad_span_never_costs_the_batch() {
    let server = serve(limits()).await;
    let batch = || request(vec![span(1), Span { trace_id: vec![0; 16], ..span(2) }, span(3)]);
    let response = server.post("traces", PROTOBUF, batch().encode_to_vec()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body = ExportTraceServiceResponse::decode(response.bytes().await.unwrap()).unwrap();
    let partial = body.partial_success.expect("set when something was refused");
    assert_eq!(partial.rejected_spans, 1);
    assert!(partial.error_message.contains("trace_id"), "{}", partial.error_message);

    let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"no ids"}]}]}]}"#;
    let body: serde_json::Value = server.post("traces", JSON, json).send().await.unwrap().json().await.unwrap();
    assert_eq!(body["partialSuccess"]["rejectedSpans"], "1");

    let response = TraceServiceClient::new(server.channel().await).export(batch()).await.unwrap().into_inner();
    assert_eq!(response.partial_success.unwrap().rejected_spans, 1);
}

/// OTLP/HTTP Throttling: 503 with `Retry-After`, the form that clients honour; nothing is stored.
#[tokio::test]
async fn http_overload_asks_to_come_back() {
    let in_flight_bytes_max = NonZeroUsize::new(8192).unwrap();
    let server = serve(Limits { in_flight_bytes_max, ..limits() }).await;
    let response = server.post("traces", PROTOBUF, large(100_000).encode_to_vec()).send().await.unwrap();
    assert_eq!((response.status(), &response.headers()["retry-after"]), (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap()));
    let refusal = pb::Status::decode(response.bytes().await.unwrap()).unwrap();
    assert_eq!(refusal.code, Code::Unavailable as i32);
    assert_eq!(refusal.details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
    let fits = server.post("traces", PROTOBUF, request(vec![span(1)]).encode_to_vec()).send().await.unwrap();
    assert_eq!(fits.status(), StatusCode::OK, "the budget was given back");
}

/// OTLP/gRPC Throttling: `UNAVAILABLE` with `RetryInfo`.
#[tokio::test]
async fn grpc_overload_asks_to_come_back() {
    let in_flight_bytes_max = NonZeroUsize::new(8192).unwrap();
    let server = serve(Limits { in_flight_bytes_max, ..limits() }).await;
    let mut client = TraceServiceClient::new(server.channel().await);
    let status = client.export(large(100_000)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()));
    client.export(request(vec![span(1)])).await.unwrap();
}

/// A sender that does not finish is cut off, so that it cannot hold a connection and its share of memory for ever.
#[tokio::test]
async fn a_slow_sender_is_cut_off() {
    let server = serve(Limits { request_timeout: Duration::from_millis(50), ..limits() }).await;
    let never = futures::stream::pending::<Result<Bytes, std::io::Error>>();
    let (status, _) = status_of(server.post("traces", PROTOBUF, reqwest::Body::wrap_stream(never))).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
}

/// OTLP/gRPC: concurrent unary calls on one connection; compressed with gzip and zstd as well as plain.
#[tokio::test]
async fn grpc_takes_concurrent_calls_in_every_encoding() {
    use tonic::codec::CompressionEncoding::{Gzip, Zstd};
    let server = serve(limits()).await;
    let client = TraceServiceClient::new(server.channel().await);
    let calls = (0..48_u8).map(|id| {
        let mut client = match id % 3 {
            0 => client.clone(),
            1 => client.clone().send_compressed(Gzip),
            _ => client.clone().send_compressed(Zstd),
        };
        async move { client.export(request(vec![span(id + 1)])).await }
    });
    for response in futures::future::join_all(calls).await {
        assert_eq!(response.unwrap().into_inner().partial_success, None);
    }
}

/// OTLP/gRPC, size limits (1.11): `RESOURCE_EXHAUSTED` without `RetryInfo`, before and after inflating. (tonic by itself answers
/// `OUT_OF_RANGE` for the first, which clients retry for ever.)
#[tokio::test]
async fn grpc_refuses_what_is_over_the_limit_for_good() {
    let server = serve(small(50_000)).await;
    let client = TraceServiceClient::new(server.channel().await);
    let compressed = client.clone().send_compressed(tonic::codec::CompressionEncoding::Gzip);
    for mut client in [client, compressed] {
        let status = client.export(large(100_000)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.get_details_retry_info().is_none());
        client.export(large(40_000)).await.unwrap();
    }
}

/// OTLP/gRPC Failures: data that cannot be decoded is `INVALID_ARGUMENT` with `BadRequest`; unknown methods are `UNIMPLEMENTED`.
#[tokio::test]
async fn grpc_permanent_failures_are_final() {
    let server = serve(limits()).await;
    let mut grpc = tonic::client::Grpc::new(server.channel().await);
    let mut call = async |path: &'static str| {
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<pb::Status, pb::Status>::default();
        // Field 1 is a varint here and a message in a trace request.
        let request = tonic::Request::new(pb::Status { code: 7, ..Default::default() });
        grpc.unary(request, path.parse().unwrap(), codec).await.unwrap_err()
    };
    let status = call("/opentelemetry.proto.collector.trace.v1.TraceService/Export").await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.get_details_bad_request().is_some());
    let status = call("/opentelemetry.proto.collector.trace.v1.TraceService/Import").await;
    assert_eq!(status.code(), Code::Unimplemented, "{status}");
}

/// OTLP/HTTP, non-default paths: those that Langfuse's and LangSmith's exporters are configured with.
#[tokio::test]
async fn paths_of_other_products_are_understood() {
    let server = serve(limits()).await;
    let paths =
        ["/api/public/otel/v1/traces", "/otel/v1/traces", "/otel", "/v1/traces", "/otel/v1/logs", "/api/public/otel/v1/metrics"];
    for path in paths {
        let url = format!("http://{}{path}", server.http);
        let answer = reqwest::Client::new().post(url).header("content-type", JSON).body("{}").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
}

/// OTLP/JSON through the whole server: ids in either case, integers as text and number; a record with a bad id costs itself.
#[tokio::test]
async fn json_is_taken_as_specified() {
    let server = serve(limits()).await;
    let span = |id: &str| {
        format!(
            r#"{{"traceId":"0AF7651916cd43dd8448eb211c80319C","spanId":"{id}","startTimeUnixNano":1,"endTimeUnixNano":"2","new":[]}}"#
        )
    };
    let spans = [span("00f067AA0ba902b7"), span("zz"), span("00f067aa0ba902b8")].join(",");
    let body = format!(r#"{{"resourceSpans":[{{"resource":null,"scopeSpans":[{{"spans":[{spans}]}}]}}]}}"#);
    let answer: serde_json::Value = server.post("traces", JSON, body).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1");
    let message = answer["partialSuccess"]["errorMessage"].as_str().unwrap();
    assert!(message.contains("$.resourceSpans[0].scopeSpans[0].spans[1].spanId"), "{message}");
}

/// OTLP/HTTP Connection: keep-alive; a refused request does not cost the connection's other requests.
#[tokio::test]
async fn a_connection_outlives_a_refusal() {
    let server = serve(limits()).await;
    let client = reqwest::Client::builder().pool_max_idle_per_host(1).build().unwrap();
    for (body, expected) in [("{", 400), ("{}", 200), ("[]", 400), ("{}", 200)] {
        let url = format!("http://{}/v1/logs", server.http);
        let answer = client.post(url).header("content-type", JSON).body(body).send().await.unwrap();
        assert_eq!(answer.status(), expected);
        drop(answer.bytes().await.unwrap());
    }
}

/// A frame that is small on the wire is charged while it inflates, so that many at once cannot use more memory than all may.
#[tokio::test]
async fn a_small_frame_cannot_inflate_past_the_budget() {
    let in_flight_bytes_max = NonZeroUsize::new(1 << 20).unwrap();
    let server = serve(Limits { in_flight_bytes_max, ..limits() }).await;
    let client = TraceServiceClient::new(server.channel().await);
    for encoding in [tonic::codec::CompressionEncoding::Gzip, tonic::codec::CompressionEncoding::Zstd] {
        let status = client.clone().send_compressed(encoding).export(large(4 << 20)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
    client.clone().export(request(vec![span(1)])).await.unwrap();
}

/// OTLP/gRPC: a sender that never finishes its frame is cut off too.
#[tokio::test]
async fn a_slow_grpc_sender_is_cut_off() {
    let server = serve(Limits { request_timeout: Duration::from_millis(50), ..limits() }).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let never = futures::stream::pending::<Result<Bytes, std::io::Error>>();
    let url = format!("http://{}/opentelemetry.proto.collector.logs.v1.LogsService/Export", server.grpc);
    let body = reqwest::Body::wrap_stream(never);
    let response = client.post(url).header("content-type", "application/grpc").body(body).send().await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "4");
}
