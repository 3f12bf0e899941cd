//! What a node answers that has a part of the server only, when it is asked for another part: an error that says which node to ask.

use assay_query::{QueryError, QueryErrorKind, api::Problem};
use axum::{
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response},
};

use crate::assets;

/// Paths that need a collector in the same process.
const OF_INGEST: &[&str] = &["/v1/", "/api/v1/mappings", "/api/v1/reprice", "/api/v1/demo"];

/// The rest of a query node: the UI, and errors in the place of what it does not have.
pub(crate) async fn without_ingest(uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    if OF_INGEST.iter().any(|prefix| path.starts_with(prefix)) {
        return elsewhere(
            path,
            "this is a query node: it takes no telemetry",
            "`assay collector` and `assay serve` take OTLP; `assay serve` with `storage.shared` has everything",
        );
    }
    assets::serve(uri, headers).await
}

/// The rest of a collector: errors.
pub(crate) async fn without_questions(uri: Uri) -> Response {
    elsewhere(uri.path(), "this is a collector: it answers no questions", "ask an `assay query` node")
}

fn elsewhere(path: &str, detail: &str, hint: &str) -> Response {
    let error = QueryError::new(QueryErrorKind::NotFound, detail);
    Problem::from(QueryError { found: Some(path.to_owned()), hint: Some(hint.to_owned()), ..error }).into_response()
}
