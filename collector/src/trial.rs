//! What would become of a span: its dialect, canonical values, the rule behind each, and its price. For people who write a mapping or
//! ask why a column is empty. The way of a request without its end: nothing is stored.

use arrow::{
    array::{Array, ArrayRef, AsArray as _},
    datatypes::{DataType, Float64Type, Int64Type},
};
use assay_schemas::{
    ids::{Encoding, Signal},
    prices::PriceTable,
    table::{Column, Money, Row as _, Scalar as _},
    tables::{CostLineRow, SpanRow, TableId},
};
use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, resource::v1::Resource, trace::v1::Span};
use serde_json::{Map, Value};

use crate::{
    cost,
    normalise::Normaliser,
    otlp::{
        attributes::{self, RestoreError},
        borrowed::SpanRef,
        json::JsonError,
        wire::{self, DecodeRequestError, Request},
    },
    prepare::check_span,
};

/// A span to try, in OTLP/JSON, perhaps with what it was sent with. Identifiers and times may be left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrialSpan<'a> {
    /// The span.
    pub span: &'a str,
    /// Its resource.
    pub resource: Option<&'a str>,
    /// Its instrumentation scope.
    pub scope: Option<&'a str>,
}

/// What the span would become.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// Dialect that gave most, if any was seen.
    pub dialect: Option<String>,
    /// Canonical columns that are known, by name; JSON columns as JSON, money as decimal text. Counted as if the span were alone.
    pub columns: Map<String, Value>,
    /// The rule that filled each of them.
    pub rules: Map<String, Value>,
    /// Whether it reports a call of a model.
    pub is_call: bool,
    /// What the call costs, kind by kind.
    pub cost_lines: Vec<CostLineRow>,
}

/// The text is not a span that ingest would take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TrialError {
    /// What is wrong, and where: `$.span.attributes[0].key`.
    pub detail: String,
    /// What stood there, if it is known apart.
    pub found: Option<String>,
    /// What should have.
    pub expected: Option<String>,
}

/// Tries `trial`; a span without a start is priced as of `now_unix_nano`.
///
/// # Errors
/// [`TrialError`] if the text is not OTLP/JSON, or the span would be refused.
pub fn try_span(
    normaliser: &Normaliser,
    prices: &PriceTable,
    trial: TrialSpan<'_>,
    now_unix_nano: u64,
) -> Result<Trial, TrialError> {
    let member = |name: &str, text: Option<&str>| text.map_or_else(String::new, |text| format!("\"{name}\":{text},"));
    let (resource, scope) = (member("resource", trial.resource), member("scope", trial.scope));
    let body = format!("{{\"resourceSpans\":[{{{resource}\"scopeSpans\":[{{{scope}\"spans\":[{}]}}]}}]}}", trial.span);
    let (request, defects) = wire::decode(Signal::Traces, Encoding::Json, body.as_bytes()).map_err(TrialError::decode)?;
    if let Some(defect) = defects.into_iter().next() {
        return Err(TrialError { detail: own_place(&defect.detail), found: None, expected: None });
    }
    let Request::Traces(mut request) = request else { unreachable!("spans were asked for") };
    let resource_spans = &mut request.resource_spans[0];
    let scope_spans = &mut resource_spans.scope_spans[0];
    let Some(mut span) = scope_spans.spans.pop() else {
        return Err(TrialError { detail: "found no span at `$.span`, expected one".to_owned(), found: None, expected: None });
    };
    if span.trace_id.is_empty() {
        span.trace_id = vec![1; 16];
    }
    if span.span_id.is_empty() {
        span.span_id = vec![1; 8];
    }
    if span.start_time_unix_nano == 0 {
        span.start_time_unix_nano = now_unix_nano;
        span.end_time_unix_nano = span.end_time_unix_nano.max(now_unix_nano);
    }
    check_span(&SpanRef::of(&span)).map_err(|refused| TrialError { detail: refused.detail, found: None, expected: None })?;
    let resource = resource_spans.resource.clone().unwrap_or_default();
    let scope = scope_spans.scope.clone().unwrap_or_default();
    Ok(tried(normaliser, prices, &resource, &scope, &span))
}

/// Tries a span of which only the name and the attributes are known, these as a plain JSON object.
///
/// # Errors
/// [`TrialError`] if `attributes` is not an object, or the span would be refused.
pub fn try_attributes(
    normaliser: &Normaliser,
    prices: &PriceTable,
    name: &str,
    attributes: &str,
    now_unix_nano: u64,
) -> Result<Trial, TrialError> {
    let attributes = attributes::from_object("attributes", attributes).map_err(|error| match error {
        RestoreError::Text { source, .. } => TrialError::json(&source, &source.path.replacen('$', "$.attributes", 1)),
        missing @ RestoreError::Missing { .. } => TrialError { detail: missing.to_string(), found: None, expected: None },
    })?;
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        name: name.to_owned(),
        start_time_unix_nano: now_unix_nano,
        end_time_unix_nano: now_unix_nano,
        attributes,
        ..Span::default()
    };
    check_span(&SpanRef::of(&span)).map_err(|refused| TrialError { detail: refused.detail, found: None, expected: None })?;
    Ok(tried(normaliser, prices, &Resource::default(), &InstrumentationScope::default(), &span))
}

fn tried(normaliser: &Normaliser, prices: &PriceTable, resource: &Resource, scope: &InstrumentationScope, span: &Span) -> Trial {
    let normalised = normaliser.span(resource, scope, &SpanRef::of(span));
    let is_call = normalised.facts.is_call;
    let duration = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
    let mut row = SpanRow {
        start_time: i64::try_from(span.start_time_unix_nano / 1000).expect("checked to fit"),
        duration_ns: i64::try_from(duration).unwrap_or(i64::MAX),
        genai: normalised.genai,
        ..SpanRow::default()
    };
    row.genai.counted = is_call;
    let cost_lines = cost::price_span(&mut row, prices);
    let dialect = row.genai.dialect.clone();
    let batch = SpanRow::batch([row]);
    let mut columns: Map<String, Value> = TableId::Spans
        .columns()
        .iter()
        .zip(batch.columns())
        .skip_while(|(column, _)| column.name != "dialect")
        .filter_map(|(column, array)| Some((column.name.to_owned(), value(column, array)?)))
        .collect();
    let rules = match columns.remove("rules") {
        Some(Value::Object(rules)) => rules,
        _ => Map::new(),
    };
    Trial { dialect, columns, rules, is_call, cost_lines }
}

/// The only value of `array`, if it is known.
fn value(column: &Column, array: &ArrayRef) -> Option<Value> {
    if array.is_null(0) {
        return None;
    }
    Some(match &column.data_type {
        DataType::Boolean => array.as_boolean().value(0).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(0).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(0).into(),
        DataType::Decimal128(..) => Money::read(array, 0).to_string().into(),
        _ => {
            let text = array.as_string::<i32>().value(0);
            let json = column.json.then(|| serde_json::from_str(text).ok()).flatten();
            json.unwrap_or_else(|| text.into())
        }
    })
}

impl TrialError {
    fn decode(error: DecodeRequestError) -> Self {
        match error {
            DecodeRequestError::Json(error) => Self::json(&error, &own_place(&error.path)),
            other => Self { detail: other.to_string(), found: None, expected: None },
        }
    }

    fn json(error: &JsonError, place: &str) -> Self {
        let JsonError { found, expected, .. } = error;
        let detail = format!("at `{place}`: found {found}, expected {expected}");
        Self { detail, found: Some(found.clone()), expected: Some(expected.clone().into_owned()) }
    }
}

/// `text` with places in the request as places in what was given.
fn own_place(text: &str) -> String {
    text.replace("$.resourceSpans[0].scopeSpans[0].spans[0]", "$.span")
        .replace("$.resourceSpans[0].scopeSpans[0].spans", "$.span")
        .replace("$.resourceSpans[0].scopeSpans[0].scope", "$.scope")
        .replace("$.resourceSpans[0].resource", "$.resource")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_262_400_000_000_000;

    fn check(span: &str) -> Result<Trial, TrialError> {
        try_span(&Normaliser::embedded(), &PriceTable::embedded(), TrialSpan { span, ..TrialSpan::default() }, NOW)
    }

    #[test]
    fn a_span_shows_its_values_rules_and_price() {
        let attributes = r#"{"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100, "gen_ai.input.messages":
            "[{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"content\":\"hi\"}]}]"}"#;
        let trial = try_attributes(&Normaliser::embedded(), &PriceTable::embedded(), "chat gpt-4o", attributes, NOW).unwrap();
        assert_eq!((trial.dialect.as_deref(), trial.is_call), (Some("otel"), true));
        assert_eq!((&trial.columns["input_tokens"], &trial.columns["cost_usd"]), (&1000.into(), &"0.0035".into()));
        assert_eq!(trial.columns["input_messages"][0]["role"], "user");
        assert_eq!(trial.rules["request_model"], "otel.gen_ai.request.model");
        assert!(!trial.columns.contains_key("tool_name") && !trial.columns.contains_key("rules"));
        assert_eq!(trial.cost_lines.iter().map(|line| line.units).sum::<i64>(), 1100);
    }

    #[test]
    fn the_scope_and_the_resource_count() {
        let (normaliser, prices) = (Normaliser::embedded(), PriceTable::embedded());
        let span = r#"{"name": "x", "attributes": [{"key": "openinference.span.kind", "value": {"stringValue": "LLM"}}]}"#;
        let scope = Some(r#"{"name": "openinference.instrumentation.openai"}"#);
        let trial = try_span(&normaliser, &prices, TrialSpan { span, scope, resource: None }, NOW).unwrap();
        assert_eq!((trial.dialect.as_deref(), &trial.columns["operation"]), (Some("openinference"), &"chat".into()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (span, says) in [
            (r#"{"attributes": 7}"#, "`$.span.attributes`"),
            (r#"{"traceId": "xyz"}"#, "`$.span.traceId`"),
            (r#"{"traceId": "00000000000000000000000000000000"}"#, "zeros"),
            ("[", "$.span"),
        ] {
            let error = check(span).unwrap_err();
            assert!(error.detail.contains(says), "{span}: {error}");
        }
        let error = try_attributes(&Normaliser::embedded(), &PriceTable::embedded(), "x", "[1]", NOW).unwrap_err();
        assert!(error.detail.contains("`$.attributes`"), "{error}");
    }
}
