//! OTLP/JSON, both ways, from one table of fields per message (OTLP 1.11, "JSON Protobuf Encoding", and the proto3 JSON mapping).
//!
//! Trace and span ids are hexadecimal in either case, other bytes base64; enums are integers; 64-bit integers are texts or numbers;
//! `NaN` and the infinities are texts; `null` is absent; unknown keys are ignored. A record that cannot be read costs only itself.

pub(crate) mod reader;
pub(crate) mod writer;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
        exponential_histogram_data_point::Buckets, metric, number_data_point, summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status,
        span::{Event, Link},
    },
};

pub use self::reader::{Defect, JsonError};
use self::{
    reader::{Reader, Result, quoted},
    writer::{Writer, push_double, push_int, push_string},
};

/// A message of OTLP that has a JSON form.
pub trait Message: Default + Sized {
    /// Whether `null` stands for an empty one inside an array.
    #[doc(hidden)]
    const NULL_IS_EMPTY: bool = false;
    /// Reads the value of `key` into the message, or returns false if there is no such field.
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "implemented by the table below only")]
    fn read_field(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<bool>;
    /// Writes the fields that are set.
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "implemented by the table below only")]
    fn write_fields(&self, writer: &mut Writer);
}

/// Reads one message. Records that cannot be read are left out and returned as defects.
///
/// # Errors
/// [`JsonError`] if `text` is not JSON or its envelope is not the message.
pub fn decode<M: Message>(text: &[u8]) -> Result<(M, Vec<Defect>)> {
    let mut reader = Reader::new(text);
    let message = read_message(&mut reader)?;
    reader.finish()?;
    Ok((message, reader.defects))
}

/// Reads a JSON array of messages, as [`encode_list`] writes it.
///
/// # Errors
/// [`JsonError`] if `text` is anything else.
pub fn decode_list<M: Message>(text: &str) -> Result<Vec<M>> {
    let mut reader = Reader::new(text.as_bytes());
    let mut list = Vec::new();
    List::read(&mut reader, &mut list)?;
    reader.finish()?;
    Ok(list)
}

/// The message as OTLP/JSON.
#[must_use]
pub fn encode<M: Message>(message: &M) -> String {
    let mut writer = Writer::default();
    write_message(message, &mut writer);
    writer.out
}

/// The messages as a JSON array.
#[must_use]
pub fn encode_list<M: Message>(messages: &[M]) -> String {
    let mut writer = Writer::default();
    write_list(messages, &mut writer, write_message);
    writer.out
}

fn read_message<M: Message>(reader: &mut Reader<'_>) -> Result<M> {
    let mut message = M::default();
    reader.object(|reader, key| message.read_field(key, reader))?;
    Ok(message)
}

fn write_message<M: Message>(message: &M, writer: &mut Writer) {
    writer.open('{');
    message.write_fields(writer);
    writer.close('}');
}

fn write_list<T>(list: &[T], writer: &mut Writer, write: impl Fn(&T, &mut Writer)) {
    writer.open('[');
    for element in list {
        writer.element();
        write(element, writer);
    }
    writer.close(']');
}

/// How a field of type `T` is written in JSON.
trait Kind<T> {
    fn read(reader: &mut Reader<'_>, slot: &mut T) -> Result<()>;
    fn write(value: &T, writer: &mut Writer);
    /// Whether the field is left out.
    fn is_absent(value: &T) -> bool;
}

/// A text.
struct Str;
/// `true` or `false`.
struct Bool;
/// An integer of 32 bits, written as a number. Enums are such integers.
struct Small;
/// An integer of 64 bits, written as a text.
struct Big;
/// A double.
struct Double;
/// A double with presence.
struct OptDouble;
/// Bytes in hexadecimal.
struct Hex;
/// Bytes in base64.
struct Base64;
/// A message inside a oneof.
struct One;
/// A message with presence.
struct Opt;
/// A repeated message.
struct List;
/// A repeated message whose elements are refused one by one.
struct Records;
/// A repeated integer of 64 bits.
struct BigList;
/// A repeated double.
struct DoubleList;
/// A repeated text.
struct StrList;

impl Kind<String> for Str {
    fn read(reader: &mut Reader<'_>, slot: &mut String) -> Result<()> {
        *slot = reader.text("a text")?.into_owned();
        Ok(())
    }
    fn write(value: &String, writer: &mut Writer) {
        push_string(&mut writer.out, value);
    }
    fn is_absent(value: &String) -> bool {
        value.is_empty()
    }
}

impl Kind<bool> for Bool {
    fn read(reader: &mut Reader<'_>, slot: &mut bool) -> Result<()> {
        *slot = reader.bool()?;
        Ok(())
    }
    fn write(value: &bool, writer: &mut Writer) {
        writer.out.push_str(if *value { "true" } else { "false" });
    }
    fn is_absent(value: &bool) -> bool {
        !value
    }
}

macro_rules! integers {
    ($($Kind:ident $int:ty, $expected:literal;)*) => {$(
        impl Kind<$int> for $Kind {
            fn read(reader: &mut Reader<'_>, slot: &mut $int) -> Result<()> {
                let text = reader.number_or_text($expected)?;
                *slot = match text.parse() {
                    Ok(value) => value,
                    Err(_) => whole(&text)
                        .and_then(|value| <$int>::try_from(value).ok())
                        .ok_or_else(|| reader.error(quoted(&text), $expected))?,
                };
                Ok(())
            }
            fn write(value: &$int, writer: &mut Writer) {
                integers!(@write $Kind value writer);
            }
            fn is_absent(value: &$int) -> bool {
                *value == 0
            }
        }
    )*};
    (@write Small $value:ident $writer:ident) => { push_int(&mut $writer.out, *$value) };
    (@write Big $value:ident $writer:ident) => {{
        $writer.out.push('"');
        push_int(&mut $writer.out, *$value);
        $writer.out.push('"');
    }};
}

integers! {
    Small u32, "an integer from 0 to 4294967295";
    Small i32, "an integer of 32 bits (enums are integers too)";
    Big u64, "an integer from 0 to 18446744073709551615, as a text or number";
    Big i64, "an integer of 64 bits, as a text or number";
}

/// An integer written with a fraction of zeros or an exponent.
fn whole(text: &str) -> Option<i128> {
    let value: f64 = text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')).then(|| text.parse().ok()).flatten()?;
    (value.fract() == 0.0 && value.abs() < 1.9e19).then_some(value as i128)
}

impl Kind<f64> for Double {
    fn read(reader: &mut Reader<'_>, slot: &mut f64) -> Result<()> {
        const EXPECTED: &str = "a number, `\"NaN\"`, `\"Infinity\"` or `\"-Infinity\"`";
        let text = reader.number_or_text(EXPECTED)?;
        *slot = match &*text {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            number => {
                let starts_as_number = number.bytes().next().is_some_and(|b| b == b'-' || b.is_ascii_digit());
                let value = number.parse().ok().filter(|value: &f64| starts_as_number && value.is_finite());
                value.ok_or_else(|| reader.error(quoted(number), EXPECTED))?
            }
        };
        Ok(())
    }
    fn write(value: &f64, writer: &mut Writer) {
        push_double(&mut writer.out, *value);
    }
    fn is_absent(value: &f64) -> bool {
        value.to_bits() == 0
    }
}

impl Kind<Option<f64>> for OptDouble {
    fn read(reader: &mut Reader<'_>, slot: &mut Option<f64>) -> Result<()> {
        Double::read(reader, slot.insert(0.0))
    }
    fn write(value: &Option<f64>, writer: &mut Writer) {
        push_double(&mut writer.out, value.unwrap_or_default());
    }
    fn is_absent(value: &Option<f64>) -> bool {
        value.is_none()
    }
}

impl Kind<Vec<u8>> for Hex {
    fn read(reader: &mut Reader<'_>, slot: &mut Vec<u8>) -> Result<()> {
        let text = reader.text("an id in hexadecimal")?;
        *slot = hex::decode(text.as_bytes()).map_err(|_| reader.error(quoted(&text), "an id in hexadecimal"))?;
        Ok(())
    }
    fn write(value: &Vec<u8>, writer: &mut Writer) {
        push_string(&mut writer.out, &hex::encode(value));
    }
    fn is_absent(value: &Vec<u8>) -> bool {
        value.is_empty()
    }
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true);
/// Parsers of the proto3 JSON mapping accept both alphabets, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

impl Kind<Vec<u8>> for Base64 {
    fn read(reader: &mut Reader<'_>, slot: &mut Vec<u8>) -> Result<()> {
        let text = reader.text("bytes in base64")?;
        let bytes = BASE64.decode(text.as_bytes()).or_else(|_| BASE64_URL.decode(text.as_bytes()));
        *slot = bytes.map_err(|_| reader.error(quoted(&text), "bytes in base64"))?;
        Ok(())
    }
    fn write(value: &Vec<u8>, writer: &mut Writer) {
        writer.out.push('"');
        BASE64_STANDARD.encode_string(value, &mut writer.out);
        writer.out.push('"');
    }
    fn is_absent(value: &Vec<u8>) -> bool {
        value.is_empty()
    }
}

impl<M: Message> Kind<M> for One {
    fn read(reader: &mut Reader<'_>, slot: &mut M) -> Result<()> {
        *slot = read_message(reader)?;
        Ok(())
    }
    fn write(value: &M, writer: &mut Writer) {
        write_message(value, writer);
    }
    fn is_absent(_: &M) -> bool {
        false
    }
}

impl<M: Message> Kind<Option<M>> for Opt {
    fn read(reader: &mut Reader<'_>, slot: &mut Option<M>) -> Result<()> {
        *slot = Some(read_message(reader)?);
        Ok(())
    }
    fn write(value: &Option<M>, writer: &mut Writer) {
        if let Some(message) = value {
            write_message(message, writer);
        }
    }
    fn is_absent(value: &Option<M>) -> bool {
        value.is_none()
    }
}

impl<M: Message> Kind<Vec<M>> for List {
    fn read(reader: &mut Reader<'_>, slot: &mut Vec<M>) -> Result<()> {
        slot.clear();
        reader.array(|reader| {
            let message = if M::NULL_IS_EMPTY && reader.null()? { M::default() } else { read_message(reader)? };
            slot.push(message);
            Ok(())
        })
    }
    fn write(value: &Vec<M>, writer: &mut Writer) {
        write_list(value, writer, write_message);
    }
    fn is_absent(value: &Vec<M>) -> bool {
        value.is_empty()
    }
}

impl<M: Message> Kind<Vec<M>> for Records {
    fn read(reader: &mut Reader<'_>, slot: &mut Vec<M>) -> Result<()> {
        slot.clear();
        reader.records(read_message, slot)
    }
    fn write(value: &Vec<M>, writer: &mut Writer) {
        write_list(value, writer, write_message);
    }
    fn is_absent(value: &Vec<M>) -> bool {
        value.is_empty()
    }
}

macro_rules! scalar_lists {
    ($($List:ident of $Kind:ident: $T:ty;)*) => {$(
        impl Kind<Vec<$T>> for $List {
            fn read(reader: &mut Reader<'_>, slot: &mut Vec<$T>) -> Result<()> {
                slot.clear();
                reader.array(|reader| {
                    let mut value = <$T>::default();
                    $Kind::read(reader, &mut value)?;
                    slot.push(value);
                    Ok(())
                })
            }
            fn write(value: &Vec<$T>, writer: &mut Writer) {
                write_list(value, writer, $Kind::write);
            }
            fn is_absent(value: &Vec<$T>) -> bool {
                value.is_empty()
            }
        }
    )*};
}

scalar_lists! {
    BigList of Big: u64;
    DoubleList of Double: f64;
    StrList of Str: String;
}

/// One line per field: name in Rust, name in JSON, kind. A oneof lists its variants, of which the last one read wins.
macro_rules! messages {
    ($($Message:ident {
        $($field:ident $key:literal $Kind:ident,)*
        $(| $one:ident: $($variant:path, $variant_key:literal $VariantKind:ident,)*)?
        $(; null is empty $null:literal)?
    })*) => {$(
        #[expect(private_interfaces, reason = "see the trait")]
        impl Message for $Message {
            $(const NULL_IS_EMPTY: bool = $null;)?

            fn read_field(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<bool> {
                match key {
                    $($key => reader.within($key, |reader| $Kind::read(reader, &mut self.$field))?,)*
                    $($($variant_key => {
                        let mut value = Default::default();
                        reader.within($variant_key, |reader| $VariantKind::read(reader, &mut value))?;
                        self.$one = Some($variant(value));
                    },)*)?
                    _ => return Ok(false),
                }
                Ok(true)
            }

            fn write_fields(&self, writer: &mut Writer) {
                $(if !$Kind::is_absent(&self.$field) {
                    writer.field($key);
                    $Kind::write(&self.$field, writer);
                })*
                $(match &self.$one {
                    $(Some($variant(value)) => {
                        writer.field($variant_key);
                        $VariantKind::write(value, writer);
                    })*
                    None => {}
                })?
            }
        }
    )*};
}

messages! {
    ExportTraceServiceRequest { resource_spans "resourceSpans" List, }
    ResourceSpans { resource "resource" Opt, scope_spans "scopeSpans" List, schema_url "schemaUrl" Str, }
    ScopeSpans { scope "scope" Opt, spans "spans" Records, schema_url "schemaUrl" Str, }
    Span {
        trace_id "traceId" Hex,
        span_id "spanId" Hex,
        trace_state "traceState" Str,
        parent_span_id "parentSpanId" Hex,
        flags "flags" Small,
        name "name" Str,
        kind "kind" Small,
        start_time_unix_nano "startTimeUnixNano" Big,
        end_time_unix_nano "endTimeUnixNano" Big,
        attributes "attributes" List,
        dropped_attributes_count "droppedAttributesCount" Small,
        events "events" List,
        dropped_events_count "droppedEventsCount" Small,
        links "links" List,
        dropped_links_count "droppedLinksCount" Small,
        status "status" Opt,
    }
    Event {
        time_unix_nano "timeUnixNano" Big,
        name "name" Str,
        attributes "attributes" List,
        dropped_attributes_count "droppedAttributesCount" Small,
    }
    Link {
        trace_id "traceId" Hex,
        span_id "spanId" Hex,
        trace_state "traceState" Str,
        attributes "attributes" List,
        dropped_attributes_count "droppedAttributesCount" Small,
        flags "flags" Small,
    }
    Status { message "message" Str, code "code" Small, }

    ExportLogsServiceRequest { resource_logs "resourceLogs" List, }
    ResourceLogs { resource "resource" Opt, scope_logs "scopeLogs" List, schema_url "schemaUrl" Str, }
    ScopeLogs { scope "scope" Opt, log_records "logRecords" Records, schema_url "schemaUrl" Str, }
    LogRecord {
        time_unix_nano "timeUnixNano" Big,
        observed_time_unix_nano "observedTimeUnixNano" Big,
        severity_number "severityNumber" Small,
        severity_text "severityText" Str,
        body "body" Opt,
        attributes "attributes" List,
        dropped_attributes_count "droppedAttributesCount" Small,
        flags "flags" Small,
        trace_id "traceId" Hex,
        span_id "spanId" Hex,
        event_name "eventName" Str,
    }

    ExportMetricsServiceRequest { resource_metrics "resourceMetrics" List, }
    ResourceMetrics { resource "resource" Opt, scope_metrics "scopeMetrics" List, schema_url "schemaUrl" Str, }
    ScopeMetrics { scope "scope" Opt, metrics "metrics" Records, schema_url "schemaUrl" Str, }
    Metric {
        name "name" Str,
        description "description" Str,
        unit "unit" Str,
        metadata "metadata" List,
        | data:
            metric::Data::Gauge, "gauge" One,
            metric::Data::Sum, "sum" One,
            metric::Data::Histogram, "histogram" One,
            metric::Data::ExponentialHistogram, "exponentialHistogram" One,
            metric::Data::Summary, "summary" One,
    }
    Gauge { data_points "dataPoints" Records, }
    Sum { data_points "dataPoints" Records, aggregation_temporality "aggregationTemporality" Small, is_monotonic "isMonotonic" Bool, }
    Histogram { data_points "dataPoints" Records, aggregation_temporality "aggregationTemporality" Small, }
    ExponentialHistogram { data_points "dataPoints" Records, aggregation_temporality "aggregationTemporality" Small, }
    Summary { data_points "dataPoints" Records, }
    NumberDataPoint {
        attributes "attributes" List,
        start_time_unix_nano "startTimeUnixNano" Big,
        time_unix_nano "timeUnixNano" Big,
        exemplars "exemplars" List,
        flags "flags" Small,
        | value:
            number_data_point::Value::AsDouble, "asDouble" Double,
            number_data_point::Value::AsInt, "asInt" Big,
    }
    HistogramDataPoint {
        attributes "attributes" List,
        start_time_unix_nano "startTimeUnixNano" Big,
        time_unix_nano "timeUnixNano" Big,
        count "count" Big,
        sum "sum" OptDouble,
        bucket_counts "bucketCounts" BigList,
        explicit_bounds "explicitBounds" DoubleList,
        exemplars "exemplars" List,
        flags "flags" Small,
        min "min" OptDouble,
        max "max" OptDouble,
    }
    ExponentialHistogramDataPoint {
        attributes "attributes" List,
        start_time_unix_nano "startTimeUnixNano" Big,
        time_unix_nano "timeUnixNano" Big,
        count "count" Big,
        sum "sum" OptDouble,
        scale "scale" Small,
        zero_count "zeroCount" Big,
        positive "positive" Opt,
        negative "negative" Opt,
        flags "flags" Small,
        exemplars "exemplars" List,
        min "min" OptDouble,
        max "max" OptDouble,
        zero_threshold "zeroThreshold" Double,
    }
    Buckets { offset "offset" Small, bucket_counts "bucketCounts" BigList, }
    SummaryDataPoint {
        attributes "attributes" List,
        start_time_unix_nano "startTimeUnixNano" Big,
        time_unix_nano "timeUnixNano" Big,
        count "count" Big,
        sum "sum" Double,
        quantile_values "quantileValues" List,
        flags "flags" Small,
    }
    ValueAtQuantile { quantile "quantile" Double, value "value" Double, }
    Exemplar {
        filtered_attributes "filteredAttributes" List,
        time_unix_nano "timeUnixNano" Big,
        span_id "spanId" Hex,
        trace_id "traceId" Hex,
        | value:
            exemplar::Value::AsDouble, "asDouble" Double,
            exemplar::Value::AsInt, "asInt" Big,
    }

    Resource { attributes "attributes" List, dropped_attributes_count "droppedAttributesCount" Small, entity_refs "entityRefs" List, }
    EntityRef {
        schema_url "schemaUrl" Str,
        r#type "type" Str,
        id_keys "idKeys" StrList,
        description_keys "descriptionKeys" StrList,
    }
    InstrumentationScope {
        name "name" Str,
        version "version" Str,
        attributes "attributes" List,
        dropped_attributes_count "droppedAttributesCount" Small,
    }
    KeyValue { key "key" Str, value "value" Opt, key_strindex "keyStrindex" Small, }
    KeyValueList { values "values" List, }
    ArrayValue { values "values" List, }
    AnyValue {
        | value:
            any_value::Value::StringValue, "stringValue" Str,
            any_value::Value::BoolValue, "boolValue" Bool,
            any_value::Value::IntValue, "intValue" Big,
            any_value::Value::DoubleValue, "doubleValue" Double,
            any_value::Value::ArrayValue, "arrayValue" One,
            any_value::Value::KvlistValue, "kvlistValue" One,
            any_value::Value::BytesValue, "bytesValue" Base64,
            any_value::Value::StringValueStrindex, "stringValueStrindex" Small,
        ; null is empty true
    }
}

#[cfg(test)]
mod tests;
