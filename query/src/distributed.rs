//! Large queries over several query nodes, with the feature `distributed`: the nodes named in the configuration each read a part of the files,
//! aggregate and sort it, and exchange what is left among themselves. Which part of a plan runs where is decided by the library
//! `datafusion-distributed`; what is ours is what a node is told to read, who may tell it so, and when a query is left to one node.
//!
//! ```text
//! a plan for one node ─ worth it? all of it in files? ─ written down and read back the same? ─ which nodes are there? ─ stages over them
//!                       otherwise the plan runs as it is
//! ```
//! A node is told of files by their paths: files never change and paths are never used again, so it reads what the asking node saw, however
//! far it has followed the log itself, or fails because the file is gone. A node that fails takes the query with it: no answer is partial.
//!
//! Without the feature, `distributed/absent.rs` stands in the place of the cluster.

#[cfg(feature = "distributed")]
mod cluster;
#[cfg(not(feature = "distributed"))]
#[path = "distributed/absent.rs"]
mod cluster;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use assay_storage::{Secret, Storage};
use datafusion::{
    execution::{SessionState, memory_pool::MemoryPool, runtime_env::RuntimeEnv},
    physical_plan::ExecutionPlan,
};
use prometheus::IntGauge;
use tokio_util::sync::CancellationToken;
use url::Url;

pub(crate) use self::cluster::{Cluster, divided_scan, is_of_other_nodes, node_failed};
use crate::{engine::memory::SharedMemory, scan::ColumnCache};

/// Which nodes take part in large queries.
#[derive(Clone, Debug)]
pub struct DistributedConfig {
    /// Where the nodes take the parts of others, this node among them: `http://host:port`, or `https://…` where a proxy ends TLS.
    pub nodes: Vec<Url>,
    /// What nodes prove to each other that they are such with.
    pub secret: Secret,
    /// A query whose files are smaller together runs on one node. In bytes.
    pub bytes_min: u64,
    /// Authorities that nodes are checked with, in PEM; those of the system if `None`.
    pub authorities: Option<String>,
}

/// What parts of plans run with on this node.
#[cfg_attr(not(feature = "distributed"), expect(dead_code, reason = "there are no parts"))]
pub(crate) struct Resources {
    pub(crate) base: Arc<SessionState>,
    pub(crate) runtime_env: Arc<RuntimeEnv>,
    pub(crate) storage: Storage,
    pub(crate) columns: Arc<ColumnCache>,
    pub(crate) memory: Arc<SharedMemory>,
    /// Memory of one query on this node, in bytes.
    pub(crate) memory_bytes_max: usize,
    pub(crate) timeout_max: Duration,
    /// How many queries of other nodes are here.
    pub(crate) visits: IntGauge,
    /// Which prices `llm_cost` knows.
    pub(crate) prices: String,
}

/// The limits of a query, which hold on all nodes.
#[derive(Clone)]
#[cfg_attr(not(feature = "distributed"), expect(dead_code, reason = "the limits of one node stand elsewhere"))]
pub(crate) struct QueryLimits {
    pub(crate) pool: Arc<dyn MemoryPool>,
    pub(crate) stopped: CancellationToken,
    pub(crate) deadline: Instant,
}

/// A plan over several nodes, and what it is to be run with.
pub(crate) struct OverNodes {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(crate) state: SessionState,
}

/// A plan that has run, with what all nodes counted.
pub(crate) struct Figures {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    /// What nodes gave each other.
    pub(crate) bytes_exchanged: usize,
}
