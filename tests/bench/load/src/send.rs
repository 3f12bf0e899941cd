//! Sending: several connections take requests from one corpus, either each as soon as it has its answer, or together at a fixed rate.
//!
//! At a fixed rate every request has a time at which it is due. A request whose connection was not free by then counts from when it was
//! due, so that a server that stalls is charged for all that came meanwhile, not for one request per connection ("coordinated omission",
//! G. Tene). One that was sent by a connection that waited for its time counts from when it was sent.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tokio::{task::LocalSet, time::sleep};

use crate::{
    client::{Answer, Client, Target},
    corpus::{Budget, Corpus, Request, Taken},
    floor::cpu_ns,
    latency::Latencies,
};

/// A connection that breaks more often for one request is given up.
const BROKEN_MAX: u32 = 5;
const RECONNECT_AFTER: Duration = Duration::from_millis(500);

/// What to send, how much of it and how fast.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) connections: usize,
    /// Requests per second over all connections.
    pub(crate) rate: Option<f64>,
    pub(crate) budget: Budget,
}

#[derive(Debug)]
struct Run {
    corpus: Corpus,
    plan: Plan,
    since: Instant,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: Taken,
    latencies: Latencies,
    late: u64,
    acknowledged: Taken,
    rejected: u64,
    retries: u64,
    broken: u64,
    refused: u64,
    first_refusal: Option<String>,
}

/// Sends and returns spans, bytes, rates, times of acknowledgement, retries and refusals, and the CPU this took here.
///
/// # Errors
/// If a connection cannot be opened, or breaks again and again.
pub(crate) async fn send(corpus: Corpus, plan: Plan) -> anyhow::Result<serde_json::Value> {
    let mut clients = Vec::new();
    for _ in 0..plan.connections {
        clients.push(Client::connect(&plan.target).await?);
    }
    let before = cpu_ns()?;
    let run = Rc::new(Run { corpus, plan, since: Instant::now(), state: RefCell::default() });
    let local = LocalSet::new();
    let tasks: Vec<_> = clients.into_iter().map(|client| local.spawn_local(connection(Rc::clone(&run), client))).collect();
    local.await;
    for task in tasks {
        task.await.context("a connection")??;
    }
    let seconds = run.since.elapsed().as_secs_f64();
    let State { latencies, late, acknowledged, rejected, retries, broken, refused, first_refusal, .. } = run.state.take();
    Ok(serde_json::json!({
        "spans": acknowledged.spans,
        "bytes": acknowledged.bytes,
        "requests": acknowledged.requests,
        "seconds": seconds,
        "spans_per_second": acknowledged.spans as f64 / seconds,
        "mb_per_second": acknowledged.bytes as f64 / 1e6 / seconds,
        "requests_per_second": acknowledged.requests as f64 / seconds,
        "ack_ms": latencies.summary(),
        "late": late,
        "rejected_spans": rejected,
        "retries": retries,
        "broken_connections": broken,
        "refused": refused,
        "first_refusal": first_refusal,
        "sender_cpu_seconds": (cpu_ns()? - before) as f64 / 1e9,
    }))
}

/// Sends one request after the other until the budget is used up.
async fn connection(run: Rc<Run>, mut client: Client) -> anyhow::Result<()> {
    loop {
        let (request, number) = {
            let mut state = run.state.borrow_mut();
            let number = state.taken.requests;
            let Some(request) = run.corpus.next(&run.plan.budget, &mut state.taken, run.since) else { return Ok(()) };
            (request, number)
        };
        let started = run.turn_of(number).await;
        run.export(&mut client, &request, started).await?;
    }
}

impl Run {
    /// Waits until request `number` is due; returns from when its time counts.
    async fn turn_of(&self, number: u64) -> Instant {
        let Some(rate) = self.plan.rate else { return Instant::now() };
        let due = self.since + Duration::from_secs_f64(number as f64 / rate);
        let wait = due.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            self.state.borrow_mut().late += 1;
            return due;
        }
        sleep(wait).await;
        Instant::now()
    }

    /// Sends until the server has decided. A broken connection is opened anew, as an exporter does.
    async fn export(&self, client: &mut Client, request: &Request, started: Instant) -> anyhow::Result<()> {
        let mut n_broken = 0;
        loop {
            let answer = match client.export(request).await {
                Err(error) if n_broken == BROKEN_MAX => return Err(error),
                Err(_) => {
                    n_broken += 1;
                    self.state.borrow_mut().broken += 1;
                    sleep(RECONNECT_AFTER).await;
                    *client = Client::connect(&self.plan.target).await?;
                    continue;
                }
                Ok(answer) => answer,
            };
            match answer {
                Answer::Later(wait) => {
                    self.state.borrow_mut().retries += 1;
                    sleep(wait).await;
                }
                Answer::Accepted { rejected } => {
                    self.state.borrow_mut().acknowledged(request, rejected, started.elapsed());
                    return Ok(());
                }
                Answer::Refused(why) => {
                    let mut state = self.state.borrow_mut();
                    state.refused += 1;
                    state.first_refusal.get_or_insert(why);
                    return Ok(());
                }
            }
        }
    }
}

impl State {
    fn acknowledged(&mut self, request: &Request, rejected: u64, after: Duration) {
        self.latencies.add(after);
        self.acknowledged.requests += 1;
        self.acknowledged.spans += request.n_spans;
        self.acknowledged.bytes += request.body_bytes();
        self.rejected += rejected;
    }
}
