//! What goes over the network to a bucket: counted by kind, large objects in parts.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, coalesce_ranges, path::Path,
};

/// Objects of more bytes are uploaded in parts, so that a lost connection costs one of them. Commits never are.
const ONE_PUT_BYTES_MAX: usize = 16 << 20;
/// All parts but the last have the same size, as some services want it.
const PART_BYTES: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 4;

/// How many requests were made, by kind. A listing of many pages counts as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestCounts {
    pub(crate) gets: u64,
    pub(crate) get_bytes: u64,
    pub(crate) puts: u64,
    pub(crate) put_bytes: u64,
    pub(crate) lists: u64,
    pub(crate) deletes: u64,
}

/// A bucket whose requests are counted.
#[derive(Debug)]
pub(crate) struct Requests {
    inner: Arc<dyn ObjectStore>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    gets: AtomicU64,
    get_bytes: AtomicU64,
    puts: AtomicU64,
    put_bytes: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
}

impl Requests {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, counters: Arc::default() }
    }

    pub(crate) fn counts(&self) -> RequestCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { gets, get_bytes, puts, put_bytes, lists, deletes } = &*self.counters;
        RequestCounts {
            gets: read(gets),
            get_bytes: read(get_bytes),
            puts: read(puts),
            put_bytes: read(put_bytes),
            lists: read(lists),
            deletes: read(deletes),
        }
    }

    /// Uploads `payload` in parts. They become the object all at once, or not at all.
    async fn put_in_parts(&self, location: &Path, payload: PutPayload, options: PutMultipartOptions) -> Result<PutResult> {
        let mut content = Bytes::from(payload);
        let mut parts = Vec::with_capacity(content.len().div_ceil(PART_BYTES));
        while !content.is_empty() {
            parts.push(content.split_to(PART_BYTES.min(content.len())));
        }
        let mut upload = self.inner.put_multipart_opts(location, options).await?;
        let uploads: Vec<_> = parts.into_iter().map(|part| self.counting_put(part.len(), upload.put_part(part.into()))).collect();
        let uploaded: Result<Vec<()>> = stream::iter(uploads).buffer_unordered(PARTS_AT_ONCE).try_collect().await;
        let done = match uploaded {
            Ok(_) => upload.complete().await,
            Err(error) => Err(error),
        };
        if done.is_err()
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(%location, %error, "parts of an upload that failed may be left in the bucket");
        }
        done
    }

    async fn counting_put<T>(&self, bytes: usize, put: impl Future<Output = T>) -> T {
        self.counters.puts.fetch_add(1, Ordering::Relaxed);
        self.counters.put_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        put.await
    }

    async fn get_one_range(&self, location: &Path, range: Range<u64>) -> Result<Bytes> {
        self.get_opts(location, GetOptions { range: Some(range.into()), ..GetOptions::default() }).await?.bytes().await
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Requests({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Requests {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let bytes = payload.content_length();
        if bytes > ONE_PUT_BYTES_MAX && matches!(options.mode, PutMode::Overwrite) {
            let PutOptions { tags, attributes, extensions, .. } = options;
            return self.put_in_parts(location, payload, PutMultipartOptions { tags, attributes, extensions }).await;
        }
        self.counting_put(bytes, self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.counters.gets.fetch_add(1, Ordering::Relaxed);
        let head = options.head;
        let found = self.inner.get_opts(location, options).await?;
        if !head {
            self.counters.get_bytes.fetch_add(found.range.end - found.range.start, Ordering::Relaxed);
        }
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        coalesce_ranges(ranges, |range| self.get_one_range(location, range), OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.counters.deletes.fetch_add(1, Ordering::Relaxed);
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counters.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counters.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.counters.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
