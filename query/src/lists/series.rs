//! A measure over time, as a whole or by what it is grouped by.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Scope;
use crate::{error::QueryError, filter::Filter, traces::Reader};

/// Groups that get a series each; the rest is left out.
const SERIES_MAX: usize = 10;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// Cost of the priced calls, US dollars as text; null where none is priced.
    CostUsd,
    /// Calls of models.
    LlmCalls,
    /// Spans and calls that failed.
    Errors,
    /// Prompt and answer tokens of the calls.
    Tokens,
    /// 95th percentile of the durations of calls, nanoseconds; null where there is no call.
    P95Ns,
}

impl Measure {
    fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::Errors => ("steps", " AND (status_code = 'ERROR' OR error_type IS NOT NULL)"),
            _ => ("llm_calls", ""),
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::CostUsd => "sum(cost_usd)",
            Self::LlmCalls | Self::Errors => "count(*)",
            Self::Tokens => "coalesce(sum(input_tokens), 0) + coalesce(sum(output_tokens), 0)",
            Self::P95Ns => "CAST(percentile_cont(duration_ns, 0.95) AS BIGINT)",
        }
    }

    /// What a bucket without rows has.
    fn none(self) -> Option<Point> {
        match self {
            Self::CostUsd | Self::P95Ns => None,
            Self::LlmCalls | Self::Errors | Self::Tokens => Some(Point::Number(0)),
        }
    }
}

/// What the series are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum By {
    /// One series over everything.
    #[default]
    None,
    /// Model that answered, else the one asked for.
    Model,
    /// Service.
    ServiceName,
    /// User.
    UserId,
}

impl By {
    fn sql(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Model => Some("coalesce(response_model, request_model)"),
            Self::ServiceName => Some("service_name"),
            Self::UserId => Some("user_id"),
        }
    }
}

/// Series of one measure.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Series {
    /// The largest first; at most 10.
    pub(crate) series: Vec<OneSeries>,
    /// Start of the first bucket.
    pub(crate) start: String,
    /// Width of a bucket, nanoseconds.
    pub(crate) bucket_ns: i64,
    /// SQL that gives these numbers; its `bucket` counts from 0.
    pub(crate) sql: String,
}

/// One series.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OneSeries {
    /// What it is of; null if that is unknown, and for the series over everything.
    pub(crate) name: Option<String>,
    /// A value for each bucket; null if it is unknown.
    pub(crate) points: Vec<Option<Point>>,
}

/// A value of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Point {
    /// A count or nanoseconds.
    Number(i64),
    /// US dollars, as text, so that no digit is lost.
    Money(String),
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct SeriesRequest {
    pub(crate) measure: Measure,
    pub(crate) by: By,
    /// Begin of the range, microseconds since 1970; the earliest row if none.
    pub(crate) from: Option<i64>,
    /// End of the range, left out of it.
    pub(crate) to: i64,
    pub(crate) filter: Filter,
    pub(crate) buckets: usize,
}

/// The series of a measure.
pub(crate) async fn series(reader: &Reader<'_>, request: &SeriesRequest) -> Result<Series, QueryError> {
    let to = request.to;
    let from = match request.from {
        Some(from) => from,
        None => earliest(reader).await?.unwrap_or(to - 1),
    };
    let from = from.min(to - 1);
    let buckets = i64::try_from(request.buckets).unwrap_or(1).max(1);
    let width = ((to - from) / buckets + i64::from((to - from) % buckets != 0)).max(1);
    let sql = sql(request, &Scope::new(Some(from), to, &request.filter), from, width);
    let mut series: BTreeMap<Option<String>, Vec<Option<Point>>> = BTreeMap::new();
    if request.by == By::None {
        series.insert(None, vec![request.measure.none(); request.buckets]);
    }
    for row in reader.rows(&sql, (SERIES_MAX + 1) * (request.buckets + 1)).await? {
        let name = row.get("name").and_then(Value::as_str).map(ToOwned::to_owned);
        let points = series.entry(name).or_insert_with(|| vec![request.measure.none(); request.buckets]);
        if let Some(point) = row["bucket"].as_u64().and_then(|b| points.get_mut(usize::try_from(b).ok()?)) {
            *point = match &row["value"] {
                Value::String(money) => Some(Point::Money(money.clone())),
                Value::Number(number) => number.as_i64().map(Point::Number),
                _ => None,
            };
        }
    }
    let mut series: Vec<_> = series.into_iter().map(|(name, points)| OneSeries { name, points }).collect();
    series.sort_by(|a, b| size(&b.points).total_cmp(&size(&a.points)));
    let start = DateTime::<Utc>::from_timestamp_micros(from).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Nanos, true);
    Ok(Series { series, start, bucket_ns: width.saturating_mul(1000), sql })
}

fn sql(request: &SeriesRequest, scope: &Scope, from: i64, width: i64) -> String {
    let (table, only) = request.measure.source();
    let (measure, rows) = (request.measure.sql(), format!("{}{only}", scope.rows()));
    let bucket = format!("(arrow_cast(start_time, 'Int64') - ({from})) / {width}");
    let Some(by) = request.by.sql() else {
        return format!("SELECT {bucket} AS bucket, {measure} AS value\nFROM {table} WHERE {rows}\nGROUP BY 1 ORDER BY 1");
    };
    format!(
        "SELECT {bucket} AS bucket, {by} AS name, {measure} AS value\nFROM {table} WHERE {rows}\n\
         AND coalesce({by}, '') IN (SELECT name FROM (SELECT coalesce({by}, '') AS name, {measure} AS value FROM {table} WHERE {rows} GROUP BY 1) AS largest \
         ORDER BY value DESC NULLS LAST, name LIMIT {SERIES_MAX})\nGROUP BY 1, 2 ORDER BY 2, 1"
    )
}

/// How much a series weighs beside others: only an order, so a float will do.
fn size(points: &[Option<Point>]) -> f64 {
    let number = |point: &Point| match point {
        Point::Number(number) => *number as f64,
        Point::Money(text) => text.parse().unwrap_or(0.0),
    };
    points.iter().flatten().map(number).sum()
}

async fn earliest(reader: &Reader<'_>) -> Result<Option<i64>, QueryError> {
    let rows = reader.rows("SELECT arrow_cast(min(start_time), 'Int64') AS first FROM steps", 1).await?;
    Ok(rows.first().and_then(|row| row["first"].as_i64()))
}
