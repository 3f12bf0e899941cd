//! The tables: the public contract of Assay. Documented in `docs/data-model.md`, which a test compares with this file.
//!
//! Every table begins with `project_id` and `date`, by which the lake is partitioned: retention drops whole days.

use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;

use crate::{
    genai::GenAi,
    table::{
        Bool, Column, Day, Double, Field as _, Int, Json, JsonLabel, JsonPayload, Label, Money, Opt, OptTime, Shared,
        SharedLabel, Sparse, Text, Time, Word, arrow_schema,
    },
};

/// The columns of `spans` in which free text is looked for.
pub const TEXT_COLUMNS: [&str; 4] = ["name", "error_message", "input_preview", "output_preview"];

macro_rules! tables {
    ($($(#[doc = $doc:literal])* $Table:ident $name:literal $Row:ident,)*) => {
        /// A table of the lake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum TableId { $($(#[doc = $doc])* $Table,)* }

        impl TableId {
            /// All tables, in the order of their documentation.
            pub const ALL: &'static [Self] = &[$(Self::$Table),*];

            /// Name in SQL and folder in the lake.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$Table => $name,)* }
            }

            /// One sentence on what a row is.
            #[must_use]
            pub fn doc(self) -> &'static str {
                match self { $(Self::$Table => concat!($($doc),*).trim_ascii(),)* }
            }

            fn describe(self) -> Vec<Column> {
                let mut columns = Vec::new();
                match self { $(Self::$Table => $Row::describe("", "", &mut columns),)* }
                columns
            }
        }
    };
}

tables! {
    /// One row per span received.
    Spans "spans" SpanRow,
    /// One row per log record received.
    Logs "logs" LogRow,
    /// One row per usage kind and price line of a call; their sum is the call's `cost_usd`.
    CostLines "cost_lines" CostLineRow,
    /// One row per evaluation result or piece of human feedback.
    Scores "scores" ScoreRow,
    /// One row per gauge data point.
    MetricsGauge "metrics_gauge" GaugeRow,
    /// One row per sum data point.
    MetricsSum "metrics_sum" SumRow,
    /// One row per explicit-bucket histogram data point.
    MetricsHistogram "metrics_histogram" HistogramRow,
    /// One row per exponential histogram data point.
    MetricsExponentialHistogram "metrics_exponential_histogram" ExponentialHistogramRow,
    /// One row per summary data point.
    MetricsSummary "metrics_summary" SummaryRow,
    /// One row per record that was refused, with the reason.
    Quarantine "quarantine" QuarantineRow,
    /// What was received, per request: `accepted = stored + quarantined`. Sum it by project and minute.
    IngestLedger "ingest_ledger" LedgerRow,
    /// Corrections to spans and log records already written: reads apply them, compaction folds them in.
    SpanCorrections "span_corrections" CorrectionRow,
}

impl TableId {
    /// Columns in order.
    #[must_use]
    pub fn columns(self) -> &'static [Column] {
        &self.described().0
    }

    /// Arrow schema: in the hot buffer, in the lake and in SQL.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        Arc::clone(&self.described().1)
    }

    /// The table called `name` in SQL.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|table| table.name() == name)
    }

    fn described(self) -> &'static (Vec<Column>, SchemaRef) {
        static DESCRIBED: OnceLock<Vec<(Vec<Column>, SchemaRef)>> = OnceLock::new();
        let all = DESCRIBED.get_or_init(|| {
            TableId::ALL
                .iter()
                .map(|table| {
                    let columns = table.describe();
                    let schema = arrow_schema(&columns);
                    (columns, schema)
                })
                .collect()
        });
        &all[self as usize]
    }
}

crate::columns! {
    /// Columns of every table: whose row it is and how it came in.
    Origin {
        /// Tenant; set by the server from the credentials, never by the sender.
        project_id: SharedLabel,
        /// Day of receipt, UTC. Partition column.
        date: Day,
        /// When the request was received.
        received_at: Time,
        /// Position in the write-ahead log of the request that carried the row.
        wal_position: Int,
    }
}

crate::columns! {
    /// Columns of the resource and scope that sent a row.
    Sender {
        /// Service that sent it: resource attribute `service.name`.
        service_name: Opt<Label>,
        /// Resource attribute `service.version`.
        service_version: Opt<Label>,
        /// Resource attribute `deployment.environment.name` or `deployment.environment`.
        deployment_environment: Opt<Label>,
        /// Resource attributes as received, as a JSON object.
        resource_attributes: JsonLabel,
        /// The resource as OTLP/JSON, where it holds more than `resource_attributes` can say.
        resource_exact: Opt<JsonLabel>,
        /// Instrumentation scope.
        scope_name: Label,
        /// Its version.
        scope_version: Opt<Label>,
        /// Scope attributes as received, as a JSON object.
        scope_attributes: Opt<JsonLabel>,
        /// The scope as OTLP/JSON, where it holds more than the columns above can say.
        scope_exact: Opt<JsonLabel>,
    }
}

crate::columns! {
    /// Attributes as received, in received order. Numbers, booleans and text keep their type: `1` is an integer, `1.0` a double.
    Attributes {
        /// Attributes as received, as a JSON object. Large or LLM payload values are in `payload`; here stands `{"$payload": bytes}` in their place, or `{"$column": name}` where a column has the very same text.
        attributes: Json,
        /// Values of the attributes that `attributes` marks with `$payload`, as a JSON object; a value in blob storage is `{"$blob": sha256, "bytes": n, "preview": text}`, one with binary content `{"$pieces": [text, {"$blob", "bytes", "encoding"}, …]}`.
        payload: Opt<JsonPayload>,
        /// The attributes as OTLP/JSON, where a JSON object cannot say them (NaN, bytes, repeated keys).
        attributes_exact: Opt<JsonPayload>,
        /// Attributes that the sender dropped.
        dropped_attributes_count: Int,
    }
}

crate::table! {
    /// A span.
    SpanRow in Spans {
        /// Origin of the row.
        origin: Origin,
        /// Trace, 32 lower-case hex digits.
        trace_id: Text,
        /// Span, 16 lower-case hex digits.
        span_id: Text,
        /// Parent span; NULL for a root.
        parent_span_id: Opt<Text>,
        /// Span name.
        name: Label,
        /// `INTERNAL`, `SERVER`, `CLIENT`, `PRODUCER`, `CONSUMER` or `UNSPECIFIED`.
        span_kind: Word,
        /// Start, to the microsecond.
        start_time: Time,
        /// Nanoseconds (0 to 999) to add to `start_time`.
        start_time_ns_part: Int,
        /// End minus start, exact. Negative if the sender's clock stepped back.
        duration_ns: Int,
        /// True if the row only announces a span that had begun, as the Logfire SDK does; the span itself is another row, once it has ended. Else NULL.
        pending: Opt<Bool>,
        /// `UNSET`, `OK` or `ERROR`.
        status_code: Word,
        /// Status message.
        status_message: Opt<Text>,
        /// W3C trace state.
        trace_state: Opt<Label>,
        /// W3C trace flags and OTLP span flags.
        flags: Int,
        /// Sender of the row.
        sender: Shared<Sender>,
        /// Attributes of the span.
        attributes: Attributes,
        /// Span events as an OTLP/JSON array.
        events: Opt<JsonPayload>,
        /// How many events; large bodies are not read to count them.
        event_count: Int,
        /// Events that the sender dropped.
        dropped_events_count: Int,
        /// Span links as an OTLP/JSON array.
        links: Opt<Json>,
        /// Links that the sender dropped.
        dropped_links_count: Int,
        /// Canonical values.
        genai: Sparse<GenAi>,
    }
}

crate::table! {
    /// A log record.
    LogRow in Logs {
        /// Origin of the row.
        origin: Origin,
        /// Identifier of the record, made by Assay.
        log_id: Text,
        /// Trace it belongs to, 32 lower-case hex digits.
        trace_id: Opt<Text>,
        /// Span it belongs to, 16 lower-case hex digits.
        span_id: Opt<Text>,
        /// When it happened; the observed time if the sender gave none, else the time of receipt.
        time: Time,
        /// Time as received, nanoseconds since 1970; 0 if the sender gave none.
        time_unix_nano: Int,
        /// Observed time as received, nanoseconds since 1970.
        observed_time_unix_nano: Int,
        /// OTLP severity number, 0 if unspecified.
        severity_number: Int,
        /// Severity text.
        severity_text: Opt<Label>,
        /// Event name: of the record, else its attribute `event.name`.
        event_name: Opt<Label>,
        /// The record's own event name field, as received.
        event_name_field: Opt<Label>,
        /// Body: text as it is, anything else as JSON.
        body: Opt<JsonPayload>,
        /// Body as OTLP/JSON where it is not text.
        body_exact: Opt<JsonPayload>,
        /// W3C trace flags.
        flags: Int,
        /// Sender of the row.
        sender: Shared<Sender>,
        /// Attributes of the record.
        attributes: Attributes,
        /// Canonical values.
        genai: Sparse<GenAi>,
    }
}

crate::table! {
    /// A price line.
    CostLineRow in CostLines {
        /// Origin of the row.
        origin: Origin,
        /// Trace of the call.
        trace_id: Opt<Text>,
        /// Span of the call; NULL where a log record reported it.
        span_id: Opt<Text>,
        /// Log record of the call, where a log reported it.
        log_id: Opt<Text>,
        /// Start of the call.
        start_time: Time,
        /// Provider of the call.
        provider: Opt<Label>,
        /// Model that was priced.
        model: Opt<Label>,
        /// `input`, `cache_read`, `cache_write`, `cache_write_1h`, `output`, `reasoning`, `audio_input`, `audio_output`.
        usage_kind: Label,
        /// Tokens. Negative in a reversing entry, which takes an earlier line back when a past range is priced anew: sums stay right.
        units: Int,
        /// US dollars per million tokens; NULL if unpriced.
        usd_per_million: Opt<Money>,
        /// Units × price; NULL if unpriced.
        cost_usd: Opt<Money>,
        /// `computed`, `configured` or `unpriced`.
        source: Label,
        /// The price row: `provider/model[@region]`, with the day since when the rate holds.
        price: Opt<Label>,
        /// Rate set used: `standard`, `batch`, `flex`, `priority`, …
        rate_mode: Opt<Label>,
        /// Long-context tier: the rates apply above so many input tokens.
        tier_above_tokens: Opt<Int>,
        /// Version of the price table.
        price_table: Label,
        /// Whether the call counts; see `spans.counted`.
        counted: Bool,
    }
}

crate::table! {
    /// An evaluation result.
    ScoreRow in Scores {
        /// Origin of the row.
        origin: Origin,
        /// When it was given.
        time: Time,
        /// Trace scored.
        trace_id: Opt<Text>,
        /// Span scored.
        span_id: Opt<Text>,
        /// Session scored.
        session_id: Opt<Text>,
        /// What was measured.
        name: Label,
        /// Number given.
        value: Opt<Double>,
        /// Word given.
        label: Opt<Label>,
        /// Why.
        explanation: Opt<JsonPayload>,
        /// Who gave it: `HUMAN`, `LLM`, `CODE`, or as the sender said.
        annotator_kind: Opt<Label>,
        /// Anything else said about it, as a JSON object.
        metadata: Opt<Json>,
    }
}

crate::columns! {
    /// Columns of every metric data point.
    Point {
        /// Metric name.
        metric_name: Label,
        /// Description.
        description: Opt<Label>,
        /// Unit.
        unit: Opt<Label>,
        /// Metadata of the metric as an OTLP/JSON attribute array.
        metric_metadata: Opt<JsonLabel>,
        /// Time of the point.
        time: Time,
        /// Time of the point, nanoseconds since 1970, as received.
        time_unix_nano: Int,
        /// Start of the interval.
        start_time: OptTime,
        /// Start of the interval, nanoseconds since 1970, as received; 0 if unknown.
        start_time_unix_nano: Int,
        /// OTLP data point flags; 1 is "no recorded value".
        flags: Int,
        /// Exemplars as an OTLP/JSON array.
        exemplars: Opt<Json>,
    }
}

crate::table! {
    /// A gauge data point.
    GaugeRow in MetricsGauge {
        /// Origin of the row.
        origin: Origin,
        /// The point.
        point: Point,
        /// Value as a number.
        value: Opt<Double>,
        /// Value where it was sent as an integer.
        int_value: Opt<Int>,
        /// Sender of the row.
        sender: Shared<Sender>,
        /// Attributes of the point.
        attributes: Attributes,
    }
}

crate::table! {
    /// A sum data point.
    SumRow in MetricsSum {
        /// Origin of the row.
        origin: Origin,
        /// The point.
        point: Point,
        /// Value as a number.
        value: Opt<Double>,
        /// Value where it was sent as an integer.
        int_value: Opt<Int>,
        /// `DELTA`, `CUMULATIVE` or `UNSPECIFIED`.
        temporality: Word,
        /// Whether the sum only grows.
        monotonic: Bool,
        /// Sender of the row.
        sender: Shared<Sender>,
        /// Attributes of the point.
        attributes: Attributes,
    }
}

crate::table! {
    /// An explicit-bucket histogram data point.
    HistogramRow in MetricsHistogram {
        /// Origin of the row.
        origin: Origin,
        /// The point.
        point: Point,
        /// Number of values.
        count: Int,
        /// Sum of values.
        sum: Opt<Double>,
        /// Smallest value.
        min: Opt<Double>,
        /// Largest value.
        max: Opt<Double>,
        /// Count per bucket, as a JSON array.
        bucket_counts: JsonLabel,
        /// Upper bounds of all buckets but the last, as a JSON array.
        explicit_bounds: JsonLabel,
        /// `DELTA`, `CUMULATIVE` or `UNSPECIFIED`.
        temporality: Word,
        /// Sender of the row.
        sender: Shared<Sender>,
        /// Attributes of the point.
        attributes: Attributes,
    }
}

crate::table! {
    /// An exponential histogram data point.
    ExponentialHistogramRow in MetricsExponentialHistogram {
        /// Origin of the row.
        origin: Origin,
        /// The point.
        point: Point,
        /// Number of values.
        count: Int,
        /// Sum of values.
        sum: Opt<Double>,
        /// Smallest value.
        min: Opt<Double>,
        /// Largest value.
        max: Opt<Double>,
        /// Resolution: base = 2^(2^-scale).
        scale: Int,
        /// Values too near zero for a bucket.
        zero_count: Int,
        /// What counts as zero.
        zero_threshold: Double,
        /// Positive buckets, as OTLP/JSON.
        positive: Opt<Json>,
        /// Negative buckets, as OTLP/JSON.
        negative: Opt<Json>,
        /// `DELTA`, `CUMULATIVE` or `UNSPECIFIED`.
        temporality: Word,
        /// Sender of the row.
        sender: Shared<Sender>,
        /// Attributes of the point.
        attributes: Attributes,
    }
}

crate::table! {
    /// A summary data point.
    SummaryRow in MetricsSummary {
        /// Origin of the row.
        origin: Origin,
        /// The point.
        point: Point,
        /// Number of values.
        count: Int,
        /// Sum of values.
        sum: Double,
        /// Quantiles, as an OTLP/JSON array of `{"quantile","value"}`.
        quantiles: Json,
        /// Sender of the row.
        sender: Shared<Sender>,
        /// Attributes of the point.
        attributes: Attributes,
    }
}

crate::table! {
    /// A refused record.
    QuarantineRow in Quarantine {
        /// Origin of the row.
        origin: Origin,
        /// `traces`, `logs` or `metrics`.
        signal: Label,
        /// Short code of the reason, e.g. `zero_trace_id`.
        reason: Label,
        /// What was found, what was expected, where.
        detail: Text,
        /// Trace of the record, if it had one.
        trace_id: Opt<Text>,
        /// Span of the record, if it had one.
        span_id: Opt<Text>,
        /// Service that sent it.
        service_name: Opt<Label>,
        /// The record as OTLP/JSON, cut at 64 KiB.
        record: Opt<JsonPayload>,
        /// Size of the record in bytes, before cutting.
        record_bytes: Int,
    }
}

crate::table! {
    /// A line of the ingest ledger: one request.
    LedgerRow in IngestLedger {
        /// Origin of the row.
        origin: Origin,
        /// Minute of receipt.
        minute: Time,
        /// `traces`, `logs` or `metrics`.
        signal: Label,
        /// Records received, resent ones left out.
        accepted: Int,
        /// Records stored.
        stored: Int,
        /// Records refused.
        quarantined: Int,
        /// Records received before (a client resent them after a lost acknowledgement) and therefore not stored again.
        resent: Int,
        /// Size of the request after inflating.
        request_bytes: Int,
    }
}

crate::table! {
    /// A correction to a span or a log record.
    CorrectionRow in SpanCorrections {
        /// Origin of the row.
        origin: Origin,
        /// Trace of the span; empty for a log record without one.
        trace_id: Text,
        /// The span; empty for a log record.
        span_id: Text,
        /// New values, as a JSON object of column → value. Columns: `counted`, `uncounted_reason`, `session_id`, `user_id`, `input_messages`, `output_messages`, `system_instructions`, `tool_definitions`, `input_preview`, `output_preview`, `finish_reasons`, `response_id`, `cost_usd`, `cost_source`.
        patch: JsonPayload,
        /// Why: `late_child`, `duplicate`, `log_events`, `inherited`, `reprice`.
        reason: Label,
        /// The log record, where one is corrected: its cost columns.
        log_id: Opt<Text>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Row as _;

    #[test]
    fn every_column_is_documented_and_named_once() {
        for table in TableId::ALL {
            let mut names = std::collections::HashSet::new();
            for column in table.columns() {
                assert!(names.insert(column.name), "{} twice in {}", column.name, table.name());
                assert!(column.doc.len() > 3, "{}.{} has no documentation", table.name(), column.name);
            }
            assert_eq!(table.columns()[0].name, "project_id");
        }
    }

    #[test]
    fn a_row_survives_its_batch() {
        let mut row = SpanRow { trace_id: "0af7651916cd43dd8448eb211c80319c".into(), duration_ns: -3, ..SpanRow::default() };
        row.genai.cost_usd = Some("0.000000000000001".parse().expect("a decimal"));
        row.genai.input_tokens = Some(0);
        row.parent_span_id = None;
        let batch = SpanRow::batch([row.clone(), SpanRow::default()]);
        assert_eq!(SpanRow::read(&batch, 0), row);
        assert_eq!(batch.num_rows(), 2);
    }
}
