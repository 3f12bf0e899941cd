//! The client of a bucket: the scheme of the lake's URL names the service, and what is said of that service how it is reached.
//!
//! Whatever differs between services ends here or in `requests`: from here on there is one `ObjectStore`. They refuse a put whose condition does not
//! hold in ways of their own (S3 412 on `If-None-Match` and `If-Match`, Azure 409 and 412 on the same, Google 412 on
//! `x-goog-if-generation-match`); `object_store` makes `AlreadyExists` and `Precondition` of it.

use std::{sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientConfigKey, Error, ObjectStore, Result, RetryConfig, StaticCredentialProvider,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut},
    azure::{AzureAccessKey, AzureConfigKey, AzureCredential, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    path::Path,
    prefix::PrefixStore,
};
use url::Url;

use super::{AzureAccess, BucketConfig, BucketError, GcsAccess, S3Access};

/// No answer within this time is one that was lost: what it was is looked up.
const REQUEST_TIMEOUT: &str = "30 seconds";
const CONNECT_TIMEOUT: &str = "5 seconds";
/// A request that failed for a moment is sent again for so long; what takes longer is an error, and flushes have their own patience.
const RETRY_FOR: Duration = Duration::from_secs(15);
const RETRIES_MAX: usize = 6;

/// The bucket of `config`, below the folder that its URL names. Asks for nothing yet.
///
/// # Errors
/// [`BucketError::Url`], [`BucketError::Client`].
pub(super) fn client(config: &BucketConfig) -> Result<Arc<dyn ObjectStore>, BucketError> {
    let wrong = || BucketError::Url { found: config.url.clone() };
    let url = Url::parse(&config.url).map_err(|_| wrong())?;
    let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
    if url.query().is_some() || url.fragment().is_some() || url.port().is_some() || !url.username().is_empty() {
        return Err(wrong());
    }
    let prefix = Path::from_url_path(url.path()).map_err(|_| wrong())?;
    let made = match url.scheme() {
        "s3" => s3(bucket, &config.s3).map(|client| below(prefix, client)),
        "gs" => gcs(bucket, &config.gcs).map(|client| below(prefix, client)),
        "az" => azure(bucket, &config.azure).map(|client| below(prefix, client)),
        _ => return Err(wrong()),
    };
    made.map_err(|source| BucketError::Client { url: config.url.clone(), source: source.into() })
}

fn below(prefix: Path, client: impl ObjectStore) -> Arc<dyn ObjectStore> {
    Arc::new(PrefixStore::new(client, prefix))
}

fn s3(bucket: &str, access: &S3Access) -> Result<impl ObjectStore + use<>> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(retry())
        .with_virtual_hosted_style_request(!access.path_style);
    for (key, value) in options(access.allow_http) {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_endpoint(if access.path_style { endpoint.clone() } else { with_host_of(bucket, endpoint) });
    }
    if let Some(region) = &access.region {
        builder = builder.with_region(region);
    }
    if let Some(id) = &access.access_key_id {
        builder = builder.with_access_key_id(id);
    }
    if let Some(key) = &access.secret_access_key {
        builder = builder.with_secret_access_key(key.expose());
    }
    builder.build()
}

fn gcs(bucket: &str, access: &GcsAccess) -> Result<impl ObjectStore + use<>> {
    // A key that is configured cannot be told to stand above one of the variables: two of them are an error.
    let builder = match &access.service_account {
        Some(key) => GoogleCloudStorageBuilder::new().with_service_account_key(key.expose()),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    let mut builder = builder.with_bucket_name(bucket).with_retry(retry());
    for (key, value) in options(access.allow_http) {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    builder.build()
}

fn azure(container: &str, access: &AzureAccess) -> Result<impl ObjectStore + use<>> {
    let wrong = |found: &'static str| Error::Generic { store: "Azure", source: found.into() };
    let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(container).with_retry(retry());
    for (key, value) in options(access.allow_http) {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    if let Some(account) = &access.account {
        builder = builder.with_account(account);
    }
    if builder.get_config_value(&AzureConfigKey::AccountName).is_none() {
        return Err(wrong(
            "found no storage account, expected its name in `storage.azure.account` or `AZURE_STORAGE_ACCOUNT_NAME`",
        ));
    }
    if let Some(key) = &access.access_key {
        let key = AzureAccessKey::try_new(key.expose());
        let key =
            key.map_err(|_| wrong("the access key is not in base64, expected one of the two that Azure has for the account"))?;
        // Set in this way it stands above any credential of the variables.
        builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(AzureCredential::AccessKey(key))));
    }
    builder.build()
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(3), base: 2.0 },
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_FOR,
    }
}

fn options(allow_http: bool) -> [(ClientConfigKey, &'static str); 3] {
    [
        (ClientConfigKey::Timeout, REQUEST_TIMEOUT),
        (ClientConfigKey::ConnectTimeout, CONNECT_TIMEOUT),
        (ClientConfigKey::AllowHttp, if allow_http { "true" } else { "false" }),
    ]
}

/// `endpoint` with the bucket in the name of its host.
fn with_host_of(bucket: &str, endpoint: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{bucket}.{rest}"),
        None => format!("{bucket}.{endpoint}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Secret;

    /// What is said when the bucket of `config` cannot be set up: error and cause.
    fn refused(config: &BucketConfig) -> String {
        let error = client(config).expect_err("refused");
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("{error}{cause}")
    }

    fn config(url: &str) -> BucketConfig {
        let secret = |text: &str| Some(Secret::new(text.to_owned()));
        let mut config = BucketConfig::at(url);
        (config.s3.access_key_id, config.s3.secret_access_key) = (Some("id".to_owned()), secret("hidden"));
        (config.azure.account, config.azure.access_key) = (Some("telemetry".to_owned()), secret("aGlkZGVu"));
        config.gcs.service_account =
            secret(r#"{"private_key": "hidden", "private_key_id": "", "client_email": "", "disable_oauth": true}"#);
        config
    }

    #[test]
    fn an_url_names_a_bucket_and_perhaps_a_folder() {
        for service in ["s3", "gs", "az"] {
            for good in ["://telemetry", "://telemetry/", "://telemetry/a/b", "://my-bucket-1/x/"] {
                client(&config(&format!("{service}{good}"))).unwrap();
            }
            for bad in [":///x", "://telemetry/x?y=z", "://telemetry/x#y", "://telemetry:80/x", "://id@telemetry/x"] {
                let url = format!("{service}{bad}");
                assert!(matches!(client(&config(&url)), Err(BucketError::Url { found }) if found == url), "{url}");
            }
        }
        client(&config("s3://my.bucket-1/x/")).unwrap();
        for bad in ["telemetry", "https://telemetry/x", "abfss://telemetry@account.example/x"] {
            assert_eq!(
                refused(&config(bad)),
                format!(
                    "the lake's URL is `{bad}`, expected `s3://BUCKET`, `gs://BUCKET` or `az://CONTAINER`, or a folder in it such as `s3://BUCKET/FOLDER`"
                )
            );
        }
    }

    #[test]
    fn credentials_that_cannot_be_used_are_named_and_not_shown() {
        for (url, says) in [("az://telemetry", "is not in base64"), ("gs://telemetry", "service account")] {
            let mut wrong = config(url);
            wrong.azure.access_key = Some(Secret::new("hidden!".to_owned()));
            wrong.gcs.service_account = Some(Secret::new("hidden".to_owned()));
            let error = refused(&wrong);
            assert!(error.starts_with(&format!("could not set up access to `{url}`: ")) && error.contains(says), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
        assert!(!format!("{:?}", config("gs://telemetry")).contains("hidden"));
    }

    #[test]
    fn a_bucket_may_be_in_the_name_of_the_host() {
        assert_eq!(with_host_of("telemetry", "https://s3.example:9000"), "https://telemetry.s3.example:9000");
    }
}
