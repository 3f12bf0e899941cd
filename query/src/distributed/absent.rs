//! The cluster of a binary without the feature `distributed`: none can be made, and no plan is of several nodes.

use std::sync::Arc;

use datafusion::{
    common::{Result, config_err},
    error::DataFusionError,
    execution::SessionState,
    logical_expr::LogicalPlan,
    physical_plan::ExecutionPlan,
};

use super::{DistributedConfig, Figures, OverNodes, QueryLimits, Resources};
use crate::scan::LakeScanExec;

/// There is none.
pub(crate) enum Cluster {}

impl Cluster {
    pub(crate) fn new(config: &DistributedConfig, _: Resources) -> Result<Self> {
        config_err!(
            "found {} nodes for large queries, expected none: this was built without the feature `distributed`",
            config.nodes.len()
        )
    }

    pub(crate) fn router(&self, _: tokio::runtime::Handle) -> axum::Router {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "a cluster asks its nodes")]
    pub(crate) async fn over_nodes(
        &self,
        _: &SessionState,
        _: &LogicalPlan,
        _: &Arc<dyn ExecutionPlan>,
        _: QueryLimits,
    ) -> Result<Option<OverNodes>> {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "a cluster asks its nodes")]
    pub(crate) async fn figures(&self, _: &Arc<dyn ExecutionPlan>) -> Option<Figures> {
        match *self {}
    }
}

pub(crate) fn is_of_other_nodes(_: &dyn ExecutionPlan) -> bool {
    false
}

pub(crate) fn divided_scan(_: &dyn ExecutionPlan) -> Option<&LakeScanExec> {
    None
}

pub(crate) fn node_failed(_: &DataFusionError) -> bool {
    false
}
