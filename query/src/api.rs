//! The HTTP API under `/api/v1`, its OpenAPI document, and `/healthz`, `/readyz`, `/metrics`. Handlers extract and map errors.

mod blobs;
mod document;
mod filter;
mod lists;
mod problem;
mod read;
mod sql;
mod trace;

use std::{fmt, sync::Arc};

use assay_schemas::ids::ProjectId;
use axum::{
    Json, Router,
    extract::{FromRequestParts, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use chrono::{DateTime, Utc};
use prometheus::TextEncoder;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use self::document::Shared;
pub use self::problem::Problem;
use crate::{engine::QueryEngine, error::QueryError};

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// Answers every question.
    pub engine: QueryEngine,
    /// What `/metrics` shows; the engine's own counters are registered by whoever makes this.
    pub registry: prometheus::Registry,
    /// Version of the server.
    pub version: &'static str,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// Whether the server should get traffic: `/readyz`.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What `/api/openapi.json` shows: [`openapi`] and what else the server serves.
    pub document: Arc<utoipa::openapi::OpenApi>,
    /// Demo traffic, for `/api/v1/status`.
    pub demo: Arc<dyn Fn() -> DemoStatus + Send + Sync>,
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState").field("version", &self.version).field("started_at", &self.started_at).finish_non_exhaustive()
    }
}

/// Progress of the demo traffic.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub struct DemoStatus {
    /// Whether it is being sent now.
    pub running: bool,
    /// Spans sent so far.
    pub sent: u64,
}

/// Paths and methods of [`router`], as the OpenAPI document must list them.
pub const ROUTES: &[(&str, &str)] = &[
    ("post", "/api/v1/sql"),
    ("get", "/api/v1/sql/running"),
    ("delete", "/api/v1/sql/running/{query_id}"),
    ("post", "/api/v1/sql/explain"),
    ("get", "/api/v1/traces"),
    ("get", "/api/v1/traces/strip"),
    ("get", "/api/v1/traces/{trace_id}"),
    ("get", "/api/v1/traces/{trace_id}/columns"),
    ("get", "/api/v1/traces/{trace_id}/spans/{span_id}"),
    ("get", "/api/v1/traces/{trace_id}/spans/{span_id}/value"),
    ("get", "/api/v1/blobs/{sha256}"),
    ("get", "/api/v1/facets"),
    ("get", "/api/v1/filter"),
    ("get", "/api/v1/filter/keys"),
    ("post", "/api/v1/filter/from-sql"),
    ("get", "/api/v1/lists/calls"),
    ("get", "/api/v1/lists/sessions"),
    ("get", "/api/v1/lists/users"),
    ("get", "/api/v1/lists/models"),
    ("get", "/api/v1/lists/tools"),
    ("get", "/api/v1/lists/errors"),
    ("get", "/api/v1/sessions/{session_id}"),
    ("get", "/api/v1/series"),
    ("get", "/api/v1/traces/totals"),
    ("get", "/api/v1/schema"),
    ("get", "/api/v1/status"),
    ("get", "/api/v1/unpriced"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/api/openapi.json"),
];

/// Everything this crate serves.
pub fn router(state: ApiState) -> Router {
    Router::new()
        .route("/api/v1/sql", post(sql::sql))
        .route("/api/v1/sql/running", get(sql::running))
        .route("/api/v1/sql/running/{query_id}", delete(sql::cancel))
        .route("/api/v1/sql/explain", post(sql::explain))
        .route("/api/v1/traces", get(read::traces))
        .route("/api/v1/traces/strip", get(read::strip))
        .route("/api/v1/traces/{trace_id}", get(read::trace))
        .route("/api/v1/traces/{trace_id}/columns", get(trace::trace_columns))
        .route("/api/v1/traces/{trace_id}/spans/{span_id}", get(trace::span))
        .route("/api/v1/traces/{trace_id}/spans/{span_id}/value", get(trace::span_value))
        .route("/api/v1/facets", get(filter::facets))
        .route("/api/v1/filter", get(filter::filter))
        .route("/api/v1/filter/keys", get(filter::filter_keys))
        .route("/api/v1/filter/from-sql", post(filter::filter_from_sql))
        .route("/api/v1/lists/calls", get(lists::calls))
        .route("/api/v1/lists/sessions", get(lists::sessions))
        .route("/api/v1/lists/users", get(lists::users))
        .route("/api/v1/lists/models", get(lists::models))
        .route("/api/v1/lists/tools", get(lists::tools))
        .route("/api/v1/lists/errors", get(lists::errors))
        .route("/api/v1/sessions/{session_id}", get(lists::session))
        .route("/api/v1/series", get(lists::series))
        .route("/api/v1/traces/totals", get(lists::trace_totals))
        .route("/api/v1/blobs/{sha256}", get(blobs::blob))
        .route("/api/v1/schema", get(read::schema))
        .route("/api/v1/status", get(read::status))
        .route("/api/v1/unpriced", get(read::unpriced))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/openapi.json", get(openapi_json))
        .with_state(state)
}

/// What a node serves that answers no questions: whether it is well.
pub fn health_router(state: ApiState) -> Router {
    Router::new()
        .route("/api/v1/status", get(read::status))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(state)
}

/// The OpenAPI document of [`router`].
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Assay",
        description = "SQL and read models over traces, logs and metrics of LLM applications.",
        license(name = "Apache-2.0")
    ),
    paths(
        sql::sql,
        sql::running,
        sql::cancel,
        sql::explain,
        read::traces,
        read::strip,
        read::trace,
        trace::trace_columns,
        trace::span,
        trace::span_value,
        filter::facets,
        filter::filter,
        filter::filter_keys,
        filter::filter_from_sql,
        lists::calls,
        lists::sessions,
        lists::users,
        lists::models,
        lists::tools,
        lists::errors,
        lists::session,
        lists::series,
        lists::trace_totals,
        blobs::blob,
        read::schema,
        read::status,
        read::unpriced,
        healthz,
        readyz,
        metrics,
        openapi_json
    ),
    // Parameters refer to these; utoipa collects only the schemas of bodies by itself.
    components(schemas(crate::traces::Sort, read::Order, crate::lists::Measure, crate::lists::By)),
    modifiers(&Shared)
)]
struct Document;

/// The project a request speaks of: header `X-Assay-Project`, else `default`.
#[derive(Clone, Debug)]
pub struct Project(pub ProjectId);

impl<S: Send + Sync> FromRequestParts<S> for Project {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(header) = parts.headers.get("x-assay-project") else { return Ok(Self(ProjectId::default_project())) };
        let text = String::from_utf8_lossy(header.as_bytes());
        let invalid = |e: assay_schemas::ids::InvalidProjectId| QueryError::invalid(e.to_string()).found(text.as_ref());
        ProjectId::new(&text).map(Self).map_err(|e| invalid(e).into())
    }
}

/// The process is alive.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "The process is alive", body = String)))]
async fn healthz() -> &'static str {
    "ok"
}

/// The server should get traffic.
#[utoipa::path(get, path = "/readyz", responses((status = 200, description = "Ready", body = String), (status = 503, description = "Not now", body = String)))]
async fn readyz(State(state): State<ApiState>) -> Response {
    if (state.ready)() { "ready".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready").into_response() }
}

/// Counters and gauges in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Prometheus text format", body = String)))]
async fn metrics(State(state): State<ApiState>) -> Response {
    match TextEncoder::new().encode_to_string(&state.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", responses((status = 200, description = "OpenAPI document", body = Object)))]
async fn openapi_json(State(state): State<ApiState>) -> Response {
    Json(&*state.document).into_response()
}
