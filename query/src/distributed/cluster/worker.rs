//! What this node does for queries of other nodes: who may ask, and the memory, time and end of what they ask for.
//!
//! A query visits this node once, however many parts of it run here: they share a pool of memory, as large as that of a query asked here, and
//! a token that is cancelled when its time is over and when the last request of the asking node has ended, which it does when the query does.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use assay_storage::Secret;
use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use datafusion::{
    common::{Result, exec_datafusion_err},
    error::DataFusionError,
    execution::{SessionState, SessionStateBuilder, memory_pool::MemoryPool, runtime_env::RuntimeEnvBuilder},
    logical_expr::AggregateUDF,
};
use datafusion_distributed::{
    DistributedConfig, DistributedExt as _, Worker, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse, WorkerQueryContext,
    WorkerSessionBuilder,
};
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use prometheus::IntGauge;
use sha2::{Digest as _, Sha256};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use uuid::Uuid;

use super::{QueryLimits, Resources, channels::Channels, codec::LakeCodec};
use crate::engine::{distinct_texts, interrupt, memory::QueryPool};

/// Which query a request belongs to.
const QUERY: &str = "x-assay-query";
/// How long it may go on, in milliseconds.
const TIME_LEFT: &str = "x-assay-time-left-ms";

/// What a node shows that it is one with.
pub(super) fn authorization(secret: &Secret) -> HeaderValue {
    // Only a digest travels: a secret with a line break is a header too, and one that is used elsewhere stays there.
    let digest = Sha256::new().chain_update("node ").chain_update(secret.expose()).finalize();
    let mut value = HeaderValue::from_str(&format!("Bearer {}", hex::encode(digest))).expect("hexadecimal digits are a header");
    value.set_sensitive(true);
    value
}

/// A query on this node.
#[derive(Debug)]
pub(super) struct Visit {
    id: Uuid,
    pool: Arc<dyn MemoryPool>,
    stopped: CancellationToken,
    deadline: Instant,
    /// Where it is counted, if it was asked elsewhere.
    counted: Option<IntGauge>,
}

impl Visit {
    /// What requests of this query say to other nodes.
    pub(super) fn headers(&self) -> Result<HeaderMap> {
        let value = |text: String| HeaderValue::from_str(&text).map_err(|error| DataFusionError::External(Box::new(error)));
        let left = self.deadline.saturating_duration_since(Instant::now()).as_millis();
        let headers = [(QUERY, self.id.to_string()), (TIME_LEFT, left.to_string())];
        headers.into_iter().map(|(name, text)| Ok((http::HeaderName::from_static(name), value(text)?))).collect()
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.stopped.cancel();
        self.counted.iter().for_each(IntGauge::dec);
    }
}

/// The queries that have a part on this node now.
pub(super) struct Visits {
    authorization: HeaderValue,
    resources: Arc<Resources>,
    by_id: Mutex<HashMap<Uuid, Weak<Visit>>>,
}

impl Visits {
    pub(super) fn new(secret: &Secret, resources: Arc<Resources>) -> Self {
        Self { authorization: authorization(secret), resources, by_id: Mutex::default() }
    }

    /// A query that was asked here: its own parts here use its own memory.
    pub(super) fn own(&self, limits: QueryLimits) -> Arc<Visit> {
        let QueryLimits { pool, stopped, deadline } = limits;
        let visit = Arc::new(Visit { id: Uuid::new_v4(), pool, stopped: stopped.child_token(), deadline, counted: None });
        let mut by_id = self.by_id.lock();
        by_id.retain(|_, visit| visit.strong_count() > 0);
        by_id.insert(visit.id, Arc::downgrade(&visit));
        visit
    }

    /// The query of another node that `headers` name: the same while any request of it goes on.
    fn enter(&self, headers: &HeaderMap, handle: &tokio::runtime::Handle) -> Option<Arc<Visit>> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let id: Uuid = text(QUERY)?.parse().ok()?;
        let left = Duration::from_millis(text(TIME_LEFT)?.parse().ok()?).min(self.resources.timeout_max);
        let mut by_id = self.by_id.lock();
        if let Some(visit) = by_id.get(&id).and_then(Weak::upgrade) {
            return Some(visit);
        }
        by_id.retain(|_, visit| visit.strong_count() > 0);
        let visit = Arc::new(Visit {
            id,
            pool: Arc::new(QueryPool::new(self.resources.memory_bytes_max, Arc::clone(&self.resources.memory))),
            stopped: CancellationToken::new(),
            deadline: Instant::now() + left,
            counted: Some(self.resources.visits.clone()),
        });
        self.resources.visits.inc();
        let (stopped, deadline) = (visit.stopped.clone(), visit.deadline);
        handle.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = tokio::time::sleep_until(deadline.into()) => stopped.cancel(),
            }
        });
        by_id.insert(id, Arc::downgrade(&visit));
        Some(visit)
    }

    fn find(&self, headers: &HeaderMap) -> Option<Arc<Visit>> {
        let id: Uuid = headers.get(QUERY)?.to_str().ok()?.parse().ok()?;
        self.by_id.lock().get(&id).and_then(Weak::upgrade)
    }

    /// Whether `headers` come from a node. The time it takes tells nothing: digests are compared, not secrets.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let digest = |value: &HeaderValue| Sha256::digest(value.as_bytes());
        headers.get(header::AUTHORIZATION).is_some_and(|found| digest(found) == digest(&self.authorization))
    }
}

/// Takes what other nodes ask of `worker`, and does it on the threads of `handle`.
pub(super) fn router(worker: Worker, visits: Arc<Visits>, handle: tokio::runtime::Handle) -> Router {
    let routes = tonic::service::Routes::new(worker.into_worker_server()).prepare();
    routes.into_axum_router().layer(middleware::from_fn_with_state((visits, handle), admit))
}

async fn admit(State((visits, handle)): State<(Arc<Visits>, tokio::runtime::Handle)>, request: Request, next: Next) -> Response {
    if !visits.admits(request.headers()) {
        return tonic::Status::unauthenticated("this is for the nodes of a cluster, which share a secret").into_http();
    }
    let visit = visits.enter(request.headers(), &handle);
    let answered = AbortOnDropHandle::new(handle.spawn(async move { next.run(request).await }));
    match answered.await {
        Ok(response) => response.map(|body| Body::new(Visiting { body, _visit: visit })),
        Err(_) => tonic::Status::internal("the part of a query stopped unexpectedly").into_http(),
    }
}

/// A response of a query that is here until it has ended.
struct Visiting {
    body: Body,
    _visit: Option<Arc<Visit>>,
}

impl HttpBody for Visiting {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Makes the session in which a part of a query runs here.
pub(super) struct Sessions {
    resources: Arc<Resources>,
    channels: Channels,
    visits: Arc<Visits>,
}

impl Sessions {
    pub(super) fn new(resources: Arc<Resources>, channels: Channels, visits: Arc<Visits>) -> Self {
        Self { resources, channels, visits }
    }
}

#[async_trait]
impl WorkerSessionBuilder for Sessions {
    async fn build_session_state(&self, mut ctx: WorkerQueryContext) -> Result<SessionState, DataFusionError> {
        let missing = || exec_datafusion_err!("a part of a query came without its query");
        let visit = self.visits.find(&ctx.headers).ok_or_else(missing)?;
        let Resources { base, runtime_env, .. } = self.resources.as_ref();
        let runtime = RuntimeEnvBuilder::from_runtime_env(runtime_env).with_memory_pool(Arc::clone(&visit.pool)).build_arc()?;
        // What the library has put into the configuration stays; the rest is as for a query asked here.
        let mut config = ctx.builder.config().take().unwrap_or_default();
        let of_library = DistributedConfig::from_config_options(config.options())?.clone();
        let batch_size = config.options().execution.batch_size;
        let mut options = base.config().options().as_ref().clone();
        options.execution.batch_size = batch_size;
        options.extensions.insert(of_library);
        *config.options_mut() = options;
        let stopped = visit.stopped.clone();
        let interruptible = move |event: WorkerPlanRewriteEvent<'_>| {
            interrupt::with_interruptible_filters(event.plan, &stopped).map(WorkerPlanRewriteEventResponse::new)
        };
        let config = config
            .with_distributed_user_codec(LakeCodec::new(&self.resources, Some(visit.stopped.clone())))
            .with_distributed_channel_resolver(self.channels.clone())
            .with_distributed_worker_plan_rewrite_handler(interruptible)
            .with_distributed_passthrough_headers(visit.headers()?)?;
        Ok(SessionStateBuilder::new_from_existing(base.as_ref().clone())
            .with_config(config)
            .with_runtime_env(runtime)
            .with_aggregate_functions(aggregate_functions(base))
            .build())
    }
}

/// The functions that a plan can name: those of SQL, and what our planner puts in the place of some.
pub(super) fn aggregate_functions(of: &SessionState) -> Vec<Arc<AggregateUDF>> {
    of.aggregate_functions().values().cloned().chain([distinct_texts::function()]).collect()
}
