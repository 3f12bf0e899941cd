//! Connections to other nodes: one for each, over which all queries go. Each request says who asks, by the secret that nodes share.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use assay_storage::Secret;
use async_trait::async_trait;
use datafusion::{
    common::{Result, config_datafusion_err},
    error::DataFusionError,
};
use datafusion_distributed::{
    ChannelResolver, WorkerChannel,
    grpc::{BoxCloneSyncChannel, create_worker_client},
};
use http::{HeaderValue, header};
use parking_lot::Mutex;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tower::ServiceExt as _;
use url::Url;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A node that answers no ping for so long is gone, and with it the queries it has a part of.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The connections, shared by all queries of a node.
#[derive(Clone)]
pub(super) struct Channels {
    authorization: HeaderValue,
    authorities: Option<Certificate>,
    by_url: Arc<Mutex<HashMap<Url, BoxCloneSyncChannel>>>,
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels").finish_non_exhaustive()
    }
}

impl Channels {
    pub(super) fn new(secret: &Secret, authorities: Option<&str>) -> Self {
        Self {
            authorization: super::worker::authorization(secret),
            authorities: authorities.map(Certificate::from_pem),
            by_url: Arc::default(),
        }
    }

    /// # Errors
    /// If nothing can be reached at `url`, whatever is there.
    pub(super) fn check(&self, url: &Url) -> Result<()> {
        self.endpoint(url).map(drop)
    }

    fn endpoint(&self, url: &Url) -> Result<Endpoint> {
        let refused = |error: tonic::transport::Error| config_datafusion_err!("`{url}` is no address of a node: {error}");
        let endpoint = Endpoint::from_shared(url.to_string()).map_err(refused)?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .http2_adaptive_window(true)
            .tcp_nodelay(true);
        if url.scheme() != "https" {
            return Ok(endpoint);
        }
        let tls = ClientTlsConfig::new();
        let tls = match &self.authorities {
            Some(authorities) => tls.ca_certificate(authorities.clone()),
            None => tls.with_native_roots(),
        };
        endpoint.tls_config(tls).map_err(refused)
    }

    fn channel(&self, url: &Url) -> Result<BoxCloneSyncChannel> {
        if let Some(channel) = self.by_url.lock().get(url) {
            return Ok(channel.clone());
        }
        // Connects when it is used, and again after it broke.
        let channel = self.endpoint(url)?.connect_lazy();
        let authorization = self.authorization.clone();
        let channel = BoxCloneSyncChannel::new(channel.map_request(move |mut request: http::Request<tonic::body::Body>| {
            request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
            request
        }));
        Ok(self.by_url.lock().entry(url.clone()).or_insert(channel).clone())
    }
}

#[async_trait]
impl ChannelResolver for Channels {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>, DataFusionError> {
        Ok(create_worker_client(self.channel(url)?))
    }
}
