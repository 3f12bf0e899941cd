//! What tokens cost: a table of published prices, the resolution of model names to its rows, and exact cost lines.
//!
//! The facts are `schemas/prices/model_prices.json` (described in `schemas/prices/README.md`), embedded and compacted at load.
//! Used by ingest (`collector`), by re-pricing, and by the SQL function `llm_cost`. Pure: no clock, no I/O.
//!
//! The life of a price: [`PriceTable::price`] looks for an own price ([`PriceOverride`]) of the models named, else resolves the
//! model to a row ([`resolve`]), picks the rate set valid at the call's time, then the service tier, then the long-context
//! tier, then the clock and region multipliers ([`rates`]), and multiplies in decimal. Invariants: the units of the lines add up to
//! input plus output tokens; a call is priced as a whole or not at all; no number is ever a float.

mod list;
mod load;
mod own;
mod pattern;
mod rates;
mod resolve;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use rust_decimal::Decimal;

pub use self::{
    list::StatedRate,
    load::LoadPricesError,
    own::{InvalidPriceOverride, PriceOverride},
};
use self::{
    own::OwnPrices,
    rates::{Chosen, Rate},
};
use crate::table::MONEY_SCALE;

/// The day on which the embedded facts were gathered; names the price table in `cost_lines.price_table`.
const EMBEDDED_VERSION: &str = "2026-11-21";

/// A cost above this many dollars for one call is a broken count, not a bill: it would not fit the money columns.
const COST_USD_MAX: i64 = 1_000_000_000;

/// How many resolved names are remembered. A name beyond that is resolved anew each time (microseconds).
const RESOLVED_MAX: usize = 4096;

/// Published and own prices. Cheap to share behind an [`Arc`]; about 3 MB.
pub struct PriceTable {
    rows: Vec<PriceRow>,
    providers: Vec<resolve::ProviderIndex>,
    own: OwnPrices,
    version: String,
    resolved: RwLock<HashMap<String, Option<u32>>>,
}

/// What is asked of the table about one call.
#[derive(Clone, Copy, Debug, Default)]
pub struct PriceRequest<'a> {
    /// Provider, in any spelling that telemetry uses.
    pub provider: Option<&'a str>,
    /// Model that answered; tried first, except on Bedrock, where only the request names the region profile.
    pub response_model: Option<&'a str>,
    /// Model asked for.
    pub request_model: Option<&'a str>,
    /// Region or zone that served the call, where known: an AWS region, or `eu`, `us`, … elsewhere.
    pub region: Option<&'a str>,
    /// Service tier that answered: `default`, `flex`, `priority`, `batch`, …
    pub service_tier: Option<&'a str>,
    /// Start of the call, microseconds since 1970 UTC.
    pub started_at: i64,
    /// End of the call, microseconds since 1970 UTC.
    pub completed_at: i64,
}

/// Tokens of one call, as the canonical columns count them: `input` is the whole prompt, `output` the whole answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the whole prompt; `None` is unknown.
    pub input: Option<i64>,
    /// Tokens of the whole answer; `None` is unknown.
    pub output: Option<i64>,
    /// Part of `input` read from the prompt cache.
    pub cache_read: i64,
    /// Part of `input` written to the prompt cache, with any lifetime.
    pub cache_write: i64,
    /// Part of `cache_write` with a lifetime of one hour.
    pub cache_write_1h: i64,
    /// Part of `output` spent on reasoning.
    pub reasoning: i64,
    /// Part of `input` that is audio.
    pub audio_input: i64,
    /// Part of `output` that is audio.
    pub audio_output: i64,
}

/// The price of one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Priced {
    /// One line per usage kind with tokens; empty if usage is unknown.
    pub lines: Vec<CostLine>,
    /// Sum of the lines; `None` if the model has no price or the usage is unknown.
    pub cost_usd: Option<Decimal>,
    /// Where the price comes from.
    pub source: CostSource,
    /// The price row used: `provider/model[@region] since YYYY-MM-DD`, the day from which the rate is known to hold.
    pub price: Option<String>,
    /// Rate set used: `standard`, `batch`, `flex`, `priority`, `fast`, `ultrafast`.
    pub rate_mode: Option<&'static str>,
    /// The rates apply to prompts of more than so many tokens.
    pub tier_above_tokens: Option<i64>,
}

/// One usage kind of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct CostLine {
    /// What was used.
    pub kind: UsageKind,
    /// Tokens, more than zero.
    pub units: i64,
    /// US dollars per million tokens, multipliers included; `None` if unpriced.
    pub usd_per_million: Option<Decimal>,
    /// Units × price, rounded to the money scale (15 decimals); `None` if unpriced.
    pub cost_usd: Option<Decimal>,
}

/// Where a price comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostSource {
    /// The embedded table.
    Computed,
    /// An own price.
    Configured,
    /// The usage is known, a price is not.
    Unpriced,
    /// The usage is unknown: nothing to price.
    NoUsage,
}

impl CostSource {
    /// The value of `cost_source`; `None` where there is nothing to price.
    #[must_use]
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Computed => Some("computed"),
            Self::Configured => Some("configured"),
            Self::Unpriced => Some("unpriced"),
            Self::NoUsage => None,
        }
    }
}

/// A kind of token with a price of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UsageKind {
    /// Prompt tokens that are none of the kinds below.
    Input,
    /// Read from the prompt cache.
    CacheRead,
    /// Written to the prompt cache for its default lifetime.
    CacheWrite,
    /// Written to the prompt cache for an hour.
    CacheWrite1h,
    /// Audio in the prompt, where it has its own price.
    AudioInput,
    /// Answer tokens that are none of the kinds below.
    Output,
    /// Reasoning, where it has its own price.
    Reasoning,
    /// Audio in the answer, where it has its own price.
    AudioOutput,
}

impl UsageKind {
    /// The value of `cost_lines.usage_kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite => "cache_write",
            Self::CacheWrite1h => "cache_write_1h",
            Self::AudioInput => "audio_input",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::AudioOutput => "audio_output",
        }
    }
}

impl PriceTable {
    /// The table that is part of this program. Suspect rows are left out.
    ///
    /// # Panics
    /// If the embedded file is not a price table, which a test excludes.
    #[must_use]
    pub fn embedded() -> Self {
        Self::from_json(include_str!("../prices/model_prices.json")).expect("the embedded price table loads: a test loads it")
    }

    /// This table with own prices, which take precedence.
    ///
    /// # Errors
    /// [`InvalidPriceOverride`] names the entry and the key that cannot be.
    pub fn with_overrides(mut self, overrides: &[PriceOverride]) -> Result<Self, InvalidPriceOverride> {
        self.own = OwnPrices::new(overrides)?;
        self.version = match self.own.fingerprint() {
            Some(fingerprint) => format!("{EMBEDDED_VERSION}+own.{fingerprint:08x}"),
            None => EMBEDDED_VERSION.to_owned(),
        };
        Ok(self)
    }

    /// Names the facts used, own prices included: equal versions give equal prices.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Prices one call.
    #[must_use]
    pub fn price(&self, request: &PriceRequest<'_>, usage: &Usage) -> Priced {
        let found = self.find(request);
        let (Some(input), Some(output)) = (usage.input, usage.output.or_else(|| found.as_ref().and_then(Found::output_if_none)))
        else {
            return Priced::nothing(CostSource::NoUsage);
        };
        let usage = Usage { input: Some(input), output: Some(output), ..*usage };
        let Some(found) = found else { return Priced::unpriced(&usage) };
        let chosen = match &found {
            Found::Own(own) => own.chosen(),
            Found::Row(row) => row.choose(request, input.max(0)),
        };
        Priced::at(&usage, &chosen, found.source()).unwrap_or_else(|| Priced::unpriced(&usage))
    }

    /// The price row that a model name resolves to, as `provider/model[@region]`; `None` if the table has no price for it.
    #[must_use]
    pub fn resolve(&self, provider: Option<&str>, model: &str, region: Option<&str>) -> Option<String> {
        self.row(provider, model, region).map(PriceRow::id)
    }

    fn find(&self, request: &PriceRequest<'_>) -> Option<Found<'_>> {
        let mut models = [request.response_model, request.request_model];
        if resolve::is_bedrock(request.provider) {
            models.swap(0, 1);
        }
        let models = models.into_iter().flatten().filter(|model| !model.trim().is_empty());
        if let Some(own) = models.clone().find_map(|model| self.own.find(request.provider, model, request.started_at)) {
            return Some(Found::Own(own));
        }
        models.into_iter().find_map(|model| self.row(request.provider, model, request.region)).map(Found::Row)
    }

    fn row(&self, provider: Option<&str>, model: &str, region: Option<&str>) -> Option<&PriceRow> {
        let key = format!("{}\0{}\0{model}", provider.unwrap_or_default(), region.unwrap_or_default());
        let known = self.resolved.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&key).copied();
        let row = known.unwrap_or_else(|| {
            let row = resolve::resolve(self, provider, model, region);
            let mut resolved = self.resolved.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            if resolved.len() < RESOLVED_MAX && key.len() < 512 {
                resolved.insert(key, row);
            }
            row
        });
        row.map(|idx| &self.rows[idx as usize])
    }
}

/// What the SQL function `llm_cost(provider, model, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, time)` returns:
/// the cost in US dollars, `None` if the model has no price. `time` is in microseconds since 1970 UTC.
#[must_use]
pub fn llm_cost(
    table: &PriceTable,
    provider: Option<&str>,
    model: &str,
    (input, output, cache_read, cache_write): (i64, i64, i64, i64),
    time: i64,
) -> Option<Decimal> {
    let request =
        PriceRequest { provider, response_model: Some(model), started_at: time, completed_at: time, ..PriceRequest::default() };
    let usage = Usage { input: Some(input), output: Some(output), cache_read, cache_write, ..Usage::default() };
    table.price(&request, &usage).cost_usd
}

/// One row of the table: the prices of a model at a provider, over time.
struct PriceRow {
    provider: Arc<str>,
    model: Box<str>,
    region: Option<Box<str>>,
    embedding: bool,
    history: rates::History,
}

impl PriceRow {
    fn id(&self) -> String {
        match &self.region {
            Some(region) => format!("{}/{}@{region}", self.provider, self.model),
            None => format!("{}/{}", self.provider, self.model),
        }
    }

    fn choose(&self, request: &PriceRequest<'_>, prompt_tokens: i64) -> Chosen<'_> {
        self.history.choose(request, prompt_tokens, || self.id())
    }
}

enum Found<'a> {
    Own(&'a own::OwnPrice),
    Row(&'a PriceRow),
}

impl Found<'_> {
    fn source(&self) -> CostSource {
        match self {
            Self::Own(_) => CostSource::Configured,
            Self::Row(_) => CostSource::Computed,
        }
    }

    /// Embeddings have no output: for them an unknown output is none.
    fn output_if_none(&self) -> Option<i64> {
        let none = match self {
            Self::Own(own) => own.has_no_output(),
            Self::Row(row) => row.embedding,
        };
        none.then_some(0)
    }
}

impl Priced {
    fn nothing(source: CostSource) -> Self {
        Self { lines: Vec::new(), cost_usd: None, source, price: None, rate_mode: None, tier_above_tokens: None }
    }

    fn unpriced(usage: &Usage) -> Self {
        let lines = usage.split(|_| false).map(|(kind, units)| CostLine { kind, units, usd_per_million: None, cost_usd: None });
        Self { lines: lines.collect(), ..Self::nothing(CostSource::Unpriced) }
    }

    /// `None` if a rate that the usage needs is not known, or the cost is beyond any bill.
    fn at(usage: &Usage, chosen: &Chosen<'_>, source: CostSource) -> Option<Self> {
        let mut lines = Vec::with_capacity(4);
        let mut total = Decimal::ZERO;
        for (kind, units) in usage.split(|rate| chosen.rate(rate).is_some()) {
            let usd_per_million = chosen.price_of(kind)?;
            let cost = usd_per_million.checked_mul(Decimal::from(units))?.checked_mul(Decimal::new(1, 6))?;
            let cost = cost.round_dp(MONEY_SCALE as u32).normalize();
            total = total.checked_add(cost).filter(|total| *total <= Decimal::from(COST_USD_MAX))?;
            lines.push(CostLine { kind, units, usd_per_million: Some(usd_per_million), cost_usd: Some(cost) });
        }
        Some(Self {
            lines,
            cost_usd: Some(total.normalize()),
            source,
            price: Some(chosen.price.clone()),
            rate_mode: Some(chosen.mode),
            tier_above_tokens: chosen.tier_above_tokens,
        })
    }
}

impl Usage {
    /// The usage as disjoint kinds with tokens. Parts that exceed their whole are cut, so that nothing is billed twice and nothing is
    /// negative. `own_rate` says whether audio or reasoning has a rate of its own; without one it stays inside input or output.
    fn split(&self, own_rate: impl Fn(Rate) -> bool) -> impl Iterator<Item = (UsageKind, i64)> {
        let part = |part: i64, left: &mut i64| {
            let part = part.clamp(0, *left);
            *left -= part;
            part
        };
        let mut input = self.input.unwrap_or(0).max(0);
        let mut output = self.output.unwrap_or(0).max(0);
        let cache_read = part(self.cache_read, &mut input);
        let mut cache_write = part(self.cache_write.max(self.cache_write_1h), &mut input);
        let cache_write_1h = part(self.cache_write_1h, &mut cache_write);
        let audio_input = if own_rate(Rate::AudioInput) { part(self.audio_input, &mut input) } else { 0 };
        let audio_output = if own_rate(Rate::AudioOutput) { part(self.audio_output, &mut output) } else { 0 };
        let reasoning = if own_rate(Rate::Reasoning) { part(self.reasoning, &mut output) } else { 0 };
        [
            (UsageKind::Input, input),
            (UsageKind::CacheRead, cache_read),
            (UsageKind::CacheWrite, cache_write),
            (UsageKind::CacheWrite1h, cache_write_1h),
            (UsageKind::AudioInput, audio_input),
            (UsageKind::Output, output),
            (UsageKind::Reasoning, reasoning),
            (UsageKind::AudioOutput, audio_output),
        ]
        .into_iter()
        .filter(|(_, units)| *units > 0)
    }
}

impl std::fmt::Debug for PriceTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PriceTable").field("version", &self.version).field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}
