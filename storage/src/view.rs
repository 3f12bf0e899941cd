//! One moment of everything that is stored: what a query reads.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use arrow::array::RecordBatch;
use assay_schemas::{ids::ProjectId, tables::TableId};
use chrono::{DateTime, Utc};
use object_store::path::Path;

use crate::{
    clickhouse::StoredRows,
    corrections::{CorrectionSet, CorrectionsByProject},
    hot::HotRows,
    lake::DataFile,
};

/// The committed files of every table and project.
#[derive(Clone, Debug, Default)]
pub(crate) struct LakeFiles {
    by_table: BTreeMap<(TableId, ProjectId), Arc<Vec<Arc<DataFile>>>>,
}

impl LakeFiles {
    /// Adds `files`, but those that it has.
    pub(crate) fn add(&mut self, table: TableId, files: impl IntoIterator<Item = Arc<DataFile>>) {
        let mut by_project: BTreeMap<ProjectId, Vec<Arc<DataFile>>> = BTreeMap::new();
        for file in files {
            by_project.entry(file.project.clone()).or_default().push(file);
        }
        for (project, mut new) in by_project {
            let list = Arc::make_mut(self.by_table.entry((table, project)).or_default());
            if !list.is_empty() {
                let paths: HashSet<&Path> = new.iter().map(|file| &file.path).collect();
                let known: HashSet<Path> =
                    list.iter().map(|file| &file.path).filter(|path| paths.contains(path)).cloned().collect();
                new.retain(|file| !known.contains(&file.path));
            }
            list.extend(new);
        }
    }

    /// The files of `table` are `listed` now. Returns those that no longer are.
    pub(crate) fn replace_all(&mut self, table: TableId, listed: Vec<DataFile>) -> Vec<Arc<DataFile>> {
        let paths: HashSet<&Path> = listed.iter().map(|file| &file.path).collect();
        let gone: Vec<_> = self.of_table(table).filter(|file| !paths.contains(&file.path)).cloned().collect();
        self.remove(table, &gone);
        self.add(table, listed.into_iter().map(Arc::new));
        gone
    }

    pub(crate) fn remove(&mut self, table: TableId, removed: &[Arc<DataFile>]) {
        let paths: std::collections::HashSet<_> = removed.iter().map(|f| &f.path).collect();
        for ((of, _), list) in &mut self.by_table {
            if *of == table && list.iter().any(|f| paths.contains(&f.path)) {
                Arc::make_mut(list).retain(|f| !paths.contains(&f.path));
            }
        }
        self.by_table.retain(|_, list| !list.is_empty());
    }

    pub(crate) fn of(&self, table: TableId, project: &ProjectId) -> &[Arc<DataFile>] {
        self.by_table.get(&(table, project.clone())).map_or(&[], |list| list.as_slice())
    }

    pub(crate) fn of_table(&self, table: TableId) -> impl Iterator<Item = &Arc<DataFile>> {
        self.by_table.iter().filter(move |((of, _), _)| *of == table).flat_map(|(_, list)| list.iter())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<DataFile>> {
        self.by_table.values().flat_map(|list| list.iter())
    }

    /// The largest write-ahead log position that a file says anything about.
    pub(crate) fn last_position(&self) -> Option<u64> {
        self.all().map(|file| file.corrected_to.max(file.last_position().unwrap_or(0))).max()
    }

    pub(crate) fn projects(&self) -> impl Iterator<Item = &ProjectId> {
        self.by_table.keys().map(|(_, project)| project)
    }
}

/// A consistent snapshot: every published row exactly once, in [`ReadView::hot`] or in one of [`ReadView::files`] (in
/// [`ReadView::stored`], where rows are kept in ClickHouse). The files stay on
/// disk while a view that lists them is alive.
#[derive(Debug)]
pub struct ReadView {
    pub(crate) hot: BTreeMap<(TableId, ProjectId), HotRows>,
    pub(crate) lake: Arc<LakeFiles>,
    pub(crate) corrections: Arc<CorrectionsByProject>,
    pub(crate) stored: Option<Arc<StoredRows>>,
    /// Whatever was acknowledged before, by any node that shares the lake, is in this view; `None` where no other node writes: then everything
    /// acknowledged before the view was taken is.
    pub complete_until: Option<DateTime<Utc>>,
}

impl ReadView {
    /// Rows in memory, in batches with [`TableId::schema`]. Cost: one reference count per column and batch.
    #[must_use]
    pub fn hot(&self, table: TableId, project: &ProjectId) -> Vec<RecordBatch> {
        let Some(rows) = self.hot.get(&(table, project.clone())) else { return Vec::new() };
        rows.flushing.iter().chain(rows.active.iter()).map(|chunk| chunk.batch.clone()).collect()
    }

    /// Committed files that are not superseded.
    #[must_use]
    pub fn files(&self, table: TableId, project: &ProjectId) -> Vec<Arc<DataFile>> {
        self.lake.of(table, project).to_vec()
    }

    /// The rows that are in ClickHouse; `None` where they are in files.
    #[must_use]
    pub fn stored(&self) -> Option<&Arc<StoredRows>> {
        self.stored.as_ref()
    }

    /// How many rows of `table` there are, wherever they are: exact for files, an estimate for ClickHouse.
    #[must_use]
    pub fn rows(&self, table: TableId, project: &ProjectId) -> u64 {
        let hot = self.hot(table, project).iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        let files = self.lake.of(table, project).iter().map(|file| file.rows).sum::<u64>();
        let stored = self.stored.iter().flat_map(|stored| stored.days(table, project)).map(|day| day.rows).sum::<u64>();
        hot + files + stored
    }

    /// Corrections that are not folded into the rows of this view; `None` if there are none. They concern hot rows and files alike.
    #[must_use]
    pub fn corrections(&self, project: &ProjectId) -> Option<Arc<CorrectionSet>> {
        self.corrections.get(project).filter(|set| !set.is_empty()).cloned()
    }

    /// Projects that have rows, in order.
    #[must_use]
    pub fn projects(&self) -> Vec<ProjectId> {
        let hot = self.hot.keys().map(|(_, project)| project);
        let stored = self.stored.iter().flat_map(|stored| stored.projects());
        let mut projects: Vec<_> = hot.chain(self.lake.projects()).chain(stored).cloned().collect();
        projects.sort();
        projects.dedup();
        projects
    }
}
