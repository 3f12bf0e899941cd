//! Errors as RFC 9457 problem details.

use axum::{
    extract::rejection::{JsonRejection, QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    error::{Position, QueryError, QueryErrorKind},
    filter::ParseFilterError,
};

/// What went wrong, as the client sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of problem, stable: `https://assay.dev/problems/<kind>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
    /// What happened here.
    pub detail: String,
    /// What was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was probably meant, or how to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where in the text that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        let (kind, title, status) = match error.kind {
            QueryErrorKind::Invalid => ("invalid-request", "the request cannot be understood", StatusCode::BAD_REQUEST),
            QueryErrorKind::ReadOnly => ("read-only", "queries only read", StatusCode::FORBIDDEN),
            QueryErrorKind::NotFound => ("not-found", "there is no such thing", StatusCode::NOT_FOUND),
            QueryErrorKind::Conflict => ("conflict", "it does not fit what is there now", StatusCode::CONFLICT),
            QueryErrorKind::Timeout => ("timeout", "the query took too long", StatusCode::GATEWAY_TIMEOUT),
            QueryErrorKind::TooLarge => ("too-large", "the query needs too much", StatusCode::UNPROCESSABLE_ENTITY),
            QueryErrorKind::Overloaded => ("overloaded", "too many queries at once", StatusCode::SERVICE_UNAVAILABLE),
            QueryErrorKind::Unavailable => {
                ("unavailable", "what is kept there cannot be reached now", StatusCode::SERVICE_UNAVAILABLE)
            }
            QueryErrorKind::Cancelled => ("cancelled", "the query was cancelled", StatusCode::CONFLICT),
            QueryErrorKind::Internal => ("internal", "the server made a mistake", StatusCode::INTERNAL_SERVER_ERROR),
        };
        let QueryError { detail, found, expected, hint, position, .. } = error;
        Self {
            kind: format!("https://assay.dev/problems/{kind}"),
            title,
            status: status.as_u16(),
            detail,
            found,
            expected,
            hint,
            position,
        }
    }
}

impl From<ParseFilterError> for Problem {
    fn from(error: ParseFilterError) -> Self {
        let position = Some(Position { line: 1, column: error.column });
        let mut problem: Self = QueryError::invalid(error.message).into();
        (problem.found, problem.expected, problem.hint, problem.position) =
            (Some(error.found), error.expected, error.hint, position);
        problem
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let mut problem: Self = QueryError::invalid(rejection.body_text()).into();
        problem.status = rejection.status().as_u16();
        problem
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        QueryError::invalid(rejection.body_text()).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).expect("a problem is plain data");
        let mut response = (status, body).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
