//! What goes over the network to a bucket: counted by kind, large objects in parts, and not what is on the local disk already.
//!
//! Indexes, blobs and Parquet files never change under their name, so they may be cached: the first two whole, the third (and directories of
//! traces) in blocks, because a question reads a footer and a few pages. What is written here is kept as well: the newest rows are those most asked for. Who asks for what is
//! being read already waits for that.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
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
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, coalesce_ranges, path::Path,
};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Objects of more bytes are uploaded in parts, so that a lost connection costs one of them. Commits never are.
const ONE_PUT_BYTES_MAX: usize = 16 << 20;
/// All parts but the last have the same size, as some services want it.
const PART_BYTES: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 4;

use super::cache::DiskCache;

/// Parquet is cached in pieces of this size, at multiples of it.
const BLOCK_BYTES: u64 = 1 << 20;
const READS_AT_ONCE: usize = 8;

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
    cache: Option<DiskCache>,
    reads: Reads,
    counters: Arc<Counters>,
}

/// Blocks of an object, by number, as far as they are here.
type Blocks = BTreeMap<u64, Option<Bytes>>;

/// How an object may be cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caching {
    Whole,
    Blocks,
    Not,
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
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, cache: Option<DiskCache>) -> Self {
        Self { inner, cache, reads: Reads::default(), counters: Arc::default() }
    }

    pub(crate) fn cache(&self) -> Option<&DiskCache> {
        self.cache.as_ref()
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

    async fn fetch(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.counters.gets.fetch_add(1, Ordering::Relaxed);
        let head = options.head;
        let found = self.inner.get_opts(location, options).await?;
        if !head {
            self.counters.get_bytes.fetch_add(found.range.end - found.range.start, Ordering::Relaxed);
        }
        Ok(found)
    }

    async fn fetch_range(&self, location: &Path, range: Range<u64>) -> Result<Bytes> {
        self.fetch(location, GetOptions { range: Some(range.into()), ..GetOptions::default() }).await?.bytes().await
    }

    async fn get_whole(&self, cache: &DiskCache, location: &Path) -> Result<GetResult> {
        let key = location.to_string();
        let mut known = cache.get(&key).await;
        let (reading, others) = self.reads.begin(known.is_none().then(|| key.clone()));
        if known.is_none() && (reading.keys.is_empty() || cache.has(&key)) {
            wait_for(others).await;
            known = cache.get(&key).await;
        }
        let content = match known {
            Some(content) => content,
            None => {
                let content = self.fetch(location, GetOptions::default()).await?.bytes().await?;
                cache.put(&key, content.clone()).await;
                content
            }
        };
        let range = 0..content.len() as u64;
        Ok(cached_result(location, content, range))
    }

    /// `ranges` of an object, from blocks that are here and from as few requests as neighbouring blocks that are not allow.
    async fn get_in_blocks(&self, cache: &DiskCache, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut blocks = Blocks::new();
        for range in ranges.iter().filter(|range| !range.is_empty()) {
            for block in range.start / BLOCK_BYTES..=(range.end - 1) / BLOCK_BYTES {
                blocks.insert(block, None);
            }
        }
        let missing = take_cached(cache, location, &mut blocks).await;
        let (reading, others) = self.reads.begin(missing.iter().map(|block| block_key(location, *block)));
        // What nobody reads may have been read since we looked.
        let is_ours = |key: &String| reading.keys.contains(key) && !cache.has(key);
        let ours = missing.into_iter().filter(|block| is_ours(&block_key(location, *block))).collect();
        self.fetch_blocks(cache, location, ours, &mut blocks).await?;
        // Whoever waits must not be reading, or two could wait for each other.
        drop(reading);
        wait_for(others).await;
        let not_had = take_cached(cache, location, &mut blocks).await;
        self.fetch_blocks(cache, location, not_had, &mut blocks).await?;
        Ok(ranges.iter().map(|range| assemble(&blocks, range)).collect())
    }

    async fn fetch_blocks(&self, cache: &DiskCache, location: &Path, wanted: Vec<u64>, blocks: &mut Blocks) -> Result<()> {
        let reads: Vec<_> = runs(wanted)
            .into_iter()
            .map(|run| async move {
                let content = self.fetch_range(location, run.start * BLOCK_BYTES..run.end * BLOCK_BYTES).await?;
                self.keep_blocks(cache, location, run.start, &content).await;
                Ok::<_, object_store::Error>((run, content))
            })
            .collect();
        let read: Vec<(Range<u64>, Bytes)> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        for (run, content) in read {
            for (block, piece) in (run.start..).zip(pieces(&content)) {
                blocks.insert(block, Some(piece));
            }
        }
        Ok(())
    }

    async fn keep_blocks(&self, cache: &DiskCache, location: &Path, first: u64, content: &Bytes) {
        for (block, piece) in (first..).zip(pieces(content)) {
            cache.put(&block_key(location, block), piece).await;
        }
    }

    async fn keep(&self, location: &Path, content: Bytes) {
        let Some(cache) = &self.cache else { return };
        match caching(location) {
            Caching::Whole => cache.put(location.as_ref(), content).await,
            Caching::Blocks => self.keep_blocks(cache, location, 0, &content).await,
            Caching::Not => {}
        }
    }
}

/// What is being read from the bucket, by cache key, and whom to wait for.
#[derive(Debug, Default)]
struct Reads(Mutex<HashMap<String, watch::Receiver<()>>>);

/// What the holder reads. When it is dropped, those who wait for it look again.
struct Reading<'a> {
    all: &'a Reads,
    keys: HashSet<String>,
    _done: watch::Sender<()>,
}

impl Reads {
    /// Takes those of `keys` that nobody reads; returns them and whom to wait for to have the others.
    fn begin(&self, keys: impl IntoIterator<Item = String>) -> (Reading<'_>, Vec<watch::Receiver<()>>) {
        let (done, receiver) = watch::channel(());
        let (mut ours, mut others) = (HashSet::new(), Vec::new());
        let mut all = self.0.lock();
        for key in keys {
            if let Some(reader) = all.get(&key) {
                others.push(reader.clone());
            } else {
                all.insert(key.clone(), receiver.clone());
                ours.insert(key);
            }
        }
        (Reading { all: self, keys: ours, _done: done }, others)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        self.keys.iter().for_each(|key| drop(all.remove(key)));
    }
}

/// Returns when all of `readers` are done, well or not.
async fn wait_for(readers: Vec<watch::Receiver<()>>) {
    for mut reader in readers {
        // The only thing that happens to the other side is that it goes away.
        while reader.changed().await.is_ok() {}
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
        let content = payload.clone();
        let put = self.counting_put(bytes, self.inner.put_opts(location, payload, options)).await?;
        self.keep(location, content.into()).await;
        Ok(put)
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let conditional = options.if_match.is_some()
            || options.if_none_match.is_some()
            || options.if_modified_since.is_some()
            || options.if_unmodified_since.is_some();
        let Some(cache) = self.cache.as_ref().filter(|_| !conditional && !options.head && options.version.is_none()) else {
            return self.fetch(location, options).await;
        };
        match (caching(location), &options.range) {
            (Caching::Whole, None) => self.get_whole(cache, location).await,
            (Caching::Blocks, Some(GetRange::Bounded(range))) => {
                let read = self.get_in_blocks(cache, location, std::slice::from_ref(range)).await?;
                let content = read.into_iter().next().unwrap_or_default();
                let range = range.start..range.start + content.len() as u64;
                Ok(cached_result(location, content, range))
            }
            _ => self.fetch(location, options).await,
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match &self.cache {
            Some(cache) if caching(location) == Caching::Blocks => self.get_in_blocks(cache, location, ranges).await,
            _ => coalesce_ranges(ranges, |range| self.fetch_range(location, range), OBJECT_STORE_COALESCE_DEFAULT).await,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.counters.deletes.fetch_add(1, Ordering::Relaxed);
        self.inner.delete_stream(locations).map(gone).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counters.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counters.lists.fetch_add(1, Ordering::Relaxed);
        // Not every service knows where a listing is to begin.
        let listed = self.inner.list_with_offset(prefix, offset);
        let offset = offset.clone();
        listed.try_filter(move |meta| std::future::ready(meta.location > offset)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.counters.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// What was to be deleted and is not there is deleted. S3 answers so; Google and Azure say that they did not find it, as when the first answer to a
/// deletion was lost. The path is then the one in the bucket, with the folder of the lake.
fn gone(deleted: Result<Path>) -> Result<Path> {
    match deleted {
        Err(Error::NotFound { path, .. }) => Ok(Path::parse(path)?),
        deleted => deleted,
    }
}

fn caching(location: &Path) -> Caching {
    let mut parts = location.parts();
    let folder = parts.next();
    match folder.as_ref().map(AsRef::as_ref) {
        Some("lake-index") if location.as_ref().ends_with(".dir") => Caching::Blocks,
        Some("lake-index" | "blobs") => Caching::Whole,
        Some("lake") if location.as_ref().ends_with(".parquet") && !parts.any(|part| part.as_ref() == "_delta_log") => {
            Caching::Blocks
        }
        _ => Caching::Not,
    }
}

/// Fills those of `blocks` that are not here from the cache, and returns the others.
async fn take_cached(cache: &DiskCache, location: &Path, blocks: &mut Blocks) -> Vec<u64> {
    let mut missing = Vec::new();
    for (block, content) in blocks.iter_mut().filter(|(_, content)| content.is_none()) {
        *content = cache.get(&block_key(location, *block)).await;
        if content.is_none() {
            missing.push(*block);
        }
    }
    missing
}

fn block_key(location: &Path, block: u64) -> String {
    format!("{location}#{block}")
}

/// `blocks`, in order, as runs of neighbours.
fn runs(blocks: Vec<u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for block in blocks {
        match runs.last_mut() {
            Some(run) if run.end == block => run.end += 1,
            _ => runs.push(block..block + 1),
        }
    }
    runs
}

/// `content`, which begins where a block does, in blocks.
fn pieces(content: &Bytes) -> impl Iterator<Item = Bytes> + '_ {
    let block = BLOCK_BYTES as usize;
    (0..content.len()).step_by(block).map(move |at| content.slice(at..content.len().min(at + block)))
}

/// `range` of an object out of its `blocks`. Shorter, if the object is.
fn assemble(blocks: &Blocks, range: &Range<u64>) -> Bytes {
    if range.is_empty() {
        return Bytes::new();
    }
    let (first, last) = (range.start / BLOCK_BYTES, (range.end - 1) / BLOCK_BYTES);
    let part = |(block, content): (&u64, &Option<Bytes>)| {
        let content = content.as_ref()?;
        let at = |position: u64| (position.saturating_sub(block * BLOCK_BYTES) as usize).min(content.len());
        Some(content.slice(at(range.start)..at(range.end)))
    };
    let mut parts: Vec<Bytes> = blocks.range(first..=last).filter_map(part).collect();
    match parts.len() {
        1 => parts.remove(0),
        _ => parts.concat().into(),
    }
}

fn cached_result(location: &Path, content: Bytes, range: Range<u64>) -> GetResult {
    // When it was written does not matter to what never changes; of a part, the size of the whole is not known.
    let meta = ObjectMeta {
        location: location.clone(),
        last_modified: chrono::DateTime::UNIX_EPOCH,
        size: range.end,
        e_tag: None,
        version: None,
    };
    let payload = GetResultPayload::Stream(stream::once(std::future::ready(Ok(content))).boxed());
    GetResult { payload, meta, range, attributes: object_store::Attributes::default() }
}
