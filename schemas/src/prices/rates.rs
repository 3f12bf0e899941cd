//! The rates of one price row over time, and the choice among them for one call: validity date, then service tier, then long-context
//! tier, then multipliers by clock and region. Pure.

use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc, Weekday};
use rust_decimal::Decimal;

use super::{PriceRequest, UsageKind};

/// A rate, in US dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rate {
    Input,
    Output,
    CacheRead,
    CacheWrite,
    CacheWrite1h,
    AudioInput,
    AudioOutput,
    Reasoning,
}

/// Few entries: a linear search beats a map, and an absent rate takes no room.
pub(super) type Rates = Box<[(Rate, Decimal)]>;

/// Rates with the long-context tiers that replace some of them.
#[derive(Clone, Debug, Default)]
pub(super) struct RateSet {
    pub(super) base: Rates,
    /// `(above_input_tokens, rates)`, ascending.
    pub(super) tiers: Box<[(i64, Rates)]>,
}

/// A rate set and the day since when it holds; `None` is "since before records".
#[derive(Debug)]
pub(super) struct Period {
    pub(super) from: Option<NaiveDate>,
    pub(super) rates: RateSet,
}

/// Everything a row says about money.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Ascending by `from`; never empty. The last one that has begun applies, and the first one before its own beginning: an
    /// effective date says since when a rate is *known*, and the oldest known rate is the best fact there is about earlier days.
    pub(super) periods: Vec<Period>,
    /// Which of `periods` the row calls current: `modes` are stated for it.
    pub(super) current: usize,
    pub(super) modes: Vec<(&'static str, RateSet)>,
    pub(super) clock: Vec<ClockRule>,
    /// Multiplier by zone.
    pub(super) uplift: Vec<(Box<str>, Decimal)>,
}

/// A multiplier that applies at some hours.
#[derive(Debug)]
pub(super) struct ClockRule {
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) to: Option<DateTime<Utc>>,
    pub(super) multiplier: Decimal,
    /// Minutes of the day, `[start, end)`; a window with `end < start` passes midnight.
    pub(super) windows: Vec<(u32, u32)>,
    pub(super) weekdays_only: bool,
    pub(super) except_chinese_holidays: bool,
    pub(super) by_completion: bool,
}

/// The rates that apply to one call.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    pub(super) price: String,
    pub(super) mode: &'static str,
    pub(super) tier_above_tokens: Option<i64>,
    /// Most specific first: tier of the mode, mode, tier of the standard set, standard set.
    layers: [Option<&'a Rates>; 4],
    multiplier: Decimal,
}

pub(super) const STANDARD: &str = "standard";

/// The rate set that a service tier is billed by.
fn mode_of(service_tier: Option<&str>) -> &'static str {
    let Some(tier) = service_tier else { return STANDARD };
    ["batch", "flex", "priority", "fast", "ultrafast"]
        .into_iter()
        .find(|mode| tier.eq_ignore_ascii_case(mode))
        .unwrap_or(STANDARD)
}

impl History {
    pub(super) fn choose(&self, request: &PriceRequest<'_>, prompt_tokens: i64, id: impl Fn() -> String) -> Chosen<'_> {
        let started = instant(request.started_at);
        let day = started.date_naive();
        let idx = self.periods.iter().rposition(|period| period.from.is_none_or(|from| from <= day)).unwrap_or(0);
        let period = &self.periods[idx];
        let mode = self.mode(mode_of(request.service_tier), idx);

        let standard_tier = period.rates.tier(prompt_tokens);
        let mode_tier = mode.and_then(|(_, set)| set.tier(prompt_tokens));
        // What names the tier is the set that gives most of the rates.
        let tier_above_tokens = if mode.is_some() { mode_tier } else { standard_tier }.map(|(above, _)| *above);
        Chosen {
            price: since(id(), period.from),
            mode: mode.map_or(STANDARD, |(name, _)| *name),
            tier_above_tokens,
            layers: [
                mode_tier.map(|(_, rates)| rates),
                mode.map(|(_, set)| &set.base),
                standard_tier.map(|(_, rates)| rates),
                Some(&period.rates.base),
            ],
            multiplier: self.clock_multiplier(request) * self.region_multiplier(request.region),
        }
    }

    /// The rates of a service tier are stated for the current rate set. They hold in another period only if its standard rates are
    /// the same; otherwise the standard rates of that period apply, which `rate_mode` then says.
    fn mode(&self, name: &str, period: usize) -> Option<&(&'static str, RateSet)> {
        self.modes_of(period).iter().find(|(mode, _)| *mode == name)
    }

    /// The service tiers whose rates hold in a period.
    pub(super) fn modes_of(&self, period: usize) -> &[(&'static str, RateSet)] {
        let standard = |idx: usize| [Rate::Input, Rate::Output].map(|rate| lookup(&self.periods[idx].rates.base, rate));
        let holds = period == self.current || standard(period) == standard(self.current);
        if holds { &self.modes } else { &[] }
    }

    fn clock_multiplier(&self, request: &PriceRequest<'_>) -> Decimal {
        let applies =
            |rule: &&ClockRule| rule.applies(instant(if rule.by_completion { request.completed_at } else { request.started_at }));
        self.clock.iter().find(applies).map_or(Decimal::ONE, |rule| rule.multiplier)
    }

    fn region_multiplier(&self, region: Option<&str>) -> Decimal {
        let uplift = region.and_then(|region| self.uplift.iter().find(|(zone, _)| zone.eq_ignore_ascii_case(region)));
        uplift.map_or(Decimal::ONE, |(_, multiplier)| *multiplier)
    }
}

impl RateSet {
    fn tier(&self, prompt_tokens: i64) -> Option<&(i64, Rates)> {
        self.tiers.iter().rev().find(|(above, _)| prompt_tokens > *above)
    }
}

impl<'a> Chosen<'a> {
    /// An own price: no tiers, no modes, no multipliers.
    pub(super) fn flat(price: String, rates: &'a Rates) -> Self {
        let layers = [None, None, None, Some(rates)];
        Self { price, mode: STANDARD, tier_above_tokens: None, layers, multiplier: Decimal::ONE }
    }

    pub(super) fn rate(&self, rate: Rate) -> Option<Decimal> {
        self.layers.iter().flatten().find_map(|rates| lookup(rates, rate))
    }

    /// The price of a usage kind, multipliers included; `None` if unknown.
    ///
    /// Prompt tokens cost the input rate unless a rate is stated for them: a provider that gives no discount on cache reads, or takes
    /// no surcharge on cache writes, states none. The exception is the one-hour write where a default-lifetime write has a rate: there
    /// is a surcharge and it is not known.
    pub(super) fn price_of(&self, kind: UsageKind) -> Option<Decimal> {
        let input = self.rate(Rate::Input);
        let rate = match kind {
            UsageKind::Input => input,
            UsageKind::CacheRead => self.rate(Rate::CacheRead).or(input),
            UsageKind::CacheWrite => self.rate(Rate::CacheWrite).or(input),
            UsageKind::CacheWrite1h => {
                self.rate(Rate::CacheWrite1h).or(if self.rate(Rate::CacheWrite).is_none() { input } else { None })
            }
            UsageKind::AudioInput => self.rate(Rate::AudioInput),
            UsageKind::Output => self.rate(Rate::Output),
            UsageKind::Reasoning => self.rate(Rate::Reasoning),
            UsageKind::AudioOutput => self.rate(Rate::AudioOutput),
        };
        rate.and_then(|rate| rate.checked_mul(self.multiplier)).map(|rate| rate.normalize())
    }
}

impl ClockRule {
    fn applies(&self, at: DateTime<Utc>) -> bool {
        let minute = at.hour() * 60 + at.minute();
        let within = |&(start, end): &(u32, u32)| {
            if start <= end { (start..end).contains(&minute) } else { minute >= start || minute < end }
        };
        // The windows lie in the daytime of the seller, where UTC and local dates agree.
        let weekend = matches!(at.weekday(), Weekday::Sat | Weekday::Sun);
        self.from.is_none_or(|from| from <= at)
            && self.to.is_none_or(|to| at < to)
            && self.windows.iter().any(within)
            && !(self.weekdays_only && weekend)
            && !(self.except_chinese_holidays && is_chinese_holiday(at.date_naive()))
    }
}

/// Public holidays on weekdays in China since the first rule that names them (2026-08-16), as announced for 2026, and those days of
/// later years that the holiday law fixes by the solar calendar; a year's full list is announced in the November before it.
fn is_chinese_holiday(day: NaiveDate) -> bool {
    let month_day = (day.month(), day.day());
    match day.year() {
        2026 => matches!(month_day, (9, 25..=27) | (10, 1..=7)),
        2027.. => matches!(month_day, (1, 1) | (5, 1 | 2) | (10, 1..=3)),
        _ => false,
    }
}

/// Names the rates of a price row since a day.
pub(super) fn since(id: String, from: Option<NaiveDate>) -> String {
    match from {
        Some(from) => format!("{id} since {from}"),
        None => id,
    }
}

fn lookup(rates: &Rates, rate: Rate) -> Option<Decimal> {
    rates.iter().find(|(kind, _)| *kind == rate).map(|(_, price)| *price)
}

fn instant(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(if micros < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    })
}
