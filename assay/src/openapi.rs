//! The OpenAPI document of the whole HTTP API: what `query` serves, and what is put together here.

use utoipa::OpenApi as _;

use crate::{accounts_api, demo_api, export, mappings_api, reprice};

/// The one document, served as `/api/openapi.json` and committed as `query/openapi.json`.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    let mut document = assay_query::api::openapi();
    document.merge(accounts_api::Document::openapi());
    document.merge(demo_api::Document::openapi());
    document.merge(export::Document::openapi());
    document.merge(mappings_api::Document::openapi());
    document.merge(reprice::Document::openapi());
    document
}

#[cfg(test)]
mod tests {
    /// The committed document is the one the code gives. `UPDATE_OPENAPI=1 cargo test -p assay openapi` writes it.
    #[test]
    fn the_committed_openapi_document_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../query/openapi.json");
        let current = super::document().to_pretty_json().unwrap() + "\n";
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(path, &current).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == current,
            "query/openapi.json is stale: run `UPDATE_OPENAPI=1 cargo test -p assay openapi` and review the difference"
        );
    }
}
