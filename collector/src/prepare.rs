//! From a request body to [`Prepared`]: decode, validate record by record, normalise, make rows. Stateless: only CPU, and blobs.
//!
//! A record that is refused costs only itself: it becomes a row of `quarantine` with the reason and is counted in the partial
//! success. What the protocol allows is kept, however odd: an end before its start, an empty name, an unknown enum.

use std::{borrow::Borrow, fmt::Write as _, sync::Arc};

use assay_schemas::{
    ids::Signal,
    table::Row,
    tables::{Origin, QuarantineRow, Sender},
};
use assay_storage::{BlobError, WalRecord};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, InstrumentationScope, KeyValue},
    logs::v1::LogRecord,
    metrics::v1::{Metric, metric},
    resource::v1::Resource,
    trace::v1::Span,
};
use sha2::{Digest as _, Sha256};

use crate::{
    normalise::Normaliser,
    otlp::{
        attributes::{BlobSink, Special},
        binary,
        borrowed::{KeyValueRef, SpanRef, ValueRef},
        json::{self, Defect},
        rows::{self, LogExtras, MetricColumns},
        wire::{self, DecodeRequestError, Opened, Records},
    },
    prepared::{LogDraft, Prepared, Receipt, SpanDraft},
};

/// Attributes of one record, event, link or data point.
pub const ATTRIBUTES_MAX: usize = 4096;
/// Events of one span.
pub const EVENTS_MAX: usize = 8192;
/// Links of one span.
pub const LINKS_MAX: usize = 8192;
/// Arrays and maps inside each other in one attribute value.
pub const NESTING_MAX: usize = 32;
/// Text of a refused record that is kept.
pub const QUARANTINE_RECORD_BYTES: usize = 64 * 1024;

/// A request could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The body is not a request: the sender's fault.
    #[error(transparent)]
    Decode(#[from] DecodeRequestError),
    /// A large value could not be stored: ours.
    #[error("could not store a large value")]
    Blob(#[from] BlobError),
}

/// Decodes, validates and normalises `record`. The same record gives the same rows.
///
/// # Errors
/// [`PrepareError`] if the body as a whole is not a request of its signal, or the disk failed.
pub fn prepare(normaliser: &Normaliser, blobs: &dyn BlobSink, record: &WalRecord) -> Result<Prepared, PrepareError> {
    let receipt = Receipt {
        project: record.project.clone(),
        signal: record.signal,
        received_at_unix_nano: record.received_at_unix_nano,
        request_bytes: record.body.len() as u64,
        wal_position: 0,
    };
    let mut preparing = Preparing { origin: receipt.origin(), prepared: Prepared::new(receipt), normaliser, blobs };
    match record.signal {
        Signal::Traces => preparing.traces(wire::open(record.encoding, &record.body)?)?,
        Signal::Logs => preparing.logs(wire::open(record.encoding, &record.body)?, log_id_prefix(record))?,
        Signal::Metrics => preparing.metrics(wire::open(record.encoding, &record.body)?),
    }
    Ok(preparing.prepared)
}

struct Preparing<'a> {
    origin: Origin,
    prepared: Prepared,
    normaliser: &'a Normaliser,
    blobs: &'a dyn BlobSink,
}

/// Why a record is refused.
pub(crate) struct Refused {
    reason: &'static str,
    pub(crate) detail: String,
}

/// What is known of a refused record.
#[derive(Default)]
struct Found {
    trace_id: Option<String>,
    span_id: Option<String>,
    service_name: Option<String>,
    json: String,
    bytes: usize,
}

/// What a span was sent in.
struct Within<'a> {
    resource: &'a Resource,
    scope: &'a InstrumentationScope,
    sender: Arc<Sender>,
}

impl Preparing<'_> {
    /// The record, if it could be decoded.
    fn decoded<R>(&mut self, record: Result<R, Defect>) -> Option<R> {
        record.map_err(|defect| self.undecodable(defect)).ok()
    }

    fn undecodable(&mut self, defect: Defect) {
        let found = Found { bytes: defect.record_bytes, json: defect.record, ..Found::default() };
        self.refuse(Refused { reason: "undecodable", detail: defect.detail }, found);
    }

    fn traces(&mut self, request: Opened<'_, ExportTraceServiceRequest>) -> Result<(), BlobError> {
        let (no_resource, no_scope) = (Resource::default(), InstrumentationScope::default());
        request.defects.into_iter().for_each(|defect| self.undecodable(defect));
        let n_spans = request.resources.iter().flat_map(|(_, scopes)| scopes).map(|(_, spans)| spans.len()).sum();
        self.prepared.spans.reserve(n_spans);
        for (resource_spans, scopes) in request.resources {
            let resource = resource_spans.resource.as_ref();
            let shared = rows::resource_columns(resource, &resource_spans.schema_url);
            for (scope_spans, spans) in scopes {
                let scope = scope_spans.scope.as_ref();
                let sender = rows::sender_columns(&shared, scope, &scope_spans.schema_url);
                let within = Within { resource: resource.unwrap_or(&no_resource), scope: scope.unwrap_or(&no_scope), sender };
                match spans {
                    Records::Decoded(spans) => spans.iter().try_for_each(|span| self.span(&SpanRef::of(span), &within))?,
                    Records::Encoded(bodies) => {
                        for body in bodies {
                            if let Some(span) = SpanRef::read(body) {
                                self.span(&span, &within)?;
                            } else if let Some(span) = self.decoded(wire::record::<Span>(body)) {
                                self.span(&SpanRef::of(&span), &within)?;
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn span(&mut self, span: &SpanRef<'_>, within: &Within<'_>) -> Result<(), BlobError> {
        let Within { resource, scope, sender } = within;
        if let Err(refused) = check_span(span) {
            self.refuse(refused, found(span.trace_id, span.span_id, sender, &span.to_span()));
            return Ok(());
        }
        let normalised = self.normaliser.span(resource, scope, span);
        let special = Special { payload: &normalised.payload_keys, same_as_column: &normalised.same_as_column };
        let row = rows::span(span, self.origin.clone(), Arc::clone(sender), normalised.genai, special, self.blobs)?;
        self.prepared.spans.push(SpanDraft::new(row, normalised.facts, normalised.scores));
        Ok(())
    }

    fn logs(&mut self, request: Opened<'_, ExportLogsServiceRequest>, id_prefix: String) -> Result<(), BlobError> {
        let (no_resource, no_scope) = (Resource::default(), InstrumentationScope::default());
        request.defects.into_iter().for_each(|defect| self.undecodable(defect));
        let mut index = 0_u32;
        for (resource_logs, scopes) in request.resources {
            let resource = resource_logs.resource.as_ref();
            let shared = rows::resource_columns(resource, &resource_logs.schema_url);
            for (scope_logs, records) in scopes {
                let scope = scope_logs.scope.as_ref();
                let sender = rows::sender_columns(&shared, scope, &scope_logs.schema_url);
                for log in records.decoded() {
                    let Some(log) = self.decoded(log) else { continue };
                    index += 1;
                    if let Err(refused) = check_log(&log) {
                        self.refuse(refused, found(&log.trace_id, &log.span_id, &sender, &log));
                        continue;
                    }
                    let mut normalised = self.normaliser.log(resource.unwrap_or(&no_resource), scope.unwrap_or(&no_scope), &log);
                    if let Some(message) = &mut normalised.facts.log_message {
                        for part in [&mut message.input, &mut message.output, &mut message.system] {
                            binary::take_out_of(part, self.blobs)?;
                        }
                    }
                    let special = Special { payload: &normalised.payload_keys, same_as_column: &normalised.same_as_column };
                    let extras = LogExtras {
                        origin: self.origin.clone(),
                        log_id: format!("{id_prefix}{index:08x}"),
                        sender: Arc::clone(&sender),
                        genai: normalised.genai,
                    };
                    let row = rows::log(log, extras, special, self.blobs)?;
                    self.prepared.logs.push(LogDraft { row, facts: normalised.facts, scores: normalised.scores });
                }
            }
        }
        Ok(())
    }

    fn metrics(&mut self, request: Opened<'_, ExportMetricsServiceRequest>) {
        request.defects.into_iter().for_each(|defect| self.undecodable(defect));
        let origin = self.origin.clone();
        let (mut gauges, mut sums, mut histograms, mut exponentials, mut summaries) = (vec![], vec![], vec![], vec![], vec![]);
        for (resource_metrics, scopes) in request.resources {
            let shared = rows::resource_columns(resource_metrics.resource.as_ref(), &resource_metrics.schema_url);
            for (scope_metrics, metrics) in scopes {
                let sender = rows::sender_columns(&shared, scope_metrics.scope.as_ref(), &scope_metrics.schema_url);
                for metric in metrics.decoded() {
                    let Some(mut metric) = self.decoded(metric) else { continue };
                    let Some(data) = metric.data.take() else { continue };
                    let columns = MetricColumns::new(&metric, &origin, &sender);
                    // `ok` keeps the points that are fit to be stored and quarantines the others.
                    macro_rules! ok {
                        ($Kind:ident, $data:ident, $point:ident) => {{
                            let checked = check_metric(&metric).and_then(|()| {
                                check_point(&$point.attributes, $point.start_time_unix_nano, $point.time_unix_nano)
                            });
                            if let Err(refused) = checked {
                                let mut data = $data.clone();
                                data.data_points = vec![$point];
                                let data = metric::Data::$Kind(data);
                                let record = Metric { data: Some(data), ..metric.clone() };
                                self.refuse(refused, found(&[], &[], &sender, &record));
                                continue;
                            }
                        }};
                    }
                    match data {
                        metric::Data::Gauge(mut gauge) => {
                            for point in std::mem::take(&mut gauge.data_points) {
                                ok!(Gauge, gauge, point);
                                gauges.push(columns.gauge(&point));
                            }
                        }
                        metric::Data::Sum(mut sum) => {
                            for point in std::mem::take(&mut sum.data_points) {
                                ok!(Sum, sum, point);
                                sums.push(columns.sum(&point, sum.aggregation_temporality, sum.is_monotonic));
                            }
                        }
                        metric::Data::Histogram(mut histogram) => {
                            for point in std::mem::take(&mut histogram.data_points) {
                                ok!(Histogram, histogram, point);
                                histograms.push(columns.histogram(&point, histogram.aggregation_temporality));
                            }
                        }
                        metric::Data::ExponentialHistogram(mut histogram) => {
                            for point in std::mem::take(&mut histogram.data_points) {
                                ok!(ExponentialHistogram, histogram, point);
                                exponentials.push(columns.exponential_histogram(&point, histogram.aggregation_temporality));
                            }
                        }
                        metric::Data::Summary(mut summary) => {
                            for point in std::mem::take(&mut summary.data_points) {
                                ok!(Summary, summary, point);
                                summaries.push(columns.summary(&point));
                            }
                        }
                    }
                }
            }
        }
        self.add(gauges);
        self.add(sums);
        self.add(histograms);
        self.add(exponentials);
        self.add(summaries);
    }

    fn add<R: Row>(&mut self, rows: Vec<R>) {
        if !rows.is_empty() {
            self.prepared.metrics.push((R::TABLE, R::batch(rows)));
        }
    }

    fn refuse(&mut self, refused: Refused, mut found: Found) {
        let cut = (0..=QUARANTINE_RECORD_BYTES.min(found.json.len())).rev().find(|at| found.json.is_char_boundary(*at));
        found.json.truncate(cut.unwrap_or_default());
        self.prepared.quarantine.push(QuarantineRow {
            origin: self.origin.clone(),
            signal: self.prepared.receipt.signal.as_str().to_owned(),
            reason: refused.reason.to_owned(),
            detail: refused.detail,
            trace_id: found.trace_id,
            span_id: found.span_id,
            service_name: found.service_name,
            record: (!found.json.is_empty()).then_some(found.json),
            record_bytes: found.bytes as i64,
        });
    }
}

/// Sixteen hexadecimal digits that name the request, the same at every replay.
fn log_id_prefix(record: &WalRecord) -> String {
    let mut hash = Sha256::new();
    hash.update(record.project.as_str());
    hash.update(record.received_at_unix_nano.to_le_bytes());
    hash.update(&record.body);
    hex::encode(&hash.finalize()[..8])
}

fn found<M: json::Message + prost::Message>(trace_id: &[u8], span_id: &[u8], sender: &Sender, record: &M) -> Found {
    let id = |bytes: &[u8]| (!bytes.is_empty()).then(|| hex::encode(&bytes[..bytes.len().min(32)]));
    Found {
        trace_id: id(trace_id),
        span_id: id(span_id),
        service_name: sender.service_name.clone(),
        json: json::encode(record),
        bytes: record.encoded_len(),
    }
}

pub(crate) fn check_span(span: &SpanRef<'_>) -> Result<(), Refused> {
    check_id("trace_id", span.trace_id, 16)?;
    check_id("span_id", span.span_id, 8)?;
    if !matches!(span.parent_span_id.len(), 0 | 8) {
        return Err(wrong_length("parent_span_id", "bad_parent_span_id", span.parent_span_id, "0 or 8"));
    }
    check_time("start_time_unix_nano", span.start_time_unix_nano)?;
    check_time("end_time_unix_nano", span.end_time_unix_nano)?;
    check_attributes("attributes", span.attributes.iter())?;
    check_count("events", "too_many_events", span.events.len(), EVENTS_MAX)?;
    check_count("links", "too_many_links", span.links.len(), LINKS_MAX)?;
    span.events
        .iter()
        .try_for_each(|event| check_attributes("events.attributes", event.attributes.iter().map(KeyValueRef::of)))?;
    span.links.iter().try_for_each(|link| check_attributes("links.attributes", link.attributes.iter().map(KeyValueRef::of)))
}

fn check_log(log: &LogRecord) -> Result<(), Refused> {
    // Both ids are optional in a log record.
    if !matches!(log.trace_id.len(), 0 | 16) {
        return Err(wrong_length("trace_id", "bad_trace_id", &log.trace_id, "0 or 16"));
    }
    if !matches!(log.span_id.len(), 0 | 8) {
        return Err(wrong_length("span_id", "bad_span_id", &log.span_id, "0 or 8"));
    }
    check_time("time_unix_nano", log.time_unix_nano)?;
    check_time("observed_time_unix_nano", log.observed_time_unix_nano)?;
    check_attributes("attributes", log.attributes.iter().map(KeyValueRef::of))?;
    log.body.as_ref().map_or(Ok(()), |body| check_nesting("body", &ValueRef::of(body)))
}

fn check_metric(metric: &Metric) -> Result<(), Refused> {
    if metric.name.is_empty() {
        return Err(Refused {
            reason: "empty_metric_name",
            detail: "`name`: found an empty text, expected the metric's name".to_owned(),
        });
    }
    check_attributes("metadata", metric.metadata.iter().map(KeyValueRef::of))
}

fn check_point(attributes: &[KeyValue], start: u64, time: u64) -> Result<(), Refused> {
    check_time("start_time_unix_nano", start)?;
    check_time("time_unix_nano", time)?;
    check_attributes("attributes", attributes.iter().map(KeyValueRef::of))
}

fn check_id(field: &'static str, id: &[u8], len: usize) -> Result<(), Refused> {
    let (zero, bad) = match field {
        "trace_id" => ("zero_trace_id", "bad_trace_id"),
        _ => ("zero_span_id", "bad_span_id"),
    };
    if id.len() != len {
        return Err(wrong_length(field, bad, id, &len.to_string()));
    }
    if id.iter().all(|b| *b == 0) {
        return Err(Refused { reason: zero, detail: format!("`{field}`: found zeros only, expected an id") });
    }
    Ok(())
}

fn wrong_length(field: &str, reason: &'static str, id: &[u8], expected: &str) -> Refused {
    Refused { reason, detail: format!("`{field}`: found `{}` bytes, expected `{expected}`", id.len()) }
}

/// Dates beyond 2262 do not fit 64 bits of nanoseconds, which query engines compute with.
fn check_time(field: &str, nanos: u64) -> Result<(), Refused> {
    if i64::try_from(nanos).is_ok() {
        return Ok(());
    }
    let detail = format!("`{field}`: found `{nanos}`, expected nanoseconds since 1970 up to the year 2262 (`{}`)", i64::MAX);
    Err(Refused { reason: "time_out_of_range", detail })
}

fn check_count(field: &str, reason: &'static str, found: usize, max: usize) -> Result<(), Refused> {
    if found <= max {
        return Ok(());
    }
    Err(Refused { reason, detail: format!("`{field}`: found `{found}`, expected at most `{max}`") })
}

fn check_attributes<'a>(
    field: &str,
    mut attributes: impl ExactSizeIterator<Item: Borrow<KeyValueRef<'a>>>,
) -> Result<(), Refused> {
    check_count(field, "too_many_attributes", attributes.len(), ATTRIBUTES_MAX)?;
    attributes.try_for_each(|attribute| {
        let KeyValueRef { key, value: Some(value), .. } = attribute.borrow() else { return Ok(()) };
        check_nesting(field, value).map_err(|mut refused| {
            write!(refused.detail, " (attribute `{}`)", key.chars().take(80).collect::<String>())
                .expect("a String takes any text");
            refused
        })
    })
}

fn check_nesting(field: &str, value: &ValueRef<'_>) -> Result<(), Refused> {
    if is_within(value, NESTING_MAX) {
        return Ok(());
    }
    Err(Refused {
        reason: "too_deep",
        detail: format!("`{field}`: found deeper nesting, expected at most `{NESTING_MAX}` levels"),
    })
}

fn is_within(value: &ValueRef<'_>, levels: usize) -> bool {
    let is_within = |value: &AnyValue| is_within(&ValueRef::of(value), levels - 1);
    match value {
        ValueRef::Array(values) => levels > 0 && values.iter().all(is_within),
        ValueRef::Map(values) => levels > 0 && values.iter().filter_map(|kv| kv.value.as_ref()).all(is_within),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
