//! [`PostgresUrl`]: where Postgres is, in the words of its own tools, without what must stay secret.

use std::fmt;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

/// Parameters of the address that mean something here; they are libpq's.
const PARAMETERS: [&str; 5] = ["host", "sslmode", "sslrootcert", "sslcert", "sslkey"];

/// The address of a Postgres database, such as `postgres://assay@db.example:5432/assay`.
///
/// Connections are encrypted and the server's certificate is verified, unless `?sslmode=` says otherwise; a Unix socket is `?host=/run/postgresql`.
#[derive(Clone)]
pub struct PostgresUrl {
    options: PgConnectOptions,
    address: String,
}

/// A text is no address of a Postgres database.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidPostgresUrl {
    /// It is none, or of something else. It is not shown, because it may hold a password.
    #[error("it is no address: expected `postgres://USER@HOST:PORT/DATABASE`")]
    Form,
    /// It holds a password.
    #[error("it holds a password: expected it in a file, because addresses are logged")]
    Password,
    /// A part that it needs is missing.
    #[error("it names no {0}: expected `postgres://USER@HOST:PORT/DATABASE`")]
    Missing(&'static str),
    /// A parameter that is not known.
    #[error("found the parameter `{0}`: expected one of `{names}`", names = PARAMETERS.join("`, `"))]
    Parameter(String),
    /// A mode that is none, is not supported, or falls back to what is not encrypted.
    #[error("`sslmode` is `{0}`: expected `verify-full` (the default), `require` or `disable`")]
    SslMode(String),
}

impl PostgresUrl {
    /// Reads `text`.
    ///
    /// # Errors
    /// [`InvalidPostgresUrl`].
    pub fn parse(text: &str) -> Result<Self, InvalidPostgresUrl> {
        let url = Url::parse(text).map_err(|_| InvalidPostgresUrl::Form)?;
        if !["postgres", "postgresql"].contains(&url.scheme()) || url.fragment().is_some() {
            return Err(InvalidPostgresUrl::Form);
        }
        if url.password().is_some() {
            return Err(InvalidPostgresUrl::Password);
        }
        let parameter = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        if let Some((unknown, _)) = url.query_pairs().find(|(key, _)| !PARAMETERS.contains(&&**key)) {
            return Err(InvalidPostgresUrl::Parameter(unknown.into_owned()));
        }
        let socket = parameter("host").filter(|host| host.starts_with('/'));
        let named = url.host_str().filter(|host| !host.is_empty());
        let Some(host) = named.map(str::to_owned).or(socket.clone()) else { return Err(InvalidPostgresUrl::Missing("host")) };
        let database = url.path().trim_start_matches('/');
        if database.is_empty() {
            return Err(InvalidPostgresUrl::Missing("database"));
        }
        // Of libpq's other modes, `verify-ca` ends in a panic of the driver where rustls has two cryptographic providers.
        let mode = match parameter("sslmode").as_deref() {
            // A socket does not leave the machine.
            None if socket.is_some() => PgSslMode::Disable,
            None | Some("verify-full") => PgSslMode::VerifyFull,
            Some("require") => PgSslMode::Require,
            Some("disable") => PgSslMode::Disable,
            Some(other) => return Err(InvalidPostgresUrl::SslMode(other.to_owned())),
        };
        let options: PgConnectOptions = text.parse().map_err(|_| InvalidPostgresUrl::Form)?;
        // What is not said in each transaction is not said at all: a pooler before Postgres knows no other settings of a session.
        let options = options.ssl_mode(mode).application_name("assay").extra_float_digits(None).statement_cache_capacity(0);
        let address = format!("{host}:{}/{database}", options.get_port());
        Ok(Self { options, address })
    }

    /// What a connection is made with; `password` in the place of `PGPASSWORD` or `~/.pgpass`.
    pub(super) fn options(&self, password: Option<&str>) -> PgConnectOptions {
        let options = self.options.clone();
        password.map_or(options.clone(), |password| options.password(password))
    }
}

/// Host, port and database.
impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// As [`fmt::Display`]: `options` may hold a password.
impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_encrypted_and_verified_unless_it_is_said() {
        for (text, address, mode) in [
            ("postgres://assay@db.example/assay", "db.example:5432/assay", PgSslMode::VerifyFull),
            ("postgresql://db.example:6432/assay?sslrootcert=/ca.pem", "db.example:6432/assay", PgSslMode::VerifyFull),
            ("postgres://assay@db.example/assay?sslmode=require", "db.example:5432/assay", PgSslMode::Require),
            ("postgres://assay@127.0.0.1/assay?sslmode=disable", "127.0.0.1:5432/assay", PgSslMode::Disable),
            ("postgres:///assay?host=/run/postgresql", "/run/postgresql:5432/assay", PgSslMode::Disable),
        ] {
            let url = PostgresUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), address);
            assert_eq!(std::mem::discriminant(&url.options(None).get_ssl_mode()), std::mem::discriminant(&mode), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_or_holds_a_secret_is_refused_without_showing_it() {
        use InvalidPostgresUrl as Invalid;
        for (text, expected) in [
            ("db.example/assay", Invalid::Form),
            ("mysql://db.example/assay", Invalid::Form),
            ("postgres://assay:hunter2@db.example/assay", Invalid::Password),
            ("postgres://db.example/assay?password=hunter2", Invalid::Parameter("password".to_owned())),
            ("postgres://db.example", Invalid::Missing("database")),
            ("postgres:///assay", Invalid::Missing("host")),
            ("postgres://db.example/assay?sslmode=prefer", Invalid::SslMode("prefer".to_owned())),
            ("postgres://db.example/assay?sslmode=verify-ca", Invalid::SslMode("verify-ca".to_owned())),
        ] {
            let refused = PostgresUrl::parse(text).unwrap_err();
            assert!(!refused.to_string().contains("hunter2"), "{refused}");
            assert_eq!(refused, expected, "{text}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let mut url = PostgresUrl::parse("postgres://assay@db.example/assay").unwrap();
        url.options = url.options(Some("hunter2"));
        assert!(!format!("{url:?} {url}").contains("hunter2"));
    }
}
