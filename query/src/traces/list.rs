//! The trace list, page by page, and the time strip above it.

use std::{collections::HashSet, time::Instant};

use arrow::{
    array::AsArray as _,
    compute::{max, min},
    datatypes::TimestampMicrosecondType,
};
use assay_schemas::tables::TableId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Reader, Strip, StripBucket, TraceList, TraceSummary, summary_sql};
use crate::{
    error::QueryError,
    filter::{Filter, quoted},
    time_range::literal,
};

/// Spans that the first look of a newest-first page should cover; each further look covers [`WIDENING`] times as many.
const FIRST_LOOK_SPANS: u64 = 50_000;
const WIDENING: u64 = 8;

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
            Self::SpanCount => "count(*)",
            Self::ErrorCount => "count(*) FILTER (WHERE status_code = 'ERROR')",
        }
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
            return self.keys_since(reader, self.from).await;
        }
        // Nothing of the page is newer than the cursor.
        let end = self.cursor.and_then(|c| c.key.parse().ok()).map_or(self.to, |key: i64| self.to.min(key + 1));
        let mut spans = FIRST_LOOK_SPANS;
        loop {
            let since = density.start_of_last(spans, end).max(self.from);
            let mut keys = self.keys_since(reader, since).await?;
            if since == self.from {
                return Ok(keys);
            }
            let older = self.begun_before(reader, since, &keys).await?;
            keys.retain(|(trace_id, _)| !older.contains(trace_id));
            if keys.len() >= wanted {
                return Ok(keys);
            }
            spans = spans.saturating_mul(WIDENING);
        }
    }

    async fn keys_since(&self, reader: &Reader<'_>, since: i64) -> Result<Vec<(String, String)>, QueryError> {
        let sql = format!("{} LIMIT {}", self.keys_sql(since), self.request.limit + 1);
        let rows = reader.rows(&sql, self.request.limit + 1).await?;
        let text = |row: &Map<String, Value>, name: &str| match &row[name] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Ok(rows.iter().map(|row| (text(row, "trace_id"), text(row, "key"))).collect())
    }

    /// Those of `keys` that have spans between the start of the range and `since`.
    async fn begun_before(
        &self,
        reader: &Reader<'_>,
        since: i64,
        keys: &[(String, String)],
    ) -> Result<HashSet<String>, QueryError> {
        if keys.is_empty() {
            return Ok(HashSet::new());
        }
        let sql = format!(
            "SELECT DISTINCT trace_id FROM spans WHERE {} AND trace_id IN ({})",
            between(self.from, since),
            literals(keys.iter().map(|(id, _)| id.as_str()))
        );
        let rows = reader.rows(&sql, keys.len()).await?;
        Ok(rows.iter().filter_map(|row| row["trace_id"].as_str().map(ToOwned::to_owned)).collect())
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

/// Traces, errors, cost and durations over time.
pub(crate) async fn strip(
    reader: &Reader<'_>,
    from: Option<i64>,
    to: i64,
    filter: &Filter,
    buckets: usize,
) -> Result<Strip, QueryError> {
    let from = from.unwrap_or_else(|| Density::of(reader).earliest()).min(to - 1);
    let buckets = buckets as i64;
    let width = ((to - from) / buckets + i64::from((to - from) % buckets != 0)).max(1);
    let range = between(from, to);
    let matching = match filter.sql() {
        Some(filter) => format!(" AND trace_id IN (SELECT trace_id FROM spans WHERE {range} AND {filter})"),
        None => String::new(),
    };
    let sql = format!(
        "SELECT (arrow_cast(start_time, 'Int64') - ({from})) / {width} AS bucket, \
         count(*) FILTER (WHERE parent_span_id IS NULL) AS traces, \
         count(DISTINCT trace_id) FILTER (WHERE status_code = 'ERROR') AS errors, \
         sum(cost_usd) FILTER (WHERE counted) AS cost_usd, \
         CAST(approx_percentile_cont(duration_ns, 0.5) FILTER (WHERE parent_span_id IS NULL) AS DOUBLE) AS p50_ns, \
         CAST(approx_percentile_cont(duration_ns, 0.95) FILTER (WHERE parent_span_id IS NULL) AS DOUBLE) AS p95_ns\n\
         FROM spans WHERE {range}{matching}\nGROUP BY 1 ORDER BY 1"
    );
    let start = |bucket: i64| {
        let time = chrono::DateTime::from_timestamp_micros(from + bucket * width);
        time.map_or_else(String::new, |t| t.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true))
    };
    let empty = |bucket| StripBucket { start: start(bucket), traces: 0, errors: 0, cost_usd: None, p50_ns: None, p95_ns: None };
    let mut filled: Vec<StripBucket> = (0..buckets).map(empty).collect();
    for row in reader.rows(&sql, filled.len() + 1).await? {
        let Some(bucket) = row["bucket"].as_u64().and_then(|b| filled.get_mut(usize::try_from(b).ok()?)) else { continue };
        bucket.traces = row["traces"].as_i64().unwrap_or(0);
        bucket.errors = row["errors"].as_i64().unwrap_or(0);
        bucket.cost_usd = row["cost_usd"].as_str().map(ToOwned::to_owned);
        bucket.p50_ns = row["p50_ns"].as_f64();
        bucket.p95_ns = row["p95_ns"].as_f64();
    }
    Ok(Strip { buckets: filled, bucket_ns: width * 1000, sql })
}

/// A predicate: start time in the range, its end left out.
pub(crate) fn between(from: i64, to: i64) -> String {
    format!("start_time >= {} AND start_time < {}", literal(from), literal(to))
}

fn literals<'a>(ids: impl Iterator<Item = &'a str>) -> String {
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
