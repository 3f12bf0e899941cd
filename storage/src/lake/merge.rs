//! Several files to one with the same rows, corrections folded in: what compaction does to the lake before it commits. Columns that only a later
//! version knows are kept.

use std::{collections::HashSet, sync::Arc};

use assay_schemas::tables::TableId;

use super::{
    DataFile, Effort, Lake, LakeError,
    encode::encode,
    read::{decode, schema_of},
};
use crate::{
    corrections::{CorrectionSet, RowKey},
    tasks::blocking,
};

/// How files become one.
#[derive(Debug)]
pub(crate) struct Merge {
    /// Corrections to fold in.
    pub(crate) corrections: Option<Arc<CorrectionSet>>,
    /// They are complete up to here.
    pub(crate) corrected_to: u64,
    /// Largest write-ahead log position of the rows.
    pub(crate) position: u64,
}

impl Lake {
    /// Writes the rows of `files`, which are of one project and day, to one file, not yet part of the table. Returns it and the rows
    /// that had corrections.
    pub(crate) async fn merge(
        &self,
        table: TableId,
        files: &[Arc<DataFile>],
        merge: Merge,
    ) -> Result<(Arc<DataFile>, HashSet<RowKey>), LakeError> {
        let first = files.first().expect("files to merge");
        let (project, date) = (first.project.clone(), first.date);
        let mut contents = Vec::with_capacity(files.len());
        for file in files {
            contents.push((file.path.clone(), self.content(file).await?));
        }
        let Merge { corrections, corrected_to, position } = merge;
        // Rows are made, used and given up by one thread: what another thread frees, the allocator does not soon use again, and a day of
        // merges would leave its rows in memory.
        let work = move || -> Result<_, LakeError> {
            let mut found = HashSet::new();
            let mut batches = Vec::new();
            let all = contents.iter().map(|(_, content)| content);
            let schema = schema_of(table, all).map_err(|source| LakeError::Parquet { path: contents[0].0.clone(), source })?;
            for (path, content) in contents {
                let rows = decode(content, &schema).map_err(|source| LakeError::Parquet { path, source })?;
                batches.extend(rows.into_iter().map(|batch| match &corrections {
                    Some(corrections) => corrections.apply_noting(table, &batch, &mut found),
                    None => batch,
                }));
            }
            Ok((encode(table, &batches, Effort::Thorough)?, found))
        };
        let (encoded, found) = blocking(work).await?;
        Ok((Arc::new(self.write_file(table, project, date, corrected_to, position, encoded).await?), found))
    }
}
