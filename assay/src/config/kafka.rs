//! `[kafka]`: Kafka as a source of OTLP. It is read by every binary, so that one without the feature `kafka` can say what it lacks.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, bail};
use assay_schemas::ids::ProjectId;
use serde::{Deserialize, Serialize};

/// Whether this binary was built with Kafka.
const BUILT_IN: bool = cfg!(feature = "kafka");

/// Kafka as a source of OTLP. It is used if there are brokers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KafkaConfig {
    /// Brokers to begin with, such as `kafka-1.example:9093`. Default: none, nothing is read from Kafka.
    pub(crate) brokers: Vec<String>,
    /// Consumer group. Default `assay`.
    pub(crate) group: String,
    /// Name of this node in the group, another one on each: after a restart it gets its partitions back. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance: Option<String>,
    /// Project that the rows belong to. Default `default`.
    pub(crate) project: String,
    /// Where a group begins that has committed nothing: `earliest` or `latest`. Default `earliest`.
    pub(crate) start: KafkaStart,
    /// Encrypt connections. Default `true`.
    pub(crate) tls: bool,
    /// Authorities that brokers are checked with, in PEM. Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Certificate of this client, in PEM. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_file: Option<PathBuf>,
    /// Key of this certificate, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathBuf>,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`. Default: none, no user is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sasl_mechanism: Option<String>,
    /// User.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// File that holds the user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_file: Option<PathBuf>,
    /// Topics by what their records are.
    pub(crate) topics: KafkaTopics,
    /// Further settings of librdkafka, such as `"session.timeout.ms" = "20000"`. Default: none.
    pub(crate) properties: BTreeMap<String, String>,
}

/// Topics by what their records are: `otlp_proto`, as the OpenTelemetry Collector writes them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KafkaTopics {
    /// Default `["otlp_spans"]`.
    pub(crate) traces: Vec<String>,
    /// Default `["otlp_logs"]`.
    pub(crate) logs: Vec<String>,
    /// Default `["otlp_metrics"]`.
    pub(crate) metrics: Vec<String>,
}

/// Where a group begins that has committed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KafkaStart {
    /// With the oldest record there is.
    #[default]
    Earliest,
    /// With what is written from now on.
    Latest,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            group: "assay".to_owned(),
            instance: None,
            project: "default".to_owned(),
            start: KafkaStart::Earliest,
            tls: true,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            sasl_mechanism: None,
            user: None,
            password_file: None,
            topics: KafkaTopics::default(),
            properties: BTreeMap::new(),
        }
    }
}

impl Default for KafkaTopics {
    fn default() -> Self {
        let one = |name: &str| vec![name.to_owned()];
        Self { traces: one("otlp_spans"), logs: one("otlp_logs"), metrics: one("otlp_metrics") }
    }
}

/// What a user can prove himself with, of what the client library has.
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

impl KafkaConfig {
    pub(super) fn validate(&self) -> anyhow::Result<()> {
        if self.brokers.is_empty() {
            return Ok(());
        }
        if !BUILT_IN {
            bail!(
                "`kafka.brokers` is `{}`, and this binary was built without Kafka: expected no brokers, or a binary with the feature \
                 (hint: `cargo build --release --package assay --features kafka`)",
                self.brokers.join(",")
            );
        }
        if let Some(broker) = self.brokers.iter().find(|broker| !is_address(broker)) {
            bail!("`kafka.brokers` has `{broker}`: expected `host:port`, such as `kafka-1.example:9093`");
        }
        if self.group.is_empty() {
            bail!("`kafka.group` is empty: expected a name");
        }
        ProjectId::new(&self.project).context("`kafka.project`")?;
        if !self.tls && (self.ca_file.is_some() || self.certificate_file.is_some() || self.key_file.is_some()) {
            bail!(
                "`kafka.tls` is `false`, and there is a file of TLS: expected none of `kafka.ca_file`, `.certificate_file` and `.key_file`"
            );
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            bail!("found one of `kafka.certificate_file` and `kafka.key_file`, expected both or none");
        }
        let said = [self.sasl_mechanism.is_some(), self.user.is_some(), self.password_file.is_some()];
        if said.contains(&true) && said.contains(&false) {
            bail!("found some of `kafka.sasl_mechanism`, `kafka.user` and `kafka.password_file`, expected all of them or none");
        }
        if let Some(mechanism) = &self.sasl_mechanism
            && !MECHANISMS.contains(&mechanism.as_str())
        {
            bail!("`kafka.sasl_mechanism` is `{mechanism}`: expected one of `{}`", MECHANISMS.join("`, `"));
        }
        Ok(())
    }
}

fn is_address(broker: &str) -> bool {
    broker.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && !host.contains("//") && port.parse::<u16>().is_ok())
}

/// The configuration as the source takes it; `None` without brokers.
#[cfg(feature = "kafka")]
impl super::Config {
    /// # Errors
    /// If the file of the password cannot be read.
    pub(crate) fn kafka_source(&self) -> anyhow::Result<Option<assay_collector::kafka::KafkaConfig>> {
        use assay_collector::kafka;
        let config = self.kafka.clone();
        if config.brokers.is_empty() {
            return Ok(None);
        }
        let sasl = match (config.sasl_mechanism, config.user, &config.password_file) {
            (Some(mechanism), Some(user), Some(path)) => {
                Some(kafka::Sasl { mechanism, user, password: super::secret(path, "the password", "kafka.password_file")? })
            }
            _ => None,
        };
        let files = kafka::Tls { ca_file: config.ca_file, certificate_file: config.certificate_file, key_file: config.key_file };
        Ok(Some(kafka::KafkaConfig {
            brokers: config.brokers,
            group: config.group,
            instance: config.instance,
            topics: kafka::Topics { traces: config.topics.traces, logs: config.topics.logs, metrics: config.topics.metrics },
            project: ProjectId::new(&config.project).context("`kafka.project`")?,
            start: match config.start {
                KafkaStart::Earliest => kafka::Start::Earliest,
                KafkaStart::Latest => kafka::Start::Latest,
            },
            tls: config.tls.then_some(files),
            sasl,
            properties: config.properties,
            record_bytes_max: self.ingest.request_bytes_max.len(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &str) -> Result<(), String> {
        let config: KafkaConfig = toml::from_str(keys).expect("TOML");
        config.validate().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn without_brokers_nothing_is_asked_for() {
        assert_eq!(check("tls = false"), Ok(()));
    }

    #[test]
    #[cfg(not(feature = "kafka"))]
    fn a_binary_without_kafka_says_so() {
        let error = check("brokers = [\"kafka:9093\"]").expect_err("not built in");
        assert!(error.starts_with("`kafka.brokers` is `kafka:9093`, and this binary was built without Kafka"), "{error}");
        assert!(error.contains("--features kafka"), "{error}");
    }

    #[test]
    #[cfg(feature = "kafka")]
    fn what_is_said_of_kafka_fits_together() {
        let with = |keys: &str| check(&format!("brokers = [\"kafka:9093\"]\n{keys}"));
        let refused = |keys: &str| with(keys).expect_err(keys);
        assert_eq!(with(""), Ok(()));
        assert_eq!(with("sasl_mechanism = \"SCRAM-SHA-512\"\nuser = \"assay\"\npassword_file = \"/x\""), Ok(()));
        assert!(check("brokers = [\"https://kafka\"]").expect_err("no address").contains("expected `host:port`"));
        assert!(refused("project = \"a/b\"").starts_with("`kafka.project`: `a/b` is not a project name"));
        assert!(refused("tls = false\nca_file = \"/x\"").contains("there is a file of TLS"));
        assert!(refused("certificate_file = \"/x\"").contains("expected both or none"));
        assert!(refused("user = \"assay\"").contains("expected all of them or none"));
        assert!(
            refused("sasl_mechanism = \"MD5\"\nuser = \"a\"\npassword_file = \"/x\"").contains("`kafka.sasl_mechanism` is `MD5`")
        );
    }
}
