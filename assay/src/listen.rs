//! Accepts HTTP connections with the limits that a public port needs, and drains them at shutdown.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// A client that has not sent its headers within this time is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// HTTP/2 connections that do not answer a ping within [`PING_TIMEOUT`] are closed.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// A bound address, not yet served.
pub(crate) struct Listener {
    name: &'static str,
    tcp: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// # Errors
    /// If the address is taken or not ours.
    pub(crate) async fn bind(name: &'static str, address: SocketAddr) -> anyhow::Result<Self> {
        let tcp =
            TcpListener::bind(address).await.with_context(|| format!("could not listen on `{address}` (`listen.{name}`)"))?;
        let address = tcp.local_addr()?;
        Ok(Self { name, tcp, address })
    }

    /// What it is for: the key below `listen` in the configuration.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` over HTTP/1.1 and HTTP/2 (h2c) until `stop`, then lets requests finish for at most `grace`.
    pub(crate) async fn serve(self, router: Router, stop: CancellationToken, grace: Duration) {
        let mut server = Builder::new(TokioExecutor::new());
        server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        server
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_concurrent_streams(STREAMS_MAX)
            .adaptive_window(true);
        let connections = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.tcp.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: connections that end will free some.
                    warn!(listener = self.name, %error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%peer, %error, "could not turn off Nagle's algorithm");
            }
            let service = TowerToHyperService::new(router.clone());
            let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            let connection = connections.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    debug!(%peer, %error, "connection ended");
                }
            });
        }
        drop(self.tcp);
        if tokio::time::timeout(grace, connections.shutdown()).await.is_err() {
            warn!(listener = self.name, ?grace, "requests were still running when the grace period ended");
        }
    }
}
