//! The object store that everything but the write-ahead log goes through. On a local disk, a put is durable when it returns.
//!
//! `object_store`'s own local store renames without fsync: after a power cut a committed log entry could be an empty file. Here every
//! put writes beside its place, fsyncs, then links or renames, then fsyncs the folders. On S3 the store is durable by itself.

use std::{
    fmt,
    io::{self, Write as _},
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use futures::{StreamExt as _, TryFutureExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, local::LocalFileSystem, path::Path,
};

use crate::{
    outside::{self, DurableFolders, fs, sync_dir},
    tasks::blocking,
};

/// A local folder as an object store whose puts survive a power cut.
#[derive(Debug)]
pub(crate) struct DurableLocal {
    root: PathBuf,
    folders: Arc<DurableFolders>,
    inner: LocalFileSystem,
}

impl DurableLocal {
    /// The folder `root`, which must exist.
    pub(crate) fn new(root: &FsPath) -> Result<Self> {
        Ok(Self {
            root: root.to_owned(),
            folders: Arc::default(),
            inner: LocalFileSystem::new_with_prefix(root)?.with_automatic_cleanup(false),
        })
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableLocal({})", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Overwrite => false,
            PutMode::Create => true,
            PutMode::Update(_) => return self.inner.put_opts(location, payload, opts).await,
        };
        let path = self.inner.path_to_filesystem(location)?;
        let (root, folders) = (self.root.clone(), Arc::clone(&self.folders));
        put_result(location, blocking(move || write_durably(&folders, &root, &path, &payload, create)).await)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        // In the order of names, as S3 lists: readers of a Delta log rely on it.
        let listed = self.inner.list(prefix).try_collect::<Vec<_>>().map_ok(|mut found| {
            found.sort_by(|a, b| a.location.cmp(&b.location));
            futures::stream::iter(found.into_iter().map(Ok))
        });
        listed.try_flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// The store of `data_dir`.
pub(crate) fn local(data_dir: &FsPath) -> Result<Arc<dyn ObjectStore>> {
    #[cfg(test)]
    if let Some(store) = crate::simulation::store(data_dir) {
        return Ok(store);
    }
    Ok(Arc::new(DurableLocal::new(data_dir)?))
}

/// Makes the entries of the Delta logs in `data_dir` durable. A process that was killed may have made one and not fsynced its folder: it can be
/// read, and what rests on it (a log that is released) must not outlive it.
pub(crate) fn sync_delta_logs(data_dir: &FsPath) -> io::Result<()> {
    let absent = |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let tables = match fs::read_dir(data_dir.join("lake")) {
        Err(error) if absent(&error) => return Ok(()),
        tables => tables?,
    };
    for table in tables {
        match sync_dir(&table?.path().join("_delta_log")) {
            Err(error) if !absent(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// What a put to `location` answers.
pub(crate) fn put_result(location: &Path, written: io::Result<()>) -> Result<PutResult> {
    match written {
        Ok(()) => Ok(PutResult { e_tag: None, version: None }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::AlreadyExists { path: location.to_string(), source: Box::new(error) })
        }
        Err(error) => Err(Error::Generic { store: "DurableLocal", source: Box::new(error) }),
    }
}

/// Writes `payload` to `path` below `root`; all of it is there, and durable, or an error is returned. With `create`, only if the name is free.
pub(crate) fn write_durably(
    folders: &DurableFolders,
    root: &FsPath,
    path: &FsPath,
    payload: &PutPayload,
    create: bool,
) -> io::Result<()> {
    let dir = path.parent().unwrap_or(root);
    folders.ensure(root, dir)?;
    // The `#` keeps listings from showing it, as they do for the inner store's own temporary files.
    let temporary = dir.join(format!("{}#1", outside::unique_id()));
    let result = write_and_name(&temporary, path, payload, create).and_then(|()| sync_dir(dir));
    if result.is_err() {
        folders.forget();
    }
    if result.is_err() || create {
        // After a link the temporary name is left over; after a failure it may or may not be there.
        drop(fs::remove_file(&temporary));
    }
    result
}

fn write_and_name(temporary: &FsPath, path: &FsPath, payload: &PutPayload, create: bool) -> io::Result<()> {
    let mut file = fs::File::create(temporary)?;
    for part in payload {
        file.write_all(part)?;
    }
    file.sync_all()?;
    // A link fails if the name is taken, which is what makes a commit conditional.
    if create { fs::hard_link(temporary, path) } else { fs::rename(temporary, path) }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;

    use super::*;

    #[tokio::test]
    async fn of_two_creates_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let store = local(dir.path()).unwrap();
        let path = Path::from("a/b/00.json");
        let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(&path, "first".into(), create()).await.unwrap();
        let second = store.put_opts(&path, "second".into(), create()).await;
        assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "first");
        store.put(&path, "third".into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "third");
        assert_eq!(fs::read_dir(dir.path().join("a/b")).unwrap().count(), 1, "no temporary file is left");
    }
}
