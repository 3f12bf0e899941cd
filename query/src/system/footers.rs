//! Bytes of each column, from the footers of Parquet files. A file never changes, so each footer is read once; what is kept of it is a
//! few numbers per column.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use assay_schemas::tables::TableId;
use assay_storage::DataFile;
use datafusion::{common::Result, error::DataFusionError};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};
use parking_lot::Mutex;
use parquet::{
    errors::ParquetError,
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
};

/// Footers read at the same time.
const READS: usize = 8;
/// Bytes of the end of a file that are read first; most footers fit.
const TAIL_BYTES: u64 = 64 << 10;
/// Files remembered before those that are gone are looked for.
const FILES_MAX: usize = 10_000;

/// Sizes of one column.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ColumnBytes {
    pub(super) rows: u64,
    pub(super) compressed: u64,
    pub(super) uncompressed: u64,
}

/// Sizes of one column of one table.
#[derive(Debug)]
pub(super) struct ColumnTotal {
    pub(super) table: TableId,
    pub(super) name: Arc<str>,
    pub(super) bytes: ColumnBytes,
}

type FileColumns = Arc<[(Arc<str>, ColumnBytes)]>;

/// The footers read so far.
#[derive(Debug)]
pub(super) struct Footers {
    store: Arc<dyn ObjectStore>,
    known: Mutex<HashMap<Path, FileColumns>>,
}

impl Footers {
    pub(super) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, known: Mutex::default() }
    }

    /// The sum over `files`, by table and column in their order.
    pub(super) async fn by_column(&self, files: &[(TableId, Arc<DataFile>)]) -> Result<Vec<ColumnTotal>> {
        let reads = futures::stream::iter(files.to_vec())
            .map(|(table, file)| async move { Ok::<_, DataFusionError>((table, self.of(&file).await?)) });
        let mut sums: BTreeMap<(TableId, usize), (Arc<str>, ColumnBytes)> = BTreeMap::new();
        let mut reads = reads.buffered(READS);
        while let Some((table, columns)) = reads.try_next().await? {
            for (name, bytes) in columns.iter() {
                let place = table.columns().iter().position(|column| column.name == name.as_ref()).unwrap_or(usize::MAX);
                let sum = &mut sums.entry((table, place)).or_insert_with(|| (Arc::clone(name), ColumnBytes::default())).1;
                sum.rows += bytes.rows;
                sum.compressed += bytes.compressed;
                sum.uncompressed += bytes.uncompressed;
            }
        }
        self.forget_all_but(files);
        Ok(sums.into_iter().map(|((table, _), (name, bytes))| ColumnTotal { table, name, bytes }).collect())
    }

    async fn of(&self, file: &DataFile) -> Result<FileColumns> {
        if let Some(known) = self.known.lock().get(&file.path) {
            return Ok(Arc::clone(known));
        }
        let footer = self.read(file).await?;
        let mut columns: Vec<(Arc<str>, ColumnBytes)> = Vec::new();
        for group in footer.row_groups() {
            for chunk in group.columns() {
                let name = chunk.column_path().parts().first().map_or("", String::as_str);
                let idx = columns.iter().position(|(known, _)| known.as_ref() == name).unwrap_or_else(|| {
                    columns.push((name.into(), ColumnBytes { rows: file.rows, ..ColumnBytes::default() }));
                    columns.len() - 1
                });
                columns[idx].1.compressed += u64::try_from(chunk.compressed_size()).unwrap_or_default();
                columns[idx].1.uncompressed += u64::try_from(chunk.uncompressed_size()).unwrap_or_default();
            }
        }
        let columns: FileColumns = columns.into();
        self.known.lock().insert(file.path.clone(), Arc::clone(&columns));
        Ok(columns)
    }

    async fn read(&self, file: &DataFile) -> Result<ParquetMetaData> {
        let mut tail = TAIL_BYTES.min(file.size);
        loop {
            let bytes = self.store.get_range(&file.path, file.size - tail..file.size).await?;
            let mut reader = ParquetMetaDataReader::new();
            match reader.try_parse_sized(&bytes, file.size) {
                Ok(()) => return Ok(reader.finish()?),
                Err(ParquetError::NeedMoreData(needed)) if (tail..file.size).contains(&(needed as u64 - 1)) => {
                    tail = needed as u64
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Of many files remembered, most are gone: merged into others. Other projects' files are read again when asked for.
    fn forget_all_but(&self, files: &[(TableId, Arc<DataFile>)]) {
        let mut known = self.known.lock();
        if known.len() > FILES_MAX.max(files.len() * 2) {
            let live: HashSet<&Path> = files.iter().map(|(_, file)| &file.path).collect();
            known.retain(|path, _| live.contains(path));
        }
    }
}
