//! The source against brokers that the client library brings (its mock cluster): sockets, groups and commits are real, the store of topics
//! is not. `tests/external/test_kafka.py` asks Kafka itself.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use assay_schemas::{
    ids::{ProjectId, Signal},
    prices::PriceTable,
    tables::TableId,
};
use assay_storage::{Storage, StorageConfig};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prometheus::Registry;
use prost::Message as _;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

use super::{
    KafkaConfig, KafkaSource, Redelivery, Start, Topics,
    metrics::{KafkaMetrics, Outcome},
};
use crate::{ingest::Ingest, normalise::Normaliser};

const TOPIC: &str = "otlp_spans";
const PARTITIONS: i32 = 3;
const RECORD_BYTES_MAX: usize = 10_000;

pub(super) fn config(brokers: &str) -> KafkaConfig {
    let topics = |name: &str| vec![name.to_owned()];
    KafkaConfig {
        brokers: vec![brokers.to_owned()],
        group: "assay".to_owned(),
        instance: None,
        topics: Topics { traces: topics(TOPIC), logs: topics("otlp_logs"), metrics: topics("otlp_metrics") },
        project: ProjectId::default_project(),
        start: Start::Earliest,
        tls: None,
        sasl: None,
        properties: BTreeMap::new(),
        record_bytes_max: 1 << 20,
    }
}

/// A cluster with one topic, and a data folder.
struct World {
    cluster: MockCluster<'static, DefaultProducerContext>,
    folder: tempfile::TempDir,
}

/// A source, and what it works for.
struct Node {
    source: KafkaSource,
    storage: Storage,
    metrics: KafkaMetrics,
}

impl World {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
        Self { cluster, folder: tempfile::tempdir().unwrap() }
    }

    fn config(&self) -> KafkaConfig {
        let properties = BTreeMap::from([("session.timeout.ms".to_owned(), "6000".to_owned())]);
        // One topic, so that members that share partitions share this one's.
        let topics = Topics { traces: vec![TOPIC.to_owned()], ..Topics::default() };
        KafkaConfig { topics, properties, record_bytes_max: RECORD_BYTES_MAX, ..config(&self.cluster.bootstrap_servers()) }
    }

    async fn start(&self, folder: &str) -> Node {
        let data_dir = self.folder.path().join(folder);
        let storage = Storage::open(StorageConfig { data_dir, ..StorageConfig::default() }).await.unwrap();
        let ingest = Arc::new(Ingest::new(storage.clone(), Normaliser::embedded(), Arc::new(PriceTable::embedded())));
        let redelivery = Redelivery::from_log(storage.replay(), &ProjectId::default_project());
        ingest.recover().await.unwrap();
        let metrics = KafkaMetrics::new(&Registry::new()).unwrap();
        let source = KafkaSource::with_metrics(self.config(), ingest, redelivery, metrics.clone()).unwrap();
        Node { source, storage, metrics }
    }

    fn send(&self, bodies: impl IntoIterator<Item = (i32, Vec<u8>)>) {
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", self.cluster.bootstrap_servers()).create().unwrap();
        for (partition, body) in bodies {
            producer
                .send(BaseRecord::<(), [u8]>::to(TOPIC).partition(partition).payload(&body))
                .map_err(|(error, _)| error)
                .unwrap();
        }
        producer.flush(Duration::from_secs(10)).unwrap();
    }

    /// What the group has committed of the topic, by partition.
    fn committed(&self) -> Vec<i64> {
        let asker: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "assay")
            .create()
            .unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(TOPIC, 0, PARTITIONS - 1);
        let found = asker.committed_offsets(asked, Duration::from_secs(10)).unwrap();
        let offset = |offset| if let Offset::Offset(offset) = offset { offset } else { 0 };
        found.elements().iter().map(|element| offset(element.offset())).collect()
    }
}

impl Node {
    async fn stop(self) {
        self.source.stop(Duration::from_secs(20)).await;
        self.storage.close().await.unwrap();
    }

    fn rows(&self, table: TableId) -> usize {
        self.storage.view().hot(table, &ProjectId::default_project()).iter().map(|batch| batch.num_rows()).sum()
    }

    fn of_traces(&self, outcome: Outcome) -> u64 {
        self.metrics.records(Signal::Traces, outcome)
    }
}

/// Waits until `claim` holds.
async fn until(what: &str, mut claim: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !claim() {
        assert!(Instant::now() < deadline, "{what}: it did not come true in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn request(n: u64) -> Vec<u8> {
    let span = Span {
        trace_id: vec![7; 16],
        span_id: (n + 1).to_be_bytes().to_vec(),
        start_time_unix_nano: 1_700_000_000_000_000_001,
        end_time_unix_nano: 1_700_000_000_000_000_009,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..Default::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_is_committed_and_what_cannot_be_read_blocks_nothing() {
    let world = World::new();
    let node = world.start("data").await;
    world.send((0..30).map(|n| (n % PARTITIONS, request(u64::try_from(n).unwrap()))));
    world.send([(1, b"no protobuf at all \xff".to_vec()), (1, request(30)), (2, vec![0; RECORD_BYTES_MAX + 1])]);
    until("all is committed", || world.committed() == [10, 12, 11]).await;
    assert_eq!((node.of_traces(Outcome::Accepted), node.of_traces(Outcome::Quarantined)), (31, 2));
    assert_eq!((node.rows(TableId::Spans), node.rows(TableId::Quarantine), node.rows(TableId::IngestLedger)), (31, 2, 33));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_had_is_not_stored_again() {
    let world = World::new();
    // Nothing is committed: as if the process were killed each time before it could.
    let refuse = || {
        let refusals = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 1000];
        world.cluster.request_errors(RDKafkaApiKey::OffsetCommit, &refusals);
    };
    refuse();
    let node = world.start("data").await;
    world.send((0..30).map(|n| (n % PARTITIONS, request(u64::try_from(n).unwrap()))));
    until("all is accepted", || node.of_traces(Outcome::Accepted) == 30).await;
    until("a commit failed", || node.metrics.commit_failures.get() > 0).await;
    assert_eq!(world.committed(), [0, 0, 0]);
    // Gone without a flush, as after a kill: its log is all there is.
    let copy = world.folder.path().join("copy");
    copy_folder(&world.folder.path().join("data"), &copy);
    node.source.stop(Duration::from_secs(20)).await;
    world.cluster.clear_request_errors(RDKafkaApiKey::OffsetCommit);

    let node = world.start("copy").await;
    until("all is committed", || world.committed() == [10, 10, 10]).await;
    assert_eq!((node.of_traces(Outcome::Redelivered), node.of_traces(Outcome::Accepted)), (30, 0));
    assert_eq!(node.rows(TableId::Spans), 30);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_partitions_and_hand_them_over_with_their_offsets() {
    let world = World::new();
    let one = world.start("one").await;
    world.send((0..30).map(|n| (n % PARTITIONS, request(u64::try_from(n).unwrap()))));
    until("one has them all", || one.of_traces(Outcome::Accepted) == 30).await;
    let two = world.start("two").await;
    let mut sent = 30;
    // Each batch goes to all partitions, so that it tells who has which.
    until("two has a share", || {
        world.send((0..PARTITIONS).map(|partition| (partition, request(u64::try_from(sent + partition).unwrap()))));
        sent += PARTITIONS;
        two.of_traces(Outcome::Accepted) > 0
    })
    .await;
    one.stop().await;
    world.send((0..PARTITIONS).map(|partition| (partition, request(u64::try_from(sent + partition).unwrap()))));
    sent += PARTITIONS;
    let each = i64::from(sent / PARTITIONS);
    until("the other one goes on", || world.committed() == [each; 3]).await;
    assert_eq!(two.of_traces(Outcome::Redelivered), 0);
    two.stop().await;
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
