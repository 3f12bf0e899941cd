//! What operators and people give: mapping files, a span to try, prices of their own. Whatever is taken is usable.

use std::sync::OnceLock;

use assay_collector::{
    normalise::Normaliser,
    otlp::borrowed::SpanRef,
    trial::{TrialSpan, try_span},
};
use assay_schemas::{
    dialects::Dialect,
    prices::{PriceOverride, PriceRequest, PriceTable, Usage},
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::InstrumentationScope, resource::v1::Resource, trace::v1::Span,
};
use prost::Message as _;
use rust_decimal::Decimal;
use serde::Deserialize;

use super::text;
use crate::corpus;

const NOW_UNIX_NANO: u64 = 1_763_700_000_000_000_000;

/// Any text as a mapping file; one that is taken is applied to spans that real SDKs sent.
pub(super) fn dialect(input: &[u8]) {
    let text = text(input);
    if Dialect::parse("fuzz.toml", &text).is_err() {
        return;
    }
    let Ok(normaliser) = Normaliser::with_files([("fuzz.toml".to_owned(), text)]) else { return };
    let (resource, scope) = (Resource::default(), InstrumentationScope::default());
    for span in spans().iter().map(SpanRef::of) {
        let first = format!("{:?}", normaliser.span(&resource, &scope, &span));
        assert_eq!(first, format!("{:?}", normaliser.span(&resource, &scope, &span)), "one file reads one span in one way");
    }
}

/// Any text as a span to try.
pub(super) fn trial(input: &[u8]) {
    let text = text(input);
    let trial = TrialSpan { span: &text, resource: None, scope: None };
    if let Ok(tried) = try_span(normaliser(), prices_table(), trial, NOW_UNIX_NANO) {
        for (column, rule) in &tried.rules {
            assert!(tried.columns.contains_key(column), "rule `{rule}` says that it filled `{column}`, which is empty");
        }
        for line in &tried.cost_lines {
            assert!(line.cost_usd.is_none_or(|cost| cost >= Decimal::ZERO), "a cost below zero");
            assert_eq!(line.counted, tried.is_call, "a line counts if its span is a call");
        }
    }
}

#[derive(Deserialize)]
struct Prices {
    prices: Vec<PriceOverride>,
}

/// Any text as prices in the configuration; one that is taken prices calls, never below zero.
pub(super) fn prices(input: &[u8]) {
    let Ok(Prices { prices }) = toml::from_str(&text(input)) else { return };
    let Ok(table) = PriceTable::from_json("[]").expect("an empty table").with_overrides(&prices) else { return };
    for model in prices.iter().map(|price| price.model.as_str()).chain(["gpt-4o", "", "*"]) {
        let request = PriceRequest { provider: Some("openai"), response_model: Some(model), ..PriceRequest::default() };
        for tokens in [0, 1, 1_000_000, i64::MAX] {
            let usage = Usage {
                input: Some(tokens),
                output: Some(tokens),
                cache_read: tokens / 2,
                reasoning: tokens,
                ..Usage::default()
            };
            let priced = table.price(&request, &usage);
            assert!(priced.cost_usd.is_none_or(|cost| !cost.is_sign_negative() || cost.is_zero()), "a negative cost");
            if let Some(cost) = priced.cost_usd {
                let lines = priced.lines.iter().filter_map(|line| line.cost_usd).sum();
                assert_eq!(cost, lines, "a cost is the sum of its lines");
            }
        }
    }
}

pub(super) fn dialect_seeds() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/dialects");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("the mapping files").filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.iter().map(|path| std::fs::read(path).expect("a mapping file")).collect()
}

pub(super) fn trial_seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        br#"{"attributes": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 12}}"#.to_vec(),
        br#"{"attributes": [{"key": "a", "value": {"doubleValue": "NaN"}}], "startTimeUnixNano": "0"}"#.to_vec(),
    ];
    seeds.extend(spans().iter().map(|span| assay_collector::otlp::json::encode(span).into_bytes()));
    seeds
}

pub(super) fn price_seeds() -> Vec<Vec<u8>> {
    let page = include_str!("../../../docs/configuration.md");
    let block = page.split("```toml\n").find(|block| block.starts_with("[[prices]]")).and_then(|block| block.split("```").next());
    let own = "[[prices]]\nmodel = 'gpt*'\ninput_usd_per_million = 0.1\nreasoning_usd_per_million = '3'\n[[prices]]\nmodel = ''\ninput_usd_per_million = 1e9\n";
    vec![block.expect("the page shows prices").as_bytes().to_vec(), own.as_bytes().to_vec()]
}

fn normaliser() -> &'static Normaliser {
    static NORMALISER: OnceLock<Normaliser> = OnceLock::new();
    NORMALISER.get_or_init(Normaliser::embedded)
}

fn prices_table() -> &'static PriceTable {
    static PRICES: OnceLock<PriceTable> = OnceLock::new();
    PRICES.get_or_init(PriceTable::embedded)
}

/// Spans that real SDKs sent, one of each twelfth capture.
fn spans() -> &'static [Span] {
    static SPANS: OnceLock<Vec<Span>> = OnceLock::new();
    SPANS.get_or_init(|| {
        let captures = corpus::captures().into_iter().filter(|captured| !captured.json).step_by(12);
        let requests = captures.filter_map(|captured| ExportTraceServiceRequest::decode(captured.body.as_slice()).ok());
        requests
            .filter_map(|request| {
                request.resource_spans.into_iter().next()?.scope_spans.into_iter().next()?.spans.into_iter().next()
            })
            .collect()
    })
}
