//! The lists over HTTP: calls, sessions, users, models, tools, errors; a session; series; totals of the trace list.

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiState, Problem, Project,
    read::{BUCKETS_DEFAULT, BUCKETS_MAX, Order, RangeParams},
};
use crate::{
    lists::{
        self, By, CallRow, CallTotals, ErrorRow, ErrorTotals, List, ListRequest, Measure, ModelRow, ModelTotals, Series,
        SeriesRequest, SessionPage, SessionRow, SessionTotals, ToolRow, ToolTotals, TraceTotals, UserRow, UserTotals,
    },
    traces::Reader,
};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 500;
const SESSION_LIMIT_DEFAULT: usize = 20;
const SESSION_LIMIT_MAX: usize = 100;

/// How a page of a list is asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParams {
    /// A sortable column. Default: what the list is about. Unknown values come last in either direction.
    sort: Option<String>,
    /// `desc` (default) or `asc`.
    #[serde(default)]
    order: Order,
    /// Rows of a page, 1 to 500. Default 50.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

type RangeQuery = Result<Query<RangeParams>, QueryRejection>;
type PageQuery = Result<Query<PageParams>, QueryRejection>;
type Answer<R, T> = Result<Json<List<R, T>>, Problem>;

async fn answer<R: DeserializeOwned, T: DeserializeOwned>(
    state: &ApiState,
    project: &Project,
    list: &'static lists::Query,
    range: RangeQuery,
    page: PageQuery,
) -> Answer<R, T> {
    let (range, page) = (range?.0.read()?, page?.0);
    let request = ListRequest {
        from: range.from,
        to: range.to,
        filter: range.filter,
        sort: page.sort.filter(|sort| !sort.is_empty()),
        ascending: page.order == Order::Asc,
        limit: page.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX),
        cursor: page.cursor.filter(|cursor| !cursor.is_empty()),
    };
    Ok(Json(lists::list(&Reader::new(&state.engine, &project.0), list, &request).await?))
}

/// Calls of models, page by page. The filter is on the call itself.
#[utoipa::path(get, path = "/api/v1/lists/calls", params(RangeParams, PageParams), responses((status = 200, body = List<CallRow, CallTotals>)))]
pub(crate) async fn calls(
    State(state): State<ApiState>,
    project: Project,
    range: RangeQuery,
    page: PageQuery,
) -> Answer<CallRow, CallTotals> {
    answer(&state, &project, &lists::CALLS, range, page).await
}

/// Sessions in which a span passes the filter, page by page; their numbers are of the whole session in the time range.
#[utoipa::path(get, path = "/api/v1/lists/sessions", params(RangeParams, PageParams), responses((status = 200, body = List<SessionRow, SessionTotals>)))]
pub(crate) async fn sessions(
    State(state): State<ApiState>,
    project: Project,
    range: RangeQuery,
    page: PageQuery,
) -> Answer<SessionRow, SessionTotals> {
    answer(&state, &project, &lists::SESSIONS, range, page).await
}

/// Users of whom a span passes the filter, page by page; their numbers are of all they did in the time range.
#[utoipa::path(get, path = "/api/v1/lists/users", params(RangeParams, PageParams), responses((status = 200, body = List<UserRow, UserTotals>)))]
pub(crate) async fn users(
    State(state): State<ApiState>,
    project: Project,
    range: RangeQuery,
    page: PageQuery,
) -> Answer<UserRow, UserTotals> {
    answer(&state, &project, &lists::USERS, range, page).await
}

/// Models by who answered, page by page, over the calls that pass the filter.
#[utoipa::path(get, path = "/api/v1/lists/models", params(RangeParams, PageParams), responses((status = 200, body = List<ModelRow, ModelTotals>)))]
pub(crate) async fn models(
    State(state): State<ApiState>,
    project: Project,
    range: RangeQuery,
    page: PageQuery,
) -> Answer<ModelRow, ModelTotals> {
    answer(&state, &project, &lists::MODELS, range, page).await
}

/// Tools, page by page, over the tool runs that pass the filter; the cost is that of the traces that used the tool.
#[utoipa::path(get, path = "/api/v1/lists/tools", params(RangeParams, PageParams), responses((status = 200, body = List<ToolRow, ToolTotals>)))]
pub(crate) async fn tools(
    State(state): State<ApiState>,
    project: Project,
    range: RangeQuery,
    page: PageQuery,
) -> Answer<ToolRow, ToolTotals> {
    answer(&state, &project, &lists::TOOLS, range, page).await
}

/// Errors by class, service and message, page by page, over the failed spans that pass the filter.
#[utoipa::path(get, path = "/api/v1/lists/errors", params(RangeParams, PageParams), responses((status = 200, body = List<ErrorRow, ErrorTotals>)))]
pub(crate) async fn errors(
    State(state): State<ApiState>,
    project: Project,
    range: RangeQuery,
    page: PageQuery,
) -> Answer<ErrorRow, ErrorTotals> {
    answer(&state, &project, &lists::ERRORS, range, page).await
}

/// Totals of the trace list: over all traces in the time range of which a span passes the filter.
#[utoipa::path(get, path = "/api/v1/traces/totals", params(RangeParams), responses((status = 200, body = TraceTotals)))]
pub(crate) async fn trace_totals(
    State(state): State<ApiState>,
    Project(project): Project,
    range: RangeQuery,
) -> Result<Json<TraceTotals>, Problem> {
    let range = range?.0.read()?;
    let reader = Reader::new(&state.engine, &project);
    Ok(Json(lists::trace_totals(&reader, range.from, range.to, &range.filter).await?))
}

/// How the traces of a session are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SessionParams {
    /// Traces of a page, 1 to 100. Default 20.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A session, and its traces in order of time with what was said in each.
#[utoipa::path(
    get,
    path = "/api/v1/sessions/{session_id}",
    params(("session_id" = String, Path, description = "Session, as the sender named it"), SessionParams),
    responses((status = 200, body = SessionPage), (status = 404, description = "No such session", body = Problem, content_type = "application/problem+json"))
)]
pub(crate) async fn session(
    State(state): State<ApiState>,
    Project(project): Project,
    Path(session_id): Path<String>,
    params: Result<Query<SessionParams>, QueryRejection>,
) -> Result<Json<SessionPage>, Problem> {
    let params = params?.0;
    let limit = params.limit.unwrap_or(SESSION_LIMIT_DEFAULT).clamp(1, SESSION_LIMIT_MAX);
    let cursor = params.cursor.as_deref().filter(|cursor| !cursor.is_empty());
    Ok(Json(lists::session(&Reader::new(&state.engine, &project), &session_id, limit, cursor).await?))
}

/// Which series are asked for.
#[derive(Debug, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
pub(crate) struct SeriesParams {
    /// What is measured.
    measure: Measure,
    /// What there is a series for each of. Default `none`: one over everything.
    #[serde(default)]
    by: By,
    /// Buckets, 1 to 1000. Default 60.
    buckets: Option<usize>,
}

/// A measure over time, for each of the ten largest groups or as a whole. The filter is on the call or failed span itself.
#[utoipa::path(get, path = "/api/v1/series", params(RangeParams, SeriesParams), responses((status = 200, body = Series)))]
pub(crate) async fn series(
    State(state): State<ApiState>,
    Project(project): Project,
    range: RangeQuery,
    params: Result<Query<SeriesParams>, QueryRejection>,
) -> Result<Json<Series>, Problem> {
    let (range, params) = (range?.0.read()?, params?.0);
    let request = SeriesRequest {
        measure: params.measure,
        by: params.by,
        from: range.from,
        to: range.to,
        filter: range.filter,
        buckets: params.buckets.unwrap_or(BUCKETS_DEFAULT).clamp(1, BUCKETS_MAX),
    };
    Ok(Json(lists::series(&Reader::new(&state.engine, &project), &request).await?))
}
