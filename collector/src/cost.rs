//! From canonical values to money: the cost columns of a row and its `cost_lines`.

use assay_schemas::{
    genai::GenAi,
    prices::{CostSource, PriceRequest, PriceTable, Priced, Usage},
    tables::{CostLineRow, LogRow, Origin, SpanRow},
};

/// Fills `cost_usd` and `cost_source` of a span and returns its lines; none if its usage is unknown. `genai.counted` must be decided.
pub(crate) fn price_span(row: &mut SpanRow, prices: &PriceTable) -> Vec<CostLineRow> {
    if row.genai.is_blank() {
        return Vec::new();
    }
    let (started_at, completed_at) = (row.start_time, row.start_time.saturating_add(row.duration_ns / 1000));
    let call = PricedCall {
        origin: &row.origin,
        trace_id: Some(&row.trace_id),
        span_id: Some(&row.span_id),
        log_id: None,
        started_at,
        completed_at,
    };
    call.price(&mut row.genai, prices)
}

/// As [`price_span`], for a log record that reports a call. The lines name the record and the trace, not the span: the span that a
/// record was written in is another row, with lines of its own.
pub(crate) fn price_log(row: &mut LogRow, prices: &PriceTable) -> Vec<CostLineRow> {
    let call = PricedCall {
        origin: &row.origin,
        trace_id: row.trace_id.as_deref(),
        span_id: None,
        log_id: Some(&row.log_id),
        started_at: row.time,
        completed_at: row.time,
    };
    call.price(&mut row.genai, prices)
}

/// Prices canonical values at a time (microseconds since 1970 UTC).
fn price(genai: &GenAi, started_at: i64, completed_at: i64, prices: &PriceTable) -> Priced {
    let request = PriceRequest {
        provider: genai.provider.as_deref(),
        response_model: genai.response_model.as_deref(),
        request_model: genai.request_model.as_deref(),
        region: None,
        service_tier: genai.service_tier.as_deref(),
        started_at,
        completed_at,
    };
    prices.price(&request, &usage(genai))
}

/// Where and when a call was made.
pub(crate) struct PricedCall<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) trace_id: Option<&'a str>,
    pub(crate) span_id: Option<&'a str>,
    pub(crate) log_id: Option<&'a str>,
    pub(crate) started_at: i64,
    pub(crate) completed_at: i64,
}

impl PricedCall<'_> {
    /// Fills the cost columns of `genai` and returns the lines.
    pub(crate) fn price(&self, genai: &mut GenAi, prices: &PriceTable) -> Vec<CostLineRow> {
        let nothing_to_price = genai.input_tokens.is_none() && genai.output_tokens.is_none();
        // A wrapper that names no model has no price of its own to miss.
        let nameless = !genai.counted && genai.request_model.is_none() && genai.response_model.is_none();
        if nothing_to_price || nameless {
            return Vec::new();
        }
        let priced = price(genai, self.started_at, self.completed_at, prices);
        genai.cost_usd = priced.cost_usd;
        genai.cost_source = priced.source.as_str().map(str::to_owned);
        self.lines(genai, &priced, prices.version())
    }

    fn lines(&self, genai: &GenAi, priced: &Priced, price_table: &str) -> Vec<CostLineRow> {
        let source = priced.source.as_str().unwrap_or_default();
        let row = |line: &assay_schemas::prices::CostLine| CostLineRow {
            origin: self.origin.clone(),
            trace_id: self.trace_id.map(str::to_owned),
            span_id: self.span_id.map(str::to_owned),
            log_id: self.log_id.map(str::to_owned),
            start_time: self.started_at,
            provider: genai.provider.clone(),
            model: genai.response_model.clone().or_else(|| genai.request_model.clone()),
            usage_kind: line.kind.as_str().to_owned(),
            units: line.units,
            usd_per_million: line.usd_per_million,
            cost_usd: line.cost_usd,
            source: source.to_owned(),
            price: priced.price.clone(),
            rate_mode: priced.rate_mode.map(str::to_owned),
            tier_above_tokens: priced.tier_above_tokens,
            price_table: price_table.to_owned(),
            counted: genai.counted,
        };
        debug_assert!(priced.source != CostSource::NoUsage || priced.lines.is_empty());
        priced.lines.iter().map(row).collect()
    }
}

fn usage(genai: &GenAi) -> Usage {
    Usage {
        input: genai.input_tokens,
        output: genai.output_tokens,
        cache_read: genai.cache_read_tokens.unwrap_or(0),
        cache_write: genai.cache_write_tokens.unwrap_or(0),
        cache_write_1h: genai.cache_write_1h_tokens.unwrap_or(0),
        reasoning: genai.reasoning_tokens.unwrap_or(0),
        audio_input: genai.audio_input_tokens.unwrap_or(0),
        audio_output: genai.audio_output_tokens.unwrap_or(0),
    }
}
