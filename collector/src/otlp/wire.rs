//! Decoding a request body, in either encoding. A record that cannot be decoded costs only itself.
//!
//! Of protobuf only the envelope is read at first, and its records one by one, as they are asked for: the memory of one is used again by
//! the next, a request is never there as a whole beside its rows, and one text that is not UTF-8 does not refuse a whole batch.

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
    DecodeError, Message,
    bytes::Buf,
    encoding::{WireType, decode_key, decode_varint},
};

use super::json::{self, Defect};

/// Fields that repeat, the same ones for each signal: resources in a request, scopes in a resource, records in a scope.
const RESOURCES_TAG: u32 = 1;
const SCOPES_TAG: u32 = 2;
const RECORDS_TAG: u32 = 2;

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

/// Decodes `body` as a whole. Records that could not be decoded are left out and returned beside the request.
///
/// # Errors
/// [`DecodeRequestError`] if the envelope around the records is broken.
pub fn decode(signal: Signal, encoding: Encoding, body: &[u8]) -> Result<(Request, Vec<Defect>), DecodeRequestError> {
    match signal {
        Signal::Traces => open(encoding, body).map(Opened::whole).map(|(m, d)| (Request::Traces(m), d)),
        Signal::Logs => open(encoding, body).map(Opened::whole).map(|(m, d)| (Request::Logs(m), d)),
        Signal::Metrics => open(encoding, body).map(Opened::whole).map(|(m, d)| (Request::Metrics(m), d)),
    }
}

/// A request whose envelope is decoded.
pub(crate) struct Opened<'a, M: Envelope> {
    /// Resources without their scopes, in the order received.
    pub(crate) resources: Vec<(M::Resource, Scopes<'a, M>)>,
    /// Records of JSON that could not be decoded.
    pub(crate) defects: Vec<Defect>,
}

/// The scopes of one resource, without their records.
pub(crate) type Scopes<'a, M> = Vec<(<M as Envelope>::Scope, Records<'a, <M as Envelope>::Record>)>;

/// The records of one scope.
pub(crate) enum Records<'a, R> {
    Decoded(Vec<R>),
    Encoded(Vec<&'a [u8]>),
}

impl<'a, R: Message + Default> Records<'a, R> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Decoded(records) => records.len(),
            Self::Encoded(records) => records.len(),
        }
    }

    /// The records, each decoded when its turn comes; why one could not be.
    pub(crate) fn decoded(self) -> impl Iterator<Item = Result<R, Defect>> + use<'a, R> {
        let (decoded, encoded) = match self {
            Self::Decoded(records) => (records, Vec::new()),
            Self::Encoded(records) => (Vec::new(), records),
        };
        decoded.into_iter().map(Ok).chain(encoded.into_iter().map(record::<R>))
    }
}

/// Decodes one record.
pub(crate) fn record<R: Message + Default>(body: &[u8]) -> Result<R, Defect> {
    R::decode(body).map_err(|error| {
        let name = std::any::type_name::<R>().rsplit("::").next().unwrap_or_default();
        let detail = format!("found a broken `{name}` ({error}), expected valid protobuf");
        Defect { detail, record: String::new(), record_bytes: body.len() }
    })
}

/// Reads the envelope of `body`.
///
/// # Errors
/// [`DecodeRequestError`] if it is broken.
pub(crate) fn open<M: Envelope>(encoding: Encoding, body: &[u8]) -> Result<Opened<'_, M>, DecodeRequestError> {
    match encoding {
        Encoding::Json => {
            let (message, defects) = json::decode(body).map_err(DecodeRequestError::Json)?;
            Ok(Opened { defects, ..Opened::of(message) })
        }
        Encoding::Rows => Err(DecodeRequestError::NotARequest),
        Encoding::Protobuf => match Opened::walked(body) {
            Ok(opened) => Ok(opened),
            // Prost's error about the whole body says how it is broken.
            Err(Broken) => M::decode(body).map(Opened::of).map_err(DecodeRequestError::Protobuf),
        },
    }
}

impl<'a, M: Envelope> Opened<'a, M> {
    fn of(mut message: M) -> Self {
        let scopes = |resource: &mut M::Resource| {
            let scopes = std::mem::take(M::scopes(resource)).into_iter();
            scopes.map(|mut scope| (std::mem::take(M::records(&mut scope)), scope)).collect::<Vec<_>>()
        };
        let resources = std::mem::take(message.resources()).into_iter().map(|mut resource| {
            let scopes = scopes(&mut resource).into_iter().map(|(records, scope)| (scope, Records::Decoded(records)));
            (resource, scopes.collect())
        });
        Self { resources: resources.collect(), defects: Vec::new() }
    }

    fn walked(body: &'a [u8]) -> Result<Self, Broken> {
        let mut resources = Vec::new();
        walk::<M>(body, RESOURCES_TAG, &mut |body| {
            let mut scopes = Vec::new();
            let resource = walk::<M::Resource>(body, SCOPES_TAG, &mut |body| {
                let mut records = Vec::new();
                let scope = walk::<M::Scope>(body, RECORDS_TAG, &mut |body| {
                    records.push(body);
                    Ok(())
                })?;
                scopes.push((scope, Records::Encoded(records)));
                Ok(())
            })?;
            resources.push((resource, scopes));
            Ok(())
        })?;
        Ok(Self { resources, defects: Vec::new() })
    }

    /// All of it, and the records that could not be decoded.
    fn whole(self) -> (M, Vec<Defect>) {
        let (mut message, mut defects) = (M::default(), self.defects);
        for (mut resource, scopes) in self.resources {
            for (mut scope, records) in scopes {
                for record in records.decoded() {
                    match record {
                        Ok(record) => M::records(&mut scope).push(record),
                        Err(defect) => defects.push(defect),
                    }
                }
                M::scopes(&mut resource).push(scope);
            }
            message.resources().push(resource);
        }
        (message, defects)
    }
}

/// The envelope is broken.
struct Broken;

impl From<DecodeError> for Broken {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

/// Decodes `body`, but for the elements of the repeated field `tag`, which `each` gets.
fn walk<'a, M: Message + Default>(
    mut body: &'a [u8],
    tag: u32,
    each: &mut dyn FnMut(&'a [u8]) -> Result<(), Broken>,
) -> Result<M, Broken> {
    let mut message = M::default();
    while !body.is_empty() {
        let field = body;
        let (found, wire_type) = decode_key(&mut body)?;
        if wire_type == WireType::LengthDelimited {
            let len = usize::try_from(decode_varint(&mut body)?).unwrap_or(usize::MAX);
            let element = body.get(..len).ok_or(Broken)?;
            body.advance(len);
            if found == tag {
                each(element)?;
                continue;
            }
        } else {
            prost::encoding::skip_field(wire_type, found, &mut body, prost::encoding::DecodeContext::default())?;
        }
        message.merge(&field[..field.len() - body.len()])?;
    }
    Ok(message)
}

/// A request: resources, in each of them scopes, in each of those records.
pub(crate) trait Envelope: json::Message + Message + Default {
    type Resource: Message + Default;
    type Scope: Message + Default;
    type Record: Message + Default;
    fn resources(&mut self) -> &mut Vec<Self::Resource>;
    fn scopes(resource: &mut Self::Resource) -> &mut Vec<Self::Scope>;
    fn records(scope: &mut Self::Scope) -> &mut Vec<Self::Record>;
}

macro_rules! envelopes {
    ($($Request:ident { $resources:ident: $Resource:ident { $scopes:ident: $Scope:ident { $records:ident: $Record:ident } } })*) => {$(
        impl Envelope for $Request {
            type Resource = $Resource;
            type Scope = $Scope;
            type Record = $Record;

            fn resources(&mut self) -> &mut Vec<$Resource> {
                &mut self.$resources
            }
            fn scopes(resource: &mut $Resource) -> &mut Vec<$Scope> {
                &mut resource.$scopes
            }
            fn records(scope: &mut $Scope) -> &mut Vec<$Record> {
                &mut scope.$records
            }
        }
    )*};
}

envelopes! {
    ExportTraceServiceRequest { resource_spans: ResourceSpans { scope_spans: ScopeSpans { spans: Span } } }
    ExportLogsServiceRequest { resource_logs: ResourceLogs { scope_logs: ScopeLogs { log_records: LogRecord } } }
    ExportMetricsServiceRequest { resource_metrics: ResourceMetrics { scope_metrics: ScopeMetrics { metrics: Metric } } }
}
