//! The cluster: this node among the others, how a plan is divided over them, and when it is not.

mod channels;
mod codec;
mod worker;

use std::{sync::Arc, time::Duration};

use assay_storage::Secret;
use async_trait::async_trait;
use datafusion::{
    catalog::Session,
    common::{DFSchema, Result, config_err, tree_node::TreeNode as _},
    error::DataFusionError,
    execution::{SessionState, SessionStateBuilder, context::QueryPlanner},
    logical_expr::{EmptyRelation, Explain, LogicalPlan, PlanType, StringifiedPlan},
    physical_expr::{
        Distribution,
        expressions::{CastExpr, Column},
    },
    physical_plan::{
        ExecutionPlan, aggregates::AggregateExec, displayable, explain::ExplainExec, joins::HashJoinExec, metrics::MetricValue,
        projection::ProjectionExec, sorts::sort::SortExec, union::UnionExec,
    },
};
use datafusion_distributed::{
    ChannelResolver as _, DesiredTaskCountEvent, DesiredTaskCountEventResponse, DistributedExec, DistributedExt as _,
    DistributedLeafExec, DistributedMetricsFormat, GetWorkerInfoRequest, NetworkBoundaryExt as _, NetworkBroadcastExec,
    NetworkShuffleExec, RouteTasksEvent, RouteTasksEventResponse, ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse,
    SessionStateBuilderExt as _, Worker, WorkerResolver, display_plan_ascii, get_distributed_worker_resolver,
    rewrite_distributed_plan_with_metrics,
};
use futures::future::join_all;
use sha2::{Digest as _, Sha256};
use tracing::{debug, warn};
use twox_hash::XxHash3_128;
use url::Url;
use uuid::Uuid;

use self::{
    channels::Channels,
    codec::LakeCodec,
    worker::{Sessions, Visit, Visits},
};
use super::{DistributedConfig, Figures, OverNodes, QueryLimits, Resources};
use crate::{
    corrections::CorrectionsExec,
    engine::{distinct_texts, interrupt, large_limit},
    scan::{LakeScan, LakeScanExec},
    table_provider::Divisible,
};

/// A node that has not said within this time that it is there is left out of a query.
const PRESENCE_TIMEOUT: Duration = Duration::from_secs(1);
/// What the nodes counted arrives after the last row; it is not waited for longer.
const FIGURES_TIMEOUT: Duration = Duration::from_secs(2);
/// Every node is sent all pending corrections: with more than this, one node is quicker.
const CORRECTIONS_MAX: usize = 50_000;
/// Bytes that a node takes from another before it lets it wait.
const BUFFER_BYTES: usize = 16 << 20;
/// A node gets up to this share more than the mean, so that most files go to the node that read them before.
const UNEVEN_PERCENT: u64 = 10;

/// This node among the others.
pub(crate) struct Cluster {
    config: DistributedConfig,
    resources: Arc<Resources>,
    worker: Worker,
    channels: Channels,
    visits: Arc<Visits>,
    /// What nodes must have in common, and a name of this process.
    likeness: String,
    process: Uuid,
}

impl Cluster {
    /// # Errors
    /// If an address or an authority is none.
    pub(crate) fn new(config: &DistributedConfig, resources: Resources) -> Result<Self> {
        let resources = Arc::new(resources);
        let channels = Channels::new(&config.secret, config.authorities.as_deref());
        for url in &config.nodes {
            channels.check(url)?;
        }
        let visits = Arc::new(Visits::new(&config.secret, Arc::clone(&resources)));
        let (likeness, process) = (likeness(&config.secret, &resources.prices), Uuid::new_v4());
        let sessions = Sessions::new(Arc::clone(&resources), channels.clone(), Arc::clone(&visits));
        let worker = Worker::from_session_builder(sessions)
            .with_runtime_env(Arc::clone(&resources.runtime_env))
            .with_version(format!("{likeness} {process}"));
        Ok(Self { config: config.clone(), resources, worker, channels, visits, likeness, process })
    }

    /// What takes the parts of other nodes' queries, on the threads of `handle`.
    pub(crate) fn router(&self, handle: tokio::runtime::Handle) -> axum::Router {
        worker::router(self.worker.clone(), Arc::clone(&self.visits), handle)
    }

    /// `logical`, whose plan for one node is `plan` or explained by it, over the nodes that are there; `None` if this node runs it alone.
    ///
    /// # Errors
    /// If the plan is one that the library cannot divide although it should.
    pub(crate) async fn over_nodes(
        &self,
        state: &SessionState,
        logical: &LogicalPlan,
        plan: &Arc<dyn ExecutionPlan>,
        limits: QueryLimits,
    ) -> Result<Option<OverNodes>> {
        let (LogicalPlan::Explain(Explain { plan: asked, .. }), Some(shown)) = (logical, plan.downcast_ref::<ExplainExec>())
        else {
            return if self.is_worth(plan) { self.divided(state, logical, limits).await } else { Ok(None) };
        };
        if !self.is_worth(&state.create_physical_plan(asked).await?) {
            return Ok(None);
        }
        let Some(divided) = self.divided(state, asked, limits).await? else { return Ok(None) };
        let text = display_plan_ascii(divided.plan.as_ref(), false);
        let over_nodes = |shown: &StringifiedPlan| match shown.plan_type {
            PlanType::FinalPhysicalPlan => StringifiedPlan::new(PlanType::FinalPhysicalPlan, text.clone()),
            _ => shown.clone(),
        };
        let plans = shown.stringified_plans().iter().map(over_nodes).collect();
        let plan = Arc::new(ExplainExec::new(plan.schema(), plans, shown.verbose()));
        Ok(Some(OverNodes { plan, state: state.clone() }))
    }

    /// `plan` with what all nodes counted, once it has run to its end; `None` if it is one of a single node, or nodes do not say in time.
    pub(crate) async fn figures(&self, plan: &Arc<dyn ExecutionPlan>) -> Option<Figures> {
        if !plan.is::<DistributedExec>() {
            return None;
        }
        let figures = rewrite_distributed_plan_with_metrics(Arc::clone(plan), DistributedMetricsFormat::Aggregated);
        match tokio::time::timeout(FIGURES_TIMEOUT, figures).await.ok()? {
            Ok(plan) => Some(Figures { bytes_exchanged: bytes_exchanged(plan.as_ref()), plan }),
            Err(error) => {
                warn!(%error, "what nodes counted for a query does not fit its plan");
                None
            }
        }
    }

    /// Whether `plan` reads so much, and nothing but files, that several nodes are quicker.
    fn is_worth(&self, plan: &Arc<dyn ExecutionPlan>) -> bool {
        bytes_in_files(plan, false).is_some_and(|bytes| bytes >= self.config.bytes_min.max(1))
    }

    async fn divided(&self, state: &SessionState, logical: &LogicalPlan, limits: QueryLimits) -> Result<Option<OverNodes>> {
        let state = divisible(state);
        let plan = state.create_physical_plan(logical).await.and_then(large_limit::above_sorts)?;
        self.distributed(&state, &interrupt::giving_way(plan)?, limits).await
    }

    /// `plan`, which was made in a session of [`divisible`], over the nodes that are there; `None` where no other is there, or the plan must
    /// stay in one piece.
    async fn distributed(
        &self,
        state: &SessionState,
        plan: &Arc<dyn ExecutionPlan>,
        limits: QueryLimits,
    ) -> Result<Option<OverNodes>> {
        if bytes_in_files(plan, false).is_none() {
            return Ok(None);
        }
        let present = self.present().await;
        if present.urls.len() < 2 {
            return Ok(None);
        }
        let visit = self.visits.own(limits);
        let state = self.state(state, plan, present, visit)?;
        if let Err(reason) = survives_writing(plan, &state, &self.codec()) {
            debug!(%reason, "a plan cannot be sent to another node; it runs on this one");
            return Ok(None);
        }
        let planned = state.query_planner().create_physical_plan(&nothing(), &state).await?;
        let divided = planned.exists(|node| Ok(node.is::<DistributedExec>()))?;
        if divided && let Err(reason) = keeps_its_meaning(&planned, 1) {
            warn!(reason, "a plan cannot be divided; it runs on this node");
            return Ok(None);
        }
        Ok(divided.then_some(OverNodes { plan: planned, state }))
    }

    /// `state`, with all that the library needs to divide `plan` and to run it.
    fn state(
        &self,
        state: &SessionState,
        plan: &Arc<dyn ExecutionPlan>,
        present: Present,
        visit: Arc<Visit>,
    ) -> Result<SessionState> {
        let headers = visit.headers()?;
        let builder = SessionStateBuilder::new_from_existing(state.clone())
            .with_query_planner(Arc::new(Planned(Arc::clone(plan))))
            .with_aggregate_functions(worker::aggregate_functions(state))
            .with_distributed_planner()
            .with_distributed_user_codec(self.codec())
            .with_distributed_channel_resolver(self.channels.clone())
            .with_distributed_desired_task_count_handler(tasks_of_leaf)
            .with_distributed_scale_up_leaf_node_handler(parts_of_leaf)
            .with_distributed_route_tasks_handler(in_order)
            .with_distributed_passthrough_headers(headers)?
            // Every node reads its part of each table of a union: what has no files yet must not cost a node.
            .with_distributed_children_isolator_unions(false)?
            .with_distributed_worker_connection_buffer_budget_bytes(BUFFER_BYTES)?;
        let builder = match present.own.clone() {
            Some(url) => builder.with_distributed_local_worker_context(self.worker.to_local_worker_context(url)),
            None => builder,
        };
        let mut state = builder.with_distributed_worker_resolver(present).build();
        state.config_mut().set_extension(visit);
        Ok(state)
    }

    fn codec(&self) -> LakeCodec {
        LakeCodec::new(&self.resources, None)
    }

    /// The nodes that answer now and are like this one, in the order of the configuration.
    async fn present(&self) -> Present {
        let asked = join_all(self.config.nodes.iter().map(|url| self.asked(url))).await;
        let mut present = Present { urls: Vec::new(), own: None };
        for (url, said) in self.config.nodes.iter().zip(asked) {
            let said = match said {
                Ok(said) => said,
                Err(error) => {
                    warn!(node = %url, error, "a node takes no part in a query: it does not answer");
                    continue;
                }
            };
            let (likeness, process) = said.split_once(' ').unwrap_or_default();
            if likeness != self.likeness {
                warn!(node = %url, "a node takes no part in a query: its version, its processor or its prices are other ones");
                continue;
            }
            if process == self.process.to_string() {
                present.own = Some(url.clone());
            }
            present.urls.push(url.clone());
        }
        present
    }

    /// What the node at `url` says it is, or why it says nothing.
    async fn asked(&self, url: &Url) -> Result<String, String> {
        let said = async {
            let mut node = self.channels.get_worker_client_for_url(url).await?;
            node.get_worker_info(GetWorkerInfoRequest {}).await
        };
        match tokio::time::timeout(PRESENCE_TIMEOUT, said).await {
            Ok(said) => said.map(|said| said.version).map_err(|error| error.strip_backtrace()),
            Err(_) => Err(format!("it did not answer within {} ms", PRESENCE_TIMEOUT.as_millis())),
        }
    }
}

/// `state` for plans that are to be divided.
fn divisible(state: &SessionState) -> SessionState {
    let mut state = state.clone();
    state.config_mut().set_extension(Arc::new(Divisible));
    let options = state.config_mut().options_mut();
    options.execution.target_partitions = options.execution.target_partitions.max(2);
    // A join or a sort knows its own node's rows only: what it tells scans about others would leave out rows that are wanted there.
    options.optimizer.enable_dynamic_filter_pushdown = false;
    options.optimizer.enable_topk_dynamic_filter_pushdown = false;
    options.optimizer.enable_join_dynamic_filter_pushdown = false;
    options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    state
}

/// Whether `plan` gives the same in `parts` parts. An operator that needs all rows, or all of a key, in one partition gets them only from other
/// nodes: on its own it would take those of its part for all. A leaf that is not divided would be there once for each part.
fn keeps_its_meaning(plan: &Arc<dyn ExecutionPlan>, parts: usize) -> Result<(), String> {
    if let Some(boundary) = plan.as_network_boundary() {
        let stage = boundary.input_stage();
        let below = stage.local_plan().ok_or("a stage without a plan")?;
        return keeps_its_meaning(below, stage.task_count());
    }
    let children = plan.children();
    if parts > 1 {
        if children.is_empty() && !plan.is::<DistributedLeafExec>() {
            return Err(format!("`{}` would be there {parts} times", plan.name()));
        }
        for (child, needed) in children.iter().zip(plan.input_distribution_requirements().into_per_child()) {
            let gathered: fn(&dyn ExecutionPlan) -> bool = match needed {
                Distribution::UnspecifiedDistribution => continue,
                Distribution::SinglePartition => |end| end.is::<NetworkBroadcastExec>(),
                _ => |end| end.is::<NetworkBroadcastExec>() || end.is::<NetworkShuffleExec>(),
            };
            if !ends(child).into_iter().all(gathered) {
                return Err(format!("`{}` would see a part of its rows on each of {parts} nodes", plan.name()));
            }
        }
    }
    children.into_iter().try_for_each(|child| keeps_its_meaning(child, parts))
}

/// What `plan` reads from within its stage: leaves, and what comes from other nodes.
fn ends(plan: &Arc<dyn ExecutionPlan>) -> Vec<&dyn ExecutionPlan> {
    if plan.is_network_boundary() || plan.children().is_empty() {
        return vec![plan.as_ref()];
    }
    plan.children().into_iter().flat_map(ends).collect()
}

/// Whether what is below `plan` runs on other nodes.
pub(crate) fn is_of_other_nodes(plan: &dyn ExecutionPlan) -> bool {
    plan.is_network_boundary()
}

/// The scan below `plan`, where it was divided.
pub(crate) fn divided_scan(plan: &dyn ExecutionPlan) -> Option<&LakeScanExec> {
    plan.downcast_ref::<DistributedLeafExec>()?.original().downcast_ref()
}

/// Bytes of the files that `plan` reads whole; those of which it reads the first rows only (`stops_early`) do not count. `None` if it reads
/// anything else.
fn bytes_in_files(plan: &Arc<dyn ExecutionPlan>, stops_early: bool) -> Option<u64> {
    if let Some(scan) = plan.downcast_ref::<LakeScanExec>() {
        let LakeScan { hot, files, limit, .. } = &*scan.scan;
        let whole = !stops_early && limit.is_none();
        return hot.is_empty().then(|| if whole { files.iter().map(|file| file.size).sum() } else { 0 });
    }
    if let Some(corrections) = plan.downcast_ref::<CorrectionsExec>()
        && corrections.corrections.len() > CORRECTIONS_MAX
    {
        return None;
    }
    let children = plan.children();
    if children.is_empty() {
        return None;
    }
    // A sort with a limit tells the scan below what it need not read.
    let limited = plan.fetch().is_some() && (plan.is::<SortExec>() || children.len() == 1);
    let all_of_it = plan.is::<AggregateExec>() || plan.is::<HashJoinExec>();
    let stops_early = (stops_early || limited) && !all_of_it;
    children.into_iter().map(|child| bytes_in_files(child, stops_early)).sum()
}

/// Whether `plan` is the same after it was written down for another node and read again.
fn survives_writing(plan: &Arc<dyn ExecutionPlan>, state: &SessionState, codec: &LakeCodec) -> Result<(), String> {
    let read_back = codec::written(plan, codec).and_then(|bytes| codec::read(&bytes, &state.task_ctx(), codec));
    let read_back = read_back.map_err(|error| error.strip_backtrace())?;
    let (mut before, mut after) = (Vec::new(), Vec::new());
    shape(plan, false, &mut before);
    shape(&read_back, false, &mut after);
    if before == after && plan.schema() == read_back.schema() {
        return Ok(());
    }
    let differing = before.iter().zip(&after).find(|(line, found)| line != found);
    let differing = differing.map_or_else(String::new, |(line, found)| format!(": `{found}`, expected `{line}`"));
    Err(format!("it is another one when read back{differing}"))
}

/// The operators of `plan`, each before its children. A union makes its inputs alike by casts each time it is made: those are left out.
fn shape(plan: &Arc<dyn ExecutionPlan>, below_union: bool, lines: &mut Vec<String>) {
    if below_union && plan.downcast_ref::<ProjectionExec>().is_some_and(only_casts) {
        return plan.children().into_iter().for_each(|child| shape(child, true, lines));
    }
    lines.push(format!("{} inputs: {}", plan.children().len(), displayable(plan.as_ref()).one_line().to_string().trim()));
    plan.children().into_iter().for_each(|child| shape(child, plan.is::<UnionExec>(), lines));
}

fn only_casts(projection: &ProjectionExec) -> bool {
    projection.expr().iter().enumerate().all(|(idx, column)| {
        let within = column.expr.downcast_ref::<CastExpr>().map_or(&column.expr, |cast| cast.expr());
        within.downcast_ref::<Column>().is_some_and(|found| found.index() == idx && found.name() == column.alias)
    })
}

/// What must be the same on all nodes: plans are read by the same code, hashes of one are compared with those of another, and a price is the
/// same wherever a part runs.
fn likeness(secret: &Secret, prices: &str) -> String {
    let seed = Sha256::new().chain_update("texts ").chain_update(secret.expose()).finalize();
    let seed = distinct_texts::share_seed(u64::from_le_bytes(seed[..8].try_into().expect("there are 32 bytes")));
    let common = format!("{} {} {prices} {seed}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    hex::encode(Sha256::digest(common))
}

/// Gives the plan that was made before to the library, which divides what a planner gives.
#[derive(Debug)]
struct Planned(Arc<dyn ExecutionPlan>);

#[async_trait]
impl QueryPlanner for Planned {
    async fn create_physical_plan(&self, _: &LogicalPlan, _: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::clone(&self.0))
    }
}

fn nothing() -> LogicalPlan {
    LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::new(DFSchema::empty()) })
}

/// The nodes that take part in a query.
#[derive(Clone, Debug)]
struct Present {
    urls: Vec<Url>,
    /// This node's own, if it is among them.
    own: Option<Url>,
}

impl WorkerResolver for Present {
    fn get_urls(&self) -> Result<Vec<Url>> {
        Ok(self.urls.clone())
    }
}

/// A scan is for all nodes.
fn tasks_of_leaf(event: DesiredTaskCountEvent<'_>) -> Option<Result<DesiredTaskCountEventResponse>> {
    event.plan.downcast_ref::<LakeScanExec>()?;
    let urls = get_distributed_worker_resolver(event.session_config).and_then(|nodes| nodes.get_urls());
    Some(urls.map(|urls| DesiredTaskCountEventResponse::desired(urls.len())))
}

/// A scan for each node, of files of its own.
fn parts_of_leaf(event: ScaleUpLeafNodeEvent<'_>) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
    let scan = event.plan.downcast_ref::<LakeScanExec>()?.scan.as_ref();
    let urls = match get_distributed_worker_resolver(event.session_config).and_then(|nodes| nodes.get_urls()) {
        Ok(urls) => urls,
        Err(error) => return Some(Err(error)),
    };
    let nodes: Vec<&str> = urls.iter().take(event.task_count).map(Url::as_str).collect();
    if nodes.len() != event.task_count {
        return Some(config_err!("expected at most {} parts of a scan, found {}", urls.len(), event.task_count));
    }
    let files: Vec<(&str, u64)> = scan.files.iter().map(|file| (file.path.as_ref(), file.size)).collect();
    let node_of = dealt(&files, &nodes);
    let part = |node: usize| {
        let files = scan.files.iter().zip(&node_of).filter(|(_, of)| **of == node).map(|(file, _)| Arc::clone(file));
        let part = LakeScan { files: files.collect(), statistics: scan.statistics.clone().to_inexact(), ..scan.clone() };
        Arc::new(LakeScanExec::new(part)) as Arc<dyn ExecutionPlan>
    };
    let leaf = DistributedLeafExec::try_new(Arc::clone(event.plan), (0..event.task_count).map(part));
    Some(leaf.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))))
}

/// For each of `files` (path and bytes), which of `nodes` reads it: mostly the one that did when other nodes were there too, so that its caches
/// hold it, and none much more than the others. Rendezvous hashing with bounded loads.
fn dealt(files: &[(&str, u64)], nodes: &[&str]) -> Vec<usize> {
    let all: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    let bytes_max = all / nodes.len().max(1) as u64 * (100 + UNEVEN_PERCENT) / 100;
    let mut largest_first: Vec<usize> = (0..files.len()).collect();
    largest_first.sort_by_key(|idx| (std::cmp::Reverse(files[*idx].1), files[*idx].0));
    let mut load = vec![0; nodes.len()];
    let mut node_of = vec![0; files.len()];
    for idx in largest_first {
        let (path, bytes) = files[idx];
        let by_liking = |node: &usize| std::cmp::Reverse(XxHash3_128::oneshot(format!("{} {path}", nodes[*node]).as_bytes()));
        let mut candidates: Vec<usize> = (0..nodes.len()).collect();
        candidates.sort_by_key(by_liking);
        let with_room = candidates.iter().copied().find(|node| load[*node] + bytes <= bytes_max);
        let node = with_room.or_else(|| candidates.into_iter().min_by_key(|node| load[*node])).unwrap_or(0);
        load[node] += bytes;
        node_of[idx] = node;
    }
    node_of
}

/// The n-th part of a stage goes to the n-th node, whose files it reads. A stage of one part is placed by the library: here, if it can be.
fn in_order(event: RouteTasksEvent<'_>) -> Option<Result<RouteTasksEventResponse>> {
    if event.task_count == 1 {
        return None;
    }
    let urls = get_distributed_worker_resolver(event.task_ctx.session_config()).and_then(|nodes| nodes.get_urls());
    Some(urls.map(|urls| RouteTasksEventResponse::new(urls.into_iter().take(event.task_count).collect())))
}

/// Bytes that nodes gave each other, by the figures of a plan that has run.
fn bytes_exchanged(plan: &dyn ExecutionPlan) -> usize {
    let own = plan.metrics().map_or(0, |metrics| metrics.iter().map(|metric| exchanged(metric.value())).sum::<usize>());
    own + plan.children().into_iter().map(|child| bytes_exchanged(child.as_ref())).sum::<usize>()
}

fn exchanged(figure: &MetricValue) -> usize {
    match figure {
        MetricValue::Custom { name, value } if name == "bytes_transferred" => value.as_usize(),
        _ => 0,
    }
}

/// Whether a node, or the way to it, failed a query.
pub(crate) fn node_failed(error: &DataFusionError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<tonic::Status>() || error.is::<tonic::transport::Error>() {
            return true;
        }
        cause = error.source();
    }
    // What one node says of another comes as text.
    error.to_string().contains("External error: code: '")
}

#[cfg(test)]
mod tests {
    use datafusion::{
        arrow::datatypes::Schema,
        physical_plan::{
            empty::EmptyExec,
            limit::{GlobalLimitExec, LocalLimitExec},
        },
    };

    use super::*;

    #[test]
    fn what_takes_its_part_for_all_rows_is_not_divided() {
        let nothing = || Arc::new(EmptyExec::new(Arc::new(Schema::empty()))) as Arc<dyn ExecutionPlan>;
        let divided = Arc::new(DistributedLeafExec::try_new(nothing(), [nothing(), nothing()]).unwrap());
        let of_each: Arc<dyn ExecutionPlan> = Arc::new(LocalLimitExec::new(divided.clone(), 1));
        assert_eq!(keeps_its_meaning(&of_each, 2), Ok(()));
        let of_all: Arc<dyn ExecutionPlan> = Arc::new(GlobalLimitExec::new(divided, 0, Some(1)));
        assert_eq!(keeps_its_meaning(&of_all, 1), Ok(()));
        assert!(keeps_its_meaning(&of_all, 2).unwrap_err().contains("would see a part of its rows on each of 2 nodes"));
        assert!(keeps_its_meaning(&nothing(), 2).unwrap_err().contains("would be there 2 times"));
    }

    #[test]
    fn files_are_dealt_evenly_and_stay_where_they_were_when_a_node_leaves() {
        let paths: Vec<String> = (0..300).map(|n| format!("lake/spans/part-{n}")).collect();
        let files: Vec<(&str, u64)> = paths.iter().map(|path| (path.as_str(), 1000)).collect();
        let nodes = ["http://a:1/", "http://b:1/", "http://c:1/"];
        let three = dealt(&files, &nodes);
        for node in 0..3 {
            let share = three.iter().filter(|of| **of == node).count();
            assert!((80..=110).contains(&share), "{share} of 300");
        }
        let two = dealt(&files, &nodes[..2]);
        let moved = three.iter().zip(&two).filter(|(before, after)| **before < 2 && before != after).count();
        assert!(moved < 40, "{moved} of 200 files went to another node that is still there");
    }

    #[test]
    fn one_large_file_does_not_take_the_small_ones_with_it() {
        let node_of = dealt(&[("large", 1_000_000), ("small", 1), ("other", 1)], &["http://a:1/", "http://b:1/"]);
        assert_ne!(node_of[0], node_of[1]);
        assert_eq!(node_of[1], node_of[2]);
    }
}
