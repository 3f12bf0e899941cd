//! Large limits under `ORDER BY`. A sort with a limit keeps the first rows in memory, which is quick and never spills; for many rows that
//! memory is not there, where a sort of everything would go to disk. So large limits stand above the sort.

use std::sync::Arc;

use datafusion::{
    common::{
        Result,
        tree_node::{Transformed, TreeNode as _},
    },
    physical_plan::{
        ExecutionPlan,
        limit::{GlobalLimitExec, LocalLimitExec},
        sorts::sort::SortExec,
    },
};

/// Limits up to this stay in the sort: more than the rows of an answer unless it is asked for more.
const SORTED_IN_MEMORY_MAX: usize = 20_000;

/// `plan` with every large limit above its sort.
pub(crate) fn above_sorts(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let moved = plan.transform_up(|node| {
        let Some(sort) = node.downcast_ref::<SortExec>() else { return Ok(Transformed::no(node)) };
        let Some(limit) = sort.fetch().filter(|limit| *limit > SORTED_IN_MEMORY_MAX) else { return Ok(Transformed::no(node)) };
        let each_partition = sort.preserve_partitioning();
        let all: Arc<dyn ExecutionPlan> = Arc::new(sort.with_fetch(None));
        Ok(Transformed::yes(if each_partition {
            Arc::new(LocalLimitExec::new(all, limit)) as Arc<dyn ExecutionPlan>
        } else {
            Arc::new(GlobalLimitExec::new(all, 0, Some(limit)))
        }))
    })?;
    Ok(moved.data)
}
