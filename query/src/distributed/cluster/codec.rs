//! Our own operators as bytes. A scan is written as what it is: table, project, files, columns, filters. The node that reads it adds what is its
//! own: the store, its caches, and the token that ends the scan.

use std::{collections::HashMap, sync::Arc};

use assay_schemas::{ids::ProjectId, tables::TableId};
use assay_storage::{CorrectionSet, DataFile, Storage};
use chrono::NaiveDate;
use datafusion::{
    common::{Result, Statistics, exec_datafusion_err, exec_err, internal_err},
    datasource::physical_plan::parquet::CachedParquetFileReaderFactory,
    error::DataFusionError,
    execution::TaskContext,
    physical_expr::PhysicalExpr,
    physical_plan::ExecutionPlan,
};
use datafusion_proto::{
    bytes::{physical_plan_from_bytes_with_proto_converter, physical_plan_to_bytes_with_proto_converter},
    physical_plan::{
        DeduplicatingProtoConverter, PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
    },
    protobuf::PhysicalExprNode,
};
use prost::Message;
use tokio_util::sync::CancellationToken;

use super::Resources;
use crate::{
    corrections::CorrectionsExec,
    scan::{ColumnCache, LakeScan, LakeScanExec},
    table_provider::without_comments,
};

/// Reads and writes our operators.
pub(super) struct LakeCodec {
    storage: Storage,
    columns: Arc<ColumnCache>,
    readers: Arc<CachedParquetFileReaderFactory>,
    stopped: Option<CancellationToken>,
}

impl std::fmt::Debug for LakeCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeCodec").finish_non_exhaustive()
    }
}

/// An operator of ours.
#[derive(Clone, PartialEq, Message)]
struct Written {
    #[prost(oneof = "Operator", tags = "1, 2")]
    operator: Option<Operator>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Operator {
    #[prost(message, tag = "1")]
    Scan(WrittenScan),
    #[prost(message, tag = "2")]
    Corrections(WrittenCorrections),
}

#[derive(Clone, PartialEq, Message)]
struct WrittenScan {
    #[prost(string, tag = "1")]
    table: String,
    #[prost(string, tag = "2")]
    project: String,
    #[prost(message, repeated, tag = "3")]
    files: Vec<WrittenFile>,
    #[prost(uint64, repeated, tag = "4")]
    projection: Vec<u64>,
    #[prost(message, repeated, tag = "5")]
    filters: Vec<PhysicalExprNode>,
    #[prost(uint64, optional, tag = "6")]
    limit: Option<u64>,
    #[prost(uint64, tag = "7")]
    partitions: u64,
}

#[derive(Clone, PartialEq, Message)]
struct WrittenFile {
    #[prost(string, tag = "1")]
    path: String,
    /// As ISO 8601.
    #[prost(string, tag = "2")]
    date: String,
    #[prost(uint64, tag = "3")]
    size: u64,
    #[prost(uint64, tag = "4")]
    rows: u64,
}

#[derive(Clone, PartialEq, Message)]
struct WrittenCorrections {
    #[prost(string, tag = "1")]
    table: String,
    #[prost(string, tag = "2")]
    corrections: String,
    #[prost(uint64, tag = "3")]
    columns: u64,
}

impl LakeCodec {
    /// Scans that are read end with an error once `stopped` is cancelled.
    pub(super) fn new(resources: &Resources, stopped: Option<CancellationToken>) -> Self {
        let footers = resources.runtime_env.cache_manager.get_file_metadata_cache();
        let store = resources.storage.object_store();
        Self {
            storage: resources.storage.clone(),
            columns: Arc::clone(&resources.columns),
            readers: Arc::new(CachedParquetFileReaderFactory::new(store, footers)),
            stopped,
        }
    }

    fn write_scan(&self, scan: &LakeScan, converter: &dyn PhysicalProtoConverterExtension) -> Result<WrittenScan> {
        if !scan.hot.is_empty() {
            return internal_err!("a scan of rows in memory cannot leave its node");
        }
        let file = |file: &Arc<DataFile>| WrittenFile {
            path: file.path.to_string(),
            date: file.date.to_string(),
            size: file.size,
            rows: file.rows,
        };
        let filter = |filter: &Arc<dyn PhysicalExpr>| converter.physical_expr_to_proto(filter, self);
        Ok(WrittenScan {
            table: scan.table.name().to_owned(),
            // No file, no project: there is nothing to read.
            project: scan.files.first().map(|file| file.project.to_string()).unwrap_or_default(),
            files: scan.files.iter().map(file).collect(),
            projection: scan.projection.iter().map(|idx| *idx as u64).collect(),
            filters: scan.filters.iter().map(filter).collect::<Result<_>>()?,
            limit: scan.limit.map(|limit| limit as u64),
            partitions: scan.partitions as u64,
        })
    }

    fn read_scan(
        &self,
        written: WrittenScan,
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<LakeScanExec> {
        let table = table(&written.table)?;
        let projection: Vec<usize> = written.projection.iter().map(|idx| place(*idx)).collect::<Result<_>>()?;
        let schema = Arc::new(without_comments(&table.schema()).project(&projection)?);
        let decode = PhysicalPlanDecodeContext::new(ctx, self);
        let filter = |node: &PhysicalExprNode| converter.proto_to_physical_expr(node, &schema, &decode);
        let filters: Vec<_> = written.filters.iter().map(filter).collect::<Result<_>>()?;
        let scan = LakeScan {
            table,
            hot: Vec::new(),
            files: self.files(table, &written.project, &written.files)?,
            projection,
            statistics: Statistics::new_unknown(&schema),
            schema,
            filters: Vec::new(),
            moving: None,
            limit: written.limit.map(place).transpose()?,
            partitions: place(written.partitions)?.max(1),
            cache: Arc::clone(&self.columns),
            readers: Arc::clone(&self.readers),
            stopped: self.stopped.clone(),
        };
        Ok(LakeScanExec::new(scan.with_filters(filters)))
    }

    /// The files as this node knows them: columns decoded of those are kept. Of one that it does not know, what it was told.
    fn files(&self, table: TableId, project: &str, written: &[WrittenFile]) -> Result<Vec<Arc<DataFile>>> {
        if written.is_empty() {
            return Ok(Vec::new());
        }
        let wrong = |found: &str| exec_datafusion_err!("another node named `{found}`, expected a file of `{}`", table.name());
        let project = ProjectId::new(project).map_err(|_| wrong(project))?;
        let known = self.storage.view().files(table, &project);
        let known: HashMap<&str, &Arc<DataFile>> = known.iter().map(|file| (file.path.as_ref(), file)).collect();
        let file = |written: &WrittenFile| {
            if let Some(file) = known.get(written.path.as_str()).filter(|file| file.size == written.size) {
                return Ok(Arc::clone(file));
            }
            let date: NaiveDate = written.date.parse().map_err(|_| wrong(&written.path))?;
            let named = DataFile::named(table, project.clone(), date, &written.path, written.size, written.rows);
            named.map(Arc::new).ok_or_else(|| wrong(&written.path))
        };
        written.iter().map(file).collect()
    }
}

impl PhysicalExtensionCodec for LakeCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let written = Written::decode(buf).map_err(|error| exec_datafusion_err!("an operator cannot be read: {error}"))?;
        match (written.operator, inputs) {
            (Some(Operator::Scan(scan)), []) => Ok(Arc::new(self.read_scan(scan, ctx, converter)?)),
            (Some(Operator::Corrections(written)), [input]) => {
                let set = CorrectionSet::from_text(&written.corrections);
                let set = set.map_err(|error| exec_datafusion_err!("corrections cannot be read: {error}"))?;
                let (table, columns) = (table(&written.table)?, place(written.columns)?);
                Ok(Arc::new(CorrectionsExec::try_new(table, Arc::new(set), Arc::clone(input), columns)?))
            }
            _ => exec_err!("an operator has {} inputs, or is none that is known", inputs.len()),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let operator = if let Some(scan) = node.downcast_ref::<LakeScanExec>() {
            Operator::Scan(self.write_scan(&scan.scan, converter)?)
        } else if let Some(corrections) = node.downcast_ref::<CorrectionsExec>() {
            let CorrectionsExec { table, corrections: set, columns, .. } = corrections;
            let text = set.to_text().map_err(|error| DataFusionError::External(Box::new(error)))?;
            let written = WrittenCorrections { table: table.name().to_owned(), corrections: text, columns: *columns as u64 };
            Operator::Corrections(written)
        } else {
            return internal_err!("`{}` cannot leave its node", node.name());
        };
        *buf = Written { operator: Some(operator) }.encode_to_vec();
        Ok(())
    }
}

/// `plan` as bytes.
pub(super) fn written(plan: &Arc<dyn ExecutionPlan>, codec: &LakeCodec) -> Result<Vec<u8>> {
    let converter = DeduplicatingProtoConverter::default();
    physical_plan_to_bytes_with_proto_converter(Arc::clone(plan), codec, &converter).map(|bytes| bytes.to_vec())
}

/// The plan of `bytes`, with the functions of `ctx`.
pub(super) fn read(bytes: &[u8], ctx: &TaskContext, codec: &LakeCodec) -> Result<Arc<dyn ExecutionPlan>> {
    physical_plan_from_bytes_with_proto_converter(bytes, ctx, codec, &DeduplicatingProtoConverter::default())
}

fn table(name: &str) -> Result<TableId> {
    TableId::from_name(name).ok_or_else(|| exec_datafusion_err!("another node named the table `{name}`, which is not known here"))
}

fn place(number: u64) -> Result<usize> {
    usize::try_from(number).map_err(|error| DataFusionError::External(error.into()))
}
