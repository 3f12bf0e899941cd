//! A lake in a bucket: opening it, proving that it can be trusted with commits, and having it to oneself or sharing it.
//!
//! ```text
//! <url>/lake/<table>/…            Parquet and Delta logs, as in a data folder
//! <url>/lake-index/<table>/…      trace indexes and their directory, sums, text indexes
//! <url>/blobs/<project>/…         large and binary parts
//! <url>/assay-owner.json          which data folder writes here, or that several do
//! <url>/assay-nodes/<node>.json   if several do: each of them, and up to when its rows are committed (`members`)
//! <url>/assay-lease.json          if several do: which of them compacts (`lease`)
//! ```
//! The write-ahead log, the identity of the node and blobs on their way stay in the data folder. Commits rest on one promise of the store: of two
//! puts under one name, both on condition that it is free, one is refused. [`open`] makes it prove that at every start of a node that writes.

mod cache;
mod client;
mod lease;
mod members;
mod requests;

use std::{fmt, path::Path as FsPath, sync::Arc};

use chrono::{DateTime, Utc};
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion, path::Path};
use serde::{Deserialize, Serialize};

use self::cache::DiskCache;
pub(crate) use self::{
    cache::CacheCounts,
    members::Member,
    requests::{RequestCounts, Requests},
};
use self::{lease::HeldLease, members::Membership};
use crate::{
    config::Role,
    outside::{self, fs, replace_file},
};

/// The object that says who writes below a URL.
const OWNER: &str = "assay-owner.json";
/// The folder of the data folder for what was read lately.
const CACHE: &str = "cache";
/// The file of the data folder that says where its lake is.
const LAKE_URL: &str = "lake-url";

/// Where the lake is, if not in the data folder: its URL names the service.
#[derive(Clone, Debug)]
pub struct BucketConfig {
    /// The bucket and the folder in it, such as `s3://telemetry/assay`, `gs://telemetry/assay` or `az://telemetry/assay`.
    pub url: String,
    /// How a bucket at `s3://…` is reached.
    pub s3: S3Access,
    /// How a bucket at `gs://…` is reached.
    pub gcs: GcsAccess,
    /// How a container at `az://…` is reached.
    pub azure: AzureAccess,
    /// Bytes of what was read lately that are kept in `cache/` of the data folder.
    pub cache_bytes_max: u64,
}

/// How AWS S3, or a service that speaks its protocol, is reached. What is `None` is taken from the `AWS_…` variables, as other tools do.
#[derive(Clone, Debug)]
pub struct S3Access {
    /// Address of the service, such as `https://minio.example:9000`; without it that of AWS.
    pub endpoint: Option<String>,
    /// Region, where the service has any.
    pub region: Option<String>,
    /// Who asks.
    pub access_key_id: Option<String>,
    /// What proves it.
    pub secret_access_key: Option<Secret>,
    /// Whether the bucket is in the path of requests (`https://host/bucket/…`) or in the name of the host (`https://bucket.host/…`).
    pub path_style: bool,
    /// Whether requests may go over connections that are not encrypted.
    pub allow_http: bool,
}

/// How Google Cloud Storage is reached.
#[derive(Clone, Debug, Default)]
pub struct GcsAccess {
    /// Address of the service; without it that of Google.
    pub endpoint: Option<String>,
    /// The key of a service account, as the JSON that Google hands out. Without it the `GOOGLE_…` variables say who asks, else the machine does.
    pub service_account: Option<Secret>,
    /// Whether requests may go over connections that are not encrypted.
    pub allow_http: bool,
}

/// How Azure Blob Storage is reached. What is `None` is taken from the `AZURE_…` variables, as other tools do.
#[derive(Clone, Debug, Default)]
pub struct AzureAccess {
    /// Address of the account, such as `https://telemetry.blob.core.windows.net`, which is what it is without one.
    pub endpoint: Option<String>,
    /// The storage account.
    pub account: Option<String>,
    /// One of its two keys, in base64. Without it the variables say who asks, else the machine does.
    pub access_key: Option<Secret>,
    /// Whether requests may go over connections that are not encrypted.
    pub allow_http: bool,
}

#[cfg(test)]
impl BucketConfig {
    /// The bucket at `url`, with nothing else said.
    pub(crate) fn at(url: &str) -> Self {
        let s3 = S3Access {
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            path_style: true,
            allow_http: false,
        };
        Self { url: url.to_owned(), s3, gcs: GcsAccess::default(), azure: AzureAccess::default(), cache_bytes_max: 1 << 30 }
    }
}

/// A text that is never shown.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, to prove with.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A lake in a bucket cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The URL is none of a bucket.
    #[error(
        "the lake's URL is `{found}`, expected `s3://BUCKET`, `gs://BUCKET` or `az://CONTAINER`, or a folder in it such as `s3://BUCKET/FOLDER`"
    )]
    Url {
        /// The URL.
        found: String,
    },
    /// The client cannot be made.
    #[error("could not set up access to `{url}`")]
    Client {
        /// The bucket.
        url: String,
        /// Why.
        source: Box<Error>,
    },
    /// A request failed.
    #[error("could not {action} `{url}/{path}`")]
    Request {
        /// What we were doing.
        action: &'static str,
        /// Where the lake is.
        url: String,
        /// On what.
        path: Path,
        /// Why.
        source: Box<Error>,
    },
    /// Two commits of one version could both succeed.
    #[error(
        "the store of `{url}` does not honour conditional puts: {found}, expected a refusal of the second of two puts on condition that the \
         name is free (`If-None-Match: *`; at Google `x-goog-if-generation-match: 0`), and of one on condition that an object is one that is no \
         longer there; without them two commits could both succeed"
    )]
    Unconditional {
        /// Where the lake is.
        url: String,
        /// What the store did.
        found: &'static str,
    },
    /// Another data folder writes there.
    #[error(
        "`{url}` is written by node `{found}` since {since}, expected `{expected}`, the node of this data folder (hint: one data folder \
         writes one lake; if that node is gone for good, remove the object `{url}/{OWNER}` and start again)"
    )]
    OtherOwner {
        /// Where the lake is.
        url: String,
        /// The node that has it.
        found: String,
        /// Since when.
        since: DateTime<Utc>,
        /// This node.
        expected: String,
    },
    /// Several nodes write there.
    #[error(
        "`{url}` is shared by several nodes since {since}, expected a lake that the node `{expected}` has to itself (hint: \
         `storage.shared = true` lets it share; a lake that was shared stays so)"
    )]
    Shared {
        /// Where the lake is.
        url: String,
        /// Since when.
        since: DateTime<Utc>,
        /// This node.
        expected: String,
    },
    /// One node has the lake to itself, or nobody has made it.
    #[error(
        "`{url}` is no lake that nodes share: {found} (hint: a collector makes one in an empty folder; the one node that has a lake shares it when \
         it starts with `storage.shared = true`)"
    )]
    NotShared {
        /// Where the lake is.
        url: String,
        /// What is there.
        found: String,
    },
    /// Another process writes under the name of this node.
    #[error(
        "another process writes to `{url}` as the node `{node_id}`, expected this one alone: nothing is written until a restart (hint: a data folder \
         that was copied needs a name of its own; with an empty `wal/`, remove its file `node-id`)"
    )]
    OtherProcess {
        /// Where the lake is.
        url: String,
        /// This node.
        node_id: String,
    },
    /// The owner object is gone or cannot be understood.
    #[error(
        "`{url}/{OWNER}` {found}, expected it to name the node `{expected}` of this data folder: nothing is written until a restart"
    )]
    NoOwner {
        /// Where the lake is.
        url: String,
        /// What is there.
        found: &'static str,
        /// This node.
        expected: String,
    },
    /// The data folder's lake is somewhere else.
    #[error("the lake of the data folder `{}` is in `{found}`, expected `{expected}`, which is configured", dir.display())]
    Elsewhere {
        /// The data folder.
        dir: std::path::PathBuf,
        /// Where its lake is.
        found: String,
        /// Where it is looked for.
        expected: String,
    },
    /// A file of the data folder.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What we were doing.
        action: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The lake in a bucket.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    store: Arc<Requests>,
    url: String,
    node_id: String,
    role: Role,
    /// This process, among all that ever wrote as `node_id`.
    process: String,
    membership: Arc<tokio::sync::Mutex<Membership>>,
    lease: Arc<tokio::sync::Mutex<HeldLease>>,
}

/// What the owner object holds: the one node that writes, or that the lake is shared.
#[derive(Debug, Serialize, Deserialize)]
struct Owner {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node_id: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    shared: bool,
    since: DateTime<Utc>,
}

/// Opens the bucket of `config` for the node `node_id` of the data folder `dir`; if it writes, after proof that it honours conditional puts.
pub(crate) async fn open(config: &BucketConfig, dir: &FsPath, node_id: &str, role: Role) -> Result<Bucket, BucketError> {
    let path = dir.join(CACHE);
    let cache = DiskCache::open(path.clone(), config.cache_bytes_max);
    let cache = cache.map_err(|source| BucketError::Io { action: "open the cache in", path, source })?;
    let store = Arc::new(Requests::new(client(config)?, Some(cache)));
    let bucket = Bucket::new(store, address(config), node_id, role);
    if role.writes() {
        bucket.prove_conditional_put().await?;
    }
    match role {
        Role::Alone => bucket.own().await?,
        Role::Member | Role::Collector => bucket.share().await?,
        Role::Query => bucket.check_shared().await?,
    }
    tracing::info!(url = bucket.url, node_id, ?role, "the lake is in a bucket");
    Ok(bucket)
}

/// Checks that the rows of the data folder `dir` are at `place` (in the folder if `None`), and remembers it: half a lake here and half there would be found by
/// nobody.
pub(crate) fn remember_place(dir: &FsPath, place: Option<&str>) -> Result<(), BucketError> {
    let path = dir.join(LAKE_URL);
    let io = |action| {
        let path = path.clone();
        move |source| BucketError::Io { action, path, source }
    };
    let known = match fs::read_to_string(&path) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(io("read")(source)),
    };
    let own_folder = dir.join("lake");
    let found = known.clone().or_else(|| fs::read_dir(&own_folder).is_ok().then(|| own_folder.display().to_string()));
    let expected = place.map(ToOwned::to_owned);
    match (found, expected) {
        (Some(found), Some(expected)) if known.as_ref() != Some(&expected) => {
            Err(BucketError::Elsewhere { dir: dir.to_owned(), found, expected })
        }
        (Some(found), None) if known.is_some() => {
            Err(BucketError::Elsewhere { dir: dir.to_owned(), found, expected: own_folder.display().to_string() })
        }
        (None, Some(expected)) => replace_file(dir, LAKE_URL, &expected).map_err(io("write")),
        _ => Ok(()),
    }
}

impl Bucket {
    fn new(store: Arc<Requests>, url: &str, node_id: &str, role: Role) -> Self {
        Self {
            store,
            url: url.to_owned(),
            node_id: node_id.to_owned(),
            role,
            process: outside::unique_id().to_string(),
            membership: Arc::default(),
            lease: Arc::default(),
        }
    }

    /// The lake in `store`, which is not looked at.
    #[cfg(test)]
    pub(crate) fn in_store(store: Arc<dyn ObjectStore>, node_id: &str) -> Self {
        Self::new(Arc::new(Requests::new(store, None)), "memory://", node_id, Role::Alone)
    }

    pub(crate) fn node_id(&self) -> &str {
        &self.node_id
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store) as _
    }

    /// How many requests were made so far.
    pub(crate) fn counts(&self) -> RequestCounts {
        self.store.counts()
    }

    /// How the cache is used.
    pub(crate) fn cache_counts(&self) -> CacheCounts {
        self.store.cache().map(DiskCache::counts).unwrap_or_default()
    }

    /// Whether the lake is still this node's, or still shared. Asked before anything is written that another writer could not see coming.
    pub(crate) async fn check_owner(&self) -> Result<(), BucketError> {
        if self.role.is_shared() {
            self.check_shared().await?;
            return self.check_member().await;
        }
        let no_owner = |found| BucketError::NoOwner { url: self.url.clone(), found, expected: self.node_id.clone() };
        match self.owner().await? {
            None => Err(no_owner("is gone")),
            Some(None) => Err(no_owner("is not what Assay writes")),
            Some(Some(owner)) => match owner.node_id {
                Some(node_id) if node_id == self.node_id => Ok(()),
                Some(found) => Err(BucketError::OtherOwner {
                    url: self.url.clone(),
                    found,
                    since: owner.since,
                    expected: self.node_id.clone(),
                }),
                None => Err(BucketError::Shared { url: self.url.clone(), since: owner.since, expected: self.node_id.clone() }),
            },
        }
    }

    async fn check_shared(&self) -> Result<(), BucketError> {
        let not_shared = |found| Err(BucketError::NotShared { url: self.url.clone(), found });
        match self.owner().await? {
            None => not_shared(format!("there is no `{OWNER}`")),
            Some(None) => not_shared(format!("`{OWNER}` is not what Assay writes")),
            Some(Some(Owner { shared: true, .. })) => Ok(()),
            Some(Some(owner)) => {
                let node_id = owner.node_id.unwrap_or_default();
                not_shared(format!("the node `{node_id}` has it to itself since {}", owner.since))
            }
        }
    }

    /// Makes the lake one that nodes share, if it is new or this node's.
    async fn share(&self) -> Result<(), BucketError> {
        let path = Path::from(OWNER);
        let found = self.read_versioned(&path).await.map_err(self.failed("read", &path))?;
        let owner = found.as_ref().and_then(|(content, _)| serde_json::from_slice::<Owner>(content).ok());
        let mode = match (found, owner) {
            (None, _) => PutMode::Create,
            (Some((_, version)), Some(owner)) if owner.node_id.as_deref() == Some(&*self.node_id) => PutMode::Update(version),
            _ => return self.check_shared().await,
        };
        let owner = Owner { node_id: None, shared: true, since: outside::wall_clock() };
        let put = self.put(&path, to_json(&owner), mode).await;
        // Whatever the answer was, what counts is what is there now: another node may have been first.
        match (put, self.check_shared().await) {
            (Err(source), Err(BucketError::NotShared { .. })) => Err(self.failed("write", &path)(source)),
            (_, checked) => checked,
        }
    }

    /// Takes the lake for this node, unless another has it.
    async fn own(&self) -> Result<(), BucketError> {
        let path = Path::from(OWNER);
        if self.owner().await?.is_some() {
            return self.check_owner().await;
        }
        let owner = Owner { node_id: Some(self.node_id.clone()), shared: false, since: outside::wall_clock() };
        let put = self.create(&path, to_json(&owner)).await;
        // Whatever the answer was, what counts is what is there now.
        match (put, self.check_owner().await) {
            (Err(source), Err(BucketError::NoOwner { .. })) => Err(self.failed("write", &path)(source)),
            (_, checked) => checked,
        }
    }

    /// The owner object: absent, not understood, or what it says.
    async fn owner(&self) -> Result<Option<Option<Owner>>, BucketError> {
        let path = Path::from(OWNER);
        match self.read(&path).await {
            Ok(content) => Ok(Some(serde_json::from_slice(&content).ok())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.failed("read", &path)(source)),
        }
    }

    /// Two creates of one name: the second must be refused, and change nothing.
    async fn prove_conditional_put(&self) -> Result<(), BucketError> {
        let path = Path::from(format!("assay-probe-{}", outside::unique_id()));
        let unconditional = |found| BucketError::Unconditional { url: self.url.clone(), found };
        let first = self.create(&path, "first").await;
        // The answer of the first may have been lost, and its repetition refused.
        if let (Err(source), Err(_)) = (first, self.read(&path).await) {
            return Err(self.failed("write", &path)(source));
        }
        let second = self.create(&path, "second").await;
        let content = self.read(&path).await;
        // Google goes by the version, the others by the tag.
        let stale = UpdateVersion { e_tag: Some("\"0\"".to_owned()), version: Some("1".to_owned()) };
        let third =
            if self.role.is_shared() { Some(self.put(&path, b"third".to_vec(), PutMode::Update(stale)).await) } else { None };
        self.store.delete(&path).await.map_err(self.failed("delete", &path))?;
        match second {
            Ok(_) => return Err(unconditional("both of two conditional puts succeeded")),
            Err(Error::AlreadyExists { .. }) => {}
            Err(source) => return Err(self.failed("write, under a name that is taken,", &path)(source)),
        }
        match third {
            Some(Ok(())) => {
                return Err(unconditional("a put on condition that an object is unchanged succeeded on one that was changed"));
            }
            Some(Err(Error::Precondition { .. })) | None => {}
            Some(Err(source)) => return Err(self.failed("write, on condition that it is unchanged,", &path)(source)),
        }
        if content.map_err(self.failed("read", &path))? != "first" {
            return Err(unconditional("a conditional put was refused and done all the same"));
        }
        Ok(())
    }

    /// The object at `path` and what a put on condition that it is still the same must name; `None` if there is none.
    async fn read_versioned(&self, path: &Path) -> Result<Option<(bytes::Bytes, UpdateVersion)>, Error> {
        let found = match self.store.get(path).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            found => found?,
        };
        let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        Ok(Some((found.bytes().await?, version)))
    }

    async fn put(&self, path: &Path, content: Vec<u8>, mode: PutMode) -> Result<(), Error> {
        self.store.put_opts(path, content.into(), PutOptions { mode, ..PutOptions::default() }).await.map(drop)
    }

    async fn create(&self, path: &Path, content: impl Into<object_store::PutPayload>) -> Result<(), Error> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.store.put_opts(path, content.into(), options).await.map(drop)
    }

    async fn read(&self, path: &Path) -> Result<bytes::Bytes, Error> {
        self.store.get(path).await?.bytes().await
    }

    fn failed(&self, action: &'static str, path: &Path) -> impl FnOnce(Error) -> BucketError + use<> {
        let (url, path) = (self.url.clone(), path.clone());
        move |source| BucketError::Request { action, url, path, source: source.into() }
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("texts and times are JSON")
}

/// The bucket in memory at `url`, of tests.
#[cfg(test)]
pub(crate) fn in_memory(url: &str) -> Arc<dyn ObjectStore> {
    tests::in_memory(url).expect("the URL of a bucket in memory")
}

/// The URL without what says nothing.
pub(crate) fn address(config: &BucketConfig) -> &str {
    config.url.trim_end_matches('/')
}

fn client(config: &BucketConfig) -> Result<Arc<dyn ObjectStore>, BucketError> {
    #[cfg(test)]
    if let Some(store) = crate::simulation::store(FsPath::new("")).or_else(|| tests::in_memory(&config.url)) {
        return Ok(store);
    }
    client::client(config)
}

#[cfg(test)]
mod tests;
