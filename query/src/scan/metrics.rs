//! What a scan counts of row groups, for `EXPLAIN`.

use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};

/// Row groups of the files that were opened.
pub(crate) const ROW_GROUPS: &str = "row_groups";
/// Those of them that were left out because of their statistics.
pub(crate) const ROW_GROUPS_PRUNED: &str = "row_groups_pruned";
/// Those of them of which a column was looked at. The others were not needed any more.
pub(crate) const ROW_GROUPS_READ: &str = "row_groups_read";

/// Counters of one partition.
#[derive(Debug)]
pub(super) struct RowGroupCounts {
    pub(super) considered: Count,
    pub(super) pruned: Count,
    pub(super) read: Count,
}

impl RowGroupCounts {
    pub(super) fn new(set: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        let counter = |name| MetricBuilder::new(set).counter(name, partition);
        Self { considered: counter(ROW_GROUPS), pruned: counter(ROW_GROUPS_PRUNED), read: counter(ROW_GROUPS_READ) }
    }
}
