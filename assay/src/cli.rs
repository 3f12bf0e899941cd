//! The command line: what can be said, not what it does.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Config, LogFormat};

/// Observability and LLMOps analytics for LLM applications: OTLP in, a durable lake, SQL out.
#[derive(Debug, Parser)]
#[command(name = "assay", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Receive, store and answer, in one process.
    Serve(ServeArgs),
    /// Receive and store, beside other nodes that share a bucket (`storage.url`).
    Collector(ServeArgs),
    /// Answer questions over a bucket that collectors fill (`storage.url`); writes nothing to it.
    Query(QueryArgs),
    /// Say whether a server answers, as an exit status: 0 if it does, 1 if not.
    Health(HealthArgs),
    /// Make the tables in ClickHouse (`storage.clickhouse`), and what they lack.
    Migrate(MigrateArgs),
    /// Run one SQL query and print its rows.
    Sql(SqlArgs),
    /// Write stored telemetry as OTLP.
    Export(ExportArgs),
    /// Send realistic, seeded traffic to a server, for a first look.
    Demo(DemoArgs),
    /// Write known traces for ever and check that they are found, whole, once, and add up.
    Probe(ProbeArgs),
    /// Compare a past range with today's prices, and apply them with `--apply`.
    Reprice(RepriceArgs),
}

/// Options of `assay query`, and of `assay serve` and `assay collector` too; each also as `ASSAY_…` and in the configuration file.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// Configuration file (TOML).
    #[arg(long, env = "ASSAY_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where this node keeps its own files: WAL, and lake and blobs where they are not in a bucket [default: assay-data].
    #[arg(long, env = "ASSAY_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where lake and blobs live, such as `s3://bucket/folder`, `gs://bucket/folder` or `az://container/folder` [default: in the data folder].
    #[arg(long, env = "ASSAY_STORAGE_URL")]
    storage_url: Option<String>,
    /// Where saved items and notes are kept, such as `postgres://assay@db.example/assay` [default: in the data folder].
    #[arg(long, env = "ASSAY_ACCOUNTS_URL", hide_env_values = true)]
    accounts_url: Option<String>,
    /// UI, HTTP API and OTLP/HTTP, as far as the node has them [default: 127.0.0.1:8080].
    #[arg(long, env = "ASSAY_HTTP")]
    http: Option<SocketAddr>,
    /// Allow addresses that are not loopback although there are no accounts.
    #[arg(long, env = "ASSAY_INSECURE")]
    insecure: bool,
    /// How log lines look [default: text].
    #[arg(long, env = "ASSAY_LOG_FORMAT")]
    log_format: Option<LogFormat>,
    /// Write the addresses in use to this file, as JSON, once the server is ready.
    #[arg(long, env = "ASSAY_READY_FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// Options of `assay serve` and `assay collector`; each also as `ASSAY_…` and in the configuration file.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) node: QueryArgs,
    /// OTLP/gRPC [default: 127.0.0.1:4317].
    #[arg(long, env = "ASSAY_OTLP_GRPC")]
    otlp_grpc: Option<SocketAddr>,
    /// OTLP/HTTP on its customary port [default: 127.0.0.1:4318].
    #[arg(long, env = "ASSAY_OTLP_HTTP")]
    otlp_http: Option<SocketAddr>,
    /// Drop days older than this, such as `30d` [default: keep for ever].
    #[arg(long, env = "ASSAY_RETENTION")]
    retention: Option<humantime::Duration>,
}

impl ServeArgs {
    /// The configuration: file, then what was said here.
    ///
    /// # Errors
    /// If the file is not valid or the whole does not fit together.
    pub(crate) fn configuration(&self) -> anyhow::Result<Config> {
        let mut config = self.node.said()?;
        let listen = &mut config.listen;
        for (target, said) in [(&mut listen.otlp_grpc, self.otlp_grpc), (&mut listen.otlp_http, self.otlp_http)] {
            *target = said.unwrap_or(*target);
        }
        if let Some(retention) = self.retention {
            config.storage.retention = Some(retention.into());
        }
        config.validate()?;
        Ok(config)
    }
}

impl QueryArgs {
    /// As [`ServeArgs::configuration`].
    ///
    /// # Errors
    /// As [`ServeArgs::configuration`].
    pub(crate) fn configuration(&self) -> anyhow::Result<Config> {
        let config = self.said()?;
        config.validate()?;
        Ok(config)
    }

    fn said(&self) -> anyhow::Result<Config> {
        let mut config = Config::read(self.config.as_deref())?;
        config.listen.http = self.http.unwrap_or(config.listen.http);
        if let Some(data_dir) = &self.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        if let Some(url) = &self.storage_url {
            config.storage.url = Some(url.clone());
        }
        if let Some(url) = &self.accounts_url {
            config.accounts.url = Some(url.clone());
        }
        if let Some(format) = self.log_format {
            config.log.format = format;
        }
        config.insecure |= self.insecure;
        Ok(config)
    }
}

/// Options of `assay migrate`.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Configuration file (TOML).
    #[arg(long, env = "ASSAY_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// Which server to talk to, as which project.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Address of the server.
    #[arg(long, visible_alias = "target", env = "ASSAY_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: reqwest::Url,
    /// Project.
    #[arg(long, env = "ASSAY_PROJECT", default_value = "default")]
    pub(crate) project: String,
}

/// Options of `assay health`.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Address of the server.
    #[arg(long, env = "ASSAY_URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: reqwest::Url,
    /// Ask whether it takes requests now; an overloaded server is healthy, but not ready.
    #[arg(long)]
    pub(crate) ready: bool,
    /// How long it may take to answer.
    #[arg(long, default_value = "5s")]
    pub(crate) timeout: humantime::Duration,
}

/// Options of `assay sql`.
#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// The query; `-` reads it from standard input.
    pub(crate) query: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// How rows are written.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: SqlFormat,
    /// Rows at most.
    #[arg(long)]
    pub(crate) row_limit: Option<usize>,
    /// Values of `$1`, `$2`, …, as JSON; text that is not JSON is text.
    #[arg(long = "param")]
    pub(crate) params: Vec<String>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum SqlFormat {
    /// For people.
    #[default]
    Table,
    Json,
    Ndjson,
    Csv,
    Arrow,
    Parquet,
}

/// Options of `assay export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(subcommand)]
    pub(crate) what: ExportCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ExportCommand {
    /// As OTLP: JSON, or protobuf if the file ends in `.pb`.
    Otlp(ExportOtlpArgs),
}

/// Options of `assay export otlp`.
#[derive(Debug, Args)]
pub(crate) struct ExportOtlpArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// What to write.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) signal: SignalArg,
    /// One trace only.
    #[arg(long)]
    pub(crate) trace_id: Option<String>,
    /// Received at or after this time (RFC 3339, or relative as in `-3d`).
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) from: Option<String>,
    /// Received before this time.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) to: Option<String>,
    /// File to write; standard output if not given.
    #[arg(long, short)]
    pub(crate) output: Option<PathBuf>,
}

/// An OTLP signal.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum SignalArg {
    #[default]
    Traces,
    Logs,
    Metrics,
}

/// Options of `assay demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Same seed, same traffic.
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// Traces to send.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) traces: usize,
    /// Days the traffic spreads over, up to now.
    #[arg(long, default_value_t = 7)]
    pub(crate) days: u32,
}

/// Options of `assay probe`.
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Address of its OTLP/HTTP endpoint, if that is not the server's own.
    #[arg(long)]
    pub(crate) otlp: Option<reqwest::Url>,
    /// Bearer token for both.
    #[arg(long, env = "ASSAY_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Traces per second, two in each request; 0 makes no pause.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) rate: f64,
    /// End after this time, such as `10m`; without it, never.
    #[arg(long)]
    pub(crate) duration: Option<humantime::Duration>,
    /// End after so many requests.
    #[arg(long)]
    pub(crate) rounds: Option<u64>,
    /// Ask for every so many-th request by id and by search; the others are only counted and added up.
    #[arg(long, default_value = "1")]
    pub(crate) look_every: std::num::NonZeroU64,
    /// Decides the content; drawn from the clock if not given.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// File that remembers what was sent, so that a prober that starts again goes on with it.
    #[arg(long)]
    pub(crate) state: Option<PathBuf>,
    /// How long the server may be away before the prober gives up.
    #[arg(long, default_value = "5m")]
    pub(crate) patience: humantime::Duration,
    /// How long after its acknowledgement a request may stay invisible to queries.
    #[arg(long, default_value = "0s")]
    pub(crate) visible_within: humantime::Duration,
    /// Serve Prometheus metrics at this address.
    #[arg(long)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Print the summary as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `assay reprice`.
#[derive(Debug, Args)]
pub(crate) struct RepriceArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// First moment of the range (RFC 3339, or relative as in `-30d`).
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) from: String,
    /// End of the range, exclusive; now if not given.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) to: Option<String>,
    /// Apply what the preview shows.
    #[arg(long)]
    pub(crate) apply: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
