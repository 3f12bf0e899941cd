//! `information_schema` with what DataFusion's own lacks: a comment on every table and column. Also the source of `/api/v1/schema`.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Schema},
};
use assay_schemas::tables::TableId;
use async_trait::async_trait;
use datafusion::{
    catalog::{MemTable, SchemaProvider, TableProvider},
    common::Result,
};
use serde::Serialize;

use crate::{
    catalog::{CATALOG, PUBLIC, ProjectCatalog},
    functions,
    system::{self, SystemTable},
    views::{self, VIEWS},
};

/// Name of the schema.
pub(crate) const NAME: &str = "information_schema";
/// Its tables.
pub(crate) const TABLES: &[&str] = &["columns", "routines", "schemata", "tables", "views"];

/// A table or view, described.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TableDoc {
    /// Name in SQL, with the schema where it is not `public`: `spans`, `system.files`.
    pub name: String,
    /// `table` or `view`.
    pub kind: String,
    /// One sentence on what a row is.
    pub doc: String,
    /// Columns in order.
    pub columns: Vec<ColumnDoc>,
}

/// A column, described.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ColumnDoc {
    /// Name in SQL.
    pub name: String,
    /// SQL type.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Whether the value can be NULL.
    pub nullable: bool,
    /// What it means, units included.
    pub doc: String,
}

impl TableDoc {
    fn schema_and_name(&self) -> (&str, &str) {
        self.name.split_once('.').unwrap_or((PUBLIC, &self.name))
    }
}

/// Every table and view.
pub(crate) async fn describe(catalog: &ProjectCatalog) -> Result<Vec<TableDoc>> {
    let mut tables: Vec<TableDoc> = TableId::ALL.iter().map(|t| table_doc(*t)).collect();
    for view in VIEWS.iter() {
        let Some(provider) = SchemaProvider::table(catalog, view.name).await? else { continue };
        tables.push(view_doc(view, &provider.schema()));
    }
    tables.extend(SystemTable::ALL.map(SystemTable::described));
    Ok(tables)
}

fn table_doc(table: TableId) -> TableDoc {
    let columns = table.columns().iter().map(|c| ColumnDoc {
        name: c.name.to_owned(),
        data_type: sql_type(&c.data_type),
        nullable: c.nullable,
        doc: c.doc.to_owned(),
    });
    TableDoc { name: table.name().to_owned(), kind: "table".to_owned(), doc: table.doc().to_owned(), columns: columns.collect() }
}

fn view_doc(view: &views::View, schema: &Schema) -> TableDoc {
    let doc = |name: &str| view.columns.iter().find(|(n, _)| *n == name).map_or("", |(_, doc)| *doc);
    let columns = schema.fields().iter().map(|f| ColumnDoc {
        name: f.name().clone(),
        data_type: sql_type(f.data_type()),
        nullable: f.is_nullable(),
        doc: doc(f.name()).to_owned(),
    });
    TableDoc { name: view.name.to_owned(), kind: "view".to_owned(), doc: view.doc.to_owned(), columns: columns.collect() }
}

/// The SQL name of an Arrow type, as PostgreSQL would say it.
pub(crate) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".into(),
        DataType::Int32 | DataType::UInt16 => "integer".into(),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint".into(),
        DataType::Float16 | DataType::Float32 => "real".into(),
        DataType::Float64 => "double precision".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "bytea".into(),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time".into(),
        DataType::Timestamp(_, None) => "timestamp".into(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".into(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".into(),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => {
            format!("numeric({p},{s})")
        }
        DataType::List(f)
        | DataType::LargeList(f)
        | DataType::FixedSizeList(f, _)
        | DataType::ListView(f)
        | DataType::LargeListView(f) => {
            format!("{}[]", sql_type(f.data_type()))
        }
        DataType::Dictionary(_, value) => sql_type(value),
        DataType::RunEndEncoded(_, value) => sql_type(value.data_type()),
        DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => "json".into(),
        DataType::Null => "unknown".into(),
    }
}

/// The schema of [`NAME`].
#[derive(Debug)]
pub(crate) struct InformationSchema(pub(crate) ProjectCatalog);

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        TABLES.iter().map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let batch = match name {
            "tables" => tables(&describe(&self.0).await?),
            "columns" => columns(&describe(&self.0).await?),
            "views" => view_definitions(),
            "schemata" => schemata(),
            "routines" => routines(&functions::docs(&self.0.base)),
            _ => return Ok(None),
        }?;
        Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        TABLES.contains(&name)
    }
}

fn tables(docs: &[TableDoc]) -> Result<RecordBatch> {
    let kind = |doc: &TableDoc| if doc.kind == "view" { "VIEW" } else { "BASE TABLE" };
    batch([
        ("table_catalog", texts(docs.iter().map(|_| Some(CATALOG)))),
        ("table_schema", texts(docs.iter().map(|d| Some(d.schema_and_name().0)))),
        ("table_name", texts(docs.iter().map(|d| Some(d.schema_and_name().1)))),
        ("table_type", texts(docs.iter().map(|d| Some(kind(d))))),
        ("is_insertable_into", texts(docs.iter().map(|_| Some("NO")))),
        ("comment", texts(docs.iter().map(|d| Some(d.doc.as_str())))),
    ])
}

fn columns(docs: &[TableDoc]) -> Result<RecordBatch> {
    let rows: Vec<(&TableDoc, usize, &ColumnDoc)> =
        docs.iter().flat_map(|d| d.columns.iter().enumerate().map(move |(idx, c)| (d, idx, c))).collect();
    batch([
        ("table_catalog", texts(rows.iter().map(|_| Some(CATALOG)))),
        ("table_schema", texts(rows.iter().map(|(d, ..)| Some(d.schema_and_name().0)))),
        ("table_name", texts(rows.iter().map(|(d, ..)| Some(d.schema_and_name().1)))),
        ("column_name", texts(rows.iter().map(|(_, _, c)| Some(c.name.as_str())))),
        ("ordinal_position", Arc::new(rows.iter().map(|(_, idx, _)| Some(*idx as i64 + 1)).collect::<Int64Array>())),
        ("column_default", texts(rows.iter().map(|_| None))),
        ("is_nullable", texts(rows.iter().map(|(_, _, c)| Some(if c.nullable { "YES" } else { "NO" })))),
        ("data_type", texts(rows.iter().map(|(_, _, c)| Some(c.data_type.as_str())))),
        ("comment", texts(rows.iter().map(|(_, _, c)| Some(c.doc.as_str())))),
    ])
}

fn view_definitions() -> Result<RecordBatch> {
    batch([
        ("table_catalog", texts(VIEWS.iter().map(|_| Some(CATALOG)))),
        ("table_schema", texts(VIEWS.iter().map(|_| Some(PUBLIC)))),
        ("table_name", texts(VIEWS.iter().map(|v| Some(v.name)))),
        ("view_definition", texts(VIEWS.iter().map(|v| Some(v.sql.as_str())))),
        ("comment", texts(VIEWS.iter().map(|v| Some(v.doc)))),
    ])
}

fn schemata() -> Result<RecordBatch> {
    batch([
        ("catalog_name", texts([Some(CATALOG); 3].into_iter())),
        ("schema_name", texts([PUBLIC, NAME, system::NAME].map(Some).into_iter())),
    ])
}

fn routines(docs: &[functions::FunctionDoc]) -> Result<RecordBatch> {
    batch([
        ("routine_catalog", texts(docs.iter().map(|_| Some(CATALOG)))),
        ("routine_schema", texts(docs.iter().map(|_| Some(PUBLIC)))),
        ("routine_name", texts(docs.iter().map(|d| Some(d.name.as_str())))),
        ("routine_type", texts(docs.iter().map(|_| Some("FUNCTION")))),
        ("signature", texts(docs.iter().map(|d| Some(d.signature.as_str())))),
        ("comment", texts(docs.iter().map(|d| Some(d.doc.as_str())))),
    ])
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<RecordBatch> {
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))?)
}
