//! Decoding a request body, in either encoding. A record that cannot be decoded costs only itself.
//!
//! Protobuf is decoded by prost in one go. Only when that fails, the envelope is walked by hand and each record decoded apart, so
//! that one text that is not UTF-8 does not refuse a whole batch.

use assay_schemas::ids::{Encoding, Signal};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
    },
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Metric, ResourceMetrics, ScopeMetrics},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::{
    DecodeError, Message as _,
    bytes::Buf,
    encoding::{WireType, decode_key, decode_varint},
};

use super::json::{self, Defect};

/// A decoded request.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Spans.
    Traces(ExportTraceServiceRequest),
    /// Log records.
    Logs(ExportLogsServiceRequest),
    /// Metrics.
    Metrics(ExportMetricsServiceRequest),
}

/// The body is not a request of its signal.
#[derive(Debug, thiserror::Error)]
pub enum DecodeRequestError {
    /// Not the protobuf message.
    #[error("the body is not protobuf of the expected message: {0}")]
    Protobuf(DecodeError),
    /// Not the JSON message.
    #[error("the body is not OTLP/JSON: {0}")]
    Json(Box<json::JsonError>),
    /// Not a request at all.
    #[error("found rows that were made here, expected a request as received")]
    NotARequest,
}

/// Decodes `body`. Records that could not be decoded are left out and returned beside the request.
///
/// # Errors
/// [`DecodeRequestError`] if the envelope around the records is broken.
pub fn decode(signal: Signal, encoding: Encoding, body: &[u8]) -> Result<(Request, Vec<Defect>), DecodeRequestError> {
    match signal {
        Signal::Traces => decode_as::<ExportTraceServiceRequest>(encoding, body).map(|(m, d)| (Request::Traces(m), d)),
        Signal::Logs => decode_as::<ExportLogsServiceRequest>(encoding, body).map(|(m, d)| (Request::Logs(m), d)),
        Signal::Metrics => decode_as::<ExportMetricsServiceRequest>(encoding, body).map(|(m, d)| (Request::Metrics(m), d)),
    }
}

fn decode_as<M: json::Message + Envelope>(encoding: Encoding, body: &[u8]) -> Result<(M, Vec<Defect>), DecodeRequestError> {
    match encoding {
        Encoding::Json => json::decode(body).map_err(DecodeRequestError::Json),
        Encoding::Rows => Err(DecodeRequestError::NotARequest),
        Encoding::Protobuf => match M::decode(body) {
            Ok(message) => Ok((message, Vec::new())),
            Err(error) => salvage(body).map_err(|Broken| DecodeRequestError::Protobuf(error)),
        },
    }
}

/// A message whose records can be decoded one by one.
trait Envelope: prost::Message + Default {
    /// Decodes the element `body` of the repeated field `tag`, or returns `None` if that field is decoded as usual.
    fn element(&mut self, tag: u32, body: &[u8], defects: &mut Vec<Defect>) -> Option<Result<(), Broken>>;
}

/// The envelope is broken. Prost's error about the whole body says how.
struct Broken;

impl From<DecodeError> for Broken {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

fn salvage<M: Envelope>(body: &[u8]) -> Result<(M, Vec<Defect>), Broken> {
    let mut defects = Vec::new();
    let message = salvage_into(body, &mut defects)?;
    Ok((message, defects))
}

fn salvage_into<M: Envelope>(mut body: &[u8], defects: &mut Vec<Defect>) -> Result<M, Broken> {
    let mut message = M::default();
    while !body.is_empty() {
        let field = body;
        let (tag, wire_type) = decode_key(&mut body)?;
        if wire_type == WireType::LengthDelimited {
            let len = usize::try_from(decode_varint(&mut body)?).unwrap_or(usize::MAX);
            let element = body.get(..len).ok_or(Broken)?;
            body.advance(len);
            if let Some(result) = message.element(tag, element, defects) {
                result?;
                continue;
            }
        } else {
            prost::encoding::skip_field(wire_type, tag, &mut body, prost::encoding::DecodeContext::default())?;
        }
        message.merge(&field[..field.len() - body.len()])?;
    }
    Ok(message)
}

macro_rules! envelopes {
    ($($Message:ident { $tag:literal $field:ident: $how:ident $Element:ident })*) => {$(
        impl Envelope for $Message {
            fn element(&mut self, tag: u32, body: &[u8], defects: &mut Vec<Defect>) -> Option<Result<(), Broken>> {
                (tag == $tag).then(|| envelopes!(@$how self $field $Element body defects))
            }
        }
    )*};
    (@envelopes $self:ident $field:ident $Element:ident $body:ident $defects:ident) => {
        salvage_into::<$Element>($body, $defects).map(|element| $self.$field.push(element))
    };
    (@records $self:ident $field:ident $Element:ident $body:ident $defects:ident) => {{
        match $Element::decode($body) {
            Ok(record) => $self.$field.push(record),
            Err(error) => $defects.push(Defect {
                detail: format!("found a broken `{}` ({error}), expected valid protobuf", stringify!($Element)),
                record: String::new(),
                record_bytes: $body.len(),
            }),
        }
        Ok(())
    }};
}

envelopes! {
    ExportTraceServiceRequest { 1 resource_spans: envelopes ResourceSpans }
    ResourceSpans { 2 scope_spans: envelopes ScopeSpans }
    ScopeSpans { 2 spans: records Span }
    ExportLogsServiceRequest { 1 resource_logs: envelopes ResourceLogs }
    ResourceLogs { 2 scope_logs: envelopes ScopeLogs }
    ScopeLogs { 2 log_records: records LogRecord }
    ExportMetricsServiceRequest { 1 resource_metrics: envelopes ResourceMetrics }
    ResourceMetrics { 2 scope_metrics: envelopes ScopeMetrics }
    ScopeMetrics { 2 metrics: records Metric }
}
