//! Predicates over chunks. One that looks at a single coded column is evaluated once for each text of its dictionary, not for each row.

use std::sync::Arc;

use arrow::{
    array::{
        Array as _, ArrayRef, AsArray as _, BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions, StringArray,
    },
    buffer::BooleanBuffer,
    datatypes::{Schema, SchemaRef},
};
use datafusion::{
    common::Result,
    physical_expr::{
        PhysicalExpr,
        utils::{collect_columns, reassign_expr_columns},
    },
    physical_expr_common::physical_expr::snapshot_generation,
};

use super::{
    chunk::Chunk,
    dictionary::{Dictionary, NULL},
};

/// Texts that are evaluated without asking how many rows there are.
const FEW_TEXTS: usize = 256;
/// Otherwise at most so many texts for each row of a slice: what they give is known for all slices.
const TEXTS_A_ROW: usize = 64;

/// The rows, of those that `keep` leaves (`None`: all of `rows`), for which all filters are true; `None` if these are all rows. A filter
/// sees only rows that those before it left.
pub(crate) fn kept(
    filters: &mut [Evaluator],
    chunks: &[Option<Chunk>],
    rows: usize,
    mut keep: Option<BooleanArray>,
) -> Result<Option<BooleanArray>> {
    for filter in filters {
        let left = keep.as_ref().map_or(rows, BooleanArray::true_count);
        if left == 0 {
            break;
        }
        let selected = match &keep {
            None => filter.select(chunks, rows)?,
            Some(keep) => {
                let mut of_left = vec![None; chunks.len()];
                for column in filter.columns() {
                    of_left[*column] = chunks[*column].as_ref().map(|chunk| chunk.filter(keep)).transpose()?;
                }
                within(keep, &filter.select(&of_left, left)?)
            }
        };
        if selected.true_count() < left {
            keep = Some(selected);
        }
    }
    Ok(keep)
}

/// The rows of `keep` of which `selected`, that has a value for each of these, is true.
fn within(keep: &BooleanArray, selected: &BooleanArray) -> BooleanArray {
    let mut both = BooleanBufferBuilder::new(keep.len());
    both.append_n(keep.len(), false);
    for (nth, row) in keep.values().set_indices().enumerate() {
        if selected.value(nth) {
            both.set_bit(row, true);
        }
    }
    BooleanArray::new(both.finish(), None)
}

/// A predicate over the columns of a scan, and what it gave for the texts of a dictionary.
#[derive(Debug)]
pub(crate) struct Evaluator {
    /// The columns it looks at, and the expression with these alone.
    columns: Vec<usize>,
    schema: SchemaRef,
    compact: Arc<dyn PhysicalExpr>,
    /// Whether it gives the same for the same values, always.
    pure: bool,
    known: Option<Known>,
}

/// Whether a predicate is true for the first texts of a dictionary, and for NULL.
#[derive(Debug)]
struct Known {
    dictionary: Arc<Dictionary>,
    texts: Vec<bool>,
    null: bool,
}

impl Evaluator {
    /// `expr` over columns of `schema`. It must not be volatile.
    pub(crate) fn try_new(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Self> {
        let mut columns: Vec<usize> = collect_columns(expr).into_iter().map(|column| column.index()).collect();
        columns.sort_unstable();
        let compact_schema = Arc::new(schema.project(&columns)?);
        let compact = reassign_expr_columns(Arc::clone(expr), &compact_schema)?;
        let pure = snapshot_generation(expr) == 0;
        Ok(Self { columns, schema: compact_schema, compact, pure, known: None })
    }

    /// The columns it looks at.
    pub(crate) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Which of `rows` rows of `chunks` (by column of the scan) it is true for. It must be a predicate.
    fn select(&mut self, chunks: &[Option<Chunk>], rows: usize) -> Result<BooleanArray> {
        if let [column] = self.columns[..]
            && let Chunk::Coded { codes, dictionary } = chunk(chunks, column)
            && let Some(known) = self.by_text(codes, dictionary)
        {
            let truth = |row: usize| if codes[row] == NULL { known.null } else { known.texts[codes[row] as usize] };
            return Ok(BooleanArray::new(BooleanBuffer::collect_bool(rows, truth), None));
        }
        Ok(trues(&self.by_row(chunks, rows)?))
    }

    /// What is true for the texts of `codes`. A predicate that fails for a text is left to the rows: it may be that no row has it.
    fn by_text(&mut self, codes: &[u32], dictionary: &Arc<Dictionary>) -> Option<&Known> {
        if !self.pure {
            return None;
        }
        if self.known.as_ref().is_none_or(|known| !Arc::ptr_eq(&known.dictionary, dictionary)) {
            let null = self.of_texts(StringArray::new_null(1))?[0];
            self.known = Some(Known { dictionary: Arc::clone(dictionary), texts: Vec::new(), null });
        }
        let texts = self.known.as_ref()?.texts.len();
        if codes.iter().any(|code| *code != NULL && *code as usize >= texts) {
            let values = dictionary.values();
            if values.len() - texts > FEW_TEXTS.max(codes.len() * TEXTS_A_ROW) {
                return None;
            }
            let more = self.of_texts(values.slice(texts, values.len() - texts))?;
            self.known.as_mut()?.texts.extend(more);
        }
        self.known.as_ref()
    }

    fn of_texts(&self, texts: StringArray) -> Option<Vec<bool>> {
        let fields = self.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let batch = RecordBatch::try_new(schema, vec![Arc::new(texts)]).ok()?;
        let results = self.compact.evaluate(&batch).and_then(|value| value.into_array(batch.num_rows())).ok()?;
        results.as_boolean_opt()?;
        Some(trues(&results).values().iter().collect())
    }

    fn by_row(&self, chunks: &[Option<Chunk>], rows: usize) -> Result<ArrayRef> {
        let arrays = self.columns.iter().map(|column| chunk(chunks, *column).array()).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?;
        self.compact.evaluate(&batch)?.into_array(rows)
    }
}

/// What is true; what is NULL is not.
fn trues(results: &ArrayRef) -> BooleanArray {
    let results = results.as_boolean();
    match results.nulls() {
        None => results.clone(),
        Some(nulls) => BooleanArray::new(results.values() & nulls.inner(), None),
    }
}

fn chunk(chunks: &[Option<Chunk>], column: usize) -> &Chunk {
    chunks[column].as_ref().expect("the columns of an expression are loaded before it is evaluated")
}
