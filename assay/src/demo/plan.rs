//! Who comes when, for what: sessions spread over the days as a company's day goes, busier towards the end of the window, with one
//! bad afternoon at a provider. Drawn before anything is made, so that a run sends exactly as many traces as asked for.

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};

use super::{
    company::{self, Service, Weather},
    dice::{Dice, mixed},
    scenes,
    trace::{Nanos, Recorder},
};

const HOUR: Nanos = 3_600_000_000_000;
/// How long the provider's incident lasts.
const INCIDENT: Nanos = 3 * HOUR;

/// The time that the traffic spreads over, in Unix nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) start: Nanos,
    pub(crate) end: Nanos,
}

impl Window {
    /// The last `days` days before `end`, at least one.
    pub(crate) fn up_to(end: DateTime<Utc>, days: u32) -> Self {
        let end =
            end.timestamp_nanos_opt().and_then(|end| Nanos::try_from(end).ok()).expect("the clock is between 1970 and 2262");
        Self { start: end.saturating_sub(u64::from(days.max(1)) * 24 * HOUR), end }
    }
}

/// A session to come.
pub(crate) struct Planned {
    pub(crate) scene: scenes::Scene,
    /// Traces it makes.
    pub(crate) turns: usize,
    /// When it begins, in Unix nanoseconds.
    pub(crate) start: Nanos,
    service: &'static Service,
    user: String,
    weather: Weather,
    content_seed: (u64, u64),
    id_seed: (u64, u64),
}

impl Planned {
    /// A recorder for the session. Content depends on the seed alone; identifiers also on the end of the window, so that a second
    /// run another day does not repeat those of the first.
    pub(crate) fn recorder(&self) -> Recorder {
        let content = Dice::new(self.content_seed.0, self.content_seed.1);
        let ids = Dice::new(self.id_seed.0, self.id_seed.1);
        Recorder::new(content, ids, self.service, self.user.clone(), self.weather)
    }
}

/// The sessions of a run, in order of time: together `traces` traces.
pub(crate) fn sessions(seed: u64, traces: usize, window: Window) -> Vec<Planned> {
    let mut dice = Dice::new(seed, 0);
    let mut sessions = vec![];
    let mut left = traces;
    while left > 0 {
        let role = dice.weighted(&scenes::ROLES.each_ref().map(|role| (role.sessions, role)));
        let turns = (dice.between(role.turns.0, role.turns.1) as usize).min(left);
        left -= turns;
        let start = if role.scheduled { scheduled(&mut dice, window) } else { awake(&mut dice, window) };
        let idx = sessions.len() as u64 + 1;
        sessions.push(Planned {
            scene: role.scene,
            turns,
            start,
            service: role.service,
            user: match role.user {
                scenes::User::Customer => company::customer(&mut dice),
                scenes::User::Engineer => company::engineer(&mut dice),
                scenes::User::Nobody => String::new(),
            },
            weather: Weather { openai_incident: incident(window).contains(&start) },
            content_seed: (seed, idx),
            id_seed: (mixed(seed) ^ window.end, idx),
        });
    }
    sessions.sort_by_key(|session| session.start);
    sessions
}

/// A provider's bad hours: the afternoon of a working day, about a third of the way back.
fn incident(window: Window) -> std::ops::Range<Nanos> {
    let mut day = (window.end - (window.end - window.start) / 3) / (24 * HOUR);
    while (day + 3) % 7 > 4 {
        day -= 1; // Saturdays and Sundays are passed over; 1 January 1970 was a Thursday.
    }
    let start = day * 24 * HOUR + 13 * HOUR;
    start..start + INCIDENT
}

/// A moment when people are at work, more likely the later it is in the window.
fn awake(dice: &mut Dice, window: Window) -> Nanos {
    loop {
        let moment = dice.between(window.start, window.end);
        let age = (window.end - moment) as f64 / (window.end - window.start) as f64;
        if dice.chance(activity(moment) * (1.0 - 0.3 * age)) {
            return moment;
        }
    }
}

/// A full hour at any time of day, when jobs start.
fn scheduled(dice: &mut Dice, window: Window) -> Nanos {
    (dice.between(window.start, window.end) / HOUR * HOUR).max(window.start)
}

/// How busy a moment is, between 0 and 1: nights are quiet, weekends less than half.
fn activity(moment: Nanos) -> f64 {
    let time = DateTime::from_timestamp_nanos(i64::try_from(moment).unwrap_or(i64::MAX));
    let hour = f64::from(time.num_seconds_from_midnight()) / 3600.0;
    let day = 0.12 + 0.88 * (-((hour - 13.5) / 4.6).powi(2)).exp();
    if time.weekday().number_from_monday() > 5 { 0.45 * day } else { day }
}
