//! Every rate that the table states, one by one: for people who look prices up and for SQL.

use chrono::NaiveDate;
use rust_decimal::Decimal;

use super::{
    CostSource, PriceTable, UsageKind,
    rates::{Rate, RateSet, Rates, STANDARD, since},
};

/// One rate. A usage kind without a rate of its own is billed at that of the input or output it is part of; multipliers by the hour or
/// the region of a call are not in it.
#[derive(Clone, Debug, PartialEq)]
pub struct StatedRate {
    /// The price row, as [`super::Priced::price`] names it.
    pub price: String,
    /// [`CostSource::Computed`] for published prices, [`CostSource::Configured`] for own ones.
    pub source: CostSource,
    /// Provider; `None` for an own price at every provider.
    pub provider: Option<String>,
    /// Model; in an own price `*` stands for any text.
    pub model: String,
    /// Region, where it has a price of its own.
    pub region: Option<String>,
    /// Kind of token.
    pub kind: UsageKind,
    /// Rate set: `standard`, `batch`, `flex`, `priority`, `fast`, `ultrafast`.
    pub rate_mode: &'static str,
    /// It applies to prompts of more than so many tokens; `None` if to all.
    pub tier_above_tokens: Option<i64>,
    /// First day on which it is known to hold, UTC; `None` if that is not known.
    pub effective_from: Option<NaiveDate>,
    /// US dollars per million tokens.
    pub usd_per_million: Decimal,
}

impl PriceTable {
    /// All rates, own prices first.
    #[must_use]
    pub fn stated_rates(&self) -> Vec<StatedRate> {
        let mut stated = Vec::new();
        for own in self.own.iter() {
            let like = StatedRate {
                source: CostSource::Configured,
                provider: own.provider().map(str::to_owned),
                effective_from: own.effective_from(),
                ..StatedRate::of(own.id(), own.model())
            };
            stated.extend(like.each(own.rates()));
        }
        for row in &self.rows {
            for (idx, period) in row.history.periods.iter().enumerate() {
                let like = StatedRate {
                    provider: Some(row.provider.to_string()),
                    region: row.region.as_deref().map(str::to_owned),
                    effective_from: period.from,
                    ..StatedRate::of(since(row.id(), period.from), &row.model)
                };
                stated.extend(like.set(&period.rates));
                for (mode, set) in row.history.modes_of(idx) {
                    stated.extend(StatedRate { rate_mode: mode, ..like.clone() }.set(set));
                }
            }
        }
        stated
    }
}

impl StatedRate {
    fn of(price: String, model: &str) -> Self {
        Self {
            price,
            source: CostSource::Computed,
            provider: None,
            model: model.to_owned(),
            region: None,
            kind: UsageKind::Input,
            rate_mode: STANDARD,
            tier_above_tokens: None,
            effective_from: None,
            usd_per_million: Decimal::ZERO,
        }
    }

    /// The rates of a set with its tiers, each like this one.
    fn set(&self, set: &RateSet) -> Vec<Self> {
        let tiers = set.tiers.iter().map(|(above, rates)| (Some(*above), rates));
        let all = std::iter::once((None, &set.base)).chain(tiers);
        all.flat_map(|(tier_above_tokens, rates)| Self { tier_above_tokens, ..self.clone() }.each(rates)).collect()
    }

    fn each(&self, rates: &Rates) -> Vec<Self> {
        rates.iter().map(|(rate, price)| Self { kind: kind(*rate), usd_per_million: price.normalize(), ..self.clone() }).collect()
    }
}

fn kind(rate: Rate) -> UsageKind {
    match rate {
        Rate::Input => UsageKind::Input,
        Rate::Output => UsageKind::Output,
        Rate::CacheRead => UsageKind::CacheRead,
        Rate::CacheWrite => UsageKind::CacheWrite,
        Rate::CacheWrite1h => UsageKind::CacheWrite1h,
        Rate::AudioInput => UsageKind::AudioInput,
        Rate::AudioOutput => UsageKind::AudioOutput,
        Rate::Reasoning => UsageKind::Reasoning,
    }
}
