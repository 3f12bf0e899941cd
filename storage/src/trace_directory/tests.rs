//! Claims about the directory: it says what the indexes say, of however many files, and nothing rests on it.

use std::collections::BTreeSet;

use object_store::memory::InMemory;

use super::*;
use crate::trace_index::{self, IndexPaths, RunCollector};

/// A table whose files are indexes only.
struct Table {
    store: Arc<dyn ObjectStore>,
    directory: Arc<Directory>,
    files: Vec<ListedFile>,
}

fn trace(n: u32) -> String {
    // Spread as random identifiers are, and the same in each run.
    hex::encode(&<sha2::Sha256 as sha2::Digest>::digest(n.to_be_bytes())[..16])
}

impl Table {
    async fn opened(store: &Arc<dyn ObjectStore>) -> Self {
        let caches = Arc::new(Caches::new());
        let directory = Directory::new(Arc::clone(store), caches, Path::from("lake-index/spans/directory"));
        directory.list().await.unwrap();
        Self { store: Arc::clone(store), directory: Arc::new(directory), files: Vec::new() }
    }

    /// A file of so many traces from `first` on, of two rows each.
    async fn add(&mut self, name: &str, first: u32, n_traces: u32) {
        let mut runs = RunCollector::default();
        (first..first + n_traces).for_each(|n| (0..2).for_each(|_| runs.push(Some(&trace(n)))));
        let index = Path::from(format!("lake-index/spans/{name}.tix"));
        self.store.put(&index, trace_index::encode(runs.finish()).into()).await.unwrap();
        self.list(name);
    }

    fn list(&mut self, name: &str) {
        let index = Path::from(format!("lake-index/spans/{name}.tix"));
        let paths = IndexPaths { index, sums: None, text: None, file: Path::from(format!("lake/spans/{name}")), file_rows: 0 };
        // Without what the directory has in memory: what it does not say is read.
        let traces = TraceIndex::new(Arc::clone(&self.store), Arc::new(Caches::new()), Arc::clone(&self.directory), paths);
        self.files.push(ListedFile { name: name.to_owned(), traces: Arc::new(traces) });
    }

    fn remove(&mut self, name: &str) {
        self.files.retain(|file| file.name != name);
    }

    async fn cover(&self) {
        self.directory.cover(&self.files).await.unwrap();
    }

    /// Files whose rows of the `n`th trace are known, with those rows, by the directory alone.
    async fn found(&self, n: u32) -> Vec<(&str, Range<u64>)> {
        let key = trace_index::trace_key(&trace(n));
        let mut found = Vec::new();
        for file in &self.files {
            if let Some(Some(rows)) = self.directory.find(&file.name, &key).await.unwrap() {
                found.push((file.name.as_str(), rows));
            }
        }
        found
    }

    async fn covered(&self) -> BTreeSet<&str> {
        let mut covered = BTreeSet::new();
        for file in &self.files {
            if self.directory.covers(&file.name).await.unwrap() {
                covered.insert(file.name.as_str());
            }
        }
        covered
    }

    async fn segments(&self) -> Vec<Path> {
        let listed: Vec<_> = self.store.list(Some(self.directory.folder())).try_collect().await.unwrap();
        listed.into_iter().map(|meta| meta.location).collect()
    }
}

async fn table_of(files: &[(&str, u32, u32)]) -> Table {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let mut table = Table::opened(&store).await;
    for (name, first, n_traces) in files {
        table.add(name, *first, *n_traces).await;
    }
    table.cover().await;
    table
}

#[tokio::test]
async fn every_trace_is_found_in_each_file_that_has_it() {
    let table = table_of(&[("a", 0, 3000), ("b", 1000, 3000), ("c", 10_000, 10), ("d", 10_005, 1)]).await;
    assert_eq!(table.segments().await.len(), 1);
    for table in [&table, &{
        let mut reopened = Table::opened(&table.store).await;
        table.files.iter().for_each(|file| reopened.list(&file.name));
        reopened
    }] {
        assert_eq!(table.covered().await.len(), 4);
        for n in 0..1000 {
            assert_eq!(table.found(n).await, [("a", u64::from(n) * 2..u64::from(n) * 2 + 2)], "{n}");
        }
        assert_eq!(table.found(2999).await, [("a", 5998..6000), ("b", 3998..4000)]);
        assert_eq!(table.found(10_005).await, [("c", 10..12), ("d", 0..2)]);
        assert_eq!(table.found(20_000).await, []);
    }
}

#[tokio::test]
async fn a_block_is_read_once_however_many_files_ask() {
    let table = table_of(&[("a", 0, 3000), ("b", 0, 3000), ("c", 0, 3000), ("d", 0, 3000)]).await;
    let slow =
        object_store::throttle::ThrottleConfig { wait_get_per_call: std::time::Duration::from_millis(20), ..Default::default() };
    let throttled = object_store::throttle::ThrottledStore::new(Arc::clone(&table.store), slow);
    let requests = Arc::new(crate::bucket::Requests::new(Arc::new(throttled), None));
    let reopened = Table::opened(&(Arc::clone(&requests) as _)).await;
    let key = trace_index::trace_key(&trace(7));
    let found =
        futures::future::try_join_all(["a", "b", "c", "d"].iter().map(|file| reopened.directory.find(file, &key))).await.unwrap();
    assert_eq!(found, vec![Some(Some(14..16)); 4]);
    assert_eq!(requests.counts().gets, 2, "the head, and a block with all four");
}

#[tokio::test]
async fn a_few_files_wait_and_segments_grow_geometrically() {
    let mut table = table_of(&[("a", 0, 100), ("b", 100, 100), ("c", 200, 100)]).await;
    assert!(table.covered().await.is_empty(), "three files are read on their own");
    for n in 3..200 {
        table.add(&format!("file-{n}"), n * 100, 100).await;
        table.cover().await;
        let (open, segments) = (table.files.len() - table.covered().await.len(), table.segments().await.len());
        assert!(open < UNCOVERED_FILES && segments <= 5, "{open} files are in none of {segments} segments");
    }
    assert_eq!(table.found(5000).await, [("file-50", 0..2)]);
}

#[tokio::test]
async fn what_is_gone_from_the_table_goes_from_the_directory() {
    let mut table = table_of(&[("a", 0, 100), ("b", 100, 100), ("c", 200, 100), ("d", 300, 100)]).await;
    let before = table.segments().await;
    table.remove("a");
    table.cover().await;
    assert_eq!(table.segments().await, before, "a quarter may stay");
    for name in ["b", "c"] {
        table.remove(name);
    }
    table.cover().await;
    let after = table.segments().await;
    assert!(after.len() == 1 && after != before, "of what is mostly gone the rest moves");
    assert_eq!(table.found(310).await, [("d", 20..22)]);
    table.remove("d");
    table.cover().await;
    assert_eq!(table.segments().await, []);
}

#[tokio::test]
async fn nothing_rests_on_a_segment() {
    let table = table_of(&[("a", 0, 3000), ("b", 3000, 10), ("c", 3010, 10), ("d", 3020, 10)]).await;
    let [segment] = &table.segments().await[..] else { panic!("one segment") };
    let whole = table.store.get(segment).await.unwrap().bytes().await.unwrap();
    let flipped = |at: usize| {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 1;
        Some(Bytes::from(damaged))
    };
    let end = whole.len();
    for damaged in [None, Some(whole.slice(..end - 5)), Some(Bytes::new()), flipped(0), flipped(end - 20), flipped(end - 1)] {
        match damaged {
            Some(content) => drop(table.store.put(segment, content.into()).await.unwrap()),
            None => table.store.delete(segment).await.unwrap(),
        }
        let mut reopened = Table::opened(&table.store).await;
        table.files.iter().for_each(|file| reopened.list(&file.name));
        for n in [0, 1, 2999] {
            let rows = reopened.files[0].traces.rows(&trace(n)).await.unwrap();
            assert_eq!(rows, Some(u64::from(n) * 2..u64::from(n) * 2 + 2));
        }
        reopened.cover().await;
        assert_eq!(reopened.found(3025).await, [("d", 10..12)]);
        for left in reopened.segments().await {
            reopened.store.delete(&left).await.unwrap();
        }
    }
}
