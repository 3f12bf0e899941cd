//! The SQL engine: one question in, a bounded stream of batches out. Used by every endpoint, so that they all give the same numbers.
//!
//! ```text
//! ask ─ wait for a place (Overloaded) ─ parse (only questions) ─ plan over one view ─ execute on the query threads ─ Answer
//! ```
//! Each query has a memory pool of its own that spills, a deadline that covers waiting, planning and streaming, and a row limit.
//! Dropping the [`Answer`] stops the query; so does cancelling it by its id, which [`QueryEngine::running`] tells.

pub(crate) mod distinct_texts;
mod explain;
mod growth;
pub(crate) mod interrupt;
pub(crate) mod large_limit;
pub(crate) mod memory;
mod semi_join;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::AtomicU64, atomic::Ordering},
    time::{Duration, Instant},
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, SchemaRef},
};
use assay_schemas::{ids::ProjectId, prices::PriceTable};
use assay_storage::{ReadView, Storage};
use chrono::{DateTime, Utc};
use datafusion::{
    common::{Column, ParamValues, ScalarValue},
    error::DataFusionError,
    execution::{
        SessionState, SessionStateBuilder, SessionStateDefaults, TaskContext,
        context::SQLOptions,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    logical_expr::{LogicalPlan, LogicalPlanBuilder},
    physical_optimizer::{PhysicalOptimizerRule, optimizer::PhysicalOptimizer},
    physical_plan::{ExecutionPlan, execute_stream},
    prelude::{Expr, SessionConfig},
};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;
use uuid::Uuid;

pub use self::explain::{Explanation, PlanNode, Pruning};

use self::memory::{QueryPool, SharedMemory};
use crate::{
    catalog::{self, ProjectCatalog},
    clickhouse::{OnBehalf, PushDown},
    distributed::{self, Cluster, DistributedConfig, OverNodes, QueryLimits, Resources},
    error::{QueryError, QueryErrorKind, explain, position_of},
    functions,
    information_schema::{self, TableDoc},
    lake_store::OnlyTheLake,
    metrics::{Metrics, NodeMetrics},
    running::{QuerySource, Registered, Registry, Running, RunningQuery},
    scan::ColumnCache,
    statement::{self, Question},
    system::System,
};

/// Batches that wait for a slow reader.
const BATCHES_AHEAD: usize = 2;
/// Parquet footers and page indexes kept in memory, over all queries.
const METADATA_CACHE_BYTES: usize = 64 << 20;

/// Limits of queries.
#[derive(Clone, Debug)]
pub struct QueryConfig {
    /// Memory of one query; beyond it sorts, joins and aggregates spill to disk. Default 512 MiB.
    pub memory_bytes_max: usize,
    /// Memory of all queries together. Default 1 GiB.
    pub memory_bytes_total: usize,
    /// Decoded columns kept between queries, of what these leave of `memory_bytes_total`; 0 keeps none. Default 256 MiB.
    pub cache_bytes_max: usize,
    /// Where they spill. Default: the system's temporary folder.
    pub spill_dir: PathBuf,
    /// Disk used by all spilling queries together. Default 10 GiB.
    pub spill_bytes_max: u64,
    /// Longest time of a query, waiting and streaming included. Default 60 s.
    pub timeout_max: Duration,
    /// Rows of an answer unless the request says otherwise. Default 10 000.
    pub row_limit_default: usize,
    /// Most rows of an answer that a request over HTTP may ask for. Default 10 000 000.
    pub row_limit_max: usize,
    /// Most bytes of rows, as they are in memory, in an answer over HTTP; beyond it the query fails. Default 1 GiB.
    pub answer_bytes_max: usize,
    /// Queries at the same time; others wait. Default 8.
    pub concurrency: usize,
    /// Queries that may wait; more are refused. Default 64.
    pub waiting_max: usize,
    /// Threads for queries, and partitions of a plan. Default: the cores of the machine.
    pub threads: usize,
    /// The nodes that take part in large queries. Default: none.
    pub distributed: Option<DistributedConfig>,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            memory_bytes_max: 512 << 20,
            memory_bytes_total: 1 << 30,
            cache_bytes_max: 256 << 20,
            spill_dir: std::env::temp_dir(),
            spill_bytes_max: 10 << 30,
            timeout_max: Duration::from_secs(60),
            row_limit_default: 10_000,
            row_limit_max: 10_000_000,
            answer_bytes_max: 1 << 30,
            concurrency: 8,
            waiting_max: 64,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            distributed: None,
        }
    }
}

/// The engine could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum OpenEngineError {
    /// The threads for queries could not be started.
    #[error("could not start the query threads")]
    Threads(#[source] std::io::Error),
    /// DataFusion could not be configured.
    #[error("could not set up the query engine")]
    Setup(#[source] DataFusionError),
}

/// A parameter of a query, bound as a value and never written into the text.
#[derive(Clone, Debug)]
pub enum Params {
    /// `$1`, `$2`, …
    List(Vec<ScalarValue>),
    /// `$name`
    Named(Vec<(String, ScalarValue)>),
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// One statement that reads.
    pub sql: String,
    /// Values of its parameters.
    pub params: Option<Params>,
    /// Most rows wanted, `usize::MAX` for all; the engine's default if `None`.
    pub row_limit: Option<usize>,
    /// Most bytes of rows, as they are in memory; no limit if `None`.
    pub bytes_max: Option<usize>,
    /// Longest time; the engine's maximum if `None`.
    pub timeout: Option<Duration>,
    /// Name of the query while it runs; made if `None`.
    pub query_id: Option<Uuid>,
    /// Who asks.
    pub source: QuerySource,
}

impl Ask {
    /// The question `sql` without parameters.
    #[must_use]
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), ..Self::default() }
    }
}

/// Asks questions of a storage. Cheap to clone.
#[derive(Clone)]
pub struct QueryEngine {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for QueryEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryEngine").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

struct Inner {
    storage: Storage,
    system: Arc<System>,
    columns: Arc<ColumnCache>,
    config: QueryConfig,
    base: Arc<SessionState>,
    runtime_env: Arc<RuntimeEnv>,
    threads: Option<tokio::runtime::Runtime>,
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    memory: Arc<SharedMemory>,
    /// One at a time may put the sums of traces together.
    sums: Semaphore,
    running: Arc<Registry>,
    metrics: Metrics,
    /// This node among others.
    cluster: Option<Cluster>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Dropping a runtime waits for its threads, which async code must not do.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

impl QueryEngine {
    /// An engine over `storage`, with `prices` for the function `llm_cost`.
    ///
    /// # Errors
    /// [`OpenEngineError`] if threads cannot be started or the spill folder cannot be used.
    pub fn new(storage: Storage, prices: Arc<PriceTable>, config: QueryConfig) -> Result<Self, OpenEngineError> {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_name("assay-query")
            .thread_stack_size(statement::STACK_BYTES)
            .enable_all()
            .build()
            .map_err(OpenEngineError::Threads)?;
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![config.spill_dir.clone()]))
            .with_max_temp_directory_size(config.spill_bytes_max);
        let runtime_env = RuntimeEnvBuilder::new()
            .with_object_store_registry(Arc::new(OnlyTheLake(storage.object_store())))
            .with_disk_manager_builder(disk)
            .with_metadata_cache_limit(METADATA_CACHE_BYTES)
            .build_arc()
            .map_err(OpenEngineError::Setup)?;
        let base = base_state(&config, Arc::clone(&runtime_env), Arc::clone(&prices)).map_err(OpenEngineError::Setup)?;
        let mut metrics = Metrics::default();
        metrics.nodes = config.distributed.as_ref().map(|_| NodeMetrics::default());
        let columns = Arc::new(ColumnCache::new(config.cache_bytes_max, metrics.columns.clone()));
        drop(threads.spawn(ColumnCache::tidy(Arc::downgrade(&columns))));
        let memory = Arc::new(SharedMemory::new(config.memory_bytes_total, Arc::clone(&columns)));
        let base = Arc::new(base);
        let cluster = config.distributed.as_ref().zip(metrics.nodes.as_ref()).map(|(nodes, counters)| {
            let resources = Resources {
                base: Arc::clone(&base),
                runtime_env: Arc::clone(&runtime_env),
                storage: storage.clone(),
                columns: Arc::clone(&columns),
                memory: Arc::clone(&memory),
                memory_bytes_max: config.memory_bytes_max,
                timeout_max: config.timeout_max,
                visits: counters.visits.clone(),
                prices: prices.version().to_owned(),
            };
            Cluster::new(nodes, resources)
        });
        let cluster = cluster.transpose().map_err(OpenEngineError::Setup)?;
        let inner = Inner {
            columns,
            places: Arc::new(Semaphore::new(config.concurrency.max(1))),
            waiting: Arc::new(Semaphore::new(config.waiting_max.max(1))),
            memory,
            sums: Semaphore::new(1),
            base,
            cluster,
            runtime_env,
            threads: Some(threads),
            running: Arc::default(),
            metrics,
            system: Arc::new(System::new(storage.clone(), prices)),
            storage,
            config,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The storage it reads.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.inner.storage
    }

    /// Its counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Its limits.
    #[must_use]
    pub fn config(&self) -> &QueryConfig {
        &self.inner.config
    }

    /// What takes the parts of other nodes' queries; `None` if there are no other nodes.
    #[must_use]
    pub fn parts_router(&self) -> Option<axum::Router> {
        self.inner.cluster.as_ref().map(|cluster| cluster.router(self.threads().clone()))
    }

    /// The queries of a project that run now, the oldest first.
    #[must_use]
    pub fn running(&self, project: &ProjectId) -> Vec<RunningQuery> {
        self.inner.running.list(project)
    }

    /// Stops a running query of a project; whether there is one. Its caller gets an error of kind `Cancelled`.
    #[must_use]
    pub fn cancel(&self, project: &ProjectId, query_id: Uuid) -> bool {
        self.inner.running.cancel(project, query_id)
    }

    /// Everything that SQL of a project can name, with documentation.
    ///
    /// # Errors
    /// [`QueryError`] of kind `Internal` if a view cannot be planned: our fault.
    pub async fn tables(&self, project: &ProjectId) -> Result<Vec<TableDoc>, QueryError> {
        let catalog = self.catalog(project, self.inner.storage.view());
        information_schema::describe(&catalog).await.map_err(|e| self.explained(&e, ""))
    }

    /// Every function, with documentation.
    #[must_use]
    pub fn functions(&self) -> Vec<functions::FunctionDoc> {
        functions::docs(&self.inner.base)
    }

    /// Answers `ask` over the rows of `project` at this moment.
    ///
    /// # Errors
    /// [`QueryError`] if the text is not a question, names something unknown, or the engine is busy. Failures while streaming come
    /// from [`Answer::next`].
    pub async fn ask(&self, project: &ProjectId, ask: Ask) -> Result<Answer, QueryError> {
        let asked_at = Utc::now();
        let view = self.inner.storage.view();
        let mut answer = self.ask_view(project, view, ask).await?;
        // Where no other node writes, what was acknowledged before the view was taken is in it.
        answer.complete_until.get_or_insert(asked_at);
        Ok(answer)
    }

    /// As [`QueryEngine::ask`], over a view taken before, so that several questions see the same rows.
    ///
    /// # Errors
    /// As [`QueryEngine::ask`].
    pub async fn ask_view(&self, project: &ProjectId, view: Arc<ReadView>, ask: Ask) -> Result<Answer, QueryError> {
        let started = Instant::now();
        let timeout = ask.timeout.map_or(self.inner.config.timeout_max, |t| t.min(self.inner.config.timeout_max));
        let deadline = started + timeout;
        let running = self.inner.running.register(Running {
            id: ask.query_id.unwrap_or_else(Uuid::new_v4),
            project: project.clone(),
            sql: ask.sql.clone(),
            source: ask.source,
            started_at: Utc::now(),
            started,
            // Caches, spill folder and object store are shared.
            pool: Arc::new(QueryPool::new(self.inner.config.memory_bytes_max, Arc::clone(&self.inner.memory))),
            plan: OnceLock::new(),
            figures: OnceLock::new(),
            rows: AtomicU64::new(0),
            cancelled: CancellationToken::new(),
        })?;
        let query = Arc::clone(&running);
        let result = tokio::select! {
            biased;
            () = query.cancelled.cancelled() => Err(query.cancelled_error()),
            result = tokio::time::timeout_at(deadline.into(), self.start(running, view, ask, deadline)) => match result {
                Ok(result) => result,
                Err(_) => Err(timed_out(timeout)),
            },
        };
        if let Err(error) = &result {
            self.inner.metrics.failed(error.kind);
        }
        result
    }

    async fn start(&self, running: Registered, view: Arc<ReadView>, ask: Ask, deadline: Instant) -> Result<Answer, QueryError> {
        let question = statement::parse(&ask.sql)?;
        let permit = self.place().await?;
        let complete_until = view.complete_until;
        let mut catalog = self.catalog(&running.project, view);
        catalog.on_behalf = OnBehalf { query_id: running.id, deadline, ..catalog.on_behalf };
        // Planning and first execution happen on the query threads: a deep plan must not hold up the server.
        let (engine, limit, bytes_max) =
            (self.clone(), ask.row_limit.unwrap_or(self.inner.config.row_limit_default), ask.bytes_max.unwrap_or(usize::MAX));
        let (batches, received) = mpsc::channel(BATCHES_AHEAD);
        let (planned, plan) = tokio::sync::oneshot::channel();
        let query = Arc::clone(&running);
        // Cancelled with the query, and when nobody waits for its answer any more.
        let stopped = running.cancelled.child_token();
        let until_dropped = stopped.clone().drop_guard();
        let handle = self.threads().spawn(async move {
            let _permit = permit;
            let state = catalog.state();
            let work = async {
                let limits = QueryLimits { pool: Arc::clone(&query.pool), stopped, deadline };
                let (plan, state) = match engine.plan(state, &question, &ask, limit, limits.clone()).await {
                    Err(error) => return drop(planned.send(Err(error))),
                    Ok(plan) => plan,
                };
                if planned.send(Ok(Arc::clone(&plan))).is_err() || !engine.run(&state, plan, &query, &batches, true).await {
                    return;
                }
                // No row was given yet: the nodes that are left answer.
                match engine.plan(catalog.state(), &question, &ask, limit, limits).await {
                    Err(error) => drop(batches.send(Err(error)).await),
                    Ok((plan, state)) => drop(engine.run(&state, plan, &query, &batches, false).await),
                }
            };
            // Stops at once, even while nobody reads the answer.
            tokio::select! {
                biased;
                () = query.cancelled.cancelled() => {}
                () = work => {}
            }
        });
        let task = AbortOnDrop(handle, until_dropped);
        let plan = plan.await.map_err(|_| QueryError::new(QueryErrorKind::Internal, "the query stopped unexpectedly"))??;
        Ok(Answer {
            schema: plan.schema(),
            plan,
            complete_until,
            received,
            limit,
            bytes_max,
            rows: 0,
            bytes: 0,
            truncated: false,
            started: running.started,
            deadline,
            metrics: self.inner.metrics.clone(),
            _task: task,
            running,
        })
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        let closed = |_| QueryError::new(QueryErrorKind::Internal, "the engine is shut down");
        if let Ok(place) = Arc::clone(&self.inner.places).try_acquire_owned() {
            return Ok(place);
        }
        let Ok(_waiting) = Arc::clone(&self.inner.waiting).try_acquire_owned() else {
            return Err(QueryError::new(QueryErrorKind::Overloaded, "too many queries are waiting").hint("try again in a moment"));
        };
        Arc::clone(&self.inner.places).acquire_owned().await.map_err(closed)
    }

    /// Waits for the turn to put sums of traces together; it ends when the permit is dropped.
    pub(crate) async fn sums_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.inner.sums.acquire().await.ok()
    }

    /// The plan, and the state to run it with.
    async fn plan(
        &self,
        state: SessionState,
        question: &Question,
        ask: &Ask,
        limit: usize,
        limits: QueryLimits,
    ) -> Result<(Arc<dyn ExecutionPlan>, SessionState), QueryError> {
        let plan = self.logical_plan(&state, question, ask, limit).await?;
        let planned = self.physical_plan(state, &plan, limits).await;
        planned.map_err(|e| self.explained(&e, &ask.sql))
    }

    async fn physical_plan(&self, state: SessionState, logical: &LogicalPlan, limits: QueryLimits) -> PlanWithState {
        let plan = state.create_physical_plan(logical).await.and_then(large_limit::above_sorts)?;
        let over_nodes = match &self.inner.cluster {
            Some(cluster) => cluster.over_nodes(&state, logical, &plan, limits.clone()).await?,
            None => None,
        };
        let (plan, state) = match over_nodes {
            Some(OverNodes { plan, state }) => (plan, state),
            None => (interrupt::giving_way(plan)?, state),
        };
        Ok((interrupt::with_interruptible_filters(plan, &limits.stopped)?, state))
    }

    async fn logical_plan(
        &self,
        state: &SessionState,
        question: &Question,
        ask: &Ask,
        limit: usize,
    ) -> Result<LogicalPlan, QueryError> {
        let explained = |e: DataFusionError| self.explained(&e, &ask.sql);
        for reference in state.resolve_table_references(&question.statement).map_err(explained)? {
            let schema = reference.schema().unwrap_or(catalog::PUBLIC);
            let known =
                reference.catalog().is_none_or(|c| c == catalog::CATALOG) && ProjectCatalog::has(schema, reference.table());
            let function = reference.schema().is_none() && state.table_functions().contains_key(reference.table());
            if !known && !function {
                return Err(statement::no_table(reference.table()).at(position_of(&ask.sql, reference.table())));
            }
        }
        statement::tables::check(&question.statement)?;
        let mut plan = state.statement_to_plan(question.statement.clone()).await.map_err(explained)?;
        growth::check(&plan)?;
        let reads_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reads_only.verify_plan(&plan).map_err(|e| QueryError::new(QueryErrorKind::ReadOnly, e.strip_backtrace()))?;
        if let Some(params) = &ask.params {
            plan = plan.with_param_values(param_values(params)).map_err(explained)?;
        }
        if question.is_query {
            plan = json_as_text(plan, state).map_err(explained)?;
            if limit < usize::MAX {
                // One row more than wanted, to know whether there was more.
                let limited = LogicalPlanBuilder::from(plan).limit(0, Some(limit + 1));
                plan = limited.and_then(LogicalPlanBuilder::build).map_err(explained)?;
            }
        }
        Ok(plan)
    }

    /// Gives the rows of `plan`. If another node failed before the first of them and this `may_repeat`, nothing is given and it is true.
    async fn run(
        &self,
        state: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
        query: &Running,
        batches: &mpsc::Sender<Result<RecordBatch, QueryError>>,
        may_repeat: bool,
    ) -> bool {
        let sql = &query.sql;
        query.plan.get_or_init(|| Arc::clone(&plan));
        let own =
            RuntimeEnvBuilder::from_runtime_env(&self.inner.runtime_env).with_memory_pool(Arc::clone(&query.pool)).build_arc();
        let context = own.map(|runtime| Arc::new(TaskContext::from(state).with_runtime(runtime)));
        let mut stream = match context.and_then(|context| execute_stream(Arc::clone(&plan), context)) {
            Ok(stream) => stream,
            Err(error) => {
                drop(batches.send(Err(self.explained(&error, sql))).await);
                return false;
            }
        };
        while let Some(batch) = stream.next().await {
            if let Err(error) = &batch
                && may_repeat
                && query.rows.load(Ordering::Relaxed) == 0
                && distributed::node_failed(error)
            {
                warn!(%error, "a node did not do its part of a query; it is asked of those that are left");
                return true;
            }
            let failed = batch.is_err();
            query.rows.fetch_add(batch.as_ref().map_or(0, |b| b.num_rows() as u64), Ordering::Relaxed);
            let batch = batch.map_err(|e| self.explained(&e, sql));
            if batches.send(batch).await.is_err() || failed {
                return false;
            }
        }
        if let Some(cluster) = &self.inner.cluster
            && let Some(figures) = cluster.figures(&plan).await
        {
            self.inner.metrics.exchanged(figures.bytes_exchanged);
            query.figures.get_or_init(|| figures.plan);
        }
        false
    }

    fn catalog(&self, project: &ProjectId, view: Arc<ReadView>) -> ProjectCatalog {
        let on_behalf = OnBehalf {
            query_id: Uuid::new_v4(),
            statements: Arc::default(),
            deadline: Instant::now() + self.inner.config.timeout_max,
            memory_bytes_max: self.inner.config.memory_bytes_max,
        };
        ProjectCatalog {
            project: project.clone(),
            view,
            store: self.inner.storage.object_store(),
            columns: Arc::clone(&self.inner.columns),
            on_behalf,
            system: Arc::clone(&self.inner.system),
            base: Arc::clone(&self.inner.base),
        }
    }

    fn explained(&self, error: &DataFusionError, sql: &str) -> QueryError {
        explain(error, sql, &|| functions::names(&self.inner.base))
    }

    fn threads(&self) -> &tokio::runtime::Handle {
        self.inner.threads.as_ref().expect("the threads are only taken when the engine is dropped").handle()
    }
}

type PlanWithState = datafusion::common::Result<(Arc<dyn ExecutionPlan>, SessionState)>;

/// The answer to a question: a stream of batches with one schema. Dropping it stops the query.
#[derive(Debug)]
pub struct Answer {
    schema: SchemaRef,
    plan: Arc<dyn ExecutionPlan>,
    complete_until: Option<DateTime<Utc>>,
    received: mpsc::Receiver<Result<RecordBatch, QueryError>>,
    limit: usize,
    bytes_max: usize,
    rows: usize,
    bytes: usize,
    truncated: bool,
    started: Instant,
    deadline: Instant,
    metrics: Metrics,
    _task: AbortOnDrop,
    running: Registered,
}

impl Answer {
    /// Name of the query while it runs.
    #[must_use]
    pub fn query_id(&self) -> Uuid {
        self.running.id
    }

    /// Columns of the batches.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next rows, `None` after the last ones.
    ///
    /// # Errors
    /// [`QueryError`] if the deadline has passed, memory is used up, the answer is larger than allowed, or a value cannot be computed.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        if self.truncated {
            return Ok(None);
        }
        let received = tokio::select! {
            biased;
            () = self.running.cancelled.cancelled() => Err(self.running.cancelled_error()),
            received = tokio::time::timeout_at(self.deadline.into(), self.received.recv()) => match received {
                Ok(received) => received.transpose(),
                Err(_) => Err(timed_out(self.deadline - self.started)),
            },
        };
        match received.and_then(|batch| self.measured(batch)) {
            Err(error) => {
                self.metrics.failed(error.kind);
                self.received.close();
                Err(error)
            }
            Ok(None) => {
                self.metrics.answered(self.started.elapsed(), self.rows);
                Ok(None)
            }
            Ok(Some(batch)) => {
                let left = self.limit - self.rows;
                self.truncated = batch.num_rows() > left;
                let batch = if self.truncated { batch.slice(0, left) } else { batch };
                self.rows += batch.num_rows();
                if self.truncated {
                    self.metrics.answered(self.started.elapsed(), self.rows);
                }
                Ok(Some(batch))
            }
        }
    }

    /// `batch`, if the answer may still be so large.
    fn measured(&mut self, batch: Option<RecordBatch>) -> Result<Option<RecordBatch>, QueryError> {
        let bytes = |batch: &RecordBatch| -> usize {
            let columns = batch.columns().iter();
            columns.map(|c| c.to_data().get_slice_memory_size().unwrap_or_else(|_| c.get_array_memory_size())).sum()
        };
        if self.bytes_max < usize::MAX {
            self.bytes += batch.as_ref().map_or(0, bytes);
        }
        if self.bytes > self.bytes_max {
            return Err(too_many_bytes(self.bytes_max));
        }
        Ok(batch)
    }

    /// All rows. For answers that are known to be small.
    ///
    /// # Errors
    /// As [`Answer::next`].
    pub async fn collect(mut self) -> Result<(Vec<RecordBatch>, AnswerStats), QueryError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok((batches, self.stats()))
    }

    /// The plan, with what was counted as far as it is known here.
    fn executed(&self) -> &Arc<dyn ExecutionPlan> {
        self.running.figures.get().unwrap_or(&self.plan)
    }

    /// What the answer has cost so far.
    #[must_use]
    pub fn stats(&self) -> AnswerStats {
        AnswerStats {
            rows: self.rows,
            elapsed: self.started.elapsed(),
            truncated: self.truncated,
            bytes_scanned: metric(self.executed().as_ref(), "bytes_scanned"),
            complete_until: self.complete_until,
        }
    }
}

/// What an answer has cost.
#[derive(Clone, Copy, Debug)]
pub struct AnswerStats {
    /// Rows given.
    pub rows: usize,
    /// Time since the question, waiting for a place included.
    pub elapsed: Duration,
    /// Whether there were more rows than the limit.
    pub truncated: bool,
    /// Bytes read from files.
    pub bytes_scanned: usize,
    /// What any node acknowledged before was asked over; `None` if the question was asked over a view of which that is not known.
    pub complete_until: Option<DateTime<Utc>>,
}

#[derive(Debug)]
struct AbortOnDrop(tokio::task::JoinHandle<()>, #[expect(dead_code, reason = "held")] DropGuard);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn base_state(
    config: &QueryConfig,
    runtime_env: Arc<RuntimeEnv>,
    prices: Arc<PriceTable>,
) -> datafusion::common::Result<SessionState> {
    let mut session = SessionConfig::new()
        .with_target_partitions(config.threads.max(1))
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(catalog::CATALOG, catalog::PUBLIC)
        .with_information_schema(false)
        // A table deals its files out itself, the newest first.
        .with_repartition_file_scans(false)
        .with_parquet_bloom_filter_pruning(true)
        .with_parquet_page_index_pruning(true);
    let options = session.options_mut();
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.time_zone = Some("UTC".to_owned());
    if config.distributed.is_some() {
        // The value of such a subquery would have to reach all nodes: as a join it does.
        options.optimizer.enable_physical_uncorrelated_scalar_subquery = false;
    }
    let builder = SessionStateBuilder::new().with_config(session).with_runtime_env(runtime_env);
    // Functions and planners, but no file formats and no table factories: there is nothing to read but the tables.
    let mut state = builder
        .with_scalar_functions(SessionStateDefaults::default_scalar_functions())
        .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
        .with_window_functions(SessionStateDefaults::default_window_functions())
        .with_higher_order_functions(SessionStateDefaults::default_higher_order_functions())
        .with_expr_planners(SessionStateDefaults::default_expr_planners())
        .with_table_function_list(SessionStateDefaults::default_table_functions())
        .with_optimizer_rule(Arc::new(semi_join::DistinctKeys))
        .with_physical_optimizer_rules(physical_rules())
        .with_optimizer_rule(Arc::new(distinct_texts::CountDistinctTexts))
        .build();
    functions::register(&mut state, prices)?;
    Ok(state)
}

/// DataFusion's own, after what ClickHouse does better.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.insert(0, Arc::new(PushDown));
    rules
}

fn param_values(params: &Params) -> ParamValues {
    match params {
        Params::List(values) => ParamValues::from(values.clone()),
        Params::Named(values) => ParamValues::from(values.clone()),
    }
}

/// JSON access gives a union of JSON types, which only our own engine understands: in an answer it is text.
fn json_as_text(plan: LogicalPlan, state: &SessionState) -> datafusion::common::Result<LogicalPlan> {
    let is_union = |data_type: &DataType| matches!(data_type, DataType::Union(..));
    if !plan.schema().fields().iter().any(|f| is_union(f.data_type())) {
        return Ok(plan);
    }
    let to_text = state.scalar_functions().get("json_union_to_text").cloned();
    let columns: Vec<Expr> = plan
        .schema()
        .iter()
        .map(|(qualifier, field)| {
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            match &to_text {
                Some(function) if is_union(field.data_type()) => function.call(vec![column]).alias(field.name()),
                _ => column,
            }
        })
        .collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

pub(crate) fn metric(plan: &dyn ExecutionPlan, name: &str) -> usize {
    let own = plan.metrics().and_then(|m| m.sum_by_name(name)).map_or(0, |v| v.as_usize());
    own + plan.children().iter().map(|child| metric(child.as_ref(), name)).sum::<usize>()
}

fn timed_out(after: Duration) -> QueryError {
    QueryError::new(QueryErrorKind::Timeout, format!("the query did not finish within {} ms", after.as_millis()))
        .hint("ask for a shorter time range, or allow more with `timeout_ms`")
}

fn too_many_bytes(bytes_max: usize) -> QueryError {
    QueryError::new(QueryErrorKind::TooLarge, format!("the answer is larger than {} MiB", bytes_max >> 20))
        .hint("select fewer columns or rows, or ask for it in parts")
}
