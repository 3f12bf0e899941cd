//! Identifiers and small vocabularies that cross crate borders.

use std::{borrow::Borrow, fmt, sync::Arc};

/// A tenant. Every row belongs to exactly one; it becomes a folder name in the lake, so its alphabet is narrow.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectId(Arc<str>);

/// The text is not a project name.
#[derive(Debug, thiserror::Error)]
#[error("`{found}` is not a project name: expected 1 to 64 of a-z, A-Z, 0-9, `-`, `_` and `.`, beginning with a letter or digit")]
pub struct InvalidProjectId {
    found: String,
}

impl ProjectId {
    /// # Errors
    /// [`InvalidProjectId`] if `text` is empty, longer than 64 bytes, or holds anything that a folder name should not.
    pub fn new(text: &str) -> Result<Self, InvalidProjectId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let valid = (1..=64).contains(&text.len()) && text.bytes().all(allowed) && text.as_bytes()[0].is_ascii_alphanumeric();
        if valid { Ok(Self(text.into())) } else { Err(InvalidProjectId { found: text.chars().take(80).collect() }) }
    }

    /// The project of a server without accounts.
    #[must_use]
    pub fn default_project() -> Self {
        Self("default".into())
    }

    /// The name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for ProjectId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// What an OTLP request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// `ExportTraceServiceRequest`
    Traces,
    /// `ExportLogsServiceRequest`
    Logs,
    /// `ExportMetricsServiceRequest`
    Metrics,
}

impl Signal {
    /// Lower-case plural, as in the OTLP/HTTP path `/v1/traces`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }
}

/// How the body of a write-ahead log record is encoded, after inflating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Binary protobuf.
    Protobuf,
    /// OTLP/JSON.
    Json,
    /// Not a request: rows that Assay made itself (corrections of prices), as Arrow. The signal means nothing then.
    Rows,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_name_cannot_leave_its_folder() {
        for bad in ["", "..", "a/b", ".hidden", "-x", "a b", "ü", &"x".repeat(65)] {
            assert!(ProjectId::new(bad).is_err(), "{bad:?}");
        }
        for good in ["default", "team-7_prod.eu", "0"] {
            assert!(ProjectId::new(good).is_ok(), "{good:?}");
        }
    }
}
