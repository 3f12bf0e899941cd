//! The price table's JSON, compacted: only what a price needs is kept, prices become decimals digit by digit.

use std::{borrow::Cow, collections::HashMap, sync::RwLock};

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    EMBEDDED_VERSION, PriceRow, PriceTable,
    own::OwnPrices,
    pattern::{self, RawPattern},
    rates::{ClockRule, History, Period, Rate, RateSet, Rates},
    resolve::ProviderIndex,
};

/// The text is not a price table.
#[derive(Debug, thiserror::Error)]
pub enum LoadPricesError {
    /// Not the JSON described in `schemas/prices/README.md`.
    #[error("could not read the price table")]
    Json(#[source] serde_json::Error),
    /// A value that cannot be.
    #[error("`{found}` cannot be `{field}` of the price of `{model}`")]
    Value {
        /// Model of the row.
        model: String,
        /// Field of the row.
        field: &'static str,
        /// What stands there.
        found: String,
    },
}

type Number<'a> = Option<&'a RawValue>;

/// Structs with the rate fields next to others: `#[serde(flatten)]` would lose the digits of the numbers.
macro_rules! with_rates {
    ($(struct $Name:ident { $($(#[$attr:meta])* $field:ident: $Type:ty,)* })*) => {$(
        #[derive(Deserialize)]
        struct $Name<'a> {
            $($(#[$attr])* $field: $Type,)*
            #[serde(borrow, default)] input_per_mtok: Number<'a>,
            #[serde(borrow, default)] output_per_mtok: Number<'a>,
            #[serde(borrow, default)] cache_read_per_mtok: Number<'a>,
            #[serde(borrow, default)] cache_write_per_mtok: Number<'a>,
            #[serde(borrow, default)] cache_write_1h_per_mtok: Number<'a>,
            #[serde(borrow, default)] audio_in_per_mtok: Number<'a>,
            #[serde(borrow, default)] audio_out_per_mtok: Number<'a>,
            #[serde(borrow, default)] reasoning_out_per_mtok: Number<'a>,
        }

        impl $Name<'_> {
            fn rates(&self, model: &str) -> Result<Rates, LoadPricesError> {
                let stated = [
                    (Rate::Input, self.input_per_mtok), (Rate::Output, self.output_per_mtok),
                    (Rate::CacheRead, self.cache_read_per_mtok), (Rate::CacheWrite, self.cache_write_per_mtok),
                    (Rate::CacheWrite1h, self.cache_write_1h_per_mtok), (Rate::AudioInput, self.audio_in_per_mtok),
                    (Rate::AudioOutput, self.audio_out_per_mtok), (Rate::Reasoning, self.reasoning_out_per_mtok),
                ];
                let stated = stated.into_iter().filter_map(|(rate, number)| Some((rate, number?)));
                stated.map(|(rate, number)| Ok((rate, decimal(model, number)?))).collect()
            }
        }
    )*};
}

with_rates! {
    struct RawRow {
        #[serde(borrow)] provider: Cow<'a, str>,
        #[serde(borrow)] model: Cow<'a, str>,
        #[serde(borrow, default)] region: Option<Cow<'a, str>>,
        #[serde(borrow)] mode: Cow<'a, str>,
        #[serde(default)] aliases: Vec<String>,
        #[serde(default, rename = "match")] patterns: Vec<RawPattern>,
        #[serde(borrow, default)] tiers: Vec<RawTier<'a>>,
        #[serde(borrow, default)] rate_modes: HashMap<&'a str, RawSet<'a>>,
        #[serde(borrow, default)] time_of_day: Vec<RawClock<'a>>,
        #[serde(borrow, default)] region_uplift: HashMap<&'a str, &'a RawValue>,
        #[serde(default)] effective_from: Option<NaiveDate>,
        #[serde(borrow, default)] history: Vec<RawSet<'a>>,
        #[serde(borrow, default)] scheduled: Vec<RawSet<'a>>,
        #[serde(borrow)] check: Cow<'a, str>,
    }
    struct RawSet {
        #[serde(default)] effective_from: Option<NaiveDate>,
        #[serde(borrow, default)] tiers: Vec<RawTier<'a>>,
    }
    struct RawTier {
        above_input_tokens: i64,
    }
}

#[derive(Deserialize)]
struct RawClock<'a> {
    #[serde(default)]
    effective_from: Option<DateTime<Utc>>,
    #[serde(default)]
    effective_to: Option<DateTime<Utc>>,
    #[serde(borrow)]
    multiplier: &'a RawValue,
    utc_windows: Vec<(String, String)>,
    #[serde(default)]
    weekdays_only: bool,
    #[serde(default)]
    except_holidays: Option<String>,
    #[serde(default)]
    by: Option<String>,
}

impl PriceTable {
    /// A table in the format of `schemas/prices/README.md`. Suspect rows are left out.
    ///
    /// # Errors
    /// [`LoadPricesError`] says which value of which row cannot be.
    pub fn from_json(json: &str) -> Result<Self, LoadPricesError> {
        let raw: Vec<RawRow<'_>> = serde_json::from_str(json).map_err(LoadPricesError::Json)?;
        let mut rows = Vec::with_capacity(raw.len());
        let mut providers: Vec<ProviderIndex> = Vec::new();
        for raw in raw.iter().filter(|raw| raw.check != "suspect") {
            let idx = u32::try_from(rows.len()).expect("a price table has fewer than 2^32 rows");
            let at = providers.iter().position(|index| *index.provider == *raw.provider);
            let index = match at {
                Some(at) => &mut providers[at],
                None => {
                    providers.push(ProviderIndex::new(&raw.provider));
                    providers.last_mut().expect("just pushed")
                }
            };
            let mut patterns = Vec::new();
            for pattern in &raw.patterns {
                pattern::compile(pattern, &mut patterns).map_err(|found| invalid(&raw.model, "match", &found))?;
            }
            index.insert(idx, &raw.model, &raw.aliases, patterns);
            rows.push(PriceRow {
                provider: index.provider.clone(),
                model: (*raw.model).into(),
                region: raw.region.as_deref().map(Into::into),
                embedding: raw.mode == "embedding",
                history: history(raw)?,
            });
        }
        providers.iter_mut().for_each(ProviderIndex::finish);
        Ok(Self { rows, providers, own: OwnPrices::default(), version: EMBEDDED_VERSION.to_owned(), resolved: RwLock::default() })
    }
}

fn history(raw: &RawRow<'_>) -> Result<History, LoadPricesError> {
    let model = &*raw.model;
    let mut periods = Vec::with_capacity(raw.history.len() + 1 + raw.scheduled.len());
    for set in &raw.history {
        periods.push(Period { from: set.effective_from, rates: set.rate_set(model)? });
    }
    let current = periods.len();
    periods
        .push(Period { from: raw.effective_from, rates: RateSet { base: raw.rates(model)?, tiers: tiers(model, &raw.tiers)? } });
    for set in &raw.scheduled {
        periods.push(Period { from: set.effective_from, rates: set.rate_set(model)? });
    }
    if !periods.is_sorted_by_key(|period| period.from) {
        return Err(invalid(model, "history", "not in the order of time"));
    }
    let mut modes = Vec::with_capacity(raw.rate_modes.len());
    for (name, set) in &raw.rate_modes {
        let known = ["batch", "flex", "priority", "fast", "ultrafast"].into_iter().find(|known| known == name);
        modes.push((known.ok_or_else(|| invalid(model, "rate_modes", name))?, set.rate_set(model)?));
    }
    let clock = raw.time_of_day.iter().map(|rule| clock_rule(model, rule)).collect::<Result<_, _>>()?;
    let uplift =
        raw.region_uplift.iter().map(|(zone, number)| Ok(((*zone).into(), decimal(model, number)?))).collect::<Result<_, _>>()?;
    Ok(History { periods, current, modes, clock, uplift })
}

impl RawSet<'_> {
    fn rate_set(&self, model: &str) -> Result<RateSet, LoadPricesError> {
        Ok(RateSet { base: self.rates(model)?, tiers: tiers(model, &self.tiers)? })
    }
}

fn tiers(model: &str, raw: &[RawTier<'_>]) -> Result<Box<[(i64, Rates)]>, LoadPricesError> {
    let mut tiers: Vec<_> = raw.iter().map(|tier| Ok((tier.above_input_tokens, tier.rates(model)?))).collect::<Result<_, _>>()?;
    tiers.sort_by_key(|(above, _)| *above);
    Ok(tiers.into())
}

fn clock_rule(model: &str, raw: &RawClock<'_>) -> Result<ClockRule, LoadPricesError> {
    let minute = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        Some(hours.parse::<u32>().ok()? * 60 + minutes.parse::<u32>().ok()?)
    };
    let window = |(start, end): &(String, String)| {
        minute(start).zip(minute(end)).ok_or_else(|| invalid(model, "utc_windows", &format!("{start}-{end}")))
    };
    if let Some(country) = raw.except_holidays.as_deref().filter(|country| *country != "CN") {
        return Err(invalid(model, "except_holidays", country));
    }
    Ok(ClockRule {
        from: raw.effective_from,
        to: raw.effective_to,
        multiplier: decimal(model, raw.multiplier)?,
        windows: raw.utc_windows.iter().map(window).collect::<Result<_, _>>()?,
        weekdays_only: raw.weekdays_only,
        except_chinese_holidays: raw.except_holidays.is_some(),
        by_completion: raw.by.as_deref() == Some("completion-time"),
    })
}

fn decimal(model: &str, raw: &RawValue) -> Result<Decimal, LoadPricesError> {
    let price = Decimal::from_str_exact(raw.get()).ok().filter(|price| !price.is_sign_negative());
    price.ok_or_else(|| invalid(model, "a rate", raw.get()))
}

fn invalid(model: &str, field: &'static str, found: &str) -> LoadPricesError {
    LoadPricesError::Value { model: model.to_owned(), field, found: found.to_owned() }
}
