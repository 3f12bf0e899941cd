//! The list of tools, of their runs, each read once: the times that runs took, for exact percentiles, and the traces they are in.

use std::collections::HashMap;

use arrow::{
    array::{Array, AsArray as _, BooleanArray, RecordBatch, StringArray},
    datatypes::Int64Type,
};
use assay_storage::{TraceKey, trace_key_of};
use serde_json::{Map, Value};

use super::{
    PAIRS_MAX,
    of_traces::{GROUPS_MAX, Groups, Pairs},
};
use crate::{
    error::{QueryError, QueryErrorKind},
    traces::{Reader, off_async, sums},
};

/// The tools of the runs that `sql` gives, and their totals; `None` if there are too many for memory.
///
/// # Errors
/// As the question it asks.
pub(super) async fn read(reader: &Reader<'_>, sql: &str) -> Result<Option<Groups>, QueryError> {
    let mut answer = reader.answer(sql, usize::MAX).await?;
    let mut runs = Runs::default();
    while let Some(batch) = answer.next().await? {
        runs.add(&Columns::of(&batch)?);
        if runs.tools.len() > GROUPS_MAX || runs.count > PAIRS_MAX {
            return Ok(None);
        }
    }
    if answer.stats().truncated {
        return Ok(None);
    }
    off_async(move || runs.groups()).await.map(Some)
}

/// Runs of tools read so far.
#[derive(Debug, Default)]
struct Runs {
    numbers: HashMap<Box<str>, u32>,
    tools: Vec<Tool>,
    /// Traces with their tools, more than once where a trace uses a tool again.
    pairs: Vec<(TraceKey, u32)>,
    count: usize,
}

/// Runs of one tool, or of all.
#[derive(Debug, Default)]
struct Tool {
    errors: i64,
    /// Nanoseconds each took.
    durations: Vec<f64>,
}

impl Runs {
    fn add(&mut self, columns: &Columns<'_>) {
        let mut last: Option<(&str, TraceKey)> = None;
        for row in 0..columns.traces.len() {
            // The rows of a trace stand together in a file.
            let trace = match last {
                Some((trace_id, key)) if trace_id == columns.traces.value(row) => key,
                _ => trace_key_of(columns.traces.value(row)),
            };
            last = Some((columns.traces.value(row), trace));
            let number = self.number(columns.tools.value(row));
            self.pairs.push((trace, number));
            let tool = &mut self.tools[number as usize];
            tool.errors += i64::from(columns.failed.is_valid(row) && columns.failed.value(row));
            tool.durations.push(columns.durations[row] as f64);
        }
        self.count += columns.traces.len();
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let next = self.tools.len() as u32;
        self.numbers.insert(name.into(), next);
        self.tools.push(Tool::default());
        next
    }

    /// The rows of the tools, and of all together. CPU-bound.
    fn groups(mut self) -> Groups {
        let mut all = Tool::default();
        for tool in &self.tools {
            all.errors += tool.errors;
            all.durations.extend(&tool.durations);
        }
        let mut total = all.numbers();
        total.insert("rows".to_owned(), self.tools.len().into());
        let tools = &mut self.tools;
        let rows = self.numbers.iter().map(|(name, number)| {
            let mut row = tools[*number as usize].numbers();
            row.insert("tool_name".to_owned(), (**name).into());
            (Some(*number), row)
        });
        Groups { rows: rows.collect(), total: Some(total), pairs: Pairs::new(self.pairs, self.tools.len()) }
    }
}

impl Tool {
    fn numbers(&mut self) -> Map<String, Value> {
        let calls = self.durations.len();
        let mut percentile = |share| sums::percentile(&mut self.durations, share).map(|nanos| nanos as i64);
        let (p50, p95) = (percentile(0.5), percentile(0.95));
        let columns = [("calls", calls.into()), ("errors", self.errors.into()), ("p50_ns", p50.into()), ("p95_ns", p95.into())];
        columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// The columns of a batch of runs.
#[derive(Debug)]
struct Columns<'a> {
    tools: &'a StringArray,
    traces: &'a StringArray,
    durations: &'a [i64],
    failed: &'a BooleanArray,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, QueryError> {
        Self::read(batch.columns().iter().map(AsRef::as_ref))
            .ok_or_else(|| QueryError::new(QueryErrorKind::Internal, "the columns of runs are not those asked for"))
    }

    fn read(mut columns: impl Iterator<Item = &'a dyn Array>) -> Option<Self> {
        Some(Self {
            tools: columns.next()?.as_string_opt()?,
            traces: columns.next()?.as_string_opt()?,
            durations: columns.next()?.as_primitive_opt::<Int64Type>()?.values(),
            failed: columns.next()?.as_boolean_opt()?,
        })
    }
}
