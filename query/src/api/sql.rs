//! `POST /api/v1/sql`: any question, in five formats, streamed; the queries that run, stopping one, and how one is answered.

use std::{io, time::Duration};

use assay_schemas::ids::ProjectId;
use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State, rejection::JsonRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use datafusion::common::ScalarValue;
use futures::stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ApiState, Problem, Project};
use crate::{
    engine::{Answer, Ask, Explanation, Params},
    error::{QueryError, QueryErrorKind},
    format::{EncodeAnswerError, Encoder, Format, time_text},
    running::{QuerySource, RunningQuery},
};

/// Names the query of an answer.
const QUERY_ID: HeaderName = HeaderName::from_static("x-assay-query-id");
const COMPLETE_UNTIL: HeaderName = HeaderName::from_static("x-assay-complete-until");

/// A question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlRequest {
    /// One statement that reads: `SELECT`, `WITH`, `VALUES`, `EXPLAIN`, `SHOW TABLES`, `SHOW COLUMNS FROM t`, `DESCRIBE t`.
    query: String,
    /// Values for `$1`, `$2`, … (a list) or `$name` (an object). They are bound, never written into the text.
    #[schema(value_type = Option<Object>)]
    params: Option<Value>,
    /// Most rows wanted; `stats.truncated` says whether there were more. Default 10 000, for the other formats the server's maximum.
    row_limit: Option<usize>,
    /// Longest time in milliseconds, waiting and streaming included. At most, and by default, the server's maximum.
    timeout_ms: Option<u64>,
    /// Name of the query while it runs, for stopping it. Made if left out; the header `X-Assay-Query-Id` of the answer has it.
    #[schema(value_type = Option<String>)]
    query_id: Option<Uuid>,
}

/// An answer in JSON. Decimals are text, times RFC 3339 in UTC, 64-bit integers numbers, NaN and infinities text.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the encoder streams")]
pub(crate) struct SqlAnswer {
    columns: Vec<SqlColumn>,
    #[schema(value_type = Vec<Vec<Object>>)]
    rows: Vec<Vec<Value>>,
    stats: SqlStats,
}

/// A column of an answer.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the encoder streams")]
pub(crate) struct SqlColumn {
    name: String,
    /// SQL type.
    r#type: String,
}

/// What an answer has cost.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what the encoder streams")]
pub(crate) struct SqlStats {
    rows: u64,
    elapsed_ms: f64,
    /// Whether there were more rows than the limit.
    truncated: bool,
    /// Bytes read from files.
    bytes_scanned: u64,
    /// Whatever any node that shares the lake acknowledged before this moment was asked over. Where one node writes, that is when the question came.
    /// Other formats have it in the header `X-Assay-Complete-Until`.
    complete_until: Option<String>,
}

/// Answers a SQL question over the rows of the project. The format follows `Accept`.
#[utoipa::path(
    post,
    path = "/api/v1/sql",
    request_body = SqlRequest,
    responses(
        (status = 200, description = "The rows, streamed", headers(("X-Assay-Query-Id" = String, description = "Name of the query"), ("X-Assay-Complete-Until" = String, description = "As `stats.complete_until`")), content(
            (SqlAnswer = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
            (Vec<u8> = "application/vnd.apache.parquet"),
        )),
        (status = 403, description = "Not a question", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such table", body = Problem, content_type = "application/problem+json"),
        (status = 406, description = "None of our formats is accepted", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It was stopped, or a query with its id runs", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "It needs too much memory, or its answer is too large; an answer that turns out so while it is streamed ends without its proper end", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn sql(
    State(state): State<ApiState>,
    Project(project): Project,
    headers: HeaderMap,
    request: Result<Json<SqlRequest>, JsonRejection>,
) -> Response {
    let query_id = request.as_ref().ok().and_then(|request| request.query_id).unwrap_or_else(Uuid::new_v4);
    let mut response = match answer(&state, &project, &headers, request, query_id).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    let id = HeaderValue::from_str(&query_id.to_string()).expect("a UUID is plain ASCII");
    response.headers_mut().insert(QUERY_ID, id);
    response
}

async fn answer(
    state: &ApiState,
    project: &ProjectId,
    headers: &HeaderMap,
    request: Result<Json<SqlRequest>, JsonRejection>,
    query_id: Uuid,
) -> Result<Response, Problem> {
    let Json(request) = request?;
    let accept = headers.get(header::ACCEPT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let format = Format::negotiate(accept.as_deref()).ok_or_else(|| not_acceptable(accept.as_deref()))?;
    let params = request.params.map(params).transpose()?;
    // A page in a browser must not fill up by accident; a file is asked for whole.
    let config = state.engine.config();
    let row_limit = request.row_limit.or_else(|| (format != Format::Json).then_some(config.row_limit_max));
    let row_limit = row_limit.map(|limit| limit.min(config.row_limit_max));
    let bytes_max = Some(config.answer_bytes_max);
    let timeout = request.timeout_ms.map(Duration::from_millis);
    let (query_id, source) = (Some(query_id), QuerySource::Sql);
    let ask = Ask { sql: request.query, params, row_limit, bytes_max, timeout, query_id, source };
    let mut answer = state.engine.ask(project, ask).await?;
    let complete_until = answer.stats().complete_until;
    // Errors of the first batch still get a proper status.
    let first = answer.next().await?;
    let encode = |error: EncodeAnswerError| QueryError::invalid(chain(&error));
    let (mut encoder, mut head) = Encoder::begin(format, &answer.schema()).map_err(encode)?;
    let streaming = if let Some(batch) = first {
        head.extend(encoder.batch(&batch).map_err(encode)?);
        Some(Streaming { answer, encoder })
    } else {
        head.extend(encoder.finish(&answer.stats()).map_err(encode)?);
        None
    };
    let rest = stream::try_unfold(streaming, next_bytes);
    let body = Body::from_stream(stream_after(head.into(), rest));
    let mut response = (StatusCode::OK, [(header::CONTENT_TYPE, format.media_type())], body).into_response();
    if let Some(until) = complete_until {
        let text = HeaderValue::from_str(&time_text(until)).expect("a time is plain ASCII");
        response.headers_mut().insert(COMPLETE_UNTIL, text);
    }
    Ok(response)
}

/// The queries that run now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunningQueries {
    /// The oldest first.
    queries: Vec<RunningQuery>,
}

/// The queries of the project that run now: SQL that was sent, and the read models of the UI.
#[utoipa::path(get, path = "/api/v1/sql/running", responses((status = 200, body = RunningQueries)))]
pub(crate) async fn running(State(state): State<ApiState>, Project(project): Project) -> Json<RunningQueries> {
    Json(RunningQueries { queries: state.engine.running(&project) })
}

/// Stops a query that runs. Whoever asked it gets the problem `cancelled`, or an answer that breaks off.
#[utoipa::path(
    delete,
    path = "/api/v1/sql/running/{query_id}",
    params(("query_id" = String, Path, description = "As given with the query, or from its header `X-Assay-Query-Id`")),
    responses((status = 204, description = "It is stopped"), (status = 404, description = "No such query runs", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn cancel(
    State(state): State<ApiState>,
    Project(project): Project,
    Path(query_id): Path<String>,
) -> Result<StatusCode, Problem> {
    let stopped = query_id.parse().is_ok_and(|id| state.engine.cancel(&project, id));
    if stopped {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(QueryError::new(QueryErrorKind::NotFound, format!("no query `{query_id}` runs")).found(query_id).into())
}

/// A question to be explained.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainRequest {
    /// One statement that reads; an `EXPLAIN` before it is left out.
    query: String,
    /// Values of its parameters, as for `/api/v1/sql`.
    #[schema(value_type = Option<Object>)]
    params: Option<Value>,
    /// Whether it is run to its end, so that rows and time of each operator are known. Default false.
    #[serde(default)]
    analyze: bool,
}

/// How a question is answered: its plan, what pruning leaves to read, and, if it is run, rows and time of each operator.
#[utoipa::path(
    post,
    path = "/api/v1/sql/explain",
    request_body = ExplainRequest,
    responses(
        (status = 200, body = Explanation),
        (status = 403, description = "Not a question", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such table", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn explain(
    State(state): State<ApiState>,
    Project(project): Project,
    request: Result<Json<ExplainRequest>, JsonRejection>,
) -> Result<Json<Explanation>, Problem> {
    let Json(request) = request?;
    let params = request.params.map(params).transpose()?;
    let ask = Ask { params, source: QuerySource::Sql, ..Ask::new(request.query) };
    Ok(Json(state.engine.explain(&project, ask, request.analyze).await?))
}

struct Streaming {
    answer: Answer,
    encoder: Encoder,
}

/// The next bytes. An error ends the body without its proper end, which every HTTP client notices.
async fn next_bytes(streaming: Option<Streaming>) -> io::Result<Option<(Bytes, Option<Streaming>)>> {
    let Some(mut streaming) = streaming else { return Ok(None) };
    match streaming.answer.next().await.map_err(io::Error::other)? {
        Some(batch) => {
            let bytes = streaming.encoder.batch(&batch).map_err(io::Error::other)?;
            Ok(Some((bytes.into(), Some(streaming))))
        }
        None => {
            let stats = streaming.answer.stats();
            let bytes = streaming.encoder.finish(&stats).map_err(io::Error::other)?;
            Ok(Some((bytes.into(), None)))
        }
    }
}

fn stream_after(
    head: Bytes,
    rest: impl futures::Stream<Item = io::Result<Bytes>> + Send,
) -> impl futures::Stream<Item = io::Result<Bytes>> + Send {
    futures::StreamExt::chain(stream::once(std::future::ready(Ok(head))), rest)
}

fn not_acceptable(accept: Option<&str>) -> Problem {
    let formats: Vec<_> = Format::ALL.iter().map(|f| format!("`{}`", f.media_type())).collect();
    let mut problem: Problem = QueryError::invalid("none of our formats is accepted")
        .found(accept.unwrap_or_default())
        .expected(formats.join(", "))
        .into();
    problem.status = StatusCode::NOT_ACCEPTABLE.as_u16();
    problem
}

fn params(value: Value) -> Result<Params, QueryError> {
    match value {
        Value::Array(values) => values.into_iter().map(scalar).collect::<Result<_, _>>().map(Params::List),
        Value::Object(values) => {
            values.into_iter().map(|(name, v)| Ok((name, scalar(v)?))).collect::<Result<_, _>>().map(Params::Named)
        }
        other => Err(QueryError::invalid("`params` must be a list or an object").found(other.to_string())),
    }
}

fn scalar(value: Value) -> Result<ScalarValue, QueryError> {
    Ok(match value {
        Value::Null => ScalarValue::Null,
        Value::Bool(value) => value.into(),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(int), ..) => int.into(),
            (_, Some(int), _) => int.into(),
            (.., Some(double)) => double.into(),
            _ => return Err(QueryError::invalid(format!("`{number}` is not a number we can bind"))),
        },
        Value::String(text) => ScalarValue::Utf8(Some(text)),
        nested => {
            return Err(QueryError::invalid("a parameter must be a number, text, a boolean or null").found(nested.to_string()));
        }
    })
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
