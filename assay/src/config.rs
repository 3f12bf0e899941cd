//! The configuration of a server: defaults, overlaid by `assay.toml`, overlaid by `ASSAY_…` variables and flags.
//!
//! Unknown keys are errors and every message names the key, so that a typo fails before any port opens.

mod distributed;
mod kafka;

use std::{
    fmt,
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use assay_accounts::{PostgresConfig, PostgresUrl};
use assay_schemas::prices::PriceOverride;
use assay_storage::{AzureAccess, BucketConfig, GcsAccess, S3Access, Secret};
use serde::{Deserialize, Serialize};

pub(crate) use self::{distributed::DistributedConfig, kafka::KafkaConfig};

/// Everything that can be configured. `docs/configuration.md` shows it with its defaults.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where WAL, lake and blobs live. Default `./assay-data`.
    pub(crate) data_dir: PathBuf,
    /// Allow listening on an address that is not loopback without accounts. Default `false`.
    pub(crate) insecure: bool,
    /// Addresses to listen on.
    pub(crate) listen: ListenConfig,
    /// Limits on what a sender may send.
    pub(crate) ingest: IngestConfig,
    /// Kafka as a source of OTLP.
    pub(crate) kafka: KafkaConfig,
    /// WAL, hot buffer and lake.
    pub(crate) storage: StorageConfig,
    /// Limits on what a query may use.
    pub(crate) query: QueryConfig,
    /// Where saved items and notes are kept.
    pub(crate) accounts: AccountsConfig,
    /// Own prices; they take precedence over the price table.
    #[serde(skip_serializing)]
    pub(crate) prices: Vec<PriceOverride>,
    /// Dialect mapping files of your own, added to the embedded ones or replacing those of the same name.
    pub(crate) dialect_files: Vec<PathBuf>,
    /// How log lines look.
    pub(crate) log: LogConfig,
}

/// Addresses; port 0 takes a free one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ListenConfig {
    /// UI, HTTP API and OTLP/HTTP. Default `127.0.0.1:8080`.
    pub(crate) http: SocketAddr,
    /// OTLP/gRPC. Default `127.0.0.1:4317`.
    pub(crate) otlp_grpc: SocketAddr,
    /// OTLP/HTTP on its customary port. Default `127.0.0.1:4318`.
    pub(crate) otlp_http: SocketAddr,
    /// Parts of other nodes' queries, if there are `query.distributed.nodes`. Default `127.0.0.1:4320`.
    pub(crate) nodes: SocketAddr,
}

/// Limits on what a sender may send.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct IngestConfig {
    /// Largest request, before and after inflating. Default `64MiB` (OTLP 1.11).
    pub(crate) request_bytes_max: ByteSize,
    /// Bytes of all requests in flight together; more are answered "try again". Default `256MiB`.
    pub(crate) in_flight_bytes_max: ByteSize,
    /// A request must have arrived and been answered within this time. Default `30s`.
    #[serde(with = "humantime_serde")]
    pub(crate) request_timeout: Duration,
}

/// WAL, hot buffer and lake.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StorageConfig {
    /// Rows stay in the hot buffer at most this long before they are written to the lake. Default `10s`, and `3s` where nodes share the lake:
    /// other nodes see them only then.
    #[serde(with = "humantime_serde")]
    pub(crate) flush_interval: Option<Duration>,
    /// Rows are written to the lake when the hot buffer holds this much. Default `64MiB`.
    pub(crate) flush_bytes: ByteSize,
    /// The hot buffer holds at most this much; senders wait beyond it. Default `160MiB`, and `512MiB` where rows go to a bucket or to
    /// ClickHouse, which may be away for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hot_bytes_max: Option<ByteSize>,
    /// The write-ahead log takes at most this much disk; senders wait beyond it. Default `4GiB`.
    pub(crate) wal_bytes_max: ByteSize,
    /// So much disk stays free; with less, senders wait. Default `256MiB`.
    pub(crate) disk_free_min: ByteSize,
    /// Days older than this are dropped. Default: keep for ever.
    #[serde(with = "humantime_serde")]
    pub(crate) retention: Option<Duration>,
    /// How often small files are merged. Default `5m`.
    #[serde(with = "humantime_serde")]
    pub(crate) compaction_interval: Duration,
    /// How long files that were merged or dropped stay, for other engines that still read them. Default `1h`.
    #[serde(with = "humantime_serde")]
    pub(crate) vacuum_grace: Duration,
    /// Where lake and blobs live, such as `s3://bucket/folder`, `gs://bucket/folder` or `az://container/folder`. Default: in `data_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// Other nodes may write the lake in `url`, or the database of `clickhouse`, too. Always so for `assay collector` and `assay query`. Default `false`.
    pub(crate) shared: bool,
    /// How often a node that answers questions looks for what other nodes wrote. Default `2s`.
    #[serde(with = "humantime_serde")]
    pub(crate) follow_interval: Duration,
    /// What was read from the bucket lately takes at most this much disk. Default `10GiB`.
    pub(crate) cache_max: ByteSize,
    /// How to reach the bucket of an `url` that begins with `s3://`.
    pub(crate) s3: S3Config,
    /// How to reach the bucket of an `url` that begins with `gs://`.
    pub(crate) gcs: GcsConfig,
    /// How to reach the container of an `url` that begins with `az://`.
    pub(crate) azure: AzureConfig,
    /// Where rows are kept in the place of a lake.
    pub(crate) clickhouse: ClickHouseConfig,
}

/// How to reach ClickHouse. It is used if `url` is given.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClickHouseConfig {
    /// Its HTTP interface, such as `https://clickhouse.example:8443`. Default: none, rows are kept in a lake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// Database, which `assay migrate` makes. Default `assay`.
    pub(crate) database: String,
    /// User. Default `default`.
    pub(crate) user: String,
    /// File that holds the user's password. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_file: Option<PathBuf>,
    /// Cluster, as `system.clusters` names it. Default: none, one server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
    /// Insertions on their way at the same time. Default `4`.
    pub(crate) inserts_in_flight: NonZeroUsize,
    /// What is not answered within this time is sent again. Default `60s`.
    #[serde(with = "humantime_serde")]
    pub(crate) request_timeout: Duration,
    /// Longest wait for a connection. Default `5s`.
    #[serde(with = "humantime_serde")]
    pub(crate) connect_timeout: Duration,
    /// Allow connections that are not encrypted. Default `false`.
    pub(crate) allow_http: bool,
}

/// How to reach a bucket of AWS S3, or of a service that speaks its protocol. What is not said is taken from the `AWS_…` variables.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct S3Config {
    /// Address of the service, such as `https://minio.example:9000`. Default: that of AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// Region. Default: `AWS_REGION`, else `us-east-1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    /// Access key. Default: `AWS_ACCESS_KEY_ID`, else the role of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access_key_id: Option<String>,
    /// File that holds the secret key. Default: `AWS_SECRET_ACCESS_KEY`, else the role of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_access_key_file: Option<PathBuf>,
    /// The bucket is in the path of requests, not in the name of the host. Default `true`.
    pub(crate) path_style: bool,
    /// Allow connections that are not encrypted. Default `false`.
    pub(crate) allow_http: bool,
}

/// How to reach a bucket of Google Cloud Storage.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GcsConfig {
    /// Address of the service, for an emulator. Default: that of Google.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// File that holds the key of a service account. Default: what the `GOOGLE_…` variables name, else the service account of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_account_file: Option<PathBuf>,
    /// Allow connections that are not encrypted. Default `false`.
    pub(crate) allow_http: bool,
}

/// How to reach a container of Azure Blob Storage. What is not said is taken from the `AZURE_…` variables.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AzureConfig {
    /// Address of the account, for an emulator or another cloud. Default: that of the account at Azure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// Storage account. Default: `AZURE_STORAGE_ACCOUNT_NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<String>,
    /// File that holds a key of the account. Default: `AZURE_STORAGE_ACCOUNT_KEY`, else what other variables name, else the identity of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access_key_file: Option<PathBuf>,
    /// Allow connections that are not encrypted. Default `false`.
    pub(crate) allow_http: bool,
}

/// Limits on what a query may use.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QueryConfig {
    /// Memory of one query; beyond it, it spills to disk. Default `512MiB`.
    pub(crate) memory_max: ByteSize,
    /// Memory of all queries together. Default `1GiB`.
    pub(crate) memory_total: ByteSize,
    /// Memory for columns that were decoded and may be asked for again, of what queries leave of `memory_total`; 0 keeps none.
    /// Default `256MiB`.
    pub(crate) cache_max: ByteSize,
    /// A query is stopped after this time. Default `60s`.
    #[serde(with = "humantime_serde")]
    pub(crate) timeout: Duration,
    /// Rows of one answer at most. Default `1000000`.
    pub(crate) row_limit: usize,
    /// Bytes of the rows of one answer at most. Default `1GiB`.
    pub(crate) answer_max: ByteSize,
    /// Queries running at once; more wait. Default `8`.
    pub(crate) concurrency: NonZeroUsize,
    /// Large queries over several nodes.
    pub(crate) distributed: DistributedConfig,
}

/// Where saved items and notes are kept. Collectors have none.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AccountsConfig {
    /// A Postgres database, such as `postgres://assay@db.example/assay`. Default: none, the file `assay.db` in `data_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// File that holds the password. Default: `PGPASSWORD`, else `~/.pgpass`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password_file: Option<PathBuf>,
    /// Connections of this node to Postgres at the same time. Default `4`.
    pub(crate) connections_max: NonZeroUsize,
}

/// How log lines look.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogConfig {
    /// `text` or `json`. Default `text`.
    pub(crate) format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Default of `storage.hot_bytes_max` where rows go over the network: what comes while the store is away waits in memory, and in the log.
const REMOTE_HOT_BYTES_MAX: u64 = 512 << 20;

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "assay-data".into(),
            insecure: false,
            listen: ListenConfig::default(),
            ingest: IngestConfig::default(),
            kafka: KafkaConfig::default(),
            storage: StorageConfig::default(),
            query: QueryConfig::default(),
            accounts: AccountsConfig::default(),
            prices: Vec::new(),
            dialect_files: Vec::new(),
            log: LogConfig::default(),
        }
    }
}

impl Default for ListenConfig {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self { http: loopback(8080), otlp_grpc: loopback(4317), otlp_http: loopback(4318), nodes: loopback(4320) }
    }
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            request_bytes_max: ByteSize::mib(64),
            in_flight_bytes_max: ByteSize::mib(256),
            request_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        let of = assay_storage::StorageConfig::default();
        Self {
            flush_interval: None,
            flush_bytes: ByteSize(of.flush_bytes),
            hot_bytes_max: None,
            wal_bytes_max: ByteSize(of.wal_bytes_max),
            disk_free_min: ByteSize(of.disk_free_min),
            retention: of.retention,
            compaction_interval: of.compaction_interval,
            vacuum_grace: of.vacuum_grace,
            url: None,
            shared: false,
            follow_interval: of.follow_interval,
            cache_max: ByteSize::mib(10 << 10),
            s3: S3Config::default(),
            gcs: GcsConfig::default(),
            azure: AzureConfig::default(),
            clickhouse: ClickHouseConfig::default(),
        }
    }
}

impl Default for ClickHouseConfig {
    fn default() -> Self {
        Self {
            url: None,
            database: "assay".to_owned(),
            user: "default".to_owned(),
            password_file: None,
            cluster: None,
            inserts_in_flight: NonZeroUsize::new(4).expect("4 is not 0"),
            request_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            allow_http: false,
        }
    }
}

impl Default for S3Config {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key_file: None,
            path_style: true,
            allow_http: false,
        }
    }
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            memory_max: ByteSize::mib(512),
            memory_total: ByteSize::mib(1024),
            cache_max: ByteSize::mib(256),
            timeout: Duration::from_secs(60),
            row_limit: 1_000_000,
            answer_max: ByteSize::mib(1024),
            concurrency: NonZeroUsize::new(8).expect("8 is not 0"),
            distributed: DistributedConfig::default(),
        }
    }
}

impl Default for AccountsConfig {
    fn default() -> Self {
        Self { url: None, password_file: None, connections_max: NonZeroUsize::new(4).expect("4 is not 0") }
    }
}

impl Config {
    /// Reads `path`, or gives the defaults if there is none.
    ///
    /// # Errors
    /// If the file cannot be read, is not TOML, or holds an unknown key or a value of the wrong kind.
    pub(crate) fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("could not read the configuration file `{}`", path.display()))?;
        toml::from_str(&text).with_context(|| format!("the configuration file `{}` is not valid", path.display()))
    }

    /// Checks what no single key can say.
    ///
    /// # Errors
    /// If an address is not loopback although nothing protects it.
    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        let listeners = [
            ("listen.http", self.listen.http),
            ("listen.otlp_grpc", self.listen.otlp_grpc),
            ("listen.otlp_http", self.listen.otlp_http),
        ];
        for (key, address) in listeners {
            if !address.ip().is_loopback() && !self.insecure {
                bail!(
                    "`{key}` is `{address}`: expected a loopback address, because anyone who reaches another one could read and \
                     write everything (hint: `--insecure` allows it on a network you trust)"
                );
            }
        }
        if self.ingest.in_flight_bytes_max.bytes() / 4 * 3 < self.ingest.request_bytes_max.bytes().saturating_mul(2) {
            bail!(
                "`ingest.in_flight_bytes_max` is `{}`: expected at least 8/3 of `ingest.request_bytes_max`, `{}`, because a request \
                 is held as received and inflated, and one project may take three quarters",
                self.ingest.in_flight_bytes_max,
                self.ingest.request_bytes_max
            );
        }
        let hot_bytes_max = self.storage.hot_bytes_max();
        if hot_bytes_max.bytes() < self.storage.flush_bytes.bytes() {
            bail!(
                "`storage.hot_bytes_max` is `{hot_bytes_max}`: expected at least `storage.flush_bytes`, `{}`",
                self.storage.flush_bytes
            );
        }
        if let (Some(url), Some(clickhouse)) = (&self.storage.url, &self.storage.clickhouse.url) {
            bail!(
                "found `storage.url`, `{url}`, and `storage.clickhouse.url`, `{clickhouse}`: expected one of them, rows are kept in one place"
            );
        }
        if self.storage.shared && !self.storage.can_be_shared() {
            bail!(
                "`storage.shared` is `true` and there is no `storage.url`: expected a bucket, such as `s3://BUCKET/FOLDER`, or `storage.clickhouse.url`, nodes can share \
                 only a lake in a bucket or a database in ClickHouse"
            );
        }
        self.query.distributed.validate(self.storage.url.is_some())?;
        self.accounts.postgres()?;
        self.kafka.validate()?;
        self.storage.clickhouse.validate()?;
        self.storage.s3.validate()?;
        let StorageConfig { gcs, azure, .. } = &self.storage;
        check_address("storage.gcs", "endpoint", gcs.endpoint.as_deref(), gcs.allow_http, "http://localhost:4443")?;
        check_address(
            "storage.azure",
            "endpoint",
            azure.endpoint.as_deref(),
            azure.allow_http,
            "https://telemetry.blob.core.windows.net",
        )
    }
}

impl StorageConfig {
    /// How much the hot buffer holds at most.
    pub(crate) fn hot_bytes_max(&self) -> ByteSize {
        let default =
            if self.can_be_shared() { REMOTE_HOT_BYTES_MAX } else { assay_storage::StorageConfig::default().hot_bytes_max };
        self.hot_bytes_max.unwrap_or(ByteSize(default))
    }

    /// Whether several nodes can write there.
    pub(crate) fn can_be_shared(&self) -> bool {
        self.url.is_some() || self.clickhouse.url.is_some()
    }

    /// The bucket of `url`, with the secrets that the configuration refers to.
    ///
    /// # Errors
    /// If the file of a secret cannot be read.
    pub(crate) fn bucket(&self) -> anyhow::Result<Option<BucketConfig>> {
        let Some(url) = self.url.clone() else { return Ok(None) };
        let Self { s3, gcs, azure, .. } = self.clone();
        let read = |path: &PathBuf| secret(path, "the secret key", "storage.s3.secret_access_key_file");
        let s3 = S3Access {
            endpoint: s3.endpoint,
            region: s3.region,
            access_key_id: s3.access_key_id,
            secret_access_key: s3.secret_access_key_file.as_ref().map(read).transpose()?,
            path_style: s3.path_style,
            allow_http: s3.allow_http,
        };
        let read = |path: &PathBuf| secret(path, "the key of the service account", "storage.gcs.service_account_file");
        let gcs = GcsAccess {
            endpoint: gcs.endpoint,
            service_account: gcs.service_account_file.as_ref().map(read).transpose()?,
            allow_http: gcs.allow_http,
        };
        let read = |path: &PathBuf| secret(path, "the access key", "storage.azure.access_key_file");
        let azure = AzureAccess {
            endpoint: azure.endpoint,
            account: azure.account,
            access_key: azure.access_key_file.as_ref().map(read).transpose()?,
            allow_http: azure.allow_http,
        };
        Ok(Some(BucketConfig { url, s3, gcs, azure, cache_bytes_max: self.cache_max.bytes() }))
    }
}

/// The text of `path`, to which `key` refers.
fn secret(path: &Path, what: &str, key: &str) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("could not read {what} in `{}` (`{key}`)", path.display()))?;
    Ok(Secret::new(text.trim().to_owned()))
}

impl ClickHouseConfig {
    fn validate(&self) -> anyhow::Result<()> {
        let Some(url) = &self.url else { return Ok(()) };
        let example = "https://clickhouse.example:8443";
        if reqwest::Url::parse(url).is_err() || !(url.starts_with("http://") || url.starts_with("https://")) {
            bail!("`storage.clickhouse.url` is `{url}`: expected an address such as `{example}`");
        }
        if reqwest::Url::parse(url).is_ok_and(|url| !url.username().is_empty() || url.password().is_some()) {
            bail!(
                "`storage.clickhouse.url` holds credentials: expected them in `storage.clickhouse.user` and `.password_file`, because urls are logged"
            );
        }
        check_address("storage.clickhouse", "url", Some(url), self.allow_http, example)?;
        if self.database.is_empty() {
            bail!("`storage.clickhouse.database` is empty: expected a name");
        }
        Ok(())
    }

    /// ClickHouse at `url`, with the password that the configuration refers to.
    ///
    /// # Errors
    /// If the file of the password cannot be read.
    pub(crate) fn store(&self) -> anyhow::Result<Option<assay_storage::ClickHouseConfig>> {
        let Some(url) = self.url.clone() else { return Ok(None) };
        let read = |path: &PathBuf| secret(path, "the password", "storage.clickhouse.password_file");
        Ok(Some(assay_storage::ClickHouseConfig {
            url,
            database: self.database.clone(),
            user: self.user.clone(),
            password: self.password_file.as_ref().map(read).transpose()?,
            cluster: self.cluster.clone(),
            inserts_in_flight: self.inserts_in_flight,
            request_timeout: self.request_timeout,
            connect_timeout: self.connect_timeout,
        }))
    }
}

impl AccountsConfig {
    /// The Postgres database of `url`. The file of the password is read when a connection is made.
    ///
    /// # Errors
    /// If `url` is none of a Postgres database, or holds a password.
    pub(crate) fn postgres(&self) -> anyhow::Result<Option<PostgresConfig>> {
        let Some(url) = &self.url else { return Ok(None) };
        let url = PostgresUrl::parse(url).context("`accounts.url` cannot be used")?;
        Ok(Some(PostgresConfig { url, password_file: self.password_file.clone(), connections_max: self.connections_max }))
    }
}

impl S3Config {
    fn validate(&self) -> anyhow::Result<()> {
        check_address("storage.s3", "endpoint", self.endpoint.as_deref(), self.allow_http, "https://minio.example:9000")?;
        if self.access_key_id.is_some() != self.secret_access_key_file.is_some() {
            bail!("found one of `storage.s3.access_key_id` and `storage.s3.secret_access_key_file`, expected both or none");
        }
        Ok(())
    }
}

/// Checks the address of a store, `key` of `section`.
fn check_address(section: &str, key: &str, address: Option<&str>, allow_http: bool, example: &str) -> anyhow::Result<()> {
    let Some(address) = address else { return Ok(()) };
    match address.split_once("://") {
        Some(("https", _)) => Ok(()),
        Some(("http", _)) if allow_http => Ok(()),
        Some(("http", _)) => bail!(
            "`{section}.{key}` is `{address}`: expected `https://…`, because anyone on the way could read what is stored (hint: \
             `{section}.allow_http = true` allows it on a network you trust)"
        ),
        _ => bail!("`{section}.{key}` is `{address}`: expected an address such as `{example}`"),
    }
}

/// A number of bytes, written `64MiB`, `10 GB` or as a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "ByteSizeText", into = "String")]
pub(crate) struct ByteSize(u64);

const UNITS: [(&str, u64); 7] =
    [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("B", 1)];

impl ByteSize {
    const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    pub(crate) fn bytes(self) -> u64 {
        self.0
    }

    /// The size as a length in memory; what does not fit is as large as can be.
    pub(crate) fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
            .into_iter()
            .find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size))
            .unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> Self {
        size.to_string()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ByteSizeText {
    Number(u64),
    Text(String),
}

impl TryFrom<ByteSizeText> for ByteSize {
    type Error = String;

    fn try_from(text: ByteSizeText) -> Result<Self, Self::Error> {
        match text {
            ByteSizeText::Number(bytes) => Ok(Self(bytes)),
            ByteSizeText::Text(text) => text.parse(),
        }
    }
}

impl std::str::FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("found `{text}`, expected a size such as `64MiB`, `10GB` or a number of bytes");
        let trimmed = text.trim();
        let digits = trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
        let unit = trimmed[digits.len()..].trim();
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        let scale = if unit.is_empty() { 1 } else { UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1 };
        number.checked_mul(scale).map(Self).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named() {
        let error = toml::from_str::<Config>("[storage]\nflush_intervall = \"1s\"").expect_err("a typo");
        assert!(error.message().starts_with("unknown field `flush_intervall`, expected one of `flush_interval`"), "{error}");
    }

    #[test]
    fn sizes_are_written_as_people_write_them() {
        for (text, bytes) in [("64MiB", 64 << 20), ("10 GB", 10_000_000_000), ("512", 512), ("1KiB", 1024)] {
            assert_eq!(text.parse::<ByteSize>().map(ByteSize::bytes), Ok(bytes), "{text}");
        }
        for bad in ["", "MiB", "1.5GiB", "7 parsecs", "99999999999GiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        assert_eq!(ByteSize::mib(2048).to_string(), "2GiB");
    }

    #[test]
    fn an_open_address_needs_a_word() {
        let mut config = Config::default();
        config.listen.http = "0.0.0.0:8080".parse().expect("an address");
        let error = config.validate().expect_err("open to everyone").to_string();
        assert!(error.contains("`listen.http` is `0.0.0.0:8080`"), "{error}");
        config.insecure = true;
        assert!(config.validate().is_ok());
    }

    #[test]
    fn what_is_said_of_a_bucket_fits_together() {
        let check = |section: &str, keys: &str| {
            let text = format!("[storage]\nurl = \"s3://telemetry\"\n[storage.{section}]\n{keys}");
            let config: Config = toml::from_str(&text).expect("TOML");
            config.validate().map_err(|error| error.to_string())
        };
        for section in ["s3", "gcs", "azure"] {
            assert_eq!(check(section, "endpoint = \"https://store.example\""), Ok(()));
            assert_eq!(check(section, "endpoint = \"http://store.example\"\nallow_http = true"), Ok(()));
            let error = check(section, "endpoint = \"http://store.example\"").expect_err("not encrypted");
            assert!(
                error.starts_with(&format!("`storage.{section}.endpoint` is ")) && error.contains("expected `https://…`"),
                "{error}"
            );
            assert!(
                check(section, "endpoint = \"store.example\"").expect_err("no scheme").contains("expected an address such as")
            );
        }
        assert!(check("s3", "access_key_id = \"id\"").expect_err("half a key").contains("expected both or none"));
    }

    #[test]
    fn only_a_bucket_and_clickhouse_can_be_shared() {
        let mut config = Config::default();
        config.storage.shared = true;
        assert!(config.validate().expect_err("no bucket").to_string().contains("there is no `storage.url`"));
        config.storage.url = Some("s3://telemetry".to_owned());
        assert!(config.validate().is_ok());
        config.storage.url = None;
        config.storage.clickhouse.url = Some("https://clickhouse.example:8443".to_owned());
        assert!(config.validate().is_ok());
    }

    #[test]
    fn what_is_said_of_clickhouse_fits_together() {
        let check = |text: &str| {
            let config: Config = toml::from_str(text).expect("TOML");
            config.validate().map_err(|error| error.to_string())
        };
        let clickhouse = |keys: &str| check(&format!("[storage.clickhouse]\n{keys}"));
        assert_eq!(clickhouse("url = \"https://clickhouse.example:8443\""), Ok(()));
        assert_eq!(clickhouse("url = \"http://localhost:8123\"\nallow_http = true"), Ok(()));
        assert!(clickhouse("url = \"http://localhost:8123\"").expect_err("not encrypted").contains("expected `https://…`"));
        assert!(clickhouse("url = \"clickhouse:9000\"").expect_err("no HTTP").contains("expected an address such as"));
        assert!(clickhouse("url = \"https://me:secret@x\"").expect_err("logged").contains("holds credentials"));
        let both = "[storage]\nurl = \"s3://x\"\n[storage.clickhouse]\nurl = \"https://x\"";
        assert!(check(both).expect_err("two places").contains("expected one of them"));
    }

    #[test]
    fn the_address_of_accounts_is_one_of_postgres_without_a_password() {
        let check = |url: &str| {
            let config: Config = toml::from_str(&format!("[accounts]\nurl = \"{url}\"")).expect("TOML");
            config.validate().map_err(|error| format!("{error:#}"))
        };
        assert_eq!(check("postgres://assay@db.example/assay"), Ok(()));
        let refused = check("postgres://assay:hunter2@db.example/assay").expect_err("logged");
        assert!(
            refused.starts_with("`accounts.url` cannot be used: it holds a password") && !refused.contains("hunter2"),
            "{refused}"
        );
    }

    #[test]
    fn a_secret_comes_from_a_file() {
        let mut config = StorageConfig { url: Some("s3://telemetry/x".to_owned()), ..StorageConfig::default() };
        let file = || Some("/nowhere/key".into());
        let refused = |config: &StorageConfig| config.bucket().expect_err("no such file").to_string();
        config.s3.secret_access_key_file = file();
        assert!(refused(&config).contains("`/nowhere/key` (`storage.s3.secret_access_key_file`)"));
        config.s3.secret_access_key_file = None;
        config.gcs.service_account_file = file();
        assert!(refused(&config).contains("`/nowhere/key` (`storage.gcs.service_account_file`)"));
        config.gcs.service_account_file = None;
        config.azure.access_key_file = file();
        assert!(refused(&config).contains("`/nowhere/key` (`storage.azure.access_key_file`)"));
        config.azure.access_key_file = None;
        assert_eq!(config.bucket().expect("no file is needed").expect("a bucket").url, "s3://telemetry/x");
    }

    #[test]
    fn the_defaults_survive_a_round_trip() {
        let text = toml::to_string(&Config::default()).expect("defaults serialise");
        let read: Config = toml::from_str(&text).expect("and read back");
        assert_eq!(toml::to_string(&read).expect("again"), text);
    }
}
