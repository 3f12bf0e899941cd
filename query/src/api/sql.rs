//! `POST /api/v1/sql`: any question, in five formats, streamed.

use std::{io, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{State, rejection::JsonRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use datafusion::common::ScalarValue;
use futures::stream;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{ApiState, Problem, Project};
use crate::{
    engine::{Answer, Ask, Params},
    error::QueryError,
    format::{EncodeAnswerError, Encoder, Format},
};

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
}

/// Answers a SQL question over the rows of the project. The format follows `Accept`.
#[utoipa::path(
    post,
    path = "/api/v1/sql",
    params(("X-Assay-Project" = Option<String>, Header, description = "Project; `default` if left out")),
    request_body = SqlRequest,
    responses(
        (status = 200, description = "The rows, streamed", content(
            (SqlAnswer = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"),
            (Vec<u8> = "application/vnd.apache.parquet"),
        )),
        (status = 400, description = "Not a question that can be answered", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Not a question", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such table", body = Problem, content_type = "application/problem+json"),
        (status = 406, description = "None of our formats is accepted", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "It took too long", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "It needs too much memory, or its answer is too large; an answer that turns out so while it is streamed ends without its proper end", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Too many queries at once", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn sql(
    State(state): State<ApiState>,
    Project(project): Project,
    headers: HeaderMap,
    request: Result<Json<SqlRequest>, JsonRejection>,
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
    let mut answer = state.engine.ask(&project, Ask { sql: request.query, params, row_limit, bytes_max, timeout }).await?;
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
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, format.media_type())], body).into_response())
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
