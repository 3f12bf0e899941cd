//! OTLP records to rows. The inverse is [`super::export`]; together they are exact.
//!
//! Whatever several records share (resource, scope, metric) is rendered once.

use std::{borrow::Cow, sync::Arc};

use assay_schemas::{
    genai::GenAi,
    table::Sparse,
    tables::{
        Attributes, ExponentialHistogramRow, GaugeRow, HistogramRow, LogRow, Origin, Point, Sender, SpanRow, SumRow, SummaryRow,
    },
};
use assay_storage::BlobError;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, SummaryDataPoint, number_data_point,
    },
    resource::v1::Resource,
};

use super::{
    attributes::{self, BlobSink, Special},
    borrowed::{KeyValueRef, SpanRef, StatusRef},
    json,
    json::writer::{Writer, push_double, push_int},
};

/// Span kinds by number. Other numbers are written as digits.
pub(super) const SPAN_KINDS: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
/// Status codes by number.
pub(super) const STATUS_CODES: [&str; 3] = ["UNSET", "OK", "ERROR"];
/// Aggregation temporalities by number.
pub(super) const TEMPORALITIES: [&str; 3] = ["UNSPECIFIED", "DELTA", "CUMULATIVE"];

/// The part of [`Sender`] that a resource fills.
#[must_use]
pub fn resource_columns(resource: Option<&Resource>, schema_url: &str) -> Sender {
    let empty = Resource::default();
    let found = resource.unwrap_or(&empty);
    let (resource_attributes, mut exact) = attributes::to_object(&found.attributes);
    exact |= resource.is_none() || !schema_url.is_empty() || found.dropped_attributes_count != 0 || !found.entity_refs.is_empty();
    let text = |key: &str| text_of(&found.attributes, key);
    Sender {
        service_name: text("service.name"),
        service_version: text("service.version"),
        deployment_environment: text("deployment.environment.name").or_else(|| text("deployment.environment")),
        resource_attributes,
        // The envelope looks the same for all signals.
        resource_exact: exact.then(|| {
            json::encode(&ResourceLogs { resource: resource.cloned(), scope_logs: Vec::new(), schema_url: schema_url.to_owned() })
        }),
        ..Sender::default()
    }
}

/// `resource` with the part that a scope fills.
#[must_use]
pub fn sender_columns(resource: &Sender, scope: Option<&InstrumentationScope>, schema_url: &str) -> Arc<Sender> {
    let empty = InstrumentationScope::default();
    let found = scope.unwrap_or(&empty);
    let (scope_attributes, mut exact) = attributes::to_object(&found.attributes);
    exact |= scope.is_none() || !schema_url.is_empty() || found.dropped_attributes_count != 0;
    Arc::new(Sender {
        scope_name: found.name.clone(),
        scope_version: some_text(&found.version),
        scope_attributes: (!found.attributes.is_empty()).then_some(scope_attributes),
        scope_exact: exact.then(|| {
            json::encode(&ScopeLogs { scope: scope.cloned(), log_records: Vec::new(), schema_url: schema_url.to_owned() })
        }),
        ..resource.clone()
    })
}

/// A span as a row.
///
/// # Errors
/// [`BlobError`] if a large value could not be stored.
pub fn span(
    span: &SpanRef<'_>,
    origin: Origin,
    sender: Arc<Sender>,
    mut genai: Sparse<GenAi>,
    special: Special<'_>,
    blobs: &dyn BlobSink,
) -> Result<SpanRow, BlobError> {
    let pending = announces(span).then_some(true);
    let attributes = attributes::to_columns(&span.attributes, span.dropped_attributes_count, special, &genai, blobs)?;
    attributes::take_binary_out(&mut genai, blobs)?;
    // A status that is present but empty differs from an absent one by an empty message.
    let (status_code, status_message) = match span.status {
        None => (label(&STATUS_CODES, 0), None),
        Some(StatusRef { code: 0, message }) => (label(&STATUS_CODES, 0), Some(message.to_owned())),
        Some(StatusRef { code, message }) => (label(&STATUS_CODES, code), some_text(message)),
    };
    Ok(SpanRow {
        origin,
        trace_id: hexadecimal(span.trace_id),
        span_id: hexadecimal(span.span_id),
        parent_span_id: id(span.parent_span_id),
        name: span.name.to_owned(),
        span_kind: label(&SPAN_KINDS, span.kind),
        start_time: micros(span.start_time_unix_nano),
        start_time_ns_part: (span.start_time_unix_nano % 1000) as i64,
        duration_ns: span.end_time_unix_nano.wrapping_sub(span.start_time_unix_nano).cast_signed(),
        pending,
        status_code,
        status_message,
        trace_state: some_text(span.trace_state),
        flags: i64::from(span.flags),
        sender,
        attributes,
        event_count: span.events.len() as i64,
        events: (!span.events.is_empty()).then(|| json::encode_list(&span.events)),
        dropped_events_count: i64::from(span.dropped_events_count),
        links: (!span.links.is_empty()).then(|| json::encode_list(&span.links)),
        dropped_links_count: i64::from(span.dropped_links_count),
        genai,
    })
}

/// Whether the span is only the announcement of one that has begun: the Logfire SDK sends a span of no duration, with an identifier of its
/// own, as a child of the span it announces.
fn announces(span: &SpanRef<'_>) -> bool {
    let kind = || span.attributes.iter().rfind(|attribute| attribute.key == "logfire.span_type");
    span.start_time_unix_nano == span.end_time_unix_nano && kind().and_then(KeyValueRef::text) == Some("pending_span")
}

/// What a log row needs besides the record.
#[derive(Debug)]
pub struct LogExtras {
    /// Origin of the row; its time of receipt stands in where the sender gave no time.
    pub origin: Origin,
    /// Identifier of the record.
    pub log_id: String,
    /// Sender of the row.
    pub sender: Arc<Sender>,
    /// Canonical columns.
    pub genai: Sparse<GenAi>,
}

/// A log record as a row.
///
/// # Errors
/// [`BlobError`] if a large value could not be stored.
pub fn log(log: LogRecord, extras: LogExtras, special: Special<'_>, blobs: &dyn BlobSink) -> Result<LogRow, BlobError> {
    let LogExtras { origin, log_id, sender, mut genai } = extras;
    let list = KeyValueRef::list(&log.attributes);
    let attributes = attributes::to_columns(&list, log.dropped_attributes_count, special, &genai, blobs)?;
    attributes::take_binary_out(&mut genai, blobs)?;
    let nanos = if log.time_unix_nano == 0 { log.observed_time_unix_nano } else { log.time_unix_nano };
    let event_name_field = some(log.event_name);
    let (body, body_exact) = match log.body {
        None => (None, None),
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => (Some(text), None),
        Some(body) => (Some(attributes::to_json(&body)), Some(json::encode(&body))),
    };
    Ok(LogRow {
        log_id,
        trace_id: id(&log.trace_id),
        span_id: id(&log.span_id),
        time: if nanos == 0 { origin.received_at } else { micros(nanos) },
        time_unix_nano: log.time_unix_nano.cast_signed(),
        observed_time_unix_nano: log.observed_time_unix_nano.cast_signed(),
        severity_number: i64::from(log.severity_number),
        severity_text: some(log.severity_text),
        event_name: event_name_field.clone().or_else(|| text_of(&log.attributes, "event.name")),
        event_name_field,
        body,
        body_exact,
        flags: i64::from(log.flags),
        origin,
        sender,
        attributes,
        genai,
    })
}

/// What the rows of one metric share.
#[derive(Debug)]
pub struct MetricColumns<'a> {
    origin: &'a Origin,
    sender: &'a Arc<Sender>,
    name: &'a str,
    description: Option<String>,
    unit: Option<String>,
    metadata: Option<String>,
}

impl<'a> MetricColumns<'a> {
    /// The shared columns of `metric`.
    #[must_use]
    pub fn new(metric: &'a Metric, origin: &'a Origin, sender: &'a Arc<Sender>) -> Self {
        Self {
            origin,
            sender,
            name: &metric.name,
            description: some_text(&metric.description),
            unit: some_text(&metric.unit),
            metadata: (!metric.metadata.is_empty()).then(|| json::encode_list(&metric.metadata)),
        }
    }

    /// A gauge point as a row.
    #[must_use]
    pub fn gauge(&self, point: &NumberDataPoint) -> GaugeRow {
        let (value, int_value) = number(point.value.as_ref());
        GaugeRow {
            origin: self.origin.clone(),
            point: self.point(point.start_time_unix_nano, point.time_unix_nano, point.flags, &point.exemplars),
            value,
            int_value,
            sender: Arc::clone(self.sender),
            attributes: point_attributes(&point.attributes),
        }
    }

    /// A point of a sum as a row.
    #[must_use]
    pub fn sum(&self, point: &NumberDataPoint, temporality: i32, monotonic: bool) -> SumRow {
        let (value, int_value) = number(point.value.as_ref());
        SumRow {
            origin: self.origin.clone(),
            point: self.point(point.start_time_unix_nano, point.time_unix_nano, point.flags, &point.exemplars),
            value,
            int_value,
            temporality: label(&TEMPORALITIES, temporality),
            monotonic,
            sender: Arc::clone(self.sender),
            attributes: point_attributes(&point.attributes),
        }
    }

    /// A histogram point as a row.
    #[must_use]
    pub fn histogram(&self, point: &HistogramDataPoint, temporality: i32) -> HistogramRow {
        HistogramRow {
            origin: self.origin.clone(),
            point: self.point(point.start_time_unix_nano, point.time_unix_nano, point.flags, &point.exemplars),
            count: point.count.cast_signed(),
            sum: point.sum,
            min: point.min,
            max: point.max,
            bucket_counts: array(&point.bucket_counts, |out, n| push_int(out, *n)),
            explicit_bounds: array(&point.explicit_bounds, |out, bound| push_double(out, *bound)),
            temporality: label(&TEMPORALITIES, temporality),
            sender: Arc::clone(self.sender),
            attributes: point_attributes(&point.attributes),
        }
    }

    /// An exponential histogram point as a row.
    #[must_use]
    pub fn exponential_histogram(&self, point: &ExponentialHistogramDataPoint, temporality: i32) -> ExponentialHistogramRow {
        ExponentialHistogramRow {
            origin: self.origin.clone(),
            point: self.point(point.start_time_unix_nano, point.time_unix_nano, point.flags, &point.exemplars),
            count: point.count.cast_signed(),
            sum: point.sum,
            min: point.min,
            max: point.max,
            scale: i64::from(point.scale),
            zero_count: point.zero_count.cast_signed(),
            zero_threshold: point.zero_threshold,
            positive: point.positive.as_ref().map(json::encode),
            negative: point.negative.as_ref().map(json::encode),
            temporality: label(&TEMPORALITIES, temporality),
            sender: Arc::clone(self.sender),
            attributes: point_attributes(&point.attributes),
        }
    }

    /// A summary point as a row.
    #[must_use]
    pub fn summary(&self, point: &SummaryDataPoint) -> SummaryRow {
        SummaryRow {
            origin: self.origin.clone(),
            point: self.point(point.start_time_unix_nano, point.time_unix_nano, point.flags, &[]),
            count: point.count.cast_signed(),
            sum: point.sum,
            quantiles: json::encode_list(&point.quantile_values),
            sender: Arc::clone(self.sender),
            attributes: point_attributes(&point.attributes),
        }
    }

    fn point(&self, start: u64, time: u64, flags: u32, exemplars: &[Exemplar]) -> Point {
        Point {
            metric_name: self.name.to_owned(),
            description: self.description.clone(),
            unit: self.unit.clone(),
            metric_metadata: self.metadata.clone(),
            time: if time == 0 { self.origin.received_at } else { micros(time) },
            time_unix_nano: time.cast_signed(),
            start_time: (start != 0).then(|| micros(start)),
            start_time_unix_nano: start.cast_signed(),
            flags: i64::from(flags),
            exemplars: (!exemplars.is_empty()).then(|| json::encode_list(exemplars)),
        }
    }
}

/// Attributes of a data point are its identity: they stay in the row, however large.
fn point_attributes(list: &[KeyValue]) -> Attributes {
    let (attributes, exact) = attributes::to_object(list);
    Attributes {
        attributes,
        payload: None,
        attributes_exact: exact.then(|| json::encode_list(list)),
        dropped_attributes_count: 0,
    }
}

fn number(value: Option<&number_data_point::Value>) -> (Option<f64>, Option<i64>) {
    match value {
        None => (None, None),
        Some(number_data_point::Value::AsDouble(value)) => (Some(*value), None),
        Some(number_data_point::Value::AsInt(value)) => (Some(*value as f64), Some(*value)),
    }
}

fn array<T>(list: &[T], push: impl Fn(&mut String, &T)) -> String {
    let mut writer = Writer::default();
    writer.open('[');
    for value in list {
        writer.element();
        push(&mut writer.out, value);
    }
    writer.close(']');
    writer.out
}

fn micros(nanos: u64) -> i64 {
    i64::try_from(nanos / 1000).expect("a thousandth of 64 bits")
}

fn label(names: &[&'static str], number: i32) -> Cow<'static, str> {
    let name = usize::try_from(number).ok().and_then(|idx| names.get(idx));
    name.map_or_else(|| number.to_string().into(), |name| (*name).into())
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// As `hex::encode`, which goes digit by digit.
fn hexadecimal(bytes: &[u8]) -> String {
    let mut digits = vec![0; 2 * bytes.len()];
    hex::encode_to_slice(bytes, &mut digits).expect("a byte has two digits");
    String::from_utf8(digits).expect("digits are ASCII")
}

/// An id in hexadecimal; none if it is absent or zero, which means absent.
fn id(bytes: &[u8]) -> Option<String> {
    bytes.iter().any(|b| *b != 0).then(|| hexadecimal(bytes))
}

/// The text of attribute `key`.
pub(crate) fn text_of(list: &[KeyValue], key: &str) -> Option<String> {
    let attribute = list.iter().rfind(|kv| kv.key == key)?;
    some_text(KeyValueRef::of(attribute).text()?)
}
