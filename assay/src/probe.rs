//! `assay probe`: writes known traces for ever and asks for them again. Everything is compared for equality: traces by id, searches,
//! counts, sums of tokens and money. A client over public ports and nothing else, so it probes a remote Assay as well as a local one.
//!
//! ```text
//! round n = content(seed, n) ──send──> acknowledged ──> visible? ──> by id, searches ──> sums of the latest rounds, of all
//!                              └─ no answer ─> sent again, or (some rounds) left: stored whole, or not at all
//! ```
//! One round after the other, so its memory and its load do not grow. What must be there follows from seed and number
//! ([`content`]); what is known to be stored is the [`ledger`].

mod check;
mod content;
mod ledger;
mod report;
mod target;

use std::{
    net::SocketAddr,
    num::NonZeroU64,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use assay_schemas::prices::PriceTable;
use axum::{Router, routing::get};
use prometheus::{Registry, TextEncoder};
use tokio_util::sync::CancellationToken;

use self::{
    check::{Check, Checker, Compared, of_round, of_run, refused},
    content::{Round, Sums, TRACES_PER_ROUND},
    ledger::{Ledger, Uncertain},
    report::{Outcome, Report, Summary},
    target::{NoAnswer, Target},
};
use crate::{
    cli::ProbeArgs,
    demo::dice::mixed,
    listen::{Connections, Listener},
};

/// A run ends after so long and the next begins, so that sums over a run stay cheap and retention may drop old ones.
const RUN_LENGTH: Duration = Duration::from_secs(24 * 3600);
/// How often the sums of the whole run are compared.
const TOTAL_EVERY: Duration = Duration::from_secs(60);
/// A request without an answer may still be worked on for so long.
const UNCERTAIN_FOR: Duration = Duration::from_secs(90);
/// How long the server may stay away once the prober was told to end.
const PATIENCE_AT_END: Duration = Duration::from_secs(10);
/// First and longest wait before something is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// `assay probe`.
///
/// # Errors
/// If it cannot begin: state, metrics address, or a server that has other prices.
pub(crate) async fn run(args: &ProbeArgs) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let registry = Registry::new();
    let report = Report::new(&registry).context("could not register the metrics")?;
    let metrics = match args.metrics {
        Some(address) => Some(serve_metrics(address, registry, stop.clone()).await?),
        None => None,
    };
    tokio::spawn({
        let (stop, told_to_end) = (stop.clone(), crate::serve::shutdown_signal());
        async move {
            told_to_end.await;
            stop.cancel();
        }
    });
    let mut prober = Prober::new(args, report, stop.clone())?;
    let unreachable = match prober.probe().await {
        Ok(()) => None,
        Err(Ended::Unreachable(why)) => Some(why),
        Err(Ended::Failed(error)) => return Err(error),
    };
    let summary = prober.summary(unreachable);
    stop.cancel();
    if let Some(metrics) = metrics {
        metrics.await.context("the metrics server failed")?;
    }
    print(&summary, args.json)?;
    Ok(ExitCode::from(summary.outcome.exit_status()))
}

/// Why probing ended early.
enum Ended {
    /// The server stayed away for too long.
    Unreachable(String),
    /// The prober cannot go on.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Ended {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

struct Prober {
    target: Target,
    prices: PriceTable,
    ledger: Ledger,
    state: Option<PathBuf>,
    report: Report,
    stop: CancellationToken,
    round_interval: Option<Duration>,
    rounds_max: Option<u64>,
    look_every: NonZeroU64,
    duration: Option<Duration>,
    patience: Duration,
    visible_within: Duration,
}

impl Prober {
    fn new(args: &ProbeArgs, report: Report, stop: CancellationToken) -> anyhow::Result<Self> {
        let (project, now) = (&args.server.project, unix_nano());
        let known = args.state.as_deref().map(|path| Ledger::read(path, project, args.seed)).transpose()?.flatten();
        let ledger = known.unwrap_or_else(|| Ledger::new(project, args.seed.unwrap_or(mixed(now)), now));
        let api = args.server.url.clone();
        let otlp = args.otlp.clone().unwrap_or_else(|| api.clone());
        if !args.rate.is_finite() || args.rate < 0.0 {
            bail!("`--rate` is `{}`: expected traces per second, or 0 for no pause", args.rate);
        }
        let round_interval = (args.rate > 0.0).then(|| Duration::from_secs_f64(TRACES_PER_ROUND as f64 / args.rate));
        Ok(Self {
            target: Target::new(api, otlp, project.clone(), args.token.clone())?,
            prices: PriceTable::embedded(),
            ledger,
            state: args.state.clone(),
            report,
            stop,
            round_interval,
            rounds_max: args.rounds,
            look_every: args.look_every,
            duration: args.duration.map(Into::into),
            patience: args.patience.into(),
            visible_within: args.visible_within.into(),
        })
    }

    fn summary(&self, unreachable: Option<String>) -> Summary {
        self.report.summary(self.ledger.run(), self.ledger.seed(), self.ledger.total(), unreachable)
    }

    async fn probe(&mut self) -> Result<(), Ended> {
        self.same_prices().await?;
        let started = Instant::now();
        let mut total_checked = Instant::now();
        let mut rounds = 0;
        while !self.stop.is_cancelled()
            && self.rounds_max.is_none_or(|max| rounds < max)
            && self.duration.is_none_or(|duration| started.elapsed() < duration)
        {
            let round_started = Instant::now();
            self.round().await?;
            rounds += 1;
            if total_checked.elapsed() >= TOTAL_EVERY {
                self.total().await?;
                total_checked = Instant::now();
            }
            self.next_run().await?;
            if let Some(interval) = self.round_interval {
                let rest = interval.saturating_sub(round_started.elapsed());
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = tokio::time::sleep(rest) => {}
                }
            }
        }
        self.total().await
    }

    /// Expected costs come from this program's table. A server with other prices is no error of its sums, so it is said before.
    async fn same_prices(&mut self) -> Result<(), Ended> {
        let now = i64::try_from(unix_nano() / 1000).unwrap_or(i64::MAX);
        for (provider, model) in content::MODELS {
            let ours =
                assay_schemas::prices::llm_cost(&self.prices, Some(provider), model, (1_000_000, 1_000_000, 400_000, 0), now);
            let sql = format!("SELECT llm_cost('{provider}', '{model}', 1000000, 1000000, 400000, 0) AS usd");
            let theirs = self.patiently(async |prober| prober.target.sql(&sql).await).await?;
            let theirs = theirs.map_err(|(status, text)| anyhow::anyhow!("the server answered {status}: {text}"))?;
            let theirs = theirs.first().and_then(|row| check::money(row.get("usd")));
            if ours != theirs {
                let (ours, theirs) = (ours.unwrap_or_default(), theirs.unwrap_or_default());
                let error = anyhow::anyhow!(
                    "the server prices `{model}` otherwise: found {theirs}, expected {ours} US dollars (hint: prober and server must be of the \
                     same version, and the server must have no prices of its own for this model)"
                );
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Sends the next round and asks for it from all sides.
    async fn round(&mut self) -> Result<(), Ended> {
        let resumed = self.ledger.has_in_flight();
        let round = self.ledger.begin_round(unix_nano());
        self.save()?;
        let traces = round.traces(&self.prices);
        let request = round.request(&traces);
        let sums = Sums::of(&traces);
        let acknowledged = if resumed && self.is_stored(&round, &sums).await? {
            None
        } else if round.number % 8 == 3 && !resumed && self.ledger.may_be_uncertain() {
            // As a client that does not retry.
            match self.target.send(&request).await {
                Ok(ack) => Some(ack),
                Err(NoAnswer::Away(_)) => {
                    self.report.answered(false);
                    self.report.unanswered();
                    self.ledger.unanswered(unix_nano());
                    self.save()?;
                    return Ok(());
                }
                Err(NoAnswer::Refused { status, text }) => return self.not_taken(&round, status, &text),
            }
        } else {
            match self.patiently(async |prober| prober.target.send(&request).await).await? {
                Ok(ack) => Some(ack),
                Err((status, text)) => return self.not_taken(&round, status, &text),
            }
        };
        let acknowledged_at = Instant::now();
        self.ledger.acknowledged(&sums);
        self.save()?;
        if let Some(ack) = acknowledged {
            self.report.acknowledged(ack);
            self.visible(&round, &sums, acknowledged_at).await?;
        }
        let found = self.report.unequal_so_far();
        if round.number.is_multiple_of(self.look_every.get()) {
            self.look_at(&round, &traces, &sums, &request).await?;
        }
        self.settle_uncertain().await?;
        if self.report.unequal_so_far() == found {
            self.report.round_was_equal(unix_nano() as f64 / 1e9);
        }
        Ok(())
    }

    /// A request that can never be taken ends its round: nothing of it may be there.
    fn not_taken(&mut self, round: &Round, status: reqwest::StatusCode, text: &str) -> Result<(), Ended> {
        self.report.checked(Check::Send, refused(Check::Send, &round.session(), status, text));
        self.ledger.unanswered(unix_nano());
        self.save()?;
        Ok(())
    }

    async fn is_stored(&mut self, round: &Round, sums: &Sums) -> Result<bool, Ended> {
        let condition = of_round(round);
        let found = self.patiently(async |prober| prober.checker().sums(&condition).await).await?;
        Ok(found.is_ok_and(|(found, _)| found == *sums))
    }

    /// Waits until queries show the round, and says if it takes too long.
    async fn visible(&mut self, round: &Round, sums: &Sums, acknowledged_at: Instant) -> Result<(), Ended> {
        let condition = of_round(round);
        loop {
            let retries = self.report.retries();
            let checked = self.patiently(async |prober| prober.checker().adds_up(Check::Visible, &condition, sums).await).await?;
            let unequal = checked.unwrap_or_else(|(status, text)| refused(Check::Visible, &condition, status, &text));
            let took = acknowledged_at.elapsed();
            if !unequal.is_empty() && took < self.visible_within {
                tokio::time::sleep(BACKOFF.0).await;
                continue;
            }
            // A server that was away meanwhile says nothing of how fresh its answers are.
            if unequal.is_empty() && retries == self.report.retries() {
                self.report.visible(took);
            }
            self.report.checked(Check::Visible, unequal);
            return Ok(());
        }
    }

    async fn look_at(
        &mut self,
        round: &Round,
        traces: &[content::KnownTrace],
        sums: &Sums,
        request: &opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest,
    ) -> Result<(), Ended> {
        for trace in traces {
            self.check(Check::Trace, async |prober| prober.checker().trace(round, trace).await).await?;
            self.check(Check::Otlp, async |prober| prober.checker().otlp(round, trace).await).await?;
        }
        self.check(Check::Search, async |prober| prober.checker().search(round, traces).await).await?;
        if round.number.is_multiple_of(4) {
            // As a client that lost the answer.
            if self.patiently(async |prober| prober.target.send(request).await).await?.is_ok() {
                self.report.repeated();
            }
            let condition = of_round(round);
            self.check(Check::Visible, async |prober| prober.checker().adds_up(Check::Visible, &condition, sums).await).await?;
        }
        let window: Vec<Round> = self.ledger.window().collect();
        let uncertain = self.uncertain_sessions();
        self.check(Check::Window, async |prober| prober.checker().window(&window, &uncertain).await).await?;
        let seed = mixed(round.number);
        if let Some(number) = self.ledger.older(seed) {
            let older = Round { number, ..round.clone() };
            let idx = (seed % TRACES_PER_ROUND) as usize;
            self.check(Check::Otlp, async |prober| prober.checker().older(older.clone(), idx).await).await?;
        }
        Ok(())
    }

    /// Rounds sent once without an answer: whole or not at all. After a while, what they are is what they stay.
    async fn settle_uncertain(&mut self) -> Result<(), Ended> {
        for Uncertain { sent, since_unix_nano } in self.ledger.uncertain().to_vec() {
            let age = Duration::from_nanos(unix_nano().saturating_sub(since_unix_nano));
            if age > UNCERTAIN_FOR {
                let round = self.ledger.round(sent);
                if let Some(stored) = self.whole_or_absent(&round).await? {
                    let sums = Sums::of(&round.traces(&self.prices));
                    self.ledger.settle(sent, stored.then_some(&sums));
                    self.save()?;
                    if stored {
                        self.report.unanswered_stored();
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether an unanswered round is stored; `None` if it is neither whole nor absent, which is reported.
    async fn whole_or_absent(&mut self, round: &Round) -> Result<Option<bool>, Ended> {
        let traces = round.traces(&self.prices);
        let (condition, sums) = (of_round(round), Sums::of(&traces));
        let found = self.patiently(async |prober| prober.checker().sums(&condition).await).await?;
        if matches!(&found, Ok((found, 0)) if *found == Sums::default()) {
            self.report.checked(Check::Unanswered, vec![]);
            return Ok(Some(false));
        }
        let before = self.report.unequal_so_far();
        self.check(Check::Unanswered, async |prober| prober.checker().adds_up(Check::Unanswered, &condition, &sums).await)
            .await?;
        for trace in &traces {
            self.check(Check::Otlp, async |prober| prober.checker().otlp(round, trace).await).await?;
        }
        Ok((self.report.unequal_so_far() == before).then_some(true))
    }

    /// Sums over the whole run, and every round that is still uncertain.
    async fn total(&mut self) -> Result<(), Ended> {
        for Uncertain { sent, .. } in self.ledger.uncertain().to_vec() {
            let round = self.ledger.round(sent);
            self.whole_or_absent(&round).await?;
        }
        let condition = of_run(self.ledger.run(), &self.uncertain_sessions());
        let total = self.ledger.total().clone();
        self.check(Check::Total, async |prober| prober.checker().adds_up(Check::Total, &condition, &total).await).await
    }

    /// Begins the next run when this one is long enough and nothing in it is uncertain.
    async fn next_run(&mut self) -> Result<(), Ended> {
        let age = Duration::from_nanos(unix_nano().saturating_sub(self.ledger.run_started_unix_nano()));
        if age > RUN_LENGTH && self.ledger.uncertain().is_empty() {
            self.total().await?;
            self.ledger = Ledger::new(self.ledger.project(), self.ledger.seed(), unix_nano());
            self.save()?;
        }
        Ok(())
    }

    async fn check(&mut self, check: Check, ask: impl AsyncFn(&Self) -> Compared) -> Result<(), Ended> {
        let unequal = self.patiently(ask).await?;
        let unequal = unequal.unwrap_or_else(|(status, text)| refused(check, "the question", status, &text));
        self.report.checked(check, unequal);
        Ok(())
    }

    /// Asks until there is an answer: a value, or a refusal as the inner error.
    async fn patiently<T>(
        &self,
        ask: impl AsyncFn(&Self) -> Result<T, NoAnswer>,
    ) -> Result<Result<T, (reqwest::StatusCode, String)>, Ended> {
        let started = Instant::now();
        let mut wait = BACKOFF.0;
        loop {
            let answer = ask(self).await;
            self.report.answered(!matches!(answer, Err(NoAnswer::Away(_))));
            let why = match answer {
                Ok(value) => return Ok(Ok(value)),
                Err(NoAnswer::Refused { status, text }) => return Ok(Err((status, text))),
                Err(NoAnswer::Away(why)) => why,
            };
            let patience = if self.stop.is_cancelled() { self.patience.min(PATIENCE_AT_END) } else { self.patience };
            if started.elapsed() + wait > patience {
                return Err(Ended::Unreachable(why));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACKOFF.1);
        }
    }

    fn checker(&self) -> Checker<'_> {
        Checker { target: &self.target, prices: &self.prices }
    }

    fn uncertain_sessions(&self) -> Vec<String> {
        self.ledger.uncertain().iter().map(|uncertain| self.ledger.round(uncertain.sent).session()).collect()
    }

    fn save(&self) -> anyhow::Result<()> {
        self.state.as_deref().map_or(Ok(()), |path| self.ledger.write(path))
    }
}

/// Serves the metrics until `stop`.
async fn serve_metrics(
    address: SocketAddr,
    registry: Registry,
    stop: CancellationToken,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let listener = Listener::bind("metrics", address).await?;
    eprintln!("assay: metrics on http://{}/metrics", listener.address());
    let text = async move || TextEncoder::new().encode_to_string(&registry.gather()).map_err(|error| error.to_string());
    let router = Router::new().route("/metrics", get(text));
    Ok(tokio::spawn(listener.serve(router, stop, Duration::from_secs(1), Connections::within_file_limit())))
}

fn print(summary: &Summary, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(summary)?);
        return Ok(());
    }
    let Summary { run, rounds, stored, retries, ack_ms, visible_ms, .. } = summary;
    println!("run {run}: {rounds} rounds acknowledged, {} unanswered, {retries} retries", summary.unanswered);
    println!("stored: {} traces, {} spans, {} calls, {} US dollars", stored.traces, stored.spans, stored.calls, stored.cost_usd);
    println!("acknowledged in {:.1} ms, visible {:.1} ms after it (99 of 100)", ack_ms.p99_max, visible_ms.p99_max);
    match summary.outcome {
        Outcome::Equal => println!("everything is as it was sent ({} checks)", summary.checks.values().sum::<u64>()),
        Outcome::Unequal => println!("{} things are not as they were sent", summary.unequal),
        Outcome::Unreachable => {
            println!("the server could not be reached: {}", summary.unreachable.as_deref().unwrap_or_default())
        }
    }
    Ok(())
}

/// Nanoseconds since 1970.
fn unix_nano() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
