//! Which of the nodes that share a lake compacts it, drops its old days and deletes its files: the one that holds the lease, an object that is written
//! on condition that it is as it was read.
//!
//! The lease keeps two nodes from doing the same work twice; it does not keep the lake whole. A holder that was asleep longer than its lease, or
//! whose clock is wrong, can act beside the next one. Then what holds is the Delta log: a file that another commit removed cannot be replaced.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use object_store::{ObjectStoreExt as _, PutMode, path::Path};
use serde::{Deserialize, Serialize};

use super::{Bucket, BucketError, to_json};
use crate::outside;

const LEASE: &str = "assay-lease.json";
/// A holder that says nothing for so long has lost it.
const LEASE_FOR: Duration = Duration::from_secs(60);
/// Clocks of two nodes may differ by so much before both believe to hold it.
const CLOCK_DIFFERENCE_MAX: TimeDelta = TimeDelta::seconds(15);

/// Up to when this process holds the lease, if it does.
#[derive(Debug, Default)]
pub(super) struct HeldLease(Option<Instant>);

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    node_id: String,
    process: String,
    until: DateTime<Utc>,
}

impl Bucket {
    /// Takes or renews the lease. `false` if another node holds it. Costs nothing in the first half of its time.
    pub(crate) async fn hold_lease(&self) -> Result<bool, BucketError> {
        let mut held = self.lease.lock().await;
        let begun = outside::monotonic();
        if held.0.is_none_or(|until| until <= begun + LEASE_FOR / 2) {
            let lease = self.lease_until(outside::wall_clock() + LEASE_FOR);
            let is_mine = self.write_lease(&lease).await?;
            let until = begun + LEASE_FOR;
            // An answer may take longer than the lease lasts.
            held.0 = (is_mine && until > outside::monotonic()).then_some(until);
        }
        outside::told_of_lease(held.0);
        Ok(held.0.is_some())
    }

    /// Gives the lease back, if it is held.
    pub(crate) async fn give_lease_back(&self) -> Result<(), BucketError> {
        let mut held = self.lease.lock().await;
        if held.0.take().is_some() {
            outside::told_of_lease(None);
            self.write_lease(&self.lease_until(DateTime::UNIX_EPOCH)).await?;
        }
        Ok(())
    }

    /// Whether `lease` is in force afterwards: not if another process has one.
    async fn write_lease(&self, lease: &Lease) -> Result<bool, BucketError> {
        let path = Path::from(LEASE);
        let read = || async {
            let found = self.read_versioned(&path).await.map_err(self.failed("read", &path))?;
            Ok(found.map(|(content, version)| (serde_json::from_slice::<Lease>(&content).ok(), version)))
        };
        let mode = match read().await? {
            None => PutMode::Create,
            Some((Some(found), _)) if !self.may_take(&found) => return Ok(false),
            // A later version may say it in another way, but not for longer.
            Some((None, _)) if !self.is_old(&path).await? => return Ok(false),
            Some((_, version)) => PutMode::Update(version),
        };
        let put = self.put(&path, to_json(lease), mode).await;
        // Whatever the answer was, what counts is what is there now.
        match (read().await?, put) {
            (Some((Some(found), _)), _) if found == *lease => Ok(true),
            (Some((Some(found), _)), _) if found.process != self.process => Ok(false),
            (_, Err(source)) => Err(self.failed("write", &path)(source)),
            (_, Ok(())) => Ok(false),
        }
    }

    /// Makes the lease older by `age`.
    #[cfg(test)]
    pub(crate) async fn age_lease(&self, age: TimeDelta) {
        let path = Path::from(LEASE);
        let (content, version) = self.read_versioned(&path).await.unwrap().unwrap();
        let lease: Lease = serde_json::from_slice(&content).unwrap();
        let older = Lease { until: lease.until - age, ..lease };
        self.put(&path, to_json(&older), PutMode::Update(version)).await.unwrap();
    }

    /// Whether the lease was written so long ago that whoever wrote it has lost it. By the clock of the bucket.
    async fn is_old(&self, path: &Path) -> Result<bool, BucketError> {
        let written = self.store.head(path).await.map_err(self.failed("look at", path))?.last_modified;
        Ok(written + LEASE_FOR + CLOCK_DIFFERENCE_MAX < outside::wall_clock())
    }

    fn may_take(&self, found: &Lease) -> bool {
        found.process == self.process || found.until + CLOCK_DIFFERENCE_MAX < outside::wall_clock()
    }

    fn lease_until(&self, until: DateTime<Utc>) -> Lease {
        Lease { node_id: self.node_id.clone(), process: self.process.clone(), until }
    }
}
