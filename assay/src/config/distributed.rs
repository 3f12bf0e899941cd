//! `[query.distributed]`: large queries over several query nodes. It is read by every binary, so that one without the feature `distributed` can say
//! what it lacks.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::ByteSize;

/// Whether this binary was built with it.
const BUILT_IN: bool = cfg!(feature = "distributed");
/// Nobody guesses a secret of so many characters.
const SECRET_LEN_MIN: usize = 16;

/// Which nodes take part in large queries. It is used if there are nodes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DistributedConfig {
    /// Where the nodes are that take part, this one among them, such as `https://query-1.example:4320`: what each calls `listen.nodes`. Default:
    /// none, a node answers its queries alone.
    pub(crate) nodes: Vec<String>,
    /// File that holds the secret that the nodes share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_file: Option<PathBuf>,
    /// A query whose files are smaller together runs on one node. Default `1GiB`.
    pub(crate) bytes_min: ByteSize,
    /// Authorities that nodes are checked with, in PEM. Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Allow connections that are not encrypted. Default `false`.
    pub(crate) allow_http: bool,
}

impl Default for DistributedConfig {
    fn default() -> Self {
        Self { nodes: Vec::new(), secret_file: None, bytes_min: ByteSize::mib(1024), ca_file: None, allow_http: false }
    }
}

impl DistributedConfig {
    /// Whether nodes are named.
    pub(crate) fn is_used(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// `in_bucket`: whether nodes can read each other's files.
    pub(super) fn validate(&self, in_bucket: bool) -> anyhow::Result<()> {
        if !self.is_used() {
            return Ok(());
        }
        if !BUILT_IN {
            bail!(
                "`query.distributed.nodes` is `{}`, and this binary was built without queries over several nodes: expected no nodes, or a \
                 binary with the feature (hint: `cargo build --release --package assay --features distributed`)",
                self.nodes.join(",")
            );
        }
        if !in_bucket {
            bail!(
                "found `query.distributed.nodes` and no `storage.url`: expected a bucket, such as `s3://BUCKET/FOLDER`, whose files all nodes can read"
            );
        }
        for node in &self.nodes {
            self.checked(node)?;
        }
        if self.secret_file.is_none() {
            bail!(
                "found `query.distributed.nodes` and no `query.distributed.secret_file`: expected the file of a secret that all nodes \
                 share, because who reaches a node could read everything"
            );
        }
        Ok(())
    }

    fn checked(&self, node: &str) -> anyhow::Result<Url> {
        let wrong = || {
            anyhow::anyhow!("`query.distributed.nodes` has `{node}`: expected an address such as `https://query-1.example:4320`")
        };
        let url = Url::parse(node).map_err(|_| wrong())?;
        let is_plain = url.scheme() == "http";
        if !(is_plain || url.scheme() == "https") || url.host().is_none() || url.path() != "/" || url.query().is_some() {
            return Err(wrong());
        }
        if !url.username().is_empty() || url.password().is_some() {
            bail!(
                "`query.distributed.nodes` holds credentials: expected them in `query.distributed.secret_file`, because urls are logged"
            );
        }
        if is_plain && !self.allow_http {
            bail!(
                "`query.distributed.nodes` has `{node}`: expected `https://…`, because anyone on the way could read what nodes send to each \
                 other (hint: `query.distributed.allow_http = true` allows it on a network you trust)"
            );
        }
        Ok(url)
    }

    /// The nodes, with the secret and the authorities that the configuration refers to; `None` if none are named.
    ///
    /// # Errors
    /// If a file cannot be read, or the secret is too short.
    pub(crate) fn nodes(&self) -> anyhow::Result<Option<assay_query::DistributedConfig>> {
        let Some(path) = self.secret_file.as_ref().filter(|_| self.is_used()) else { return Ok(None) };
        let secret = super::secret(path, "the secret of the nodes", "query.distributed.secret_file")?;
        if secret.expose().len() < SECRET_LEN_MIN {
            bail!(
                "the secret in `{}` (`query.distributed.secret_file`) is short: expected {SECRET_LEN_MIN} characters or more",
                path.display()
            );
        }
        let read = |path: &PathBuf| {
            let text = std::fs::read_to_string(path);
            text.with_context(|| format!("could not read `{}` (`query.distributed.ca_file`)", path.display()))
        };
        Ok(Some(assay_query::DistributedConfig {
            nodes: self.nodes.iter().map(|node| self.checked(node)).collect::<anyhow::Result<_>>()?,
            secret,
            bytes_min: self.bytes_min.bytes(),
            authorities: self.ca_file.as_ref().map(read).transpose()?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &str) -> Result<(), String> {
        let config: DistributedConfig = toml::from_str(keys).expect("TOML");
        config.validate(true).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn without_nodes_nothing_is_asked_for() {
        assert_eq!(check("allow_http = true"), Ok(()));
    }

    #[test]
    #[cfg(not(feature = "distributed"))]
    fn a_binary_without_distributed_queries_says_so() {
        let error = check("nodes = [\"https://a:1\"]").expect_err("not built in");
        assert!(error.contains("--features distributed"), "{error}");
    }

    #[test]
    #[cfg(feature = "distributed")]
    fn what_is_said_of_distributed_queries_fits_together() {
        let with = |nodes: &str, keys: &str| check(&format!("nodes = [\"{nodes}\"]\nsecret_file = \"/x\"\n{keys}"));
        assert_eq!(with("https://a:1", ""), Ok(()));
        assert_eq!(with("http://a:1", "allow_http = true"), Ok(()));
        assert!(with("http://a:1", "").expect_err("not encrypted").contains("expected `https://…`"));
        for bad in ["a:1", "https://a:1/x", "ftp://a", ""] {
            assert!(with(bad, "").expect_err(bad).contains("expected an address such as"), "{bad}");
        }
        assert!(with("https://u:p@a:1", "").expect_err("credentials").contains("because urls are logged"));
        assert!(check("nodes = [\"https://a:1\"]").expect_err("no secret").contains("no `query.distributed.secret_file`"));
        let config: DistributedConfig = toml::from_str("nodes = [\"https://a:1\"]\nsecret_file = \"/x\"").expect("TOML");
        assert!(config.validate(false).expect_err("no bucket").to_string().contains("no `storage.url`"));
    }
}
