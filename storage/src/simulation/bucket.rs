//! The object store of a simulated world: a folder of its disk, written as the real one is, or a bucket behind a network.
//!
//! A bucket keeps what it has taken. Its answers are what fails: a request is refused, or done and its answer lost, or hangs and is done
//! before, after, or never.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read as _},
    path::{Path as FsPath, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};

use super::world::{self, Mistake, Node, World};
use crate::{
    outside::{DurableFolders, fs},
    store,
};

/// What stands in a commit that takes a file out of its table.
const REMOVE: &[u8] = br#"{"remove":"#;

/// What a bucket holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bucket {
    objects: BTreeMap<Path, Object>,
    /// Of the object written last.
    version: u64,
    /// Requests that are on their way although nobody waits for them any more.
    pub(crate) late: BTreeMap<u64, LatePut>,
    next_late: u64,
    /// Requests that are on their way although their process has ended.
    outlived: Vec<LatePut>,
}

#[derive(Clone, Debug)]
struct Object {
    content: Bytes,
    by: Option<Node>,
    at: DateTime<Utc>,
    version: u64,
}

impl Object {
    fn e_tag(&self) -> Option<String> {
        Some(format!("\"{}\"", self.version))
    }
}

/// A put that arrives, if at all, after its sender gave up.
#[derive(Clone, Debug)]
pub(crate) struct LatePut {
    path: Path,
    content: Bytes,
    mode: PutMode,
    by: Option<Node>,
}

impl Bucket {
    /// Does `put`; `None` if its condition does not hold.
    pub(crate) fn land(&mut self, put: LatePut, at: DateTime<Utc>) -> Option<PutResult> {
        let found = self.objects.get(&put.path);
        let holds = match &put.mode {
            PutMode::Overwrite => true,
            PutMode::Create => found.is_none(),
            PutMode::Update(expected) => found.is_some_and(|found| found.e_tag() == expected.e_tag),
        };
        self.version += u64::from(holds);
        let object = Object { content: put.content, by: put.by, at, version: self.version };
        let e_tag = object.e_tag();
        holds.then(|| {
            self.objects.insert(put.path, object);
            PutResult { e_tag, version: None }
        })
    }

    /// `put` is still on its way when its process has ended.
    pub(crate) fn outlive(&mut self, put: LatePut) {
        self.outlived.push(put);
    }

    /// What was on its way is lost.
    pub(crate) fn lose_outlived(&mut self) {
        self.outlived.clear();
    }
}

/// Where the lake is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In this folder of the simulated disk.
    Folder(PathBuf),
    /// In the world's bucket.
    Bucket,
}

/// A simulated object store.
#[derive(Debug)]
pub(crate) struct SimulatedStore {
    world: Arc<World>,
    place: Place,
    folders: DurableFolders,
}

impl SimulatedStore {
    pub(crate) fn new(world: Arc<World>, place: Place) -> Self {
        Self { world, place, folders: DurableFolders::default() }
    }

    /// The object as it is, whatever fails.
    pub(crate) fn peek(&self, path: &Path) -> Option<Bytes> {
        match &self.place {
            Place::Folder(root) => {
                self.world.disk().content(&root.join(path.as_ref())).ok().map(|(content, _)| Bytes::copy_from_slice(content))
            }
            Place::Bucket => self.world.bucket.lock().objects.get(path).map(|object| object.content.clone()),
        }
    }

    /// Paths under `prefix`, whatever fails.
    pub(crate) fn peek_names(&self, prefix: &str) -> Vec<Path> {
        let prefix = Path::from(prefix);
        self.all(Some(&prefix)).into_iter().map(|meta| meta.location).collect()
    }

    /// After a crash nobody is there to hear an answer; on the thread of a library, an error ends the waiting.
    async fn gone<T>(&self) -> Result<T> {
        if world::current().is_some() {
            return std::future::pending().await;
        }
        Err(failure("simulated crash"))
    }

    async fn wait(&self, duration: Duration) {
        if world::current().is_some() {
            self.world.sleep(duration).await;
        }
    }

    async fn put_to_bucket(&self, mut put: LatePut) -> Result<PutResult> {
        let world = &self.world;
        match world.mistake {
            Some(Mistake::CommitOverCommit) if is_commit(&put.path) => put.mode = PutMode::Overwrite,
            Some(Mistake::LeaseOverLease) if is_lease(&put.path) => {
                put.mode = PutMode::Overwrite;
                // Few would be written at the same moment.
                self.wait(Duration::from_secs(2)).await;
            }
            _ => {}
        }
        // One that is there is put again by whoever wants to be sure of it.
        let is_there = world.bucket.lock().objects.contains_key(&put.path);
        if is_commit(&put.path) && !is_there && put.content.windows(REMOVE.len()).any(|part| part == REMOVE) {
            world.acts_as_holder("takes files away with", put.path.as_ref());
        }
        if world.requesting("put", put.path.as_ref()).is_err() {
            return self.gone().await;
        }
        self.let_one_arrive();
        let chance = world.faults().bucket;
        let (fails, kind, slow, late) = world.with_random(|random| {
            (random.chance(chance), random.below(4), random.below(30_000), Duration::from_millis(random.below(40_000)))
        });
        self.wait(Duration::from_micros(slow)).await;
        if fails && kind != 1 {
            world.note("put fails", &kind.to_string().into_bytes());
            return self.fail_put(put, kind, late).await;
        }
        let (path, mode) = (put.path.to_string(), put.mode.clone());
        let done = world.bucket.lock().land(put, world.wall_clock());
        if fails {
            world.note("answer lost", path.as_bytes());
            return Err(failure("simulated: the connection was reset"));
        }
        done.ok_or_else(|| refused(path, &mode))
    }

    /// Now and then, a put arrives that a process sent which has ended.
    fn let_one_arrive(&self) {
        let mut bucket = self.world.bucket.lock();
        if bucket.outlived.is_empty() || !self.world.with_random(|random| random.one_in(4)) {
            return;
        }
        let put = bucket.outlived.remove(0);
        self.world.note("put of an ended process lands", put.path.as_ref().as_bytes());
        bucket.land(put, self.world.wall_clock());
    }

    /// A put whose sender gets an error, before which or after which it may be done.
    async fn fail_put(&self, put: LatePut, kind: u64, late: Duration) -> Result<PutResult> {
        let world = &self.world;
        // On the thread of a library time stands still: there it is refused.
        if kind == 0 || world::current().is_none() {
            return Err(failure("simulated: 503 slow down"));
        }
        if kind == 2 {
            // It hangs, and was done before the error.
            self.wait(late).await;
            world.bucket.lock().land(put, world.wall_clock());
            return Err(failure("simulated: timeout"));
        }
        let id = {
            let mut bucket = world.bucket.lock();
            let id = bucket.next_late;
            bucket.next_late += 1;
            bucket.late.insert(id, put);
            id
        };
        let later = Arc::clone(world);
        // It is on its way whatever becomes of who sent it.
        world.spawn_on(None, async move {
            later.sleep(late).await;
            let put = later.bucket.lock().late.remove(&id);
            if let Some(put) = put {
                later.note("late put lands", put.path.as_ref().as_bytes());
                let now = later.wall_clock();
                later.bucket.lock().land(put, now);
            }
        });
        Err(failure("simulated: timeout"))
    }

    /// Content, time and tag of an object.
    fn read(&self, path: &Path) -> Result<(Bytes, DateTime<Utc>, Option<String>)> {
        let by_us = world::current().is_some();
        let _here = world::enter(&self.world);
        let missing = || Error::NotFound { path: path.to_string(), source: "simulated".into() };
        self.world
            .reading(path.as_ref().as_ref())
            .map_err(|error| Error::Generic { store: "Simulated", source: error.into() })?;
        // As if someone else had written this entry: the lookup that tells otherwise is what the mistake forgets.
        if self.world.mistake == Some(Mistake::BlindRetry) && by_us && is_commit(path) {
            let stored = self.peek(path).ok_or_else(missing)?;
            return Ok((forgotten(&stored), self.world.wall_clock(), None));
        }
        match &self.place {
            Place::Folder(root) => {
                let file = root.join(path.as_ref());
                let mut content = Vec::new();
                let read = fs::File::open(&file).and_then(|mut f| f.read_to_end(&mut content).map(drop));
                match read.and_then(|()| fs::metadata(&file)?.modified()) {
                    Ok(modified) => Ok((content.into(), modified.into(), None)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
                    Err(error) => Err(Error::Generic { store: "Simulated", source: error.into() }),
                }
            }
            Place::Bucket => {
                let bucket = self.world.bucket.lock();
                let object = bucket.objects.get(path).cloned().ok_or_else(missing)?;
                let e_tag = object.e_tag();
                let is_over =
                    self.world.mistake == Some(Mistake::LeaseOverAtOnce) && is_lease(path) && object.by != self.world.node();
                Ok((if is_over { over(&object.content) } else { object.content }, object.at, e_tag))
            }
        }
    }

    fn all(&self, prefix: Option<&Path>) -> Vec<ObjectMeta> {
        let meta = |location: Path, size: usize, last_modified| ObjectMeta {
            location,
            last_modified,
            size: size as u64,
            e_tag: None,
            version: None,
        };
        match &self.place {
            Place::Bucket => {
                let bucket = self.world.bucket.lock();
                let found = bucket.objects.iter().filter(|(path, _)| prefix.is_none_or(|p| path.prefix_matches(p)));
                found.map(|(path, object)| meta(path.clone(), object.content.len(), object.at)).collect()
            }
            Place::Folder(root) => {
                let folder = prefix.map_or_else(|| root.clone(), |prefix| root.join(prefix.as_ref()));
                let mut files = Vec::new();
                list_files(&self.world, &folder, &mut files);
                let relative = |file: &FsPath| file.strip_prefix(root).ok().and_then(|f| f.to_str()).map(Path::from);
                let mut found: Vec<_> = files
                    .into_iter()
                    .filter(|(file, ..)| !file.to_string_lossy().contains('#'))
                    .filter_map(|(file, len, at)| Some(meta(relative(&file)?, len, at.into())))
                    .collect();
                found.sort_by(|a, b| a.location.cmp(&b.location));
                found
            }
        }
    }

    fn remove(&self, path: &Path) -> Result<Path> {
        let _here = world::enter(&self.world);
        if path.as_ref().ends_with(".parquet") && !path.as_ref().contains("_delta_log/") {
            self.world.acts_as_holder("deletes", path.as_ref());
        }
        let removed = match &self.place {
            Place::Folder(root) => fs::remove_file(root.join(path.as_ref())),
            Place::Bucket => self.world.requesting("delete", path.as_ref()).map(|()| {
                self.world.bucket.lock().objects.remove(path);
            }),
        };
        match removed {
            Ok(()) => Ok(path.clone()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::NotFound { path: path.to_string(), source: error.into() })
            }
            Err(error) => Err(Error::Generic { store: "Simulated", source: error.into() }),
        }
    }
}

impl fmt::Display for SimulatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedStore")
    }
}

#[async_trait]
impl ObjectStore for SimulatedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if self.world.has_crashed() {
            return self.gone().await;
        }
        let create = matches!(opts.mode, PutMode::Create);
        match &self.place {
            Place::Bucket => {
                let content = payload.iter().flat_map(|part| part.iter().copied()).collect();
                let by = self.world.node();
                self.put_to_bucket(LatePut { path: location.clone(), content, mode: opts.mode, by }).await
            }
            Place::Folder(root) => {
                if world::current().is_some() {
                    self.world.pause().await;
                }
                let written = {
                    let _here = world::enter(&self.world);
                    store::write_durably(&self.folders, root, &root.join(location.as_ref()), &payload, create)
                };
                if world::current().is_some() {
                    self.world.pause().await;
                }
                if self.world.has_crashed() {
                    return self.gone().await;
                }
                store::put_result(location, written)
            }
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: "multipart".into(), implementer: "SimulatedStore".into() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if self.world.has_crashed() {
            return self.gone().await;
        }
        if world::current().is_some() {
            self.world.pause().await;
        }
        let (content, last_modified, e_tag) = self.read(location)?;
        let size = content.len() as u64;
        let range = match &options.range {
            Some(range) => range.as_range(size).map_err(|error| Error::Generic { store: "Simulated", source: error.into() })?,
            None => 0..size,
        };
        let part = content.slice(usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small"));
        let payload = GetResultPayload::Stream(stream::once(async move { Ok(part) }).boxed());
        let meta = ObjectMeta { location: location.clone(), last_modified, size, e_tag, version: None };
        Ok(GetResult { payload, meta, range, attributes: Attributes::default() })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = Self::new(Arc::clone(&self.world), self.place.clone());
        locations.then(move |path| std::future::ready(path.and_then(|path| store.remove(&path)))).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let _here = world::enter(&self.world);
        let name = prefix.map_or("", |p| p.as_ref());
        if let Err(error) = self.world.reading(name.as_ref()) {
            return stream::once(async move { Err(Error::Generic { store: "Simulated", source: error.into() }) }).boxed();
        }
        let forgets = self.world.mistake == Some(Mistake::NobodyElse) && name == "assay-nodes";
        let found = if forgets { Vec::new() } else { self.all(prefix) };
        stream::iter(found.into_iter().map(Ok)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut result = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
        let root = Path::default();
        let prefix = prefix.unwrap_or(&root);
        for meta in self.all(Some(prefix)) {
            let mut parts = meta.location.prefix_match(prefix).into_iter().flatten();
            let (Some(first), more) = (parts.next(), parts.next().is_some()) else { continue };
            let folder = prefix.clone().join(first);
            drop(parts);
            if !more {
                result.objects.push(meta);
            } else if result.common_prefixes.last() != Some(&folder) {
                result.common_prefixes.push(folder);
            }
        }
        Ok(result)
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".into(), implementer: "SimulatedStore".into() })
    }
}

fn list_files(world: &World, folder: &FsPath, found: &mut Vec<(PathBuf, usize, SystemTime)>) {
    let Ok(names) = world.names(folder) else { return };
    for name in names {
        let path = folder.join(name);
        let Ok(meta) = world.metadata(&path) else { continue };
        match meta.is_dir {
            true => list_files(world, &path, found),
            false => found.push((path, usize::try_from(meta.len).expect("small"), meta.modified)),
        }
    }
}

fn is_commit(path: &Path) -> bool {
    path.as_ref().contains("_delta_log/") && path.as_ref().ends_with(".json")
}

fn is_lease(path: &Path) -> bool {
    path.as_ref() == "assay-lease.json"
}

/// A lease as it is when its time is over.
fn over(lease: &Bytes) -> Bytes {
    let mut lease: serde_json::Value = serde_json::from_slice(lease).expect("as it was written");
    lease["until"] = "1970-01-01T00:00:00Z".into();
    lease.to_string().into()
}

/// A commit as one sees it who does not look at what it names.
fn forgotten(commit: &Bytes) -> Bytes {
    let text = String::from_utf8_lossy(commit);
    text.replace("assayCommit", "someonesCommit").replace("part-", "partly-").into()
}

fn failure(why: &'static str) -> Error {
    Error::Generic { store: "Simulated", source: why.into() }
}

fn refused(path: String, mode: &PutMode) -> Error {
    match mode {
        PutMode::Update(_) => Error::Precondition { path, source: "simulated".into() },
        _ => Error::AlreadyExists { path, source: "simulated".into() },
    }
}
