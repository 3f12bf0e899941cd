//! The nodes that write a lake together: each has an object of its own, `assay-nodes/<node>.json`, that says who writes under its name and up to
//! when what it acknowledged is committed.
//!
//! Written after each flush, on condition that it is as this process left it: of two processes under one name (a data folder that was copied) the
//! one that started last writes on, and the other finds out before its next commit.

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{Error, ObjectMeta, ObjectStore as _, PutMode, UpdateVersion, path::Path};
use serde::{Deserialize, Serialize};

use super::{Bucket, BucketError, to_json};
use crate::outside;

const NODES: &str = "assay-nodes";
const READS_AT_ONCE: usize = 16;
/// A put that was refused without anyone else having written is tried so often.
const ATTEMPTS_MAX: usize = 5;

/// A node that takes rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) node_id: String,
    /// The process that writes under this name.
    process: String,
    /// Of the program.
    version: String,
    /// When the process began.
    since: DateTime<Utc>,
    /// Whatever the node acknowledged before is in the tables. By its own clock.
    pub(crate) complete_until: DateTime<Utc>,
    /// It ended in order, and has nothing that is not in the tables.
    #[serde(default)]
    pub(crate) stopped: bool,
}

/// What this process last wrote about itself.
#[derive(Debug, Default)]
pub(super) struct Membership(Option<(Member, UpdateVersion)>);

impl Bucket {
    /// Announces this process as the one that writes as its node, before it acknowledges anything. `has_rows`: its log holds what is not committed.
    pub(crate) async fn join(&self, has_rows: bool) -> Result<(), BucketError> {
        let mut membership = self.membership.lock().await;
        let now = outside::wall_clock();
        let found = self.member().await?;
        let complete_until = match &found {
            Some((before, _)) if has_rows || !before.stopped => before.complete_until,
            None if has_rows => DateTime::UNIX_EPOCH,
            _ => now,
        };
        let member = Member {
            node_id: self.node_id.clone(),
            process: self.process.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: now,
            complete_until,
            stopped: false,
        };
        let mode = found.map_or(PutMode::Create, |(_, version)| PutMode::Update(version));
        let put = self.put(&self.own_path(), to_json(&member), mode).await;
        // Whatever the answer was, what counts is what is there now.
        match self.member().await? {
            Some((found, version)) if found == member => {
                membership.0 = Some((found, version));
                Ok(())
            }
            Some((found, _)) if found.process != self.process && put.is_ok() => Err(self.other_process()),
            _ => match put {
                Err(source) => Err(self.failed("write", &self.own_path())(source)),
                Ok(()) => Err(self.other_process()),
            },
        }
    }

    /// Says that whatever this node acknowledged before `complete_until` is in the tables, and whether it has ended.
    pub(crate) async fn report(&self, complete_until: DateTime<Utc>, stopped: bool) -> Result<(), BucketError> {
        let mut membership = self.membership.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let Some((known, version)) = &membership.0 else { return Ok(()) };
            let next = Member { complete_until, stopped, ..known.clone() };
            let refused = match self.put(&self.own_path(), to_json(&next), PutMode::Update(version.clone())).await {
                Ok(()) => None,
                Err(error @ (Error::Precondition { .. } | Error::AlreadyExists { .. } | Error::NotFound { .. })) => Some(error),
                Err(source) => return Err(self.failed("write", &self.own_path())(source)),
            };
            match self.member().await? {
                Some((found, _)) if found.process != self.process => return Err(self.other_process()),
                Some((found, version)) => {
                    let done = found == next;
                    membership.0 = Some((found, version));
                    if done {
                        return Ok(());
                    }
                }
                // Someone took this node for gone.
                None if refused.is_some() => {
                    let put = self.put(&self.own_path(), to_json(&next), PutMode::Create).await;
                    put.map_err(self.failed("write", &self.own_path()))?;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// All nodes that ever joined and were not removed.
    pub(crate) async fn members(&self) -> Result<Vec<Member>, BucketError> {
        let folder = Path::from(NODES);
        let listed: Vec<ObjectMeta> = self.store.list(Some(&folder)).try_collect().await.map_err(self.failed("list", &folder))?;
        let reads = listed.into_iter().map(|object| async move { self.member_at(&object.location).await });
        let read: Vec<_> = futures::stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect().await?;
        // What was removed since it was listed is gone.
        Ok(read.into_iter().flatten().map(|(member, _)| member).collect())
    }

    /// Whether this process still writes under the name of its node.
    pub(super) async fn check_member(&self) -> Result<(), BucketError> {
        match self.member().await? {
            Some((found, _)) if found.process != self.process => Err(self.other_process()),
            _ => Ok(()),
        }
    }

    async fn member(&self) -> Result<Option<(Member, UpdateVersion)>, BucketError> {
        self.member_at(&self.own_path()).await
    }

    async fn member_at(&self, path: &Path) -> Result<Option<(Member, UpdateVersion)>, BucketError> {
        let Some((content, version)) = self.read_versioned(path).await.map_err(self.failed("read", path))? else {
            return Ok(None);
        };
        let member = serde_json::from_slice(&content)
            .map_err(|error| self.failed("understand", path)(Error::Generic { store: "Assay", source: error.into() }))?;
        Ok(Some((member, version)))
    }

    fn own_path(&self) -> Path {
        Path::from(format!("{NODES}/{}.json", self.node_id))
    }

    fn other_process(&self) -> BucketError {
        BucketError::OtherProcess { url: self.url.clone(), node_id: self.node_id.clone() }
    }
}
