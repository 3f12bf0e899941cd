//! The web UI, embedded in the binary.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};

#[derive(rust_embed::RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../ui/dist"]
struct Assets;

/// The file at `uri`, or the application itself for any path that is not a file: the UI routes in the browser.
pub(crate) async fn serve(uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/');
    if let Some(file) = Assets::get(path) {
        // Vite puts a content hash into every name below `assets/`.
        let cache = if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
        return respond(path, file.data, cache);
    }
    if path.starts_with("api/") || path.starts_with("assets/") {
        return (StatusCode::NOT_FOUND, format!("there is nothing at `/{path}`\n")).into_response();
    }
    match Assets::get("index.html") {
        Some(file) => respond("index.html", file.data, "no-cache"),
        None => {
            (StatusCode::NOT_FOUND, "this binary was built without the web UI: run `make ui` and build again\n").into_response()
        }
    }
}

fn respond(path: &str, data: std::borrow::Cow<'static, [u8]>, cache: &'static str) -> Response {
    let mut response = Response::new(Body::from(data));
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    let content_type = HeaderValue::from_str(mime.as_ref()).expect("a media type is a valid header");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
