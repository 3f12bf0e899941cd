//! What one query can name: the tables and views of one project at one moment, `information_schema` and `system`. Nothing can be added to it.

use std::sync::Arc;

use assay_schemas::{ids::ProjectId, tables::TableId};
use assay_storage::ReadView;
use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider, view::ViewTable},
    common::Result,
    execution::{SessionState, SessionStateBuilder},
};
use object_store::ObjectStore;

use crate::{
    clickhouse::{ClickHouseTable, OnBehalf},
    information_schema::{self, InformationSchema},
    scan::ColumnCache,
    system::{self, System, SystemProvider, SystemTable},
    table_provider::LakeTable,
    views,
};

/// Name of the catalogue, as `information_schema` shows it.
pub(crate) const CATALOG: &str = "assay";
/// The schema that holds tables and views.
pub(crate) const PUBLIC: &str = "public";

/// The catalogue of one query: cheap to make, tables are built when named.
#[derive(Clone, Debug)]
pub(crate) struct ProjectCatalog {
    pub(crate) project: ProjectId,
    pub(crate) view: Arc<ReadView>,
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Columns of files, decoded.
    pub(crate) columns: Arc<ColumnCache>,
    /// What ClickHouse is told, where rows are kept there.
    pub(crate) on_behalf: OnBehalf,
    /// What the schema `system` shows.
    pub(crate) system: Arc<System>,
    /// Functions and settings, without tables.
    pub(crate) base: Arc<SessionState>,
}

impl ProjectCatalog {
    /// A state whose only tables are those of this catalogue.
    pub(crate) fn state(&self) -> SessionState {
        let builder = SessionStateBuilder::new_from_existing(self.base.as_ref().clone());
        let mut state = builder.with_catalog_list(Arc::new(self.clone())).build();
        // Fixes the moment that `now()` means; without it, the function has no value.
        state.mark_start_execution();
        state
    }

    /// Whether `name` of `schema` can be read.
    pub(crate) fn has(schema: &str, name: &str) -> bool {
        match schema {
            PUBLIC => TableId::from_name(name).is_some() || views::find(name).is_some(),
            information_schema::NAME => information_schema::TABLES.contains(&name),
            system::NAME => SystemTable::from_name(name).is_some(),
            _ => false,
        }
    }

    /// Names of tables and views.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        TableId::ALL.iter().map(|t| t.name()).chain(views::VIEWS.iter().map(|v| v.name))
    }
}

impl CatalogProviderList for ProjectCatalog {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as _)
    }
}

impl CatalogProvider for ProjectCatalog {
    fn schema_names(&self) -> Vec<String> {
        [PUBLIC, information_schema::NAME, system::NAME].map(ToOwned::to_owned).into()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            PUBLIC => Some(Arc::new(self.clone())),
            information_schema::NAME => Some(Arc::new(InformationSchema(self.clone()))),
            system::NAME => Some(Arc::new(SystemSchema(self.clone()))),
            _ => None,
        }
    }
}

#[async_trait]
impl SchemaProvider for ProjectCatalog {
    fn table_names(&self) -> Vec<String> {
        Self::names().map(ToOwned::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = TableId::from_name(name) {
            if let Some(stored) = self.view.stored() {
                let (view, stored) = (Arc::clone(&self.view), Arc::clone(stored));
                let table = ClickHouseTable::new(table, self.project.clone(), view, stored, self.on_behalf.clone());
                return Ok(Some(Arc::new(table)));
            }
            let (view, store, columns) = (Arc::clone(&self.view), Arc::clone(&self.store), Arc::clone(&self.columns));
            let table = LakeTable::new(table, self.project.clone(), view, store, columns);
            return Ok(Some(Arc::new(table)));
        }
        let Some(view) = views::find(name) else { return Ok(None) };
        let plan = self.state().create_logical_plan(&view.sql).await?;
        Ok(Some(Arc::new(ViewTable::new(plan, Some(view.sql.clone())))))
    }

    fn table_exist(&self, name: &str) -> bool {
        Self::has(PUBLIC, name)
    }
}

/// The schema of [`system::NAME`].
#[derive(Debug)]
struct SystemSchema(ProjectCatalog);

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        SystemTable::ALL.iter().map(|table| table.name().to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let provider = |table| Arc::new(SystemProvider { table, catalog: self.0.clone() }) as Arc<dyn TableProvider>;
        Ok(SystemTable::from_name(name).map(provider))
    }

    fn table_exist(&self, name: &str) -> bool {
        ProjectCatalog::has(system::NAME, name)
    }
}
