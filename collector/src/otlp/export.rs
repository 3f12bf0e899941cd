//! Rows to OTLP records, equal to those received. The inverse of [`super::rows`].
//!
//! Neighbouring rows of one resource, scope or metric share an envelope, so give rows in the order they were received.

use std::{collections::HashMap, sync::Arc};

use assay_schemas::{
    genai::GenAi,
    tables::{Attributes, ExponentialHistogramRow, GaugeRow, HistogramRow, LogRow, Point, Sender, SpanRow, SumRow, SummaryRow},
};
use assay_storage::{BlobError, ProjectBlobs};
use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, InstrumentationScope, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, metric, number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status},
};

pub use super::attributes::{BlobSource, RestoreError};
use super::{
    attributes::{blobs_of, from_columns, from_object},
    json::{self, Message},
    rows::{SPAN_KINDS, STATUS_CODES, TEMPORALITIES},
};

/// The blobs that `rows` refer to, to be handed to the functions below.
///
/// # Errors
/// [`FetchBlobsError`] if a row or a blob cannot be read. A blob that does not exist is left out.
pub async fn fetch_blobs<'a>(
    rows: impl IntoIterator<Item = (&'a Attributes, &'a GenAi)>,
    store: &ProjectBlobs,
) -> Result<HashMap<String, Bytes>, FetchBlobsError> {
    let mut blobs = HashMap::new();
    for (attributes, genai) in rows {
        for name in blobs_of(attributes, genai)? {
            if !blobs.contains_key(&name)
                && let Some(content) = store.get(&name).await?
            {
                blobs.insert(name, content);
            }
        }
    }
    Ok(blobs)
}

/// Blobs could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchBlobsError {
    /// A row is not what was stored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// A blob cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Spans as one request.
///
/// # Errors
/// [`RestoreError`] if a row does not hold what was stored, or a blob is missing.
pub fn spans(rows: impl IntoIterator<Item = SpanRow>, blobs: &dyn BlobSource) -> Result<ExportTraceServiceRequest, RestoreError> {
    let mut request = ExportTraceServiceRequest::default();
    let mut last: Option<Arc<Sender>> = None;
    for row in rows {
        let (new_resource, new_scope) = borders(last.as_deref(), &row.sender);
        if new_resource {
            let (resource, schema_url) = resource_of(&row.sender)?;
            request.resource_spans.push(ResourceSpans { resource, schema_url, scope_spans: Vec::new() });
        }
        let scopes = &mut request.resource_spans.last_mut().expect("the first row begins a resource").scope_spans;
        if new_scope {
            let (scope, schema_url) = scope_of(&row.sender)?;
            scopes.push(ScopeSpans { scope, schema_url, spans: Vec::new() });
        }
        let spans = &mut scopes.last_mut().expect("the first row begins a scope").spans;
        last = Some(Arc::clone(&row.sender));
        spans.push(span(row, blobs)?);
    }
    Ok(request)
}

/// Log records as one request.
///
/// # Errors
/// [`RestoreError`] if a row does not hold what was stored, or a blob is missing.
pub fn logs(rows: impl IntoIterator<Item = LogRow>, blobs: &dyn BlobSource) -> Result<ExportLogsServiceRequest, RestoreError> {
    let mut request = ExportLogsServiceRequest::default();
    let mut last: Option<Arc<Sender>> = None;
    for row in rows {
        let (new_resource, new_scope) = borders(last.as_deref(), &row.sender);
        if new_resource {
            let (resource, schema_url) = resource_of(&row.sender)?;
            request.resource_logs.push(ResourceLogs { resource, schema_url, scope_logs: Vec::new() });
        }
        let scopes = &mut request.resource_logs.last_mut().expect("the first row begins a resource").scope_logs;
        if new_scope {
            let (scope, schema_url) = scope_of(&row.sender)?;
            scopes.push(ScopeLogs { scope, schema_url, log_records: Vec::new() });
        }
        let records = &mut scopes.last_mut().expect("the first row begins a scope").log_records;
        last = Some(Arc::clone(&row.sender));
        records.push(log(row, blobs)?);
    }
    Ok(request)
}

/// A data point of any kind.
#[derive(Clone, Debug, PartialEq)]
pub enum PointRow {
    /// Of a gauge.
    Gauge(GaugeRow),
    /// Of a sum.
    Sum(SumRow),
    /// Of a histogram.
    Histogram(HistogramRow),
    /// Of an exponential histogram.
    ExponentialHistogram(ExponentialHistogramRow),
    /// Of a summary.
    Summary(SummaryRow),
}

/// Data points as one request.
///
/// # Errors
/// [`RestoreError`] if a row does not hold what was stored.
pub fn metrics(rows: impl IntoIterator<Item = PointRow>) -> Result<ExportMetricsServiceRequest, RestoreError> {
    let mut request = ExportMetricsServiceRequest::default();
    let mut last: Option<Arc<Sender>> = None;
    for row in rows {
        let (sender, metric) = metric(row)?;
        let (new_resource, new_scope) = borders(last.as_deref(), &sender);
        if new_resource {
            let (resource, schema_url) = resource_of(&sender)?;
            request.resource_metrics.push(ResourceMetrics { resource, schema_url, scope_metrics: Vec::new() });
        }
        let scopes = &mut request.resource_metrics.last_mut().expect("the first row begins a resource").scope_metrics;
        if new_scope {
            let (scope, schema_url) = scope_of(&sender)?;
            scopes.push(ScopeMetrics { scope, schema_url, metrics: Vec::new() });
        }
        let metrics = &mut scopes.last_mut().expect("the first row begins a scope").metrics;
        last = Some(sender);
        match metrics.last_mut().filter(|last| is_same_metric(last, &metric)) {
            Some(last) => append_points(last, metric),
            None => metrics.push(metric),
        }
    }
    Ok(request)
}

/// Whether a row begins a new resource, and a new scope.
fn borders(last: Option<&Sender>, sender: &Sender) -> (bool, bool) {
    let Some(last) = last else { return (true, true) };
    let new_resource = last.resource_attributes != sender.resource_attributes || last.resource_exact != sender.resource_exact;
    (new_resource, new_resource || last != sender)
}

fn resource_of(sender: &Sender) -> Result<(Option<Resource>, String), RestoreError> {
    match &sender.resource_exact {
        Some(exact) => decode::<ResourceLogs>("resource_exact", exact).map(|found| (found.resource, found.schema_url)),
        None => {
            let attributes = from_object("resource_attributes", &sender.resource_attributes)?;
            Ok((Some(Resource { attributes, ..Resource::default() }), String::new()))
        }
    }
}

fn scope_of(sender: &Sender) -> Result<(Option<InstrumentationScope>, String), RestoreError> {
    if let Some(exact) = &sender.scope_exact {
        return decode::<ScopeLogs>("scope_exact", exact).map(|found| (found.scope, found.schema_url));
    }
    let attributes = sender.scope_attributes.as_ref().map_or(Ok(Vec::new()), |text| from_object("scope_attributes", text))?;
    let (name, version) = (sender.scope_name.clone(), sender.scope_version.clone().unwrap_or_default());
    Ok((Some(InstrumentationScope { name, version, attributes, dropped_attributes_count: 0 }), String::new()))
}

fn span(row: SpanRow, blobs: &dyn BlobSource) -> Result<Span, RestoreError> {
    let start_time_unix_nano = row.start_time.cast_unsigned() * 1000 + row.start_time_ns_part.cast_unsigned();
    let code = number_of(&STATUS_CODES, &row.status_code, "status_code")?;
    let status =
        (code != 0 || row.status_message.is_some()).then(|| Status { code, message: row.status_message.unwrap_or_default() });
    Ok(Span {
        trace_id: bytes_of(Some(&row.trace_id), "trace_id")?,
        span_id: bytes_of(Some(&row.span_id), "span_id")?,
        trace_state: row.trace_state.unwrap_or_default(),
        parent_span_id: bytes_of(row.parent_span_id.as_ref(), "parent_span_id")?,
        flags: unsigned(row.flags),
        name: row.name,
        kind: number_of(&SPAN_KINDS, &row.span_kind, "span_kind")?,
        start_time_unix_nano,
        end_time_unix_nano: start_time_unix_nano.wrapping_add(row.duration_ns.cast_unsigned()),
        attributes: from_columns(&row.attributes, &row.genai, blobs)?,
        dropped_attributes_count: unsigned(row.attributes.dropped_attributes_count),
        events: decode_list(row.events.as_ref(), "events")?,
        dropped_events_count: unsigned(row.dropped_events_count),
        links: decode_list(row.links.as_ref(), "links")?,
        dropped_links_count: unsigned(row.dropped_links_count),
        status,
    })
}

fn log(row: LogRow, blobs: &dyn BlobSource) -> Result<LogRecord, RestoreError> {
    let body = match (row.body, row.body_exact) {
        (_, Some(exact)) => Some(decode("body_exact", &exact)?),
        (Some(text), None) => Some(AnyValue { value: Some(Value::StringValue(text)) }),
        (None, None) => None,
    };
    Ok(LogRecord {
        time_unix_nano: row.time_unix_nano.cast_unsigned(),
        observed_time_unix_nano: row.observed_time_unix_nano.cast_unsigned(),
        severity_number: signed(row.severity_number),
        severity_text: row.severity_text.unwrap_or_default(),
        body,
        attributes: from_columns(&row.attributes, &row.genai, blobs)?,
        dropped_attributes_count: unsigned(row.attributes.dropped_attributes_count),
        flags: unsigned(row.flags),
        trace_id: bytes_of(row.trace_id.as_ref(), "trace_id")?,
        span_id: bytes_of(row.span_id.as_ref(), "span_id")?,
        event_name: row.event_name_field.unwrap_or_default(),
    })
}

/// The row as a metric with one point, and its sender.
fn metric(row: PointRow) -> Result<(Arc<Sender>, Metric), RestoreError> {
    let none: &HashMap<String, Bytes> = &HashMap::new();
    let attributes = |columns: &Attributes| from_columns(columns, &GenAi::default(), none);
    let (sender, point, data) = match row {
        PointRow::Gauge(row) => {
            let data_points = vec![number_point(&row.point, row.value, row.int_value, attributes(&row.attributes)?)?];
            (row.sender, row.point, metric::Data::Gauge(Gauge { data_points }))
        }
        PointRow::Sum(row) => {
            let data_points = vec![number_point(&row.point, row.value, row.int_value, attributes(&row.attributes)?)?];
            let aggregation_temporality = number_of(&TEMPORALITIES, &row.temporality, "temporality")?;
            let sum = Sum { data_points, aggregation_temporality, is_monotonic: row.monotonic };
            (row.sender, row.point, metric::Data::Sum(sum))
        }
        PointRow::Histogram(row) => {
            let point = HistogramDataPoint {
                attributes: attributes(&row.attributes)?,
                start_time_unix_nano: row.point.start_time_unix_nano.cast_unsigned(),
                time_unix_nano: row.point.time_unix_nano.cast_unsigned(),
                count: row.count.cast_unsigned(),
                sum: row.sum,
                // The arrays are written as those of a data point are, so its reader reads them.
                ..decode(
                    "bucket_counts",
                    &format!("{{\"bucketCounts\":{},\"explicitBounds\":{}}}", row.bucket_counts, row.explicit_bounds),
                )?
            };
            let point = HistogramDataPoint {
                exemplars: decode_list(row.point.exemplars.as_ref(), "exemplars")?,
                flags: unsigned(row.point.flags),
                min: row.min,
                max: row.max,
                ..point
            };
            let aggregation_temporality = number_of(&TEMPORALITIES, &row.temporality, "temporality")?;
            (row.sender, row.point, metric::Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality }))
        }
        PointRow::ExponentialHistogram(row) => {
            let point = ExponentialHistogramDataPoint {
                attributes: attributes(&row.attributes)?,
                start_time_unix_nano: row.point.start_time_unix_nano.cast_unsigned(),
                time_unix_nano: row.point.time_unix_nano.cast_unsigned(),
                count: row.count.cast_unsigned(),
                sum: row.sum,
                scale: signed(row.scale),
                zero_count: row.zero_count.cast_unsigned(),
                positive: row.positive.map(|text| decode("positive", &text)).transpose()?,
                negative: row.negative.map(|text| decode("negative", &text)).transpose()?,
                flags: unsigned(row.point.flags),
                exemplars: decode_list(row.point.exemplars.as_ref(), "exemplars")?,
                min: row.min,
                max: row.max,
                zero_threshold: row.zero_threshold,
            };
            let aggregation_temporality = number_of(&TEMPORALITIES, &row.temporality, "temporality")?;
            let data = ExponentialHistogram { data_points: vec![point], aggregation_temporality };
            (row.sender, row.point, metric::Data::ExponentialHistogram(data))
        }
        PointRow::Summary(row) => {
            let point = SummaryDataPoint {
                attributes: attributes(&row.attributes)?,
                start_time_unix_nano: row.point.start_time_unix_nano.cast_unsigned(),
                time_unix_nano: row.point.time_unix_nano.cast_unsigned(),
                count: row.count.cast_unsigned(),
                sum: row.sum,
                quantile_values: decode_list(Some(&row.quantiles), "quantiles")?,
                flags: unsigned(row.point.flags),
            };
            (row.sender, row.point, metric::Data::Summary(Summary { data_points: vec![point] }))
        }
    };
    let metric = Metric {
        name: point.metric_name,
        description: point.description.unwrap_or_default(),
        unit: point.unit.unwrap_or_default(),
        metadata: decode_list(point.metric_metadata.as_ref(), "metric_metadata")?,
        data: Some(data),
    };
    Ok((sender, metric))
}

fn number_point(
    point: &Point,
    value: Option<f64>,
    int_value: Option<i64>,
    attributes: Vec<opentelemetry_proto::tonic::common::v1::KeyValue>,
) -> Result<NumberDataPoint, RestoreError> {
    Ok(NumberDataPoint {
        attributes,
        start_time_unix_nano: point.start_time_unix_nano.cast_unsigned(),
        time_unix_nano: point.time_unix_nano.cast_unsigned(),
        exemplars: decode_list(point.exemplars.as_ref(), "exemplars")?,
        flags: unsigned(point.flags),
        value: int_value.map(number_data_point::Value::AsInt).or(value.map(number_data_point::Value::AsDouble)),
    })
}

/// Whether two metrics differ by their points only.
fn is_same_metric(a: &Metric, b: &Metric) -> bool {
    let same_data = match (&a.data, &b.data) {
        (Some(metric::Data::Gauge(_)), Some(metric::Data::Gauge(_)))
        | (Some(metric::Data::Summary(_)), Some(metric::Data::Summary(_))) => true,
        (Some(metric::Data::Sum(a)), Some(metric::Data::Sum(b))) => {
            a.aggregation_temporality == b.aggregation_temporality && a.is_monotonic == b.is_monotonic
        }
        (Some(metric::Data::Histogram(a)), Some(metric::Data::Histogram(b))) => {
            a.aggregation_temporality == b.aggregation_temporality
        }
        (Some(metric::Data::ExponentialHistogram(a)), Some(metric::Data::ExponentialHistogram(b))) => {
            a.aggregation_temporality == b.aggregation_temporality
        }
        _ => false,
    };
    same_data && a.name == b.name && a.description == b.description && a.unit == b.unit && a.metadata == b.metadata
}

fn append_points(to: &mut Metric, from: Metric) {
    match (&mut to.data, from.data) {
        (Some(metric::Data::Gauge(to)), Some(metric::Data::Gauge(from))) => to.data_points.extend(from.data_points),
        (Some(metric::Data::Sum(to)), Some(metric::Data::Sum(from))) => to.data_points.extend(from.data_points),
        (Some(metric::Data::Histogram(to)), Some(metric::Data::Histogram(from))) => to.data_points.extend(from.data_points),
        (Some(metric::Data::ExponentialHistogram(to)), Some(metric::Data::ExponentialHistogram(from))) => {
            to.data_points.extend(from.data_points);
        }
        (Some(metric::Data::Summary(to)), Some(metric::Data::Summary(from))) => to.data_points.extend(from.data_points),
        _ => unreachable!("`is_same_metric` compared the kinds"),
    }
}

fn decode<M: Message>(column: &'static str, text: &str) -> Result<M, RestoreError> {
    json::decode(text.as_bytes()).map(|(message, _)| message).map_err(|source| RestoreError::Text { column, source })
}

fn decode_list<M: Message>(text: Option<&String>, column: &'static str) -> Result<Vec<M>, RestoreError> {
    text.map_or(Ok(Vec::new()), |text| json::decode_list(text).map_err(|source| RestoreError::Text { column, source }))
}

fn bytes_of(id: Option<&String>, column: &'static str) -> Result<Vec<u8>, RestoreError> {
    let Some(id) = id else { return Ok(Vec::new()) };
    hex::decode(id).map_err(|_| RestoreError::Missing { key: id.clone(), expected: format!("hexadecimal in column `{column}`") })
}

fn number_of(names: &[&str], label: &str, column: &'static str) -> Result<i32, RestoreError> {
    let known = names.iter().position(|name| *name == label).map(|idx| i32::try_from(idx).expect("a short list"));
    let number = known.or_else(|| label.parse().ok());
    number.ok_or_else(|| RestoreError::Missing {
        key: label.to_owned(),
        expected: format!("a name or number in column `{column}`"),
    })
}

/// Back to the 32 bits that were widened to a column of 64.
fn unsigned(value: i64) -> u32 {
    u32::try_from(value).unwrap_or_default()
}

/// Back to the 32 bits that were widened to a column of 64.
fn signed(value: i64) -> i32 {
    i32::try_from(value).unwrap_or_default()
}
