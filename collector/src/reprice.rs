//! Prices a past range anew: a preview of the difference, then the rows that make it so.
//!
//! Pure: the caller reads [`PastCall`]s (slim columns of `spans` and `logs`, corrections applied, with their `cost_lines`), and publishes
//! what [`reprice`] returns. How old lines are superseded: they are not. Accounts are corrected by reversing entries, and so are
//! `cost_lines`: for each old line a line with negative units and negative cost is appended, then the new lines. A sum over
//! `cost_lines` is right at every moment without knowing any of this, the old price stays on record, and for counted rows
//! `sum(cost_lines.cost_usd)` stays equal to `sum(cost_usd)` of the calls. The row's own columns change by a correction (`reprice`),
//! of a span as of a log record that reports a call.

use std::collections::BTreeMap;

use assay_schemas::{
    genai::GenAi,
    prices::PriceTable,
    tables::{CorrectionRow, CostLineRow, Origin},
};
use chrono::{DateTime, NaiveDate};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::json;

use crate::cost;

/// A row of `spans` (or `logs`) with usage, and what it was priced at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PastCall {
    /// `trace_id`
    pub trace_id: Option<String>,
    /// `span_id` of a row of `spans`; `None` for a log record.
    pub span_id: Option<String>,
    /// `log_id` of a row of `logs`; `None` for a span.
    pub log_id: Option<String>,
    /// `start_time`, or `time` of a log record, microseconds since 1970 UTC.
    pub start_time: i64,
    /// `duration_ns`; 0 for a log record.
    pub duration_ns: i64,
    /// The canonical columns: provider, models, `service_tier`, all token counts, `counted`, `cost_usd`, `cost_source`.
    pub genai: GenAi,
    /// All its `cost_lines`, earlier reversals included.
    pub lines: Vec<CostLineRow>,
}

/// What re-pricing would change.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Preview {
    /// By day, provider and model, in that order. Only rows that count.
    pub models: Vec<PreviewLine>,
    /// Cost of all rows that count, as it is, in US dollars. Unpriced calls add nothing.
    pub old_cost_usd: Decimal,
    /// As it would be.
    pub new_cost_usd: Decimal,
    /// Rows whose price would change, rows that do not count included.
    pub changed_rows: u64,
}

/// One model on one day.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PreviewLine {
    /// Day of the call, UTC.
    pub day: NaiveDate,
    /// Provider, if known.
    pub provider: Option<String>,
    /// Model that answered, else the one asked for.
    pub model: Option<String>,
    /// Calls that count.
    pub calls: u64,
    /// Of these, calls whose price would change.
    pub changed_calls: u64,
    /// Calls without a price, as it is.
    pub unpriced_before: u64,
    /// Calls without a price, as it would be.
    pub unpriced_after: u64,
    /// Their cost as it is, in US dollars.
    pub old_cost_usd: Decimal,
    /// Their cost as it would be.
    pub new_cost_usd: Decimal,
    /// New minus old.
    pub difference_usd: Decimal,
}

/// A re-pricing.
#[derive(Debug, Default, PartialEq)]
pub struct Repriced {
    /// The calls whose price changes.
    pub changes: Vec<ChangedCall>,
    /// What changes.
    pub preview: Preview,
}

/// The rows that change the price of one call; publish them together.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedCall {
    /// New `cost_usd` and `cost_source`.
    pub correction: CorrectionRow,
    /// Reversals of the old lines, and the new lines.
    pub cost_lines: Vec<CostLineRow>,
}

/// Prices `calls` by `prices`, as rows received at `origin` (whose project is that of the calls). For a preview alone, drop the rows.
#[must_use]
pub fn reprice(calls: impl IntoIterator<Item = PastCall>, prices: &PriceTable, origin: &Origin) -> Repriced {
    let mut repriced = Repriced::default();
    let mut models = BTreeMap::<(NaiveDate, Option<String>, Option<String>), PreviewLine>::new();
    for call in calls {
        let change = Change::of(&call, prices, origin);
        repriced.preview.changed_rows += u64::from(change.changed);
        if call.genai.counted {
            let day = DateTime::from_timestamp_micros(call.start_time).unwrap_or_default().date_naive();
            let model = call.genai.response_model.clone().or_else(|| call.genai.request_model.clone());
            let key = (day, call.genai.provider.clone(), model);
            let line = models.entry(key.clone()).or_insert_with(|| PreviewLine::new(key));
            line.add(&call.genai, &change);
        }
        if change.changed {
            let patch = json!({ "cost_usd": change.cost_usd.map(|cost| cost.to_string()), "cost_source": change.cost_source });
            let cost_lines = reversals(&call.lines, origin).into_iter().chain(change.lines).collect();
            let correction = CorrectionRow {
                origin: origin.clone(),
                trace_id: call.trace_id.unwrap_or_default(),
                span_id: call.span_id.unwrap_or_default(),
                log_id: call.log_id,
                patch: patch.to_string(),
                reason: "reprice".to_owned(),
            };
            repriced.changes.push(ChangedCall { correction, cost_lines });
        }
    }
    let preview = &mut repriced.preview;
    preview.models = models.into_values().collect();
    preview.old_cost_usd = preview.models.iter().map(|line| line.old_cost_usd).sum();
    preview.new_cost_usd = preview.models.iter().map(|line| line.new_cost_usd).sum();
    repriced
}

/// The new price of one row.
struct Change {
    cost_usd: Option<Decimal>,
    cost_source: Option<String>,
    lines: Vec<CostLineRow>,
    changed: bool,
}

impl Change {
    fn of(call: &PastCall, prices: &PriceTable, origin: &Origin) -> Self {
        let mut genai = GenAi { cost_usd: None, cost_source: None, ..call.genai.clone() };
        let place = cost::PricedCall {
            origin,
            trace_id: call.trace_id.as_deref(),
            span_id: call.span_id.as_deref(),
            log_id: call.log_id.as_deref(),
            started_at: call.start_time,
            completed_at: call.start_time.saturating_add(call.duration_ns / 1000),
        };
        let lines = place.price(&mut genai, prices);
        let changed = genai.cost_usd != call.genai.cost_usd
            || genai.cost_source != call.genai.cost_source
            || amounts(net(&call.lines)) != amounts(lines.clone());
        Self { cost_usd: genai.cost_usd, cost_source: genai.cost_source, lines, changed }
    }
}

impl PreviewLine {
    fn new((day, provider, model): (NaiveDate, Option<String>, Option<String>)) -> Self {
        let zero = Decimal::ZERO;
        Self {
            day,
            provider,
            model,
            calls: 0,
            changed_calls: 0,
            unpriced_before: 0,
            unpriced_after: 0,
            old_cost_usd: zero,
            new_cost_usd: zero,
            difference_usd: zero,
        }
    }

    fn add(&mut self, old: &GenAi, new: &Change) {
        let unpriced = |source: &Option<String>| u64::from(source.as_deref() == Some("unpriced"));
        self.calls += 1;
        self.changed_calls += u64::from(new.changed);
        self.unpriced_before += unpriced(&old.cost_source);
        self.unpriced_after += unpriced(&new.cost_source);
        self.old_cost_usd += old.cost_usd.unwrap_or_default();
        self.new_cost_usd += new.cost_usd.unwrap_or_default();
        self.difference_usd = self.new_cost_usd - self.old_cost_usd;
    }
}

/// The lines that stand: those that no reversal has taken back.
fn net(lines: &[CostLineRow]) -> Vec<CostLineRow> {
    let mut standing: Vec<CostLineRow> = Vec::new();
    for line in lines.iter().filter(|line| line.units > 0) {
        standing.push(line.clone());
    }
    for reversal in lines.iter().filter(|line| line.units < 0) {
        let taken_back = |line: &CostLineRow| {
            line.usage_kind == reversal.usage_kind
                && line.units == -reversal.units
                && line.usd_per_million == reversal.usd_per_million
                && line.source == reversal.source
                && line.price == reversal.price
                && line.rate_mode == reversal.rate_mode
                && line.price_table == reversal.price_table
        };
        if let Some(at) = standing.iter().position(taken_back) {
            standing.remove(at);
        }
    }
    standing
}

fn reversals(lines: &[CostLineRow], origin: &Origin) -> Vec<CostLineRow> {
    let reversal = |line: CostLineRow| CostLineRow {
        origin: origin.clone(),
        units: -line.units,
        cost_usd: line.cost_usd.map(|cost| -cost),
        ..line
    };
    net(lines).into_iter().map(reversal).collect()
}

/// What makes two sets of lines the same price.
fn amounts(lines: Vec<CostLineRow>) -> impl PartialEq {
    let amount = |line: CostLineRow| (line.usage_kind, line.units, line.usd_per_million, line.cost_usd, line.source);
    let mut amounts: Vec<_> = lines.into_iter().map(amount).collect();
    amounts.sort();
    amounts
}

#[cfg(test)]
mod tests {
    use assay_schemas::{prices::PriceOverride, tables::SpanRow};

    use super::*;

    fn prices(own: &str) -> PriceTable {
        let own: Vec<PriceOverride> =
            if own.is_empty() { Vec::new() } else { vec![serde_json::from_str(own).expect("an own price")] };
        PriceTable::embedded().with_overrides(&own).expect("valid prices")
    }

    fn priced_at(table: &PriceTable, model: &str, counted: bool) -> PastCall {
        let mut row = SpanRow {
            trace_id: "1".repeat(32),
            span_id: "2".repeat(16),
            start_time: 1_795_262_400_000_000,
            ..SpanRow::default()
        };
        *row.genai = GenAi {
            provider: Some("openai".to_owned()),
            request_model: Some(model.to_owned()),
            input_tokens: Some(1000),
            output_tokens: Some(100),
            counted,
            ..GenAi::default()
        };
        let lines = cost::price_span(&mut row, table);
        PastCall {
            trace_id: Some(row.trace_id),
            span_id: Some(row.span_id),
            log_id: None,
            start_time: row.start_time,
            duration_ns: 0,
            genai: row.genai.into_inner(),
            lines,
        }
    }

    /// The call as the store has it after `repriced` was published.
    fn applied(call: &PastCall, repriced: &Repriced) -> PastCall {
        let mut call = call.clone();
        for change in &repriced.changes {
            let patch: serde_json::Value = serde_json::from_str(&change.correction.patch).expect("a patch");
            call.genai.cost_usd = patch["cost_usd"].as_str().map(|cost| cost.parse().expect("a decimal"));
            call.genai.cost_source = patch["cost_source"].as_str().map(str::to_owned);
            call.lines.extend(change.cost_lines.iter().cloned());
        }
        call
    }

    fn sums(call: &PastCall) -> (Decimal, i64) {
        (call.lines.iter().filter_map(|line| line.cost_usd).sum(), call.lines.iter().map(|line| line.units).sum())
    }

    #[test]
    fn the_sum_of_the_lines_stays_the_cost_of_the_call() {
        let tables = [
            prices(""),
            prices(r#"{"model": "gpt-4o", "input_usd_per_million": "1", "output_usd_per_million": "4"}"#),
            prices(r#"{"model": "gpt-4o", "input_usd_per_million": "2", "output_usd_per_million": "4"}"#),
        ];
        let mut call = priced_at(&tables[0], "gpt-4o", true);
        assert_eq!(call.genai.cost_usd, Some("0.0035".parse().expect("a decimal")));
        for (table, cost) in [(&tables[1], "0.0014"), (&tables[2], "0.0024"), (&tables[1], "0.0014"), (&tables[0], "0.0035")] {
            let repriced = reprice([call.clone()], table, &Origin::default());
            assert_eq!(repriced.preview.changed_rows, 1);
            call = applied(&call, &repriced);
            assert_eq!(call.genai.cost_usd, Some(cost.parse().expect("a decimal")));
            assert_eq!(sums(&call), (call.genai.cost_usd.expect("a cost"), 1100));
            // Once applied, there is nothing left to change.
            let again = reprice([call.clone()], table, &Origin::default());
            assert!(again.changes.is_empty());
        }
    }

    #[test]
    fn a_price_found_later_is_booked_and_previewed() {
        let call = priced_at(&prices(""), "in-house", true);
        assert_eq!(call.genai.cost_source.as_deref(), Some("unpriced"));
        let now = prices(r#"{"model": "in-house", "input_usd_per_million": "1", "output_usd_per_million": "10"}"#);
        let repriced = reprice([call.clone(), priced_at(&now, "gpt-4o", true)], &now, &Origin::default());
        assert_eq!(sums(&applied(&call, &repriced)), ("0.002".parse().expect("a decimal"), 1100));
        let preview = &repriced.preview;
        assert_eq!(
            (preview.old_cost_usd.to_string(), preview.new_cost_usd.to_string()),
            ("0.0035".to_owned(), "0.0055".to_owned())
        );
        let line = &preview.models[1];
        assert_eq!((line.model.as_deref(), line.calls, line.unpriced_before, line.unpriced_after), (Some("in-house"), 1, 1, 0));
        assert_eq!((line.day.to_string(), line.difference_usd.to_string()), ("2026-11-21".to_owned(), "0.002".to_owned()));
    }

    #[test]
    fn rows_that_do_not_count_change_without_a_preview() {
        let now = prices(r#"{"model": "*", "input_usd_per_million": "1", "output_usd_per_million": "10"}"#);
        let wrapper = priced_at(&prices(""), "gpt-4o", false);
        let repriced = reprice([wrapper], &now, &Origin::default());
        assert_eq!((repriced.changes.len(), repriced.preview.models.len()), (1, 0));
    }

    #[test]
    fn a_call_told_by_a_log_record_is_priced_by_its_own_identity() {
        let mut call = priced_at(&prices(""), "in-house", true);
        (call.span_id, call.log_id) = (None, Some("0a".to_owned()));
        call.lines.iter_mut().for_each(|line| (line.span_id, line.log_id) = (None, Some("0a".to_owned())));
        let now = prices(r#"{"model": "in-house", "input_usd_per_million": "1", "output_usd_per_million": "10"}"#);
        let repriced = reprice([call.clone()], &now, &Origin::default());
        let [change] = repriced.changes.as_slice() else { panic!("one change: {repriced:?}") };
        assert_eq!((change.correction.span_id.as_str(), change.correction.log_id.as_deref()), ("", Some("0a")));
        assert!(change.cost_lines.iter().all(|line| line.span_id.is_none() && line.log_id.as_deref() == Some("0a")));
        assert_eq!(sums(&applied(&call, &repriced)), ("0.002".parse().expect("a decimal"), 1100));
    }
}
