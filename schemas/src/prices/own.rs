//! Own prices: what the configuration says a model costs. They take precedence over the table.

use chrono::{DateTime, NaiveDate};
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, de};

use super::{
    rates::{Chosen, Rate, Rates, since},
    resolve::canonical_provider,
};

/// A price of one's own, e.g. a negotiated rate or a model that runs on own machines.
///
/// ```toml
/// [[prices]]
/// provider = "azure.ai.openai"   # optional: without it, at every provider
/// model = "my-deployment"        # a name, or a pattern with `*`; upper and lower case are equal
/// input_usd_per_million = "2.20" # text or a number
/// output_usd_per_million = "8.80"
/// effective_from = "2026-01-01"  # optional
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceOverride {
    /// Provider, in any spelling that telemetry uses; absent: every provider.
    #[serde(default)]
    pub provider: Option<String>,
    /// Model asked for or model that answered; `*` stands for any text.
    pub model: String,
    /// US dollars per million prompt tokens.
    #[serde(deserialize_with = "rate")]
    pub input_usd_per_million: Decimal,
    /// US dollars per million answer tokens; absent for embeddings.
    #[serde(default, deserialize_with = "optional_rate")]
    pub output_usd_per_million: Option<Decimal>,
    /// US dollars per million prompt tokens read from the cache; absent: the input rate.
    #[serde(default, deserialize_with = "optional_rate")]
    pub cache_read_usd_per_million: Option<Decimal>,
    /// US dollars per million prompt tokens written to the cache; absent: the input rate.
    #[serde(default, deserialize_with = "optional_rate")]
    pub cache_write_usd_per_million: Option<Decimal>,
    /// US dollars per million prompt tokens written to the cache for an hour; absent: the cache write rate.
    #[serde(default, deserialize_with = "optional_rate")]
    pub cache_write_1h_usd_per_million: Option<Decimal>,
    /// US dollars per million reasoning tokens; absent: the output rate.
    #[serde(default, deserialize_with = "optional_rate")]
    pub reasoning_usd_per_million: Option<Decimal>,
    /// US dollars per million audio tokens of the prompt; absent: the input rate.
    #[serde(default, deserialize_with = "optional_rate")]
    pub audio_input_usd_per_million: Option<Decimal>,
    /// US dollars per million audio tokens of the answer; absent: the output rate.
    #[serde(default, deserialize_with = "optional_rate")]
    pub audio_output_usd_per_million: Option<Decimal>,
    /// First day (UTC) of the price, as `YYYY-MM-DD`; absent: always. Of several prices for a model the latest that has begun applies.
    #[serde(default)]
    pub effective_from: Option<NaiveDate>,
}

/// An own price that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("own price {position}, model `{model}`: `{key}` is `{found}`, expected {expected}")]
pub struct InvalidPriceOverride {
    position: usize,
    model: String,
    key: &'static str,
    found: String,
    expected: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct OwnPrices(Vec<OwnPrice>);

#[derive(Debug)]
pub(super) struct OwnPrice {
    provider: Option<String>,
    model: String,
    effective_from: Option<NaiveDate>,
    rates: Rates,
}

impl OwnPrices {
    pub(super) fn new(overrides: &[PriceOverride]) -> Result<Self, InvalidPriceOverride> {
        let mut prices = Vec::with_capacity(overrides.len());
        for (idx, entry) in overrides.iter().enumerate() {
            prices.push(OwnPrice::new(entry).map_err(|(key, found, expected)| InvalidPriceOverride {
                position: idx + 1,
                model: entry.model.clone(),
                key,
                found,
                expected,
            })?);
        }
        // Most specific first: an exact model before a pattern, a named provider before any, a later day before an earlier one.
        prices.sort_by_key(|price| {
            (price.model.contains('*'), price.provider.is_none(), std::cmp::Reverse((price.effective_from, price.model.len())))
        });
        Ok(Self(prices))
    }

    pub(super) fn find(&self, provider: Option<&str>, model: &str, at: i64) -> Option<&OwnPrice> {
        if self.0.is_empty() {
            return None;
        }
        let provider = provider.map(spelling);
        let model = model.trim().to_ascii_lowercase();
        let day = DateTime::from_timestamp_micros(at).unwrap_or_default().date_naive();
        self.0.iter().find(|price| {
            price.effective_from.is_none_or(|from| from <= day)
                && (price.provider.is_none() || price.provider == provider)
                && glob(&price.model, &model)
        })
    }

    /// All of them, the most specific first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &OwnPrice> {
        self.0.iter()
    }

    /// A hash of the prices (FNV-1a), `None` without any.
    pub(super) fn fingerprint(&self) -> Option<u32> {
        let text = (!self.0.is_empty()).then(|| format!("{:?}", self.0))?;
        Some(text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)))
    }
}

impl OwnPrice {
    fn new(entry: &PriceOverride) -> Result<Self, (&'static str, String, &'static str)> {
        if entry.model.trim().is_empty() {
            return Err(("model", entry.model.clone(), "the name of a model"));
        }
        let write = entry.cache_write_usd_per_million;
        let rates = [
            ("input_usd_per_million", Rate::Input, Some(entry.input_usd_per_million)),
            ("output_usd_per_million", Rate::Output, entry.output_usd_per_million),
            ("cache_read_usd_per_million", Rate::CacheRead, entry.cache_read_usd_per_million),
            ("cache_write_usd_per_million", Rate::CacheWrite, write),
            ("cache_write_1h_usd_per_million", Rate::CacheWrite1h, entry.cache_write_1h_usd_per_million.or(write)),
            ("reasoning_usd_per_million", Rate::Reasoning, entry.reasoning_usd_per_million),
            ("audio_input_usd_per_million", Rate::AudioInput, entry.audio_input_usd_per_million),
            ("audio_output_usd_per_million", Rate::AudioOutput, entry.audio_output_usd_per_million),
        ];
        for (key, _, price) in &rates {
            // Nine decimals per million are fifteen per token, which is what the money columns hold.
            let sane = |price: &Decimal| {
                !price.is_sign_negative() && *price <= Decimal::from(1_000_000) && price.normalize().scale() <= 9
            };
            if let Some(price) = price.filter(|price| !sane(price)) {
                return Err((key, price.to_string(), "0 to 1000000 with at most 9 decimals"));
            }
        }
        Ok(Self {
            provider: entry.provider.as_deref().map(spelling),
            model: entry.model.trim().to_ascii_lowercase(),
            effective_from: entry.effective_from,
            rates: rates.into_iter().filter_map(|(_, rate, price)| Some((rate, price?))).collect(),
        })
    }

    pub(super) fn chosen(&self) -> Chosen<'_> {
        Chosen::flat(self.id(), &self.rates)
    }

    /// Names the price.
    pub(super) fn id(&self) -> String {
        since(format!("{}/{}", self.provider().unwrap_or("*"), self.model), self.effective_from)
    }

    pub(super) fn provider(&self) -> Option<&str> {
        self.provider.as_deref()
    }

    pub(super) fn model(&self) -> &str {
        &self.model
    }

    pub(super) fn effective_from(&self) -> Option<NaiveDate> {
        self.effective_from
    }

    pub(super) fn rates(&self) -> &Rates {
        &self.rates
    }

    pub(super) fn has_no_output(&self) -> bool {
        !self.rates.iter().any(|(rate, _)| *rate == Rate::Output)
    }
}

/// One spelling per provider, also for those that the table does not know.
fn spelling(provider: &str) -> String {
    canonical_provider(provider).map_or_else(|| provider.trim().to_ascii_lowercase(), str::to_owned)
}

/// Whether `text` is `pattern`, in which `*` stands for any text.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let (between, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut left) = text.strip_prefix(head).and_then(|text| text.strip_suffix(tail)) else { return false };
    // The first place where a part fits leaves the most to those after it.
    between.split('*').all(|part| {
        let found = left.find(part);
        left = found.map_or("", |at| &left[at + part.len()..]);
        found.is_some()
    })
}

/// A price as text, or as a number: a number's shortest decimal form is what was written.
fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Whole(i64),
        Fraction(f64),
    }
    let text = match Written::deserialize(deserializer)? {
        Written::Text(text) => text,
        Written::Whole(number) => number.to_string(),
        Written::Fraction(number) => number.to_string(),
    };
    Decimal::from_str_exact(text.trim())
        .map_err(|_| de::Error::custom(format!("`{text}` is not a price in US dollars, expected e.g. `0.15`")))
}

fn optional_rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    rate(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::glob;

    /// What `glob` means, tried in every way.
    fn every_way(pattern: &str, text: &str) -> bool {
        let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
        let Some(rest) = text.strip_prefix(head) else { return false };
        (0..=rest.len()).any(|at| every_way(tail, &rest[at..]))
    }

    /// All texts of these letters up to a length.
    fn texts(letters: &[char], length_max: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        for _ in 0..length_max {
            let longer = all.iter().flat_map(|text| letters.iter().map(move |letter| format!("{text}{letter}")));
            all = std::iter::once(String::new()).chain(longer).collect();
        }
        all
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for pattern in texts(&['a', 'b', '*'], 5) {
            for text in texts(&['a', 'b'], 5) {
                assert_eq!(glob(&pattern, &text), every_way(&pattern, &text), "`{pattern}` and `{text}`");
            }
        }
    }

    #[test]
    fn many_stars_take_no_longer() {
        assert!(!glob(&"*a".repeat(200), &format!("{}b", "a".repeat(10_000))));
        assert!(glob(&"*a".repeat(200), &"a".repeat(10_000)));
    }
}
