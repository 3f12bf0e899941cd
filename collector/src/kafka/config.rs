//! What is said about Kafka, and what of it the client is told. Assay decides on its own what its promises rest on.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use assay_schemas::ids::{ProjectId, Signal};
use assay_storage::Secret;
use rdkafka::{ClientConfig, config::RDKafkaLogLevel};

/// Where records come from and whose they are.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// `host:port` of brokers to begin with.
    pub brokers: Vec<String>,
    /// Consumer group.
    pub group: String,
    /// Name of this member, the same after each start: it gets its partitions back. Without one, a start is a new member.
    pub instance: Option<String>,
    /// What is read.
    pub topics: Topics,
    /// Whose rows they become.
    pub project: ProjectId,
    /// Where a group begins that has committed nothing.
    pub start: Start,
    /// Encryption; none without it.
    pub tls: Option<Tls>,
    /// How this client proves who it is.
    pub sasl: Option<Sasl>,
    /// Further settings of librdkafka.
    pub properties: BTreeMap<String, String>,
    /// Larger records go to `quarantine`, in bytes.
    pub record_bytes_max: usize,
}

/// Topics by what their records are.
#[derive(Clone, Debug, Default)]
pub struct Topics {
    /// `ExportTraceServiceRequest`
    pub traces: Vec<String>,
    /// `ExportLogsServiceRequest`
    pub logs: Vec<String>,
    /// `ExportMetricsServiceRequest`
    pub metrics: Vec<String>,
}

/// Where a group begins that has committed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record there is.
    Earliest,
    /// With what is written from now on.
    Latest,
}

/// Files of TLS, in PEM.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Authorities; without it, those of the system.
    pub ca_file: Option<PathBuf>,
    /// Certificate of this client.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
}

/// A user and a password.
#[derive(Clone, Debug)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: String,
    /// User.
    pub user: String,
    /// Password.
    pub password: Secret,
}

/// What does not fit together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaConfigError {
    /// Nothing to read.
    #[error("`kafka.topics` is empty: expected at least one topic")]
    NoTopics,
    /// It cannot be two things.
    #[error("`kafka.topics` names `{topic}` more than once: expected one signal for each topic")]
    TopicTwice {
        /// Which.
        topic: String,
    },
    /// Something that this page decides.
    #[error("`kafka.properties` has `{property}`: expected none that Assay sets itself{}", hint.map(|key| format!(" (hint: `kafka.{key}`)")).unwrap_or_default())]
    OwnProperty {
        /// Which.
        property: String,
        /// The key that says it.
        hint: Option<&'static str>,
    },
}

/// Properties that are not to be set by hand, and the key of the configuration that sets them.
const OWN: &[(&str, Option<&str>)] = &[
    ("bootstrap.servers", Some("brokers")),
    ("metadata.broker.list", Some("brokers")),
    ("group.id", Some("group")),
    ("group.instance.id", Some("instance")),
    ("auto.offset.reset", Some("start")),
    ("security.protocol", Some("tls")),
    ("ssl.ca.location", Some("ca_file")),
    ("ssl.certificate.location", Some("certificate_file")),
    ("ssl.key.location", Some("key_file")),
    ("sasl.mechanism", Some("sasl_mechanism")),
    ("sasl.mechanisms", Some("sasl_mechanism")),
    ("sasl.username", Some("user")),
    ("sasl.password", Some("password_file")),
    ("enable.auto.commit", None),
    ("auto.commit.interval.ms", None),
    ("enable.auto.offset.store", None),
];

/// Records that wait to be taken, fetched ahead.
const FETCHED_AHEAD_KIB: &str = "16384";
/// Offsets are committed so often: what is in the log for longer is not handed out again after a kill.
const COMMIT_INTERVAL_MS: &str = "200";
/// How often lag and brokers are looked at.
const STATISTICS_INTERVAL_MS: &str = "5000";

/// A topic and what its records are.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) signal: Signal,
}

impl KafkaConfig {
    pub(super) fn validate(&self) -> Result<(), KafkaConfigError> {
        let topics = self.topics();
        if topics.is_empty() {
            return Err(KafkaConfigError::NoTopics);
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = topics.iter().find(|topic| !seen.insert(&topic.name)) {
            return Err(KafkaConfigError::TopicTwice { topic: twice.name.to_string() });
        }
        match OWN.iter().find(|(property, _)| self.properties.contains_key(*property)) {
            Some((property, hint)) => Err(KafkaConfigError::OwnProperty { property: (*property).to_owned(), hint: *hint }),
            None => Ok(()),
        }
    }

    pub(super) fn topics(&self) -> Vec<Topic> {
        let of = |names: &[String], signal| -> Vec<Topic> {
            names.iter().map(|name| Topic { name: name.as_str().into(), signal }).collect()
        };
        let Topics { traces, logs, metrics } = &self.topics;
        [of(traces, Signal::Traces), of(logs, Signal::Logs), of(metrics, Signal::Metrics)].concat()
    }

    /// What librdkafka is told.
    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            // One member more or less stops only the partitions that move.
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("queued.max.messages.kbytes", FETCHED_AHEAD_KIB)
            // The default of a second would be a pause each time that what was fetched ahead is full.
            .set("fetch.queue.backoff.ms", "50")
            // A topic that is made later is found so much later.
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("statistics.interval.ms", STATISTICS_INTERVAL_MS)
            .set("client.id", "assay");
        for (property, value) in &self.properties {
            client.set(property, value);
        }
        client
            .set("bootstrap.servers", self.brokers.join(","))
            .set("group.id", &self.group)
            // Of what is told to be accepted; the client repeats what fails, and does it before a partition is let go.
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", COMMIT_INTERVAL_MS)
            // What is fetched is not accepted.
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", if self.start == Start::Earliest { "earliest" } else { "latest" })
            .set_log_level(RDKafkaLogLevel::Info);
        if let Some(instance) = &self.instance {
            client.set("group.instance.id", instance);
        }
        let protocol = match (&self.tls, &self.sasl) {
            (Some(_), Some(_)) => "sasl_ssl",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (None, None) => "plaintext",
        };
        client.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            let files = [
                ("ssl.ca.location", &tls.ca_file),
                ("ssl.certificate.location", &tls.certificate_file),
                ("ssl.key.location", &tls.key_file),
            ];
            for (property, file) in files {
                if let Some(file) = file {
                    client.set(property, file.to_string_lossy());
                }
            }
        }
        if let Some(Sasl { mechanism, user, password }) = &self.sasl {
            client.set("sasl.mechanism", mechanism).set("sasl.username", user).set("sasl.password", password.expose());
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::config, *};

    #[test]
    fn a_topic_has_one_signal_and_there_is_one() {
        let mut config = config("localhost:9092");
        config.topics.logs = config.topics.traces.clone();
        let error = config.validate().expect_err("twice").to_string();
        assert_eq!(error, "`kafka.topics` names `otlp_spans` more than once: expected one signal for each topic");
        config.topics = Topics::default();
        assert_eq!(config.validate(), Err(KafkaConfigError::NoTopics));
    }

    #[test]
    fn what_promises_rest_on_is_not_set_by_hand() {
        let mut config = config("localhost:9092");
        config.properties = BTreeMap::from([("sasl.password".to_owned(), "secret".to_owned())]);
        let error = config.validate().expect_err("a secret").to_string();
        assert_eq!(
            error,
            "`kafka.properties` has `sasl.password`: expected none that Assay sets itself (hint: `kafka.password_file`)"
        );
        config.properties = BTreeMap::from([("session.timeout.ms".to_owned(), "6000".to_owned())]);
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.client().get("session.timeout.ms"), Some("6000"));
    }

    #[test]
    fn the_protocol_follows_from_tls_and_sasl() {
        let mut config = config("localhost:9092");
        let protocol = |config: &KafkaConfig| config.client().get("security.protocol").map(str::to_owned);
        assert_eq!(protocol(&config).as_deref(), Some("plaintext"));
        config.tls = Some(Tls::default());
        assert_eq!(protocol(&config).as_deref(), Some("ssl"));
        let password = Secret::new("secret".to_owned());
        config.sasl = Some(Sasl { mechanism: "SCRAM-SHA-512".to_owned(), user: "assay".to_owned(), password });
        assert_eq!(protocol(&config).as_deref(), Some("sasl_ssl"));
        // The client knows what it is told: SCRAM and TLS are compiled in.
        config.client().create::<rdkafka::consumer::BaseConsumer>().unwrap();
    }
}
