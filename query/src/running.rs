//! Queries that run now: what they are, what they have cost so far, and how to stop one. The engine registers every query here, so that
//! this is the one list of them; a query leaves it when its [`Registered`] is dropped, however it ends.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use assay_schemas::ids::ProjectId;
use chrono::{DateTime, SecondsFormat, Utc};
use datafusion::{execution::memory_pool::MemoryPool, physical_plan::ExecutionPlan};
use parking_lot::Mutex;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    engine::metric,
    error::{QueryError, QueryErrorKind},
};

/// Who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuerySource {
    /// A read model of the UI, or the server itself.
    #[default]
    Ui,
    /// Somebody's SQL.
    Sql,
}

/// A query that runs now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunningQuery {
    /// Names it, for `DELETE /api/v1/sql/running/{query_id}`.
    #[schema(value_type = String)]
    pub query_id: Uuid,
    /// Its SQL.
    pub query: String,
    /// When it was asked, RFC 3339.
    pub started_at: String,
    /// Time since then, milliseconds, waiting for a place included.
    pub elapsed_ms: f64,
    /// Rows given so far.
    pub rows: u64,
    /// Bytes read from files so far.
    pub bytes_scanned: u64,
    /// Memory it holds now, in bytes, as far as its operators account for it.
    pub memory_bytes: u64,
    /// Who asks.
    pub source: QuerySource,
}

/// All queries that run now.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    running: Mutex<BTreeMap<Uuid, Arc<Running>>>,
}

impl Registry {
    /// Adds a query.
    ///
    /// # Errors
    /// [`QueryError`] of kind `Conflict` if a query of this id runs.
    pub(crate) fn register(self: &Arc<Self>, running: Running) -> Result<Registered, QueryError> {
        let running = Arc::new(running);
        let mut all = self.running.lock();
        if all.contains_key(&running.id) {
            let error = QueryError::new(QueryErrorKind::Conflict, format!("a query `{}` runs already", running.id));
            return Err(error.found(running.id.to_string()).hint("choose a new `query_id` for each query"));
        }
        all.insert(running.id, Arc::clone(&running));
        Ok(Registered { registry: Arc::clone(self), running })
    }

    /// The queries of a project, the oldest first.
    pub(crate) fn list(&self, project: &ProjectId) -> Vec<RunningQuery> {
        let mut all: Vec<_> = self.running.lock().values().filter(|r| r.project == *project).cloned().collect();
        all.sort_by_key(|running| running.started);
        all.iter().map(|running| running.describe()).collect()
    }

    /// Stops a query of a project; whether there is one.
    pub(crate) fn cancel(&self, project: &ProjectId, id: Uuid) -> bool {
        let running = self.running.lock().get(&id).filter(|r| r.project == *project).cloned();
        running.inspect(|running| running.cancelled.cancel()).is_some()
    }
}

/// A query while it runs. Its counters are written by the engine.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) id: Uuid,
    pub(crate) project: ProjectId,
    pub(crate) sql: String,
    pub(crate) source: QuerySource,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) started: Instant,
    pub(crate) pool: Arc<dyn MemoryPool>,
    pub(crate) plan: OnceLock<Arc<dyn ExecutionPlan>>,
    /// The plan with what other nodes counted, if it ran to its end on several.
    pub(crate) figures: OnceLock<Arc<dyn ExecutionPlan>>,
    pub(crate) rows: AtomicU64,
    pub(crate) cancelled: CancellationToken,
}

impl Running {
    /// What its caller is told when somebody stops it.
    pub(crate) fn cancelled_error(&self) -> QueryError {
        QueryError::new(
            QueryErrorKind::Cancelled,
            format!("the query was cancelled after {} ms", self.started.elapsed().as_millis()),
        )
    }

    fn describe(&self) -> RunningQuery {
        RunningQuery {
            query_id: self.id,
            query: self.sql.clone(),
            started_at: self.started_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            elapsed_ms: self.started.elapsed().as_secs_f64() * 1e3,
            rows: self.rows.load(Ordering::Relaxed),
            bytes_scanned: self.plan.get().map_or(0, |plan| metric(plan.as_ref(), "bytes_scanned") as u64),
            memory_bytes: self.pool.reserved() as u64,
            source: self.source,
        }
    }
}

/// Keeps a query in the list while it lives.
#[derive(Debug)]
pub(crate) struct Registered {
    registry: Arc<Registry>,
    running: Arc<Running>,
}

impl std::ops::Deref for Registered {
    type Target = Arc<Running>;

    fn deref(&self) -> &Arc<Running> {
        &self.running
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.running.lock().remove(&self.running.id);
    }
}
