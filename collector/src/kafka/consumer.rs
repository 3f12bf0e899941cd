//! The member of the group: one thread that polls, begins records, tells the client library what is accepted, so that it commits that, and
//! answers its calls, which come while it polls.
//!
//! When a partition is revoked, its records that wait for room are given up (another member gets them), those on their way into the log are
//! waited for, and what is accepted is committed before the partition is let go. Leaving the group revokes all.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, ClientContext, Message as _, Offset, Statistics, TopicPartitionList,
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    config::{KafkaConfig, Topic},
    metrics::{KafkaMetrics, Outcome},
    offsets::{Identity, Offsets},
    record::{Acceptor, Record},
    redelivery::Redelivery,
};
use crate::ingest::Ingest;

/// Records on their way into the log at the same time: enough to share an fsync, few enough to be handed out again after a kill.
const IN_FLIGHT_RECORDS_MAX: usize = 256;
/// And their bytes; a larger record goes alone.
const IN_FLIGHT_BYTES_MAX: usize = 32 << 20;
/// How long one poll waits for a record.
const POLL: Duration = Duration::from_millis(50);
/// When nothing on its way has arrived for so long, fetching is paused. A pause throws away what was fetched ahead, so not at once.
const PAUSE_AFTER: Duration = Duration::from_millis(500);
/// A partition is let go after so long, whatever is on its way.
const REVOKE_PATIENCE: Duration = Duration::from_secs(5);
/// The same error is told again after this time.
const REPEAT_ERRORS: Duration = Duration::from_secs(600);

/// What sessions with the brokers have in common.
pub(super) struct Consumer {
    client: ClientConfig,
    shared: Arc<Shared>,
}

/// One client of the brokers, from joining the group to leaving it.
pub(super) struct Session {
    consumer: BaseConsumer<Context>,
    shared: Arc<Shared>,
}

/// What the thread, the tasks and the calls of the client share.
struct Shared {
    topics: Vec<Topic>,
    acceptor: Acceptor,
    runtime: Handle,
    stop: CancellationToken,
    redelivery: Mutex<Redelivery>,
    progress: Mutex<Progress>,
    /// Whether fetching is paused.
    paused: AtomicBool,
    end: mpsc::Sender<Ended>,
    /// Taken from by the one thread alone.
    ended: Mutex<mpsc::Receiver<Ended>>,
}

/// A partition: the index of its topic, and its number.
type PartitionId = (usize, i32);

#[derive(Default)]
struct Progress {
    assigned: BTreeMap<PartitionId, Assigned>,
    /// What is in the log, of partitions that were revoked before its commit was confirmed.
    accepted: HashMap<PartitionId, BTreeMap<i64, Identity>>,
    in_flight_records: usize,
    in_flight_bytes: usize,
    /// Numbers of errors, and when they were told.
    errors_said: HashMap<i32, Instant>,
    /// Assignments so far.
    assignments: u64,
}

#[derive(Default)]
struct Assigned {
    /// The number of the assignment.
    assignment: u64,
    offsets: Offsets,
    /// Its records on their way into the log.
    in_flight: usize,
    revoked: CancellationToken,
}

/// A record's task has ended.
struct Ended {
    partition: PartitionId,
    assignment: u64,
    offset: i64,
    identity: Identity,
    /// Whether it is in the log.
    accepted: bool,
}

impl Consumer {
    /// Nothing happens before [`Consumer::session`]. Called within a tokio runtime, which `ingest` works on.
    pub(super) fn new(
        config: KafkaConfig,
        ingest: Arc<Ingest>,
        redelivery: Redelivery,
        metrics: KafkaMetrics,
        stop: CancellationToken,
    ) -> Self {
        let (end, ended) = mpsc::channel();
        let (client, topics) = (config.client(), config.topics());
        let KafkaConfig { project, record_bytes_max, .. } = config;
        let shared = Shared {
            topics,
            acceptor: Acceptor { ingest, project, record_bytes_max, metrics },
            runtime: Handle::current(),
            stop,
            redelivery: Mutex::new(redelivery),
            progress: Mutex::default(),
            paused: AtomicBool::new(false),
            end,
            ended: Mutex::new(ended),
        };
        Self { client, shared: Arc::new(shared) }
    }

    /// A client that has subscribed to the topics.
    pub(super) fn session(&self) -> KafkaResult<Session> {
        let consumer = BaseConsumer::from_config_and_context(&self.client, Context(Arc::clone(&self.shared)))?;
        let names: Vec<&str> = self.shared.topics.iter().map(|topic| &*topic.name).collect();
        consumer.subscribe(&names)?;
        tracing::info!(topics = names.join(","), "subscribed to Kafka");
        Ok(Session { consumer, shared: Arc::clone(&self.shared) })
    }
}

impl Session {
    /// Polls until it is told to stop, or until this client is of no use any more; then leaves the group, whose last call is that all
    /// partitions are revoked.
    pub(super) fn run(self) {
        self.work();
        if self.shared.stop.is_cancelled() {
            self.settle();
        }
        // Closing the client leaves the group. What was fetched ahead goes to the next member.
        drop(self.consumer);
    }

    /// Commits all that is accepted while this is still a member: the group takes no commit while others join or leave it, and a client that is being closed
    /// does not try again.
    fn settle(&self) {
        let shared = &self.shared;
        if let Err(error) = self.stop_fetching() {
            shared.say(&error, "could not pause");
        }
        let deadline = Instant::now() + REVOKE_PATIENCE;
        shared.wait_for_records(|_| true, deadline);
        while !shared.commit_accepted(&self.consumer, |_| true) && Instant::now() < deadline {
            // The calls of the group are made here. Nothing new is begun: it goes to the next member.
            let _fetched_before = self.consumer.poll(POLL);
        }
    }

    fn work(&self) {
        loop {
            self.shared.take_ended();
            if self.shared.stop.is_cancelled() {
                return;
            }
            self.tell_accepted();
            if self.shared.has_room() {
                self.resume();
            } else if !self.is_paused() {
                if !self.shared.wait_for_ended(PAUSE_AFTER) {
                    self.pause();
                }
                continue;
            }
            // While paused: for the calls of the client, and so that the group sees us alive.
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => self.begin(&message),
                Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                    tracing::error!(%code, "the Kafka consumer has to be made again");
                    return;
                }
                // Other errors are told in `Context::error`.
                Some(Err(_)) | None => {}
            }
        }
    }

    fn begin(&self, message: &BorrowedMessage<'_>) {
        let shared = &self.shared;
        let Some((partition, topic)) = shared.partition(message.topic(), message.partition()) else { return };
        let body = message.payload().unwrap_or_default();
        let offset = message.offset();
        let identity = Identity { timestamp: message.timestamp().to_millis(), bytes: body.len() };
        let (record, assignment, revoked) = {
            let mut progress = shared.progress.lock();
            let Some(assigned) = progress.assigned.get_mut(&partition) else { return };
            if !assigned.offsets.begin(offset, identity) {
                return shared.acceptor.metrics.record(topic.signal, Outcome::Redelivered, body.len());
            }
            if shared.redelivery.lock().recognises(topic.signal, body, identity.timestamp) {
                assigned.offsets.accepted(offset, identity);
                return shared.acceptor.metrics.record(topic.signal, Outcome::Redelivered, body.len());
            }
            let (assignment, revoked) = (assigned.assignment, assigned.revoked.clone());
            assigned.in_flight += 1;
            progress.in_flight_records += 1;
            progress.in_flight_bytes += body.len();
            let (topic, signal) = (Arc::clone(&topic.name), topic.signal);
            (Record { topic, partition: partition.1, offset, signal, body: Bytes::copy_from_slice(body) }, assignment, revoked)
        };
        let shared = Arc::clone(shared);
        self.shared.runtime.spawn(async move {
            let accepted = shared.acceptor.accept(&record, &revoked).await;
            // The thread is gone only when the process ends.
            let _nobody_waits = shared.end.send(Ended { partition, assignment, offset, identity, accepted });
        });
    }

    /// Tells the client library what may be committed.
    fn tell_accepted(&self) {
        let mut progress = self.shared.progress.lock();
        let advanced = progress.assigned.iter_mut().filter_map(|(id, assigned)| Some((*id, assigned.offsets.advanced()?)));
        let offsets = self.shared.list(advanced);
        drop(progress);
        if offsets.count() > 0
            && let Err(error) = self.consumer.store_offsets(&offsets)
        {
            // Of a partition that is being taken away: it is committed, or handed out again, when it is.
            self.shared.say(&error, "could not say what is accepted");
        }
    }

    fn is_paused(&self) -> bool {
        self.shared.paused.load(Ordering::Relaxed)
    }

    /// Also of partitions that come later.
    fn stop_fetching(&self) -> KafkaResult<()> {
        self.consumer.pause(&self.consumer.assignment().unwrap_or_default())?;
        self.shared.paused.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn pause(&self) {
        if let Err(error) = self.stop_fetching() {
            return self.shared.say(&error, "could not pause");
        }
        self.shared.acceptor.metrics.paused.set(1);
        tracing::warn!("storage takes no more: nothing is fetched from Kafka");
    }

    fn resume(&self) {
        if !self.is_paused() {
            return;
        }
        let assignment = self.consumer.assignment().unwrap_or_default();
        if let Err(error) = self.consumer.resume(&assignment) {
            return self.shared.say(&error, "could not resume");
        }
        self.shared.paused.store(false, Ordering::Relaxed);
        self.shared.acceptor.metrics.paused.set(0);
        tracing::info!("fetching from Kafka again");
    }
}

impl Shared {
    fn partition(&self, topic: &str, partition: i32) -> Option<(PartitionId, &Topic)> {
        let idx = self.topics.iter().position(|known| &*known.name == topic)?;
        Some(((idx, partition), &self.topics[idx]))
    }

    fn partitions<'a>(&'a self, list: &'a TopicPartitionList) -> impl Iterator<Item = PartitionId> + 'a {
        let elements = list.elements();
        elements.into_iter().filter_map(|element| Some(self.partition(element.topic(), element.partition())?.0))
    }

    fn has_room(&self) -> bool {
        let progress = self.progress.lock();
        // Once paused, not before half of it is free.
        let share = if self.paused.load(Ordering::Relaxed) { 2 } else { 1 };
        progress.in_flight_records < IN_FLIGHT_RECORDS_MAX / share && progress.in_flight_bytes < IN_FLIGHT_BYTES_MAX / share
    }

    fn take_ended(&self) {
        let ended = self.ended.lock();
        ended.try_iter().for_each(|ended| self.progress.lock().end(&ended));
    }

    /// Waits until a record's task ends; `false` if none does for `patience`.
    fn wait_for_ended(&self, patience: Duration) -> bool {
        match self.ended.lock().recv_timeout(patience) {
            Ok(ended) => {
                self.progress.lock().end(&ended);
                true
            }
            Err(_) => false,
        }
    }

    fn list(&self, offsets: impl Iterator<Item = (PartitionId, i64)>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (id, upto) in offsets {
            list.add_partition_offset(&self.topics[id.0].name, id.1, Offset::Offset(upto))
                .expect("an offset of a record is a number");
        }
        list
    }

    /// The brokers' answer to a commit of `offsets`.
    fn answered(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        // A commit may fail as a whole, or for some partitions.
        let whole = result.is_ok();
        let mut failed = result.err();
        let mut progress = self.progress.lock();
        for element in offsets.elements() {
            let Some((id, _)) = self.partition(element.topic(), element.partition()) else { continue };
            let Some(assigned) = progress.assigned.get_mut(&id) else { continue };
            match (element.error(), element.offset()) {
                (Ok(()), Offset::Offset(upto)) if whole => assigned.offsets.committed(upto),
                (error, _) => failed = failed.or(error.err()),
            }
        }
        drop(progress);
        let metrics = &self.acceptor.metrics;
        match failed {
            None => metrics.commits.inc(),
            Some(error) => {
                metrics.commit_failures.inc();
                self.say(&error, "could not commit offsets");
            }
        }
    }

    /// Tries the records on their way once, those of partitions that `are_meant`, and waits for them until `deadline`.
    fn wait_for_records(&self, are_meant: impl Fn(&PartitionId) -> bool, deadline: Instant) {
        for (_, assigned) in self.progress.lock().assigned.iter().filter(|(id, _)| are_meant(id)) {
            assigned.revoked.cancel();
        }
        let waits = || {
            let progress = self.progress.lock();
            progress.assigned.iter().any(|(id, assigned)| are_meant(id) && assigned.in_flight > 0)
        };
        while waits() && self.wait_for_ended(deadline.saturating_duration_since(Instant::now())) {}
    }

    /// Commits what is accepted of partitions that `are_meant`, and waits for the answer. Returns whether nothing is left of it.
    fn commit_accepted(&self, consumer: &BaseConsumer<Context>, are_meant: impl Fn(&PartitionId) -> bool) -> bool {
        let progress = self.progress.lock();
        let meant = progress.assigned.iter().filter(|(id, _)| are_meant(id));
        let offsets = self.list(meant.filter_map(|(id, assigned)| Some((*id, assigned.offsets.to_commit()?))));
        drop(progress);
        if offsets.count() == 0 {
            return true;
        }
        let result = consumer.commit(&offsets, CommitMode::Sync);
        let committed = result.is_ok();
        self.answered(result, &offsets);
        // Letting go, the client library commits what it was told last, whatever is committed: told less, it would take that back.
        if let Err(error) = consumer.store_offsets(&offsets) {
            self.say(&error, "could not say what is accepted");
        }
        committed
    }

    /// Lets `partitions` go. `lost`: they are another member's already, and a commit would be refused.
    fn revoke(&self, consumer: &BaseConsumer<Context>, partitions: &[PartitionId], lost: bool) {
        self.wait_for_records(|id| partitions.contains(id), Instant::now() + REVOKE_PATIENCE);
        if !lost {
            self.commit_accepted(consumer, |id| partitions.contains(id));
        }
        let mut progress = self.progress.lock();
        for id in partitions {
            if let Some(assigned) = progress.assigned.remove(id) {
                progress.accepted.insert(*id, assigned.offsets.into_accepted());
            }
            let labels = [&*self.topics[id.0].name, &id.1.to_string()];
            // There is none before the first statistics.
            let _was_there = self.acceptor.metrics.lag_records.remove_label_values(&labels);
        }
    }

    /// Logs `error`, the same one not too often, and counts it.
    fn say(&self, error: &KafkaError, reason: &str) {
        self.acceptor.metrics.errors.inc();
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let now = Instant::now();
        let errors_said = &mut self.progress.lock().errors_said;
        if errors_said.get(&(code as i32)).is_some_and(|said| now < *said + REPEAT_ERRORS) {
            return tracing::debug!(%error, reason, "Kafka");
        }
        errors_said.insert(code as i32, now);
        use RDKafkaErrorCode::{
            Authentication, GroupAuthorizationFailed, SSL, SaslAuthenticationFailed, TopicAuthorizationFailed,
        };
        match code {
            Authentication | SaslAuthenticationFailed | SSL | TopicAuthorizationFailed | GroupAuthorizationFailed => {
                tracing::error!(%error, reason, "Kafka refuses this client");
            }
            _ => tracing::warn!(%error, reason, "Kafka; it is tried again"),
        }
    }
}

impl Progress {
    fn end(&mut self, ended: &Ended) {
        self.in_flight_records -= 1;
        self.in_flight_bytes -= ended.identity.bytes;
        match self.assigned.get_mut(&ended.partition) {
            Some(assigned) => {
                if assigned.assignment == ended.assignment {
                    assigned.in_flight -= 1;
                }
                if ended.accepted {
                    assigned.offsets.accepted(ended.offset, ended.identity);
                }
            }
            // It took longer than the partition was kept.
            None if ended.accepted => {
                self.accepted.entry(ended.partition).or_default().insert(ended.offset, ended.identity);
            }
            None => {}
        }
    }
}

/// What the client library calls, on the polling thread.
struct Context(Arc<Shared>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Errors come as such too, and are told there.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, "Kafka client: {message}");
            }
            _ => tracing::debug!(facility, "Kafka client: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.say(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let metrics = &self.0.acceptor.metrics;
        let up = statistics.brokers.values().filter(|broker| broker.nodeid >= 0 && broker.state == "UP").count();
        let up = i64::try_from(up).expect("brokers of one cluster");
        let mut progress = self.0.progress.lock();
        match (metrics.brokers_up.get(), up) {
            (0, 1..) => {
                progress.errors_said.clear();
                tracing::info!(brokers = up, "connected to Kafka");
            }
            (1.., 0) => tracing::warn!("no Kafka broker is connected; they are tried again and again"),
            _ => {}
        }
        metrics.brokers_up.set(up);
        for id in progress.assigned.keys() {
            let topic = &*self.0.topics[id.0].name;
            let partition = statistics.topics.get(topic).and_then(|topic| topic.partitions.get(&id.1));
            // Negative: not known yet.
            if let Some(lag) = partition.map(|partition| partition.consumer_lag).filter(|lag| *lag >= 0) {
                metrics.lag_records.with_label_values(&[topic, &id.1.to_string()]).set(lag);
            }
        }
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let shared = &self.0;
        if let Rebalance::Revoke(list) = rebalance {
            let partitions: Vec<PartitionId> = shared.partitions(list).collect();
            let lost = consumer.assignment_lost();
            tracing::info!(partitions = partitions.len(), lost, "Kafka partitions revoked");
            shared.acceptor.metrics.rebalance(if lost { "lost" } else { "revoked" });
            shared.revoke(consumer, &partitions, lost);
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let shared = &self.0;
        match rebalance {
            Rebalance::Assign(list) => {
                let partitions: Vec<PartitionId> = shared.partitions(list).collect();
                tracing::info!(partitions = partitions.len(), "Kafka partitions assigned");
                shared.acceptor.metrics.rebalance("assigned");
                let mut progress = shared.progress.lock();
                progress.assignments += 1;
                for id in partitions {
                    let accepted = progress.accepted.remove(&id).unwrap_or_default();
                    let assignment = progress.assignments;
                    let assigned = Assigned { assignment, offsets: Offsets::new(accepted), ..Assigned::default() };
                    progress.assigned.insert(id, assigned);
                }
                drop(progress);
                if shared.paused.load(Ordering::Relaxed)
                    && let Err(error) = consumer.pause(list)
                {
                    shared.say(&error, "could not pause");
                }
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => shared.say(error, "rebalance"),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.0.answered(result, offsets);
    }
}
