//! One trace over HTTP, for the page that draws it: its spans as columns, a span with long values cut, and such a value whole.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::{ApiState, Problem, Project};
use crate::traces::{self, Reader, SpanDetail, TraceColumns};

/// A trace with its spans as columns: for traces of many spans.
#[utoipa::path(
    get,
    path = "/api/v1/traces/{trace_id}/columns",
    params(("trace_id" = String, Path, description = "32 hex digits")),
    responses((status = 200, body = TraceColumns), (status = 404, body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn trace_columns(
    State(state): State<ApiState>,
    Project(project): Project,
    Path(trace_id): Path<String>,
) -> Result<Json<TraceColumns>, Problem> {
    Ok(Json(traces::columns(&Reader::new(&state.engine, &project), &trace_id.to_lowercase()).await?))
}

/// How long values of a span are given.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SpanParams {
    /// Cut texts over so many bytes to `{"$cut":{"path","bytes","head"}}`, and lists over 1000 items. Default: cut nothing.
    text_bytes_max: Option<usize>,
}

/// Everything about a span.
#[utoipa::path(
    get,
    path = "/api/v1/traces/{trace_id}/spans/{span_id}",
    params(
        ("trace_id" = String, Path, description = "32 hex digits"),
        ("span_id" = String, Path, description = "16 hex digits"),
        SpanParams
    ),
    responses((status = 200, body = SpanDetail), (status = 404, body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn span(
    State(state): State<ApiState>,
    Project(project): Project,
    Path((trace_id, span_id)): Path<(String, String)>,
    params: Result<Query<SpanParams>, QueryRejection>,
) -> Result<Json<SpanDetail>, Problem> {
    let reader = Reader::new(&state.engine, &project);
    let text_bytes_max = params?.0.text_bytes_max;
    Ok(Json(traces::span(&reader, &trace_id.to_lowercase(), &span_id.to_lowercase(), text_bytes_max).await?))
}

/// Which value of a span.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ValueParams {
    /// JSON pointer into the span, as `$cut` gives it: `/input_messages/0/parts/0/content`.
    path: String,
}

/// One value of a span, whole: text as it is, anything else as JSON.
#[utoipa::path(
    get,
    path = "/api/v1/traces/{trace_id}/spans/{span_id}/value",
    params(
        ("trace_id" = String, Path, description = "32 hex digits"),
        ("span_id" = String, Path, description = "16 hex digits"),
        ValueParams
    ),
    responses(
        (status = 200, description = "The value", content((String = "text/plain"), (Object = "application/json"))),
        (status = 404, body = Problem, content_type = "application/problem+json")
    )
)]
pub(crate) async fn span_value(
    State(state): State<ApiState>,
    Project(project): Project,
    Path((trace_id, span_id)): Path<(String, String)>,
    params: Result<Query<ValueParams>, QueryRejection>,
) -> Result<Response, Problem> {
    let reader = Reader::new(&state.engine, &project);
    let path = params?.0.path;
    let value = traces::span_value(&reader, &trace_id.to_lowercase(), &span_id.to_lowercase(), &path).await?;
    Ok(match value {
        // What a sender wrote is never taken for a page.
        Value::String(text) => {
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")], text)
                .into_response()
        }
        other => Json(other).into_response(),
    })
}
