//! `/api/v1/saved` and `/api/v1/notes`: saved views and queries, and notes on traces, over HTTP.

use assay_accounts::{Accounts, AccountsError, NewNote, NewSaved, Note, Saved, SavedChange, SavedKind};
use assay_query::{
    QueryError, QueryErrorKind,
    api::{Problem, Project},
};
use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
    routing::{get, put},
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// What is said of these routes in the OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    paths(list_saved, create_saved, change_saved, delete_saved, list_notes, create_note, change_note, delete_note),
    components(schemas(Kind))
)]
pub(crate) struct Document;

/// The routes of saved items and notes.
pub(crate) fn router(accounts: Accounts) -> Router {
    Router::new()
        .route("/api/v1/saved", get(list_saved).post(create_saved))
        .route("/api/v1/saved/{id}", put(change_saved).delete(delete_saved))
        .route("/api/v1/notes", get(list_notes).post(create_note))
        .route("/api/v1/notes/{id}", put(change_note).delete(delete_note))
        .with_state(accounts)
}

/// What is saved.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SavedKind)]
enum Kind {
    /// Filter, columns and order of a list.
    View,
    /// SQL with parameters and perhaps a chart.
    Query,
}

/// Saved items.
#[derive(Serialize, ToSchema)]
struct SavedItems {
    /// By name.
    items: Vec<SavedItem>,
}

/// A saved view or query.
#[derive(Serialize, ToSchema)]
struct SavedItem {
    /// Identifier.
    id: String,
    /// What it is.
    kind: Kind,
    /// Unique among those of its kind in the project.
    name: String,
    /// What the client keeps of it; of a query `{"query", "params"?: [{"name", "type", "default"}], "chart"?}`.
    #[schema(value_type = Object)]
    body: Value,
    /// Whether it is the view that the project opens with.
    is_default: bool,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339. A change may name it, and is refused if the item was changed since.
    updated_at: String,
}

/// A view or query to save.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSavedItem {
    /// What it is.
    kind: Kind,
    /// 1 to 120 characters, unique among those of its kind in the project.
    name: String,
    /// A JSON object of at most 64 KiB; of a query with its SQL as `query`.
    #[schema(value_type = Object)]
    body: Value,
    /// Makes this view the default, in the place of the one that is.
    #[serde(default)]
    is_default: bool,
}

/// What is to be changed; what is left out stays. A whole item can be sent.
#[derive(Deserialize, ToSchema)]
struct SavedItemChange {
    /// The kind cannot change: if named, it must be what it is.
    kind: Option<Kind>,
    /// New name.
    name: Option<String>,
    /// New body.
    #[schema(value_type = Option<Object>)]
    body: Option<Value>,
    /// Whether this view is the default.
    is_default: Option<bool>,
    /// `updated_at` of the item as it was read: the change is refused (409) if it was changed since.
    updated_at: Option<DateTime<Utc>>,
}

/// Which items are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct SavedParams {
    /// Only items of this kind.
    kind: Option<Kind>,
}

/// The saved views and queries of the project.
#[utoipa::path(
    get,
    path = "/api/v1/saved",
    params(("X-Assay-Project" = Option<String>, Header, description = "Project; `default` if left out"), SavedParams),
    responses(
        (status = 200, body = SavedItems),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The relational store is away", body = Problem, content_type = "application/problem+json")
    )
)]
async fn list_saved(
    State(accounts): State<Accounts>,
    Project(project): Project,
    params: Result<Query<SavedParams>, QueryRejection>,
) -> Result<Json<SavedItems>, Problem> {
    let items = accounts.saved(&project, params?.0.kind.map(Into::into)).await.map_err(problem)?;
    Ok(Json(SavedItems { items: items.into_iter().map(Into::into).collect() }))
}

/// Saves a view or a query.
#[utoipa::path(
    post,
    path = "/api/v1/saved",
    params(("X-Assay-Project" = Option<String>, Header, description = "Project; `default` if left out")),
    request_body = NewSavedItem,
    responses(
        (status = 201, body = SavedItem),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The name is taken", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The relational store is away", body = Problem, content_type = "application/problem+json")
    )
)]
async fn create_saved(
    State(accounts): State<Accounts>,
    Project(project): Project,
    new: Result<Json<NewSavedItem>, JsonRejection>,
) -> Result<(StatusCode, Json<SavedItem>), Problem> {
    let NewSavedItem { kind, name, body, is_default } = new?.0;
    let new = NewSaved { kind: kind.into(), name, body, is_default };
    let saved = accounts.save(&project, new, Utc::now()).await.map_err(problem)?;
    Ok((StatusCode::CREATED, Json(saved.into())))
}

/// Changes a saved view or query.
#[utoipa::path(
    put,
    path = "/api/v1/saved/{id}",
    params(("X-Assay-Project" = Option<String>, Header, description = "Project; `default` if left out"), ("id" = String, Path, description = "Identifier")),
    request_body = SavedItemChange,
    responses(
        (status = 200, body = SavedItem),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The name is taken, or someone changed it meanwhile", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The relational store is away", body = Problem, content_type = "application/problem+json")
    )
)]
async fn change_saved(
    State(accounts): State<Accounts>,
    Project(project): Project,
    Path(id): Path<String>,
    change: Result<Json<SavedItemChange>, JsonRejection>,
) -> Result<Json<SavedItem>, Problem> {
    let SavedItemChange { kind, name, body, is_default, updated_at } = change?.0;
    let change = SavedChange { kind: kind.map(Into::into), name, body, is_default, read_at: updated_at };
    let saved = accounts.change_saved(&project, &id, change, Utc::now()).await.map_err(problem)?;
    Ok(Json(saved.into()))
}

/// Deletes a saved view or query.
#[utoipa::path(
    delete,
    path = "/api/v1/saved/{id}",
    params(("X-Assay-Project" = Option<String>, Header, description = "Project; `default` if left out"), ("id" = String, Path, description = "Identifier")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The relational store is away", body = Problem, content_type = "application/problem+json")
    )
)]
async fn delete_saved(
    State(accounts): State<Accounts>,
    Project(project): Project,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    accounts.delete_saved(&project, &id).await.map_err(problem)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Notes on a trace.
#[derive(Serialize, ToSchema)]
struct Notes {
    /// The oldest first.
    notes: Vec<NoteItem>,
}

/// A note on a trace or one of its spans.
#[derive(Serialize, ToSchema)]
#[schema(as = Note)]
struct NoteItem {
    /// Identifier.
    id: String,
    /// The trace.
    trace_id: String,
    /// The span, if it is about one.
    span_id: Option<String>,
    /// What it says, Markdown.
    text: String,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339. A change may name it, and is refused if the note was changed since.
    updated_at: String,
}

/// A note to keep.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewNote)]
struct NewNoteItem {
    /// 32 hex digits.
    trace_id: String,
    /// 16 hex digits, if it is about one span.
    span_id: Option<String>,
    /// 1 to 10 000 characters.
    text: String,
}

/// What a note says from now on. A whole note can be sent.
#[derive(Deserialize, ToSchema)]
struct NoteChange {
    /// 1 to 10 000 characters.
    text: String,
    /// `updated_at` of the note as it was read: the change is refused (409) if it was changed since.
    updated_at: Option<DateTime<Utc>>,
}

/// Which notes are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct NoteParams {
    /// 32 hex digits.
    trace_id: String,
}

/// The notes on a trace.
#[utoipa::path(
    get,
    path = "/api/v1/notes",
    params(("X-Assay-Project" = Option<String>, Header, description = "Project; `default` if left out"), NoteParams),
    responses(
        (status = 200, body = Notes),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The relational store is away", body = Problem, content_type = "application/problem+json")
    )
)]
async fn list_notes(
    State(accounts): State<Accounts>,
    Project(project): Project,
    params: Result<Query<NoteParams>, QueryRejection>,
) -> Result<Json<Notes>, Problem> {
    let notes = accounts.notes(&project, &params?.0.trace_id).await.map_err(problem)?;
    Ok(Json(Notes { notes: notes.into_iter().map(Into::into).collect() }))
}

/// Leaves a note on a trace or a span.
#[utoipa::path(
    post,
    path = "/api/v1/notes",
    params(("X-Assay-Project" = Option<String>, Header, description = "Project; `default` if left out")),
    request_body = NewNoteItem,
    responses(
        (status = 201, body = NoteItem),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The trace has as many notes as it may", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The relational store is away", body = Problem, content_type = "application/problem+json")
    )
)]
async fn create_note(
    State(accounts): State<Accounts>,
    Project(project): Project,
    new: Result<Json<NewNoteItem>, JsonRejection>,
) -> Result<(StatusCode, Json<NoteItem>), Problem> {
    let NewNoteItem { trace_id, span_id, text } = new?.0;
    let note = accounts.add_note(&project, NewNote { trace_id, span_id, text }, Utc::now()).await.map_err(problem)?;
    Ok((StatusCode::CREATED, Json(note.into())))
}

/// Changes what a note says.
#[utoipa::path(
    put,
    path = "/api/v1/notes/{id}",
    params(("X-Assay-Project" = Option<String>, Header, description = "Project; `default` if left out"), ("id" = String, Path, description = "Identifier")),
    request_body = NoteChange,
    responses(
        (status = 200, body = NoteItem),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Someone changed it meanwhile", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The relational store is away", body = Problem, content_type = "application/problem+json")
    )
)]
async fn change_note(
    State(accounts): State<Accounts>,
    Project(project): Project,
    Path(id): Path<String>,
    change: Result<Json<NoteChange>, JsonRejection>,
) -> Result<Json<NoteItem>, Problem> {
    let NoteChange { text, updated_at } = change?.0;
    let note = accounts.change_note(&project, &id, text, updated_at, Utc::now()).await.map_err(problem)?;
    Ok(Json(note.into()))
}

/// Deletes a note.
#[utoipa::path(
    delete,
    path = "/api/v1/notes/{id}",
    params(("X-Assay-Project" = Option<String>, Header, description = "Project; `default` if left out"), ("id" = String, Path, description = "Identifier")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The relational store is away", body = Problem, content_type = "application/problem+json")
    )
)]
async fn delete_note(
    State(accounts): State<Accounts>,
    Project(project): Project,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    accounts.delete_note(&project, &id).await.map_err(problem)?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<Kind> for SavedKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::View => Self::View,
            Kind::Query => Self::Query,
        }
    }
}

impl From<Saved> for SavedItem {
    fn from(saved: Saved) -> Self {
        let Saved { id, kind, name, body, is_default, created_at, updated_at } = saved;
        let kind = if kind == SavedKind::View { Kind::View } else { Kind::Query };
        Self { id, kind, name, body, is_default, created_at: rfc3339(created_at), updated_at: rfc3339(updated_at) }
    }
}

impl From<Note> for NoteItem {
    fn from(note: Note) -> Self {
        let Note { id, trace_id, span_id, text, created_at, updated_at } = note;
        Self { id, trace_id, span_id, text, created_at: rfc3339(created_at), updated_at: rfc3339(updated_at) }
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn problem(error: AccountsError) -> Problem {
    let detail = error.to_string();
    let (kind, hint) = match &error {
        AccountsError::Invalid { .. } => (QueryErrorKind::Invalid, None),
        AccountsError::NotFound { .. } => (QueryErrorKind::NotFound, None),
        AccountsError::NameTaken { .. } => (QueryErrorKind::Conflict, Some("choose another name, or change the one there is")),
        AccountsError::Changed { .. } => (QueryErrorKind::Conflict, Some("read it again, then make the change anew")),
        AccountsError::Full { .. } => (QueryErrorKind::Conflict, Some("delete what is no longer needed")),
        AccountsError::Database { source, .. } => {
            tracing::error!(error = %source, "the relational store failed: {detail}");
            (QueryErrorKind::Internal, None)
        }
        AccountsError::Unavailable { .. } => (QueryErrorKind::Unavailable, Some("try again in a moment")),
    };
    let (found, expected) = match error {
        AccountsError::Invalid { found, expected, .. } => (Some(found), Some(expected)),
        _ => (None, None),
    };
    QueryError { found, expected, hint: hint.map(str::to_owned), ..QueryError::new(kind, detail) }.into()
}
