//! `assay serve`, `assay collector`, `assay query`: everything in one process, or a part of it, put together here, started and stopped in order.
//!
//! Start: configuration → storage → replay of what a crash left → ports. Stop: accept nothing new → let requests finish → flush →
//! close the store.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use assay_accounts::Accounts;
use assay_collector::{
    Ingest,
    normalise::Normaliser,
    server::{Limits, Receiver, grpc_router, http_router},
};
use assay_query::{QueryConfig, QueryEngine, api::ApiState};
use assay_schemas::prices::PriceTable;
use assay_storage::{Role, Storage, StorageConfig};
use axum::Router;
use chrono::Utc;
use prometheus::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    accounts_api, assets,
    config::{Config, LogFormat},
    demo_api::DemoRunner,
    export,
    kafka::Kafka,
    listen::{Connections, Listener},
    mappings_api, openapi, reprice, roles,
    seed::{self, FirstReplayed},
};

/// Defaults of `storage.flush_interval`: what is in memory is seen at once by the process that took it, and by no other.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);
const SHARED_FLUSH_INTERVAL: Duration = Duration::from_secs(3);
/// Requests get this long to finish once the server was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Which part of the server a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Serve,
    /// OTLP, and the writing of the lake.
    Collector,
    /// Questions.
    Query,
}

impl Part {
    fn role(self, config: &Config) -> Role {
        match self {
            Self::Serve if config.storage.shared => Role::Member,
            Self::Serve => Role::Alone,
            Self::Collector => Role::Collector,
            Self::Query => Role::Query,
        }
    }
}

/// # Errors
/// If the configuration is not valid, a port is taken, or the store cannot be opened.
pub(crate) async fn run(config: anyhow::Result<Config>, ready_file: Option<&Path>, part: Part) -> anyhow::Result<()> {
    let config = config?;
    if part != Part::Serve && !config.storage.can_be_shared() {
        bail!(
            "there is no `storage.url`: expected a bucket, such as `s3://BUCKET/FOLDER`, or `storage.clickhouse.url`, where collectors and query nodes share their rows"
        );
    }
    start_logging(config.log.format)?;
    let told_to_end = shutdown_signal();
    let server = Server::start(&config, part).await?;
    if let Some(path) = ready_file {
        server.write_ready_file(path)?;
    }
    server.until(told_to_end).await
}

fn start_logging(format: LogFormat) -> anyhow::Result<()> {
    use tracing_subscriber::EnvFilter;
    let said = std::env::var("ASSAY_LOG").unwrap_or_else(|_| "info".to_owned());
    // The Delta library says several lines about each table it opens; they are there when asked for by name.
    let directives = ["buoyant_kernel", "delta_kernel", "deltalake_core"].map(|name| format!("{name}=warn")).join(",");
    let filter = EnvFilter::try_new(format!("{directives},{said}"))
        .context("`ASSAY_LOG` is not a filter such as `info` or `assay_storage=debug`")?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Everything that runs.
struct Server {
    storage: Storage,
    listeners: Vec<(Listener, Router)>,
    demo: DemoRunner,
    kafka: Kafka,
}

impl Server {
    async fn start(config: &Config, part: Part) -> anyhow::Result<Self> {
        let query = query_config(config, part)?;
        // Ports first: a port that is taken is said at once, not after a long replay.
        let http = Listener::bind("http", config.listen.http).await?;
        let otlp = match part {
            Part::Query => None,
            _ => Some((
                Listener::bind("otlp_grpc", config.listen.otlp_grpc).await?,
                Listener::bind("otlp_http", config.listen.otlp_http).await?,
            )),
        };
        // A collector asks nothing, and does nothing for those who do.
        let nodes = match part {
            Part::Serve | Part::Query if config.query.distributed.is_used() => {
                Some(Listener::bind("nodes", config.listen.nodes).await?)
            }
            _ => None,
        };

        let prices = PriceTable::embedded().with_overrides(&config.prices).context("`prices` in the configuration")?;
        let prices = Arc::new(prices);
        let normaliser = normaliser(&config.dialect_files)?;
        let registry = Registry::new();
        let storage = Storage::open(storage_config(config, part.role(config))?).await.context("could not open the store")?;
        storage.metrics(&registry)?;
        let engine = QueryEngine::new(storage.clone(), Arc::clone(&prices), query)?;
        engine.metrics().register(&registry)?;

        // A collector must not depend on it.
        let accounts = if part == Part::Collector { None } else { Some(accounts(config, &registry).await?) };
        let demo = DemoRunner::new(http.address());
        let state = |registry| ApiState {
            engine: engine.clone(),
            registry,
            version: env!("CARGO_PKG_VERSION"),
            started_at: Utc::now(),
            ready: ready(&storage),
            document: Arc::new(openapi::document()),
            demo: demo.status_source(),
        };
        // What answers questions, and what people made of the answers.
        let questions = |registry| {
            let router = assay_query::api::router(state(registry)).merge(export::router(engine.clone()));
            accounts.into_iter().fold(router, |router, accounts| router.merge(accounts_api::router(accounts)))
        };
        let Some((otlp_grpc, otlp_http)) = otlp else {
            let mut listeners = vec![(http, questions(registry).fallback(roles::without_ingest))];
            listeners.extend(nodes.zip(engine.parts_router()));
            return Ok(Self { storage, listeners, demo, kafka: Kafka::none() });
        };

        let ingest = Arc::new(Ingest::new(storage.clone(), normaliser, Arc::clone(&prices)));
        let started = Instant::now();
        let replayed = storage.replay().next().transpose().context("could not read the write-ahead log")?;
        let replayed =
            replayed.map(|(position, record)| FirstReplayed { position, received_at_unix_nano: record.received_at_unix_nano });
        seed::seed(&engine, ingest.calls(), &storage.view().projects(), replayed).await?;
        let mut kafka = Kafka::before_recovery(config, &storage)?;
        let requests = ingest.recover().await.context("could not take up what the last run left")?;
        info!(requests, elapsed = ?started.elapsed(), "recovered");
        kafka.start(&ingest, &registry)?;

        let limits = Limits {
            request_bytes_max: config.ingest.request_bytes_max.len(),
            in_flight_bytes_max: NonZeroUsize::new(config.ingest.in_flight_bytes_max.len())
                .context("`ingest.in_flight_bytes_max` is `0`: expected more")?,
            request_timeout: config.ingest.request_timeout,
        };
        let parts = engine.parts_router();
        let receiver = Receiver::new(Arc::clone(&ingest), limits, &registry)?;
        let otlp = http_router(receiver.clone());
        let public = match part {
            Part::Collector => {
                assay_query::api::health_router(state(registry)).merge(otlp.clone()).fallback(roles::without_questions)
            }
            _ => questions(registry)
                .merge(mappings_api::router(Arc::clone(&ingest)))
                .merge(reprice::router(engine.clone(), ingest))
                .merge(demo.router())
                .merge(otlp.clone())
                .fallback(assets::serve),
        };
        let mut listeners = vec![(http, public), (otlp_grpc, grpc_router(receiver)), (otlp_http, otlp)];
        listeners.extend(nodes.zip(parts));
        Ok(Self { storage, listeners, demo, kafka })
    }

    /// Writes the addresses in use to `path`, in one step, so that a reader never sees half a file.
    fn write_ready_file(&self, path: &Path) -> anyhow::Result<()> {
        let addresses: serde_json::Map<_, _> = self
            .listeners
            .iter()
            .map(|(listener, _)| (listener.name().to_owned(), listener.address().to_string().into()))
            .collect();
        let temporary = path.with_extension("tmp");
        let write = || {
            std::fs::write(&temporary, serde_json::Value::from(addresses).to_string())?;
            std::fs::rename(&temporary, path)
        };
        write().with_context(|| format!("could not write the ready file `{}`", path.display()))
    }

    /// Serves until `stop`, then stops in order.
    async fn until(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        for (listener, _) in &self.listeners {
            info!(listener = listener.name(), address = %listener.address(), "listening");
        }
        let token = CancellationToken::new();
        let room = Connections::within_file_limit();
        let mut serving = JoinSet::new();
        for (listener, router) in self.listeners {
            serving.spawn(listener.serve(router, token.clone(), GRACE, room.clone()));
        }
        stop.await;
        info!("stopping: letting requests finish");
        self.demo.stop();
        token.cancel();
        tokio::join!(serving.join_all(), self.kafka.stop(GRACE));
        self.storage.close().await.context("the last flush failed; its rows are in the write-ahead log")?;
        info!("stopped");
        Ok(())
    }
}

/// Ready as long as requests are admitted: a load balancer then sends them elsewhere.
fn ready(storage: &Storage) -> Arc<dyn Fn() -> bool + Send + Sync> {
    let storage = storage.clone();
    Arc::new(move || storage.overload().is_none())
}

fn normaliser(files: &[PathBuf]) -> anyhow::Result<Normaliser> {
    let mut texts = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("could not read the mapping file `{}` (`dialect_files`)", path.display()))?;
        texts.push((path.display().to_string(), text));
    }
    Normaliser::with_files(texts).context("`dialect_files` in the configuration")
}

/// Saved items and notes: in the data folder, or in a Postgres database that nodes share.
async fn accounts(config: &Config, registry: &Registry) -> anyhow::Result<Accounts> {
    let accounts = match config.accounts.postgres()? {
        Some(postgres) => Accounts::connect(postgres).await?,
        None => Accounts::open(&config.data_dir.join("assay.db"))?,
    };
    accounts.metrics(registry)?;
    Ok(accounts)
}

fn storage_config(config: &Config, role: Role) -> anyhow::Result<StorageConfig> {
    let storage = &config.storage;
    let flush_interval = if role == Role::Alone { FLUSH_INTERVAL } else { SHARED_FLUSH_INTERVAL };
    Ok(StorageConfig {
        data_dir: config.data_dir.clone(),
        bucket: storage.bucket()?,
        role,
        follow_interval: storage.follow_interval,
        clickhouse: storage.clickhouse.store()?,
        flush_interval: storage.flush_interval.unwrap_or(flush_interval),
        flush_bytes: storage.flush_bytes.bytes(),
        hot_bytes_max: storage.hot_bytes_max().bytes(),
        wal_bytes_max: storage.wal_bytes_max.bytes(),
        disk_free_min: storage.disk_free_min.bytes(),
        retention: storage.retention,
        compaction_interval: storage.compaction_interval,
        vacuum_grace: storage.vacuum_grace,
        ..StorageConfig::default()
    })
}

fn query_config(config: &Config, part: Part) -> anyhow::Result<QueryConfig> {
    let query = &config.query;
    Ok(QueryConfig {
        memory_bytes_max: query.memory_max.len(),
        memory_bytes_total: query.memory_total.len(),
        cache_bytes_max: query.cache_max.len(),
        spill_dir: config.data_dir.join("spill"),
        timeout_max: query.timeout,
        row_limit_max: query.row_limit,
        answer_bytes_max: query.answer_max.len(),
        concurrency: query.concurrency.get(),
        distributed: if part == Part::Collector { None } else { query.distributed.nodes()? },
        ..QueryConfig::default()
    })
}

/// Returns when the process is told to end: SIGTERM, or Ctrl-C. Both are caught from this call on, not only once it is waited for.
pub(crate) fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    use tokio::signal::unix::{SignalKind, signal};
    let caught = |kind| signal(kind).expect("the runtime handles signals");
    let (mut terminate, mut interrupt) = (caught(SignalKind::terminate()), caught(SignalKind::interrupt()));
    async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
