//! Content that stands in blob storage: images, audio, files, very long text.
//!
//! What a sender says about its content is not trusted: the media type is read off the bytes, and what a browser might run is neither
//! shown nor guessed at.

use assay_storage::BlobError;
use axum::{
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{ApiState, Problem, Project};
use crate::error::{QueryError, QueryErrorKind};

/// The content that a `{"$blob": sha256}` of this project refers to.
#[utoipa::path(
    get,
    path = "/api/v1/blobs/{sha256}",
    params(
        ("sha256" = String, Path, description = "Name of the blob: 64 lower-case hex digits"),
        ("X-Assay-Project" = Option<String>, Header, description = "Project; `default` if left out")
    ),
    responses(
        (status = 200, description = "The content, with the media type that its bytes have", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 400, body = Problem),
        (status = 404, body = Problem)
    )
)]
pub(crate) async fn blob(
    State(state): State<ApiState>,
    Project(project): Project,
    Path(sha256): Path<String>,
) -> Result<Response, Problem> {
    let content = state.engine.storage().blobs().of(&project).get(&sha256).await.map_err(|error| match error {
        BlobError::Name { .. } => QueryError::invalid("the name of a blob cannot be understood".to_owned())
            .found(&sha256)
            .expected("64 lower-case hex digits"),
        error => {
            tracing::error!(%error, sha256, "a blob cannot be read");
            QueryError::new(QueryErrorKind::Internal, format!("blob `{sha256}` cannot be read"))
        }
    })?;
    let Some(content) = content else {
        return Err(QueryError::new(QueryErrorKind::NotFound, format!("project `{project}` has no blob `{sha256}`")).into());
    };
    let media_type = media_type(&content);
    let shown = ["image/", "audio/", "video/", "text/"].iter().any(|kind| media_type.starts_with(kind));
    let disposition = if shown { "inline" } else { "attachment" };
    let etag = HeaderValue::try_from(format!("\"{sha256}\"")).expect("hex digits");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition)),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable")),
        (header::ETAG, etag),
        // One address, another content in each project.
        (header::VARY, HeaderValue::from_static("x-assay-project")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
    ];
    Ok((headers, content).into_response())
}

/// The media type that `content` begins like. Text is plain text, whatever its language.
fn media_type(content: &[u8]) -> &'static str {
    let begins = |magic: &[u8]| content.starts_with(magic);
    let at = |offset: usize, magic: &[u8]| content.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    match () {
        () if begins(b"\x89PNG\r\n\x1a\n") => "image/png",
        () if begins(b"\xff\xd8\xff") => "image/jpeg",
        () if begins(b"GIF87a") || begins(b"GIF89a") => "image/gif",
        () if begins(b"RIFF") && at(8, b"WEBP") => "image/webp",
        () if begins(b"RIFF") && at(8, b"WAVE") => "audio/wav",
        () if at(4, b"ftypavif") => "image/avif",
        () if at(4, b"ftypM4A") => "audio/mp4",
        () if at(4, b"ftyp") => "video/mp4",
        () if begins(b"\x1a\x45\xdf\xa3") => "video/webm",
        () if begins(b"OggS") => "audio/ogg",
        () if begins(b"fLaC") => "audio/flac",
        () if begins(b"ID3") || begins(b"\xff\xfb") || begins(b"\xff\xf3") || begins(b"\xff\xf2") => "audio/mpeg",
        () if begins(b"%PDF-") => "application/pdf",
        () if !content.contains(&0) && std::str::from_utf8(content).is_ok() => "text/plain; charset=utf-8",
        () => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::media_type;

    #[test]
    fn content_says_what_it_is() {
        assert_eq!(media_type(b"\x89PNG\r\n\x1a\n...."), "image/png");
        assert_eq!(media_type(b"RIFF\0\0\0\0WAVEfmt "), "audio/wav");
        assert_eq!(media_type(b"\0\0\0 ftypisom"), "video/mp4");
        assert_eq!(media_type(b"<html><script>alert(1)</script>"), "text/plain; charset=utf-8");
        assert_eq!(media_type(b"MZ\0\x01"), "application/octet-stream");
        assert_eq!(media_type(b""), "text/plain; charset=utf-8");
    }
}
