//! Refusals, said the way OTLP clients understand: which of them to send again and when, in gRPC and in HTTP.

use std::{fmt::Display, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use prost::Message as _;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt as _, pb};

use super::http::MediaType;

/// Why a request was not accepted.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    code: Code,
    http: StatusCode,
    message: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    fn permanent(code: Code, http: StatusCode, message: impl Into<String>) -> Self {
        Self { code, http, message: message.into(), retry_after: None }
    }

    /// The request can never be understood. OTLP: 400, `INVALID_ARGUMENT`; clients drop it.
    pub(super) fn bad_data(message: impl Into<String>) -> Self {
        Self::permanent(Code::InvalidArgument, StatusCode::BAD_REQUEST, message)
    }

    /// The request can never fit. OTLP 1.11: 413, `RESOURCE_EXHAUSTED` without `RetryInfo`; clients drop it.
    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self::permanent(Code::ResourceExhausted, StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// The sender was too slow.
    pub(super) fn timed_out(limit: Duration) -> Self {
        let message = format!("the request did not arrive within `{limit:?}`");
        Self::permanent(Code::DeadlineExceeded, StatusCode::REQUEST_TIMEOUT, message)
    }

    /// Whether it is that the sender was too slow.
    pub(super) fn is_timeout(&self) -> bool {
        self.code == Code::DeadlineExceeded
    }

    /// The HTTP request is not one that OTLP/HTTP knows.
    pub(super) fn http_only(http: StatusCode, message: impl Into<String>) -> Self {
        Self::permanent(Code::InvalidArgument, http, message)
    }

    /// The server cannot take it now. OTLP: 503 with `Retry-After`, `UNAVAILABLE` with `RetryInfo`; clients send it again.
    pub(super) fn unavailable(message: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            code: Code::Unavailable,
            http: StatusCode::SERVICE_UNAVAILABLE,
            message: message.into(),
            retry_after: Some(retry_after),
        }
    }

    /// The server has too much to do, because of `reason`.
    pub(super) fn overloaded(reason: impl Display, retry_after: Duration) -> Self {
        Self::unavailable(format!("overloaded: {reason}; nothing was stored, send the request again later"), retry_after)
    }

    /// As a gRPC status with `RetryInfo` or `BadRequest` details.
    pub(super) fn into_grpc(self) -> tonic::Status {
        let mut details = ErrorDetails::new();
        if let Some(delay) = self.retry_after {
            details.set_retry_info(Some(delay));
        }
        if self.code == Code::InvalidArgument {
            details.add_bad_request_violation("request", self.message.clone());
        }
        tonic::Status::with_error_details(self.code, self.message, details)
    }

    /// As an HTTP response whose body is a `google.rpc.Status` in `media_type`.
    pub(super) fn into_http(self, media_type: MediaType) -> Response<Body> {
        let body = match media_type {
            MediaType::Protobuf => self.protobuf(),
            MediaType::Json => self.json(),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.http;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type.as_str()));
        if let Some(delay) = self.retry_after {
            // Whole seconds, and never "at once".
            headers.insert(header::RETRY_AFTER, (delay.as_secs_f64().ceil() as u64).max(1).into());
        }
        match self.http {
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd, deflate, identity"));
            }
            _ => {}
        }
        response
    }

    fn protobuf(&self) -> Vec<u8> {
        let mut details = Vec::new();
        if self.code == Code::InvalidArgument {
            let violation = pb::bad_request::FieldViolation {
                field: "request".to_owned(),
                description: self.message.clone(),
                ..Default::default()
            };
            details.push(any("google.rpc.BadRequest", &pb::BadRequest { field_violations: vec![violation] }));
        }
        if let Some(delay) = self.retry_after {
            let retry_delay = prost_types::Duration::try_from(delay).ok();
            details.push(any("google.rpc.RetryInfo", &pb::RetryInfo { retry_delay }));
        }
        pb::Status { code: self.code as i32, message: self.message.clone(), details }.encode_to_vec()
    }

    fn json(&self) -> Vec<u8> {
        let mut details = Vec::new();
        if self.code == Code::InvalidArgument {
            details.push(serde_json::json!({
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{ "field": "request", "description": self.message }],
            }));
        }
        if let Some(delay) = self.retry_after {
            details.push(serde_json::json!({
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": format!("{}s", delay.as_secs_f64()),
            }));
        }
        let status = serde_json::json!({ "code": self.code as i32, "message": self.message, "details": details });
        status.to_string().into_bytes()
    }
}

fn any(name: &str, message: &impl prost::Message) -> prost_types::Any {
    prost_types::Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() }
}
