//! The trace list, page by page, and the time strip above it.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Instant};

use arrow::{
    array::AsArray as _,
    compute::{max, min},
    datatypes::TimestampMicrosecondType,
};
use assay_schemas::{table::MONEY_SCALE, tables::TableId};
use assay_storage::{TraceKey, TraceSum, trace_key_of};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Reader, Strip, StripBucket, TraceList, TraceSummary, summary_sql, sums};
use crate::{
    error::QueryError,
    filter::{Filter, quoted},
    format::decimal_text,
    time_range::literal,
};

/// Spans that the first look of a newest-first page should cover; each further look covers [`WIDENING`] times as many.
const FIRST_LOOK_SPANS: u64 = 50_000;
const WIDENING: u64 = 8;
/// In the unit of [`TraceSum::cost`].
const ONE_DOLLAR: i128 = 10_i128.pow(MONEY_SCALE.unsigned_abs() as u32);

/// How a list is ordered. Ties are broken by trace id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sort {
    /// Start of the earliest span.
    #[default]
    StartTime,
    /// Duration of the trace.
    DurationNs,
    /// Cost; traces without one last.
    CostUsd,
    /// Prompt tokens.
    InputTokens,
    /// Answer tokens.
    OutputTokens,
    /// Number of spans.
    SpanCount,
    /// Number of failed spans.
    ErrorCount,
}

impl Sort {
    /// The sort key of a trace, over `spans` grouped by trace; never NULL.
    fn key(self) -> &'static str {
        match self {
            Self::StartTime => "arrow_cast(min(start_time), 'Int64')",
            Self::DurationNs => {
                "max(arrow_cast(start_time, 'Int64') * 1000 + start_time_ns_part + duration_ns) - min(arrow_cast(start_time, 'Int64') * 1000 + start_time_ns_part)"
            }
            // Money has 15 decimals: 10^-15 dollars fit 64 bits up to 9000 dollars a trace, so it stays a decimal.
            Self::CostUsd => "coalesce(sum(cost_usd) FILTER (WHERE counted), CAST('-1' AS DECIMAL(38, 15)))",
            Self::InputTokens => "coalesce(sum(input_tokens) FILTER (WHERE counted), -1)",
            Self::OutputTokens => "coalesce(sum(output_tokens) FILTER (WHERE counted), -1)",
            Self::SpanCount => "count(*) FILTER (WHERE pending IS NOT TRUE)",
            Self::ErrorCount => "count(*) FILTER (WHERE status_code = 'ERROR' OR error_type IS NOT NULL)",
        }
    }

    /// The same key of what a trace adds up to, as a number that sorts like it.
    fn of(self, sum: &TraceSum) -> i128 {
        let known = |tokens: Option<i64>| tokens.map_or(-1, i128::from);
        match self {
            Self::StartTime => sum.start_ns.div_euclid(1000).into(),
            Self::DurationNs => sum.end_ns.wrapping_sub(sum.start_ns).into(),
            Self::CostUsd => sum.cost.unwrap_or(-ONE_DOLLAR),
            Self::InputTokens => known(sum.input_tokens),
            Self::OutputTokens => known(sum.output_tokens),
            Self::SpanCount => sum.spans.into(),
            Self::ErrorCount => sum.errors.into(),
        }
    }

    /// The key as a cursor writes it, for the number that [`Sort::of`] gives.
    fn text(self, key: i128) -> String {
        if self == Self::CostUsd { decimal_text(key, MONEY_SCALE) } else { key.to_string() }
    }

    /// The number for a key that a cursor holds; `None` if it is none.
    fn number(self, text: &str) -> Option<i128> {
        if self != Self::CostUsd {
            return text.parse().ok();
        }
        let mut money: Decimal = text.parse().ok()?;
        money.rescale(MONEY_SCALE.unsigned_abs().into());
        (money.scale() == u32::from(MONEY_SCALE.unsigned_abs())).then(|| money.mantissa())
    }

    fn literal(self, key: &str) -> String {
        let sql_type = if self == Self::CostUsd { "DECIMAL(38, 15)" } else { "BIGINT" };
        format!("CAST({} AS {sql_type})", quoted(key))
    }
}

/// What is asked of the list. Times in microseconds since 1970; `to` is left out of the range.
#[derive(Debug)]
pub(crate) struct ListRequest {
    pub(crate) from: Option<i64>,
    pub(crate) to: i64,
    pub(crate) filter: Filter,
    pub(crate) sort: Sort,
    pub(crate) ascending: bool,
    pub(crate) limit: usize,
    pub(crate) cursor: Option<String>,
}

/// Where the next page begins: after this key, in this range.
#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    from: i64,
    to: i64,
    sort: Sort,
    ascending: bool,
    q: String,
    key: String,
    trace_id: String,
}

impl Cursor {
    fn encode(&self) -> String {
        hex::encode(serde_json::to_vec(self).expect("a cursor is plain data"))
    }

    fn decode(text: &str, request: &ListRequest) -> Result<Self, QueryError> {
        let bytes = hex::decode(text).ok();
        let cursor: Self = bytes
            .and_then(|b| serde_json::from_slice(&b).ok())
            .ok_or_else(|| QueryError::invalid("not a cursor").found(text).expected("the `next_cursor` of the page before"))?;
        if (cursor.sort, cursor.ascending, cursor.q.as_str())
            != (request.sort, request.ascending, request.filter.to_string().as_str())
        {
            return Err(QueryError::invalid("the cursor belongs to another list")
                .expected("the same `q`, `sort` and `order` as on the page before"));
        }
        let key_is_number = cursor.key.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '.'));
        if !key_is_number {
            return Err(QueryError::invalid("not a cursor").found(text));
        }
        Ok(cursor)
    }
}

/// A page of the list.
pub(crate) async fn list(reader: &Reader<'_>, request: &ListRequest) -> Result<TraceList, QueryError> {
    let started = Instant::now();
    let cursor = request.cursor.as_deref().map(|text| Cursor::decode(text, request)).transpose()?;
    let density = Density::of(reader);
    let (from, to) = match &cursor {
        Some(cursor) => (cursor.from, cursor.to),
        None => (request.from.unwrap_or(i64::MIN).max(density.earliest()), request.to),
    };
    let page = Page { request, cursor: cursor.as_ref(), from, to };
    let mut keys = page.keys(reader, &density).await?;
    let more = keys.len() > request.limit;
    keys.truncate(request.limit);

    let next_cursor = keys.last().filter(|_| more).map(|(trace_id, key)| {
        let (trace_id, key) = (trace_id.clone(), key.clone());
        let cursor =
            Cursor { from, to, sort: request.sort, ascending: request.ascending, q: request.filter.to_string(), key, trace_id };
        cursor.encode()
    });
    let traces = page.summaries(reader, &keys).await?;
    Ok(TraceList { traces, next_cursor, sql: page.sql(), elapsed_ms: started.elapsed().as_secs_f64() * 1e3 })
}

struct Page<'a> {
    request: &'a ListRequest,
    cursor: Option<&'a Cursor>,
    from: i64,
    to: i64,
}

impl Page<'_> {
    /// Trace ids and sort keys of the page, and one more if there is a next page.
    async fn keys(&self, reader: &Reader<'_>, density: &Density) -> Result<Vec<(String, String)>, QueryError> {
        let wanted = self.request.limit + 1;
        if self.from >= self.to {
            return Ok(Vec::new());
        }
        let newest_first = self.request.sort == Sort::StartTime && !self.request.ascending;
        if !newest_first {
            let filter = self.request.filter.sql();
            let matching = match filter.as_deref() {
                Some(filter) => sums::matching(reader, sums::Range { from: self.from, to: self.to }, filter).await?.map(Arc::new),
                None => None,
            };
            return self.keys_since(reader, self.from, filter.is_some(), matching.as_ref()).await;
        }
        self.newest_keys(reader, density, wanted).await
    }

    /// As [`Page::keys`], looking at the newest spans first and at older ones until the page is full.
    async fn newest_keys(
        &self,
        reader: &Reader<'_>,
        density: &Density,
        wanted: usize,
    ) -> Result<Vec<(String, String)>, QueryError> {
        // Nothing of the page is newer than the cursor.
        let end = self.cursor.and_then(|c| c.key.parse().ok()).map_or(self.to, |key: i64| self.to.min(key + 1));
        let filter = self.request.filter.sql();
        // Traces that match in what was looked at so far; `None` once they are too many.
        let mut matching = Some(Vec::new());
        let (mut spans, mut looked_at) = (FIRST_LOOK_SPANS, self.to);
        loop {
            let since = density.start_of_last(spans, end).max(self.from);
            if let (Some(filter), Some(mut known)) = (filter.as_deref(), matching.take()) {
                matching = sums::matching(reader, sums::Range { from: since, to: looked_at }, filter).await?.map(|more| {
                    known.extend(more);
                    known.sort_unstable();
                    known.dedup();
                    known
                });
                looked_at = since;
            }
            let found = matching.clone().filter(|_| filter.is_some()).map(Arc::new);
            let mut keys = self.keys_since(reader, since, filter.is_some(), found.as_ref()).await?;
            if since == self.from {
                return Ok(keys);
            }
            let before = sums::Range { from: self.from, to: since };
            let older = sums::with_spans_in(reader, before, keys.iter().map(|(id, _)| id.as_str())).await?;
            keys.retain(|(trace_id, _)| !older.contains(trace_id));
            if keys.len() >= wanted {
                return Ok(keys);
            }
            spans = spans.saturating_mul(WIDENING);
        }
    }

    /// The keys of the page among the traces with spans since `since`: of those `matching`, where the list is `filtered`.
    async fn keys_since(
        &self,
        reader: &Reader<'_>,
        since: i64,
        filtered: bool,
        matching: Option<&Arc<Vec<TraceKey>>>,
    ) -> Result<Vec<(String, String)>, QueryError> {
        if !filtered || matching.is_some() {
            let keys = self.keys_of_sums(reader, since, matching.map(Arc::clone)).await?;
            if let Some(keys) = keys {
                return Ok(keys);
            }
        }
        self.keys_of_sql(reader, since).await
    }

    /// The keys of the page from what the traces add up to; `None` if that cannot be done.
    async fn keys_of_sums(
        &self,
        reader: &Reader<'_>,
        since: i64,
        matching: Option<Arc<Vec<TraceKey>>>,
    ) -> Result<Option<Vec<(String, String)>>, QueryError> {
        let (sort, ascending, wanted) = (self.request.sort, self.request.ascending, self.request.limit + 1);
        // The greatest rank comes first, and the page begins below that of the cursor.
        let rank = move |key: i128, trace: TraceKey| {
            let trace = u128::from_be_bytes(trace);
            if ascending { (-key, !trace) } else { (key, trace) }
        };
        let below = match self.cursor {
            None => None,
            Some(cursor) => match sort.number(&cursor.key) {
                Some(key) => Some(rank(key, trace_key_of(&cursor.trace_id))),
                None => return Ok(None),
            },
        };
        let each = move |page: &mut BinaryHeap<Reverse<(i128, u128)>>, trace: TraceKey, sum: &TraceSum| {
            let rank = rank(sort.of(sum), trace);
            if below.is_some_and(|below| rank >= below)
                || (page.len() == wanted && page.peek().is_some_and(|last| rank <= last.0))
            {
                return;
            }
            page.push(Reverse(rank));
            if page.len() > wanted {
                page.pop();
            }
        };
        let range = sums::Range { from: since, to: self.to };
        let page = sums::fold_matching(reader, range, matching, BinaryHeap::new(), each).await?;
        let key = |Reverse((key, trace)): Reverse<(i128, u128)>| {
            let (key, trace) = if ascending { (-key, !trace) } else { (key, trace) };
            (hex::encode(trace.to_be_bytes()), sort.text(key))
        };
        Ok(page.map(|page| page.into_sorted_vec().into_iter().map(key).collect()))
    }

    async fn keys_of_sql(&self, reader: &Reader<'_>, since: i64) -> Result<Vec<(String, String)>, QueryError> {
        let sql = format!("{} LIMIT {}", self.keys_sql(since), self.request.limit + 1);
        let rows = reader.rows(&sql, self.request.limit + 1).await?;
        let text = |row: &Map<String, Value>, name: &str| match &row[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Ok(rows.iter().map(|row| (text(row, "trace_id"), text(row, "key"))).collect())
    }

    fn keys_sql(&self, since: i64) -> String {
        let range = between(since, self.to);
        let matching = match self.request.filter.sql() {
            Some(filter) => format!(" AND trace_id IN (SELECT trace_id FROM spans WHERE {range} AND {filter})"),
            None => String::new(),
        };
        let (order, beyond) = if self.request.ascending { ("ASC", ">") } else { ("DESC", "<") };
        let key = self.request.sort.key();
        let after = match self.cursor {
            Some(cursor) => {
                let (last, id) = (self.request.sort.literal(&cursor.key), quoted(&cursor.trace_id));
                format!(" HAVING {key} {beyond} {last} OR ({key} = {last} AND trace_id {beyond} {id})")
            }
            None => String::new(),
        };
        format!(
            "SELECT trace_id, {key} AS key FROM spans WHERE {range}{matching} GROUP BY trace_id{after} ORDER BY key {order}, trace_id {order}"
        )
    }

    async fn summaries(&self, reader: &Reader<'_>, keys: &[(String, String)]) -> Result<Vec<TraceSummary>, QueryError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let ids = literals(keys.iter().map(|(id, _)| id.as_str()));
        let mut found = reader.summaries(&summary_sql(&format!("trace_id IN ({ids})")), keys.len()).await?;
        let place = |trace: &TraceSummary| keys.iter().position(|(id, _)| *id == trace.trace_id);
        found.sort_by_key(place);
        Ok(found)
    }

    /// SQL that gives the page as it is shown.
    fn sql(&self) -> String {
        let ids = format!("{} LIMIT {}", self.keys_sql(self.from), self.request.limit);
        let condition = format!("trace_id IN (SELECT trace_id FROM ({ids}) AS page)");
        let order = if self.request.ascending { "ASC" } else { "DESC" };
        let by = match self.request.sort {
            Sort::StartTime => "start_time",
            Sort::DurationNs => "duration_ns",
            Sort::CostUsd => "coalesce(cost_usd, -1)",
            Sort::InputTokens => "coalesce(input_tokens, -1)",
            Sort::OutputTokens => "coalesce(output_tokens, -1)",
            Sort::SpanCount => "span_count",
            Sort::ErrorCount => "error_count",
        };
        format!("{}\nORDER BY {by} {order}, trace_id {order}", summary_sql(&condition))
    }
}

/// Traces, errors, cost and durations over time. A trace is counted where its earliest span in the range begins, root or not.
pub(crate) async fn strip(
    reader: &Reader<'_>,
    from: Option<i64>,
    to: i64,
    filter: &Filter,
    buckets: usize,
) -> Result<Strip, QueryError> {
    let from = from.unwrap_or_else(|| Density::of(reader).earliest()).min(to - 1);
    let width = (to - from) / buckets as i64 + i64::from((to - from) % buckets as i64 != 0);
    let width = width.max(1);
    let filter = filter.sql();
    let sql = strip_sql(from, to, filter.as_deref(), width);
    let each = move |counted: &mut Vec<Bucket>, _: TraceKey, sum: &TraceSum| {
        let nth = (sum.start_ns.div_euclid(1000) - from) / width;
        if let Some(bucket) = usize::try_from(nth).ok().and_then(|nth| counted.get_mut(nth)) {
            bucket.add(sum);
        }
    };
    let start = |nth: usize| {
        let time = chrono::DateTime::from_timestamp_micros(from + nth as i64 * width);
        time.map_or_else(String::new, |t| t.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true))
    };
    let empty = vec![Bucket::default(); buckets];
    let filled = match sums::fold(reader, sums::Range { from, to }, filter.as_deref(), empty, each).await? {
        Some(counted) => counted.into_iter().enumerate().map(|(nth, bucket)| bucket.finish(start(nth))).collect(),
        None => {
            let mut filled: Vec<_> = (0..buckets).map(|nth| Bucket::default().finish(start(nth))).collect();
            for row in reader.rows(&sql, buckets + 1).await? {
                let nth = row["bucket"].as_u64().and_then(|nth| usize::try_from(nth).ok());
                let Some(bucket) = nth.and_then(|nth| filled.get_mut(nth)) else { continue };
                bucket.traces = row["traces"].as_i64().unwrap_or(0);
                bucket.errors = row["errors"].as_i64().unwrap_or(0);
                bucket.cost_usd = row["cost_usd"].as_str().map(ToOwned::to_owned);
                bucket.p50_ns = row["p50_ns"].as_f64();
                bucket.p95_ns = row["p95_ns"].as_f64();
            }
            filled
        }
    };
    Ok(Strip { buckets: filled, bucket_ns: width.saturating_mul(1000), sql })
}

fn strip_sql(from: i64, to: i64, filter: Option<&str>, width: i64) -> String {
    let range = between(from, to);
    let matching = match filter {
        Some(filter) => format!(" AND trace_id IN (SELECT trace_id FROM spans WHERE {range} AND {filter})"),
        None => String::new(),
    };
    let columns = [
        ("start", Sort::StartTime.key()),
        ("duration_ns", Sort::DurationNs.key()),
        ("errors", Sort::ErrorCount.key()),
        ("cost_usd", "sum(cost_usd) FILTER (WHERE counted)"),
    ];
    let columns = columns.map(|(name, sql)| format!("{sql} AS {name}")).join(", ");
    format!(
        "SELECT (start - ({from})) / {width} AS bucket, count(*) AS traces, count(*) FILTER (WHERE errors > 0) AS errors, \
         sum(cost_usd) AS cost_usd, percentile_cont(duration_ns, 0.5) AS p50_ns, percentile_cont(duration_ns, 0.95) AS p95_ns\n\
         FROM (SELECT {columns} FROM spans WHERE {range}{matching} GROUP BY trace_id) AS traces\nGROUP BY 1 ORDER BY 1"
    )
}

/// The traces of one bucket of the strip.
#[derive(Clone, Default)]
struct Bucket {
    errors: i64,
    cost: Option<i128>,
    durations: Vec<f64>,
}

impl Bucket {
    fn add(&mut self, trace: &TraceSum) {
        self.errors += i64::from(trace.errors > 0);
        if let Some(cost) = trace.cost {
            *self.cost.get_or_insert(0) += cost;
        }
        self.durations.push(trace.end_ns.wrapping_sub(trace.start_ns) as f64);
    }

    fn finish(mut self, start: String) -> StripBucket {
        StripBucket {
            start,
            traces: self.durations.len() as i64,
            errors: self.errors,
            cost_usd: self.cost.map(|cost| decimal_text(cost, MONEY_SCALE)),
            p50_ns: sums::percentile(&mut self.durations, 0.5),
            p95_ns: sums::percentile(&mut self.durations, 0.95),
        }
    }
}

/// A predicate: start time in the range, its end left out.
pub(crate) fn between(from: i64, to: i64) -> String {
    format!("start_time >= {} AND start_time < {}", literal(from), literal(to))
}

pub(super) fn literals<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    ids.map(quoted).collect::<Vec<_>>().join(", ")
}

/// How spans are spread over time, from what is known about files and batches without reading them.
struct Density {
    /// First and last time, and the spans between them.
    parts: Vec<(i64, i64, u64)>,
}

impl Density {
    fn of(reader: &Reader<'_>) -> Self {
        let files = reader.view.files(TableId::Spans, reader.project);
        let mut parts: Vec<_> = files.iter().filter_map(|f| Some((f.time_min?, f.time_max?, f.rows))).collect();
        let days = reader.view.stored().into_iter().flat_map(|stored| stored.days(TableId::Spans, reader.project));
        parts.extend(days.map(|day| (day.time_min, day.time_max, day.rows)));
        for batch in reader.view.hot(TableId::Spans, reader.project) {
            let times =
                batch.column_by_name("start_time").expect("spans have a start").as_primitive::<TimestampMicrosecondType>();
            parts.extend(min(times).zip(max(times)).map(|(first, last)| (first, last, batch.num_rows() as u64)));
        }
        Self { parts }
    }

    /// The earliest span; the end of time if there is none.
    fn earliest(&self) -> i64 {
        self.parts.iter().map(|(first, ..)| *first).min().unwrap_or(i64::MAX)
    }

    /// A time such that about `spans` spans lie between it and `end`.
    fn start_of_last(&self, spans: u64, end: i64) -> i64 {
        let (mut low, mut high) = (self.earliest().min(end), end);
        while high - low > 1_000_000 {
            let middle = low + (high - low) / 2;
            if self.between(middle, end) >= spans as f64 { low = middle } else { high = middle }
        }
        low
    }

    fn between(&self, from: i64, to: i64) -> f64 {
        let share = |(first, last, spans): &(i64, i64, u64)| {
            let overlap = (*last).min(to).saturating_sub((*first).max(from)).saturating_add(1).max(0);
            *spans as f64 * overlap as f64 / last.saturating_sub(*first).saturating_add(1) as f64
        };
        self.parts.iter().map(share).sum()
    }
}
