//! Every trace of a time range with what its spans add up to, without reading the spans: for lists that are sorted by something else than
//! time, for the strip, for totals.
//!
//! ```text
//! files ── sums beside each file ─┐
//! hot rows ── added up here ──────┼─ by trace ─ limited to the traces that match ─ each
//! traces whose rows must be read ─┘
//! ```
//! Rows are read, by SQL, of two kinds of traces only: those with spans on both sides of an end of the range, since only the spans in the
//! range count, and those with corrections that are not folded into the files. The result is exactly that of
//! `… FROM spans WHERE <range> GROUP BY trace_id`, which is what the read models show as their SQL; a test compares the two.
//!
//! To use it elsewhere (totals, lists): `fold` gives each trace once, in order of trace, and `None` when the range holds too many traces for
//! memory or a file has no sums; then ask the SQL.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use arrow::array::{AsArray as _, RecordBatch};
use assay_schemas::tables::TableId;
use assay_storage::{FileSums, SpanSums, TraceKey, TraceSum, trace_key_of};
use futures::{StreamExt as _, TryStreamExt as _};

use super::{
    Reader,
    list::{between, literals},
    off_async,
};
use crate::error::{QueryError, QueryErrorKind};

/// Sums of traces that are put together in memory at most: some 200 MB while it lasts, and one range at a time.
const TRACES_MAX: usize = 2_000_000;
/// Traces whose rows are read at most.
const READ_MAX: usize = 10_000;
/// Files whose sums are fetched at the same time.
const FETCHED_AT_ONCE: usize = 4;
const SOURCE_COLUMNS: &str = "trace_id, start_time, start_time_ns_part, duration_ns, pending, status_code, error_type, counted, input_tokens, output_tokens, cost_usd, cost_source";

/// A time range: start times in microseconds since 1970, the end left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Range {
    fn holds(self, nanos: i64) -> bool {
        let micros = nanos.div_euclid(1000);
        self.from <= micros && micros < self.to
    }

    /// Whether rows with times between `min` and `max` can be in it.
    fn reaches(self, min: Option<i64>, max: Option<i64>) -> bool {
        min.is_none_or(|t| t < self.to) && max.is_none_or(|t| t >= self.from)
    }

    fn place(self, (first, last): (i64, i64)) -> Place {
        match (self.holds(first), self.holds(last)) {
            (true, true) => Place::Inside,
            (false, false) if last.div_euclid(1000) < self.from || first.div_euclid(1000) >= self.to => Place::Outside,
            _ => Place::Across,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Inside,
    Outside,
    Across,
}

/// As [`fold_matching`], over the traces in `range` that have a span there for which `filter` holds; all traces without a filter.
///
/// # Errors
/// As the questions it asks.
pub(crate) async fn fold<S: Send + 'static>(
    reader: &Reader<'_>,
    range: Range,
    filter: Option<&str>,
    state: S,
    each: impl Fn(&mut S, TraceKey, &TraceSum) + Send + 'static,
) -> Result<Option<S>, QueryError> {
    let matching = match filter {
        None => None,
        Some(filter) => match matching(reader, range, filter).await? {
            Some(matching) => Some(Arc::new(matching)),
            None => return Ok(None),
        },
    };
    fold_matching(reader, range, matching, state, each).await
}

/// Calls `each` with every trace that has spans in `range` and is among those `matching` (in order; all if `None`), and with what its spans
/// in the range add up to, in order of trace; returns what `state` has become. `None`: too much for memory, or a file without sums.
///
/// # Errors
/// As the questions it asks.
pub(crate) async fn fold_matching<S: Send + 'static>(
    reader: &Reader<'_>,
    range: Range,
    matching: Option<Arc<Vec<TraceKey>>>,
    state: S,
    each: impl Fn(&mut S, TraceKey, &TraceSum) + Send + 'static,
) -> Result<Option<S>, QueryError> {
    // Two ranges are not put together at once, so that memory is bounded.
    let _turn = reader.sums_turn().await;
    let Some(files) = file_sums(reader, range).await? else { return Ok(None) };
    let Some(mut to_read) = traces_to_read(reader, range, &files) else { return Ok(None) };
    if let Some(matching) = &matching {
        to_read.retain(|key| matching.binary_search(key).is_ok());
    }
    let hot = reader.view.hot(TableId::Spans, reader.project);
    let Some(read) = rows_of(reader, range, &to_read).await? else { return Ok(None) };
    let work = move || {
        let mut loose = BTreeMap::new();
        for batch in &hot {
            add_rows(&mut loose, &SpanSums::new(batch), |key, sum| range.holds(sum.start_ns) && !to_read.contains(key));
        }
        for batch in &read {
            add_rows(&mut loose, &SpanSums::new(batch), |_, _| true);
        }
        merge(&files, range, &to_read, &loose, matching.as_ref().map(|m| m.as_slice()), state, each)
    };
    off_async(work).await.map(Some)
}

/// The sums of the files that reach into `range`.
async fn file_sums(reader: &Reader<'_>, range: Range) -> Result<Option<Vec<FileSums>>, QueryError> {
    // ClickHouse keeps none.
    if reader.is_stored_elsewhere() {
        return Ok(None);
    }
    let files = reader.view.files(TableId::Spans, reader.project);
    let wanted = files.into_iter().filter(|f| range.reaches(f.time_min, f.time_max));
    let fetched = futures::stream::iter(wanted).map(|file| async move {
        match &file.traces {
            Some(index) => index.sums().await,
            None => Ok(None),
        }
    });
    let mut fetched = fetched.buffered(FETCHED_AT_ONCE);
    let (mut sums, mut traces) = (Vec::new(), 0);
    let failed = |e| QueryError::new(QueryErrorKind::Internal, format!("the sums of traces could not be read: {e}"));
    while let Some(of_file) = fetched.try_next().await.map_err(failed)? {
        let Some(of_file) = of_file else { return Ok(None) };
        traces += of_file.len();
        if traces > TRACES_MAX {
            return Ok(None);
        }
        sums.push(of_file);
    }
    Ok(Some(sums))
}

/// Traces that cross an end of the range or are being corrected; `None` if they are too many.
fn traces_to_read(reader: &Reader<'_>, range: Range, files: &[FileSums]) -> Option<HashSet<TraceKey>> {
    let mut traces = HashSet::new();
    if let Some(corrections) = reader.view.corrections(reader.project) {
        traces.extend(corrections.traces().map(trace_key_of));
    }
    for file in files {
        for idx in 0..file.len() {
            if range.place(file.starts(idx)) == Place::Across {
                traces.insert(file.key(idx));
            }
        }
        if traces.len() > READ_MAX {
            return None;
        }
    }
    Some(traces)
}

async fn rows_of(reader: &Reader<'_>, range: Range, traces: &HashSet<TraceKey>) -> Result<Option<Vec<RecordBatch>>, QueryError> {
    if traces.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let ids: Vec<String> = traces.iter().map(hex::encode).collect();
    let sql = format!(
        "SELECT {SOURCE_COLUMNS} FROM spans WHERE {} AND trace_id IN ({})",
        between(range.from, range.to),
        literals(ids.iter().map(String::as_str))
    );
    let (batches, stats) = reader.answer(&sql, usize::MAX).await?.collect().await?;
    Ok((!stats.truncated).then_some(batches))
}

/// Traces with a span in `range` for which `filter` holds, in order, none twice; `None` if they are too many.
///
/// # Errors
/// As the question it asks.
pub(crate) async fn matching(reader: &Reader<'_>, range: Range, filter: &str) -> Result<Option<Vec<TraceKey>>, QueryError> {
    let sql = format!("SELECT trace_id FROM spans WHERE {} AND {filter}", between(range.from, range.to));
    let mut answer = reader.answer(&sql, usize::MAX).await?;
    let mut keys: Vec<TraceKey> = Vec::new();
    while let Some(batch) = answer.next().await? {
        let mut last = "";
        for trace_id in batch.column(0).as_string::<i32>().iter().flatten() {
            // The rows of a trace stand together in a file.
            if trace_id != last {
                keys.push(trace_key_of(trace_id));
                last = trace_id;
            }
        }
        if keys.len() > TRACES_MAX {
            keys.sort_unstable();
            keys.dedup();
            if keys.len() > TRACES_MAX / 2 {
                return Ok(None);
            }
        }
    }
    if answer.stats().truncated {
        return Ok(None);
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(Some(keys))
}

fn add_rows(sums: &mut BTreeMap<TraceKey, TraceSum>, rows: &SpanSums<'_>, wanted: impl Fn(&TraceKey, &TraceSum) -> bool) {
    for row in 0..rows.len() {
        let (key, sum) = (trace_key_of(rows.trace_id(row)), rows.row(row));
        if wanted(&key, &sum) {
            sums.entry(key).and_modify(|known| known.add(&sum)).or_insert(sum);
        }
    }
}

/// Puts the sums of files and the `loose` ones together, trace by trace.
fn merge<S>(
    files: &[FileSums],
    range: Range,
    read: &HashSet<TraceKey>,
    loose: &BTreeMap<TraceKey, TraceSum>,
    matching: Option<&[TraceKey]>,
    mut state: S,
    each: impl Fn(&mut S, TraceKey, &TraceSum),
) -> S {
    let mut places: Vec<(u128, u32, u32)> = Vec::with_capacity(files.iter().map(FileSums::len).sum());
    for (nth, file) in (0..).zip(files) {
        for (place, idx) in (0..).zip(0..file.len()) {
            if range.place(file.starts(idx)) == Place::Inside {
                let key = file.key(idx);
                if read.is_empty() || !read.contains(&key) {
                    places.push((u128::from_be_bytes(key), nth, place));
                }
            }
        }
    }
    places.sort_unstable();
    let mut wanted = Matching { left: matching };
    let mut give = |key: u128, sum: &TraceSum| {
        let key = key.to_be_bytes();
        if wanted.has(&key) {
            each(&mut state, key, sum);
        }
    };
    let sum_at = |(_, file, idx): &(u128, u32, u32)| files[*file as usize].sum(*idx as usize);
    let mut loose = loose.iter().map(|(key, sum)| (u128::from_be_bytes(*key), sum)).peekable();
    for parts in places.chunk_by(|a, b| a.0 == b.0) {
        let key = parts[0].0;
        while let Some((loose_key, sum)) = loose.next_if(|(loose_key, _)| *loose_key < key) {
            give(loose_key, sum);
        }
        let mut sum = sum_at(&parts[0]);
        parts[1..].iter().for_each(|part| sum.add(&sum_at(part)));
        if let Some((_, more)) = loose.next_if(|(loose_key, _)| *loose_key == key) {
            sum.add(more);
        }
        give(key, &sum);
    }
    loose.for_each(|(key, sum)| give(key, sum));
    state
}

/// Traces in order, asked for in order.
struct Matching<'a> {
    left: Option<&'a [TraceKey]>,
}

impl Matching<'_> {
    fn has(&mut self, key: &TraceKey) -> bool {
        let Some(left) = &mut self.left else { return true };
        while left.first().is_some_and(|next| next < key) {
            *left = &left[1..];
        }
        left.first() == Some(key)
    }
}

/// Those of `trace_ids` that have spans in `range`.
///
/// # Errors
/// As the question it asks, or if a trace index cannot be read.
pub(crate) async fn with_spans_in(
    reader: &Reader<'_>,
    range: Range,
    trace_ids: impl Iterator<Item = &str> + Clone,
) -> Result<HashSet<String>, QueryError> {
    let failed = |e| QueryError::new(QueryErrorKind::Internal, format!("a trace index could not be read: {e}"));
    let mut perhaps = HashSet::new();
    if reader.is_stored_elsewhere() {
        perhaps.extend(trace_ids.clone());
    }
    for file in reader.view.files(TableId::Spans, reader.project) {
        if !range.reaches(file.time_min, file.time_max) {
            continue;
        }
        for trace_id in trace_ids.clone() {
            let held = match &file.traces {
                Some(index) => index.rows(trace_id).await.map_err(failed)?.is_some(),
                None => true,
            };
            if held {
                perhaps.insert(trace_id);
            }
        }
    }
    for batch in reader.view.hot(TableId::Spans, reader.project) {
        let rows = SpanSums::new(&batch);
        let in_range = (0..rows.len()).filter(|row| range.holds(rows.row(*row).start_ns)).map(|row| rows.trace_id(row));
        let in_range: HashSet<&str> = in_range.collect();
        perhaps.extend(trace_ids.clone().filter(|id| in_range.contains(id)));
    }
    if perhaps.is_empty() {
        return Ok(HashSet::new());
    }
    let sql = format!(
        "SELECT DISTINCT trace_id FROM spans WHERE {} AND trace_id IN ({})",
        between(range.from, range.to),
        literals(perhaps.iter().copied())
    );
    let rows = reader.rows(&sql, perhaps.len()).await?;
    Ok(rows.iter().filter_map(|row| row["trace_id"].as_str().map(ToOwned::to_owned)).collect())
}

/// The value at `share` (0 to 1) of `values`, between two of them in proportion: what `percentile_cont` gives.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let at = share * last as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    let (_, low_value, above) = values.select_nth_unstable_by(low, f64::total_cmp);
    if low == high {
        return Some(*low_value);
    }
    let high_value = above.iter().copied().min_by(f64::total_cmp)?;
    // DataFusion rounds the weight down to a millionth, and so do we: the SQL shown must give the same number.
    let weight = ((at - low as f64) * 1e6).trunc() / 1e6;
    Some(*low_value + (high_value - *low_value) * weight)
}

#[cfg(test)]
mod tests;
