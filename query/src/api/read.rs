//! The read models over HTTP: trace list, strip, trace, span, schema, status, unpriced models.
//!
//! What all operations share in the document, the project header and the problems of every question, `document` adds.

use assay_storage::StorageStatus;
use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{ApiState, DemoStatus, Problem, Project};
use crate::{
    filter::Filter,
    functions::FunctionDoc,
    information_schema::TableDoc,
    time_range,
    traces::{self, ListRequest, Reader, Sort, Strip, TraceList, TracePage, between},
};

const LIST_LIMIT_DEFAULT: usize = 50;
const LIST_LIMIT_MAX: usize = 500;
pub(super) const BUCKETS_DEFAULT: usize = 60;
pub(super) const BUCKETS_MAX: usize = 1000;

/// A time range and a filter.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RangeParams {
    /// Begin of the range: RFC 3339, `now-15m` or `-3d`. Default: the earliest span.
    from: Option<String>,
    /// End of the range, left out of it. Default: now.
    to: Option<String>,
    /// Filter, e.g. `service:api model:gpt-4o|claude* (cost:>0.01 OR has:error) -tool:search "refund"`.
    q: Option<String>,
}

/// A time range in microseconds since 1970, its end left out, and a filter.
pub(super) struct Range {
    pub(super) from: Option<i64>,
    pub(super) to: i64,
    pub(super) filter: Filter,
}

impl RangeParams {
    pub(super) fn read(&self) -> Result<Range, Problem> {
        let now = Utc::now().timestamp_micros();
        let from = self.from.as_deref().filter(|t| !t.is_empty()).map(|t| time_range::parse(t, now)).transpose()?;
        // Spans that began in this very microsecond, or whose sender's clock is a little ahead, belong to "until now".
        let to = match self.to.as_deref().filter(|t| !t.is_empty() && *t != "now") {
            Some(to) => time_range::parse(to, now)?,
            None => now + 60_000_000,
        };
        let filter = Filter::parse(self.q.as_deref().unwrap_or(""))?;
        Ok(Range { from, to, filter })
    }
}

/// How a page of the list is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Sort key. Default `start_time`.
    #[serde(default)]
    sort: Sort,
    /// `desc` (default) or `asc`.
    #[serde(default)]
    order: Order,
    /// Traces of a page, 1 to 500. Default 50.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Direction of an order.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    /// Smallest first.
    Asc,
    /// Largest first.
    #[default]
    Desc,
}

/// Traces of a time range, page by page.
#[utoipa::path(
    get,
    path = "/api/v1/traces",
    params(RangeParams, ListParams),
    responses((status = 200, body = TraceList))
)]
pub(crate) async fn traces(
    State(state): State<ApiState>,
    Project(project): Project,
    range: Result<Query<RangeParams>, QueryRejection>,
    list: Result<Query<ListParams>, QueryRejection>,
) -> Result<Json<TraceList>, Problem> {
    let (range, list) = (range?.0.read()?, list?.0);
    let limit = list.limit.unwrap_or(LIST_LIMIT_DEFAULT).clamp(1, LIST_LIMIT_MAX);
    let ascending = list.order == Order::Asc;
    let request = ListRequest {
        from: range.from,
        to: range.to,
        filter: range.filter,
        sort: list.sort,
        ascending,
        limit,
        cursor: list.cursor,
    };
    Ok(Json(traces::list(&Reader::new(&state.engine, &project), &request).await?))
}

/// How fine the strip is.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct StripParams {
    /// Buckets, 1 to 1000. Default 60.
    buckets: Option<usize>,
}

/// Traces, errors, cost and durations over time.
#[utoipa::path(
    get,
    path = "/api/v1/traces/strip",
    params(RangeParams, StripParams),
    responses((status = 200, body = Strip))
)]
pub(crate) async fn strip(
    State(state): State<ApiState>,
    Project(project): Project,
    range: Result<Query<RangeParams>, QueryRejection>,
    strip: Result<Query<StripParams>, QueryRejection>,
) -> Result<Json<Strip>, Problem> {
    let (range, strip) = (range?.0.read()?, strip?.0);
    let buckets = strip.buckets.unwrap_or(BUCKETS_DEFAULT).clamp(1, BUCKETS_MAX);
    let reader = Reader::new(&state.engine, &project);
    Ok(Json(traces::strip(&reader, range.from, range.to, &range.filter, buckets).await?))
}

/// A trace with its spans.
#[utoipa::path(
    get,
    path = "/api/v1/traces/{trace_id}",
    params(("trace_id" = String, Path, description = "32 hex digits")),
    responses((status = 200, body = TracePage), (status = 404, body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn trace(
    State(state): State<ApiState>,
    Project(project): Project,
    Path(trace_id): Path<String>,
) -> Result<Json<TracePage>, Problem> {
    Ok(Json(traces::trace(&Reader::new(&state.engine, &project), &trace_id.to_lowercase()).await?))
}

/// Everything that SQL can name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Schema {
    tables: Vec<TableDoc>,
    functions: Vec<FunctionDoc>,
}

/// Tables, views, their columns, and functions, with documentation.
#[utoipa::path(
    get,
    path = "/api/v1/schema",
    responses((status = 200, body = Schema))
)]
pub(crate) async fn schema(State(state): State<ApiState>, Project(project): Project) -> Result<Json<Schema>, Problem> {
    Ok(Json(Schema { tables: state.engine.tables(&project).await?, functions: state.engine.functions() }))
}

/// How the server does.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// Version of the server.
    version: &'static str,
    /// Project asked about.
    project: String,
    /// When the server started.
    started_at: String,
    /// When the last span or log record of the project was received.
    last_received_at: Option<String>,
    /// The store, all projects together.
    #[schema(value_type = Object)]
    storage: StorageStatus,
    /// Spans of the project.
    spans: i64,
    /// Demo traffic.
    demo: DemoStatus,
}

/// State of the server and its store.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    responses((status = 200, body = Status))
)]
pub(crate) async fn status(State(state): State<ApiState>, Project(project): Project) -> Result<Json<Status>, Problem> {
    let reader = Reader::new(&state.engine, &project);
    let sql = "SELECT (SELECT count(*) FROM spans) AS spans, \
               (SELECT max(received_at) FROM spans) AS last_span, (SELECT max(received_at) FROM logs) AS last_log";
    let row = reader.rows(sql, 1).await?.pop().unwrap_or_default();
    let time = |name: &str| row.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    Ok(Json(Status {
        version: state.version,
        project: project.to_string(),
        started_at: state.started_at.to_rfc3339_opts(SecondsFormat::Nanos, true),
        last_received_at: time("last_span").max(time("last_log")),
        storage: state.engine.storage().status(),
        spans: row.get("spans").and_then(Value::as_i64).unwrap_or(0),
        demo: (state.demo)(),
    }))
}

/// Models without a price.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Unpriced {
    /// The most called first.
    models: Vec<UnpricedModel>,
    /// SQL that gives these rows.
    sql: String,
}

/// A model without a price.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UnpricedModel {
    provider: Option<String>,
    model: Option<String>,
    /// Calls that could not be priced.
    calls: i64,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    /// Start of the last such call.
    last_seen: Option<String>,
}

/// Models that were called and have no price, with their volume.
#[utoipa::path(
    get,
    path = "/api/v1/unpriced",
    params(RangeParams),
    responses((status = 200, body = Unpriced))
)]
pub(crate) async fn unpriced(
    State(state): State<ApiState>,
    Project(project): Project,
    range: Result<Query<RangeParams>, QueryRejection>,
) -> Result<Json<Unpriced>, Problem> {
    let range = range?.0.read()?;
    let sql = format!(
        "SELECT provider, coalesce(response_model, request_model) AS model, count(*) AS calls, sum(input_tokens) AS input_tokens, \
         sum(output_tokens) AS output_tokens, max(start_time) AS last_seen\nFROM llm_calls\n\
         WHERE cost_source = 'unpriced' AND {}\nGROUP BY 1, 2\nORDER BY calls DESC, model LIMIT 1000",
        between(range.from.unwrap_or(i64::MIN), range.to)
    );
    let rows = Reader::new(&state.engine, &project).rows(&sql, 1000).await?;
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let model = |row: &serde_json::Map<String, Value>| UnpricedModel {
        provider: text(&row["provider"]),
        model: text(&row["model"]),
        calls: row["calls"].as_i64().unwrap_or(0),
        input_tokens: row["input_tokens"].as_i64(),
        output_tokens: row["output_tokens"].as_i64(),
        last_seen: text(&row["last_seen"]),
    };
    Ok(Json(Unpriced { models: rows.iter().map(model).collect(), sql }))
}
