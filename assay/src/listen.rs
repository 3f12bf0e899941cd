//! Accepts HTTP connections with the limits that a public port needs, and drains them at shutdown.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// A client that has not sent its headers within this time is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// HTTP/2 connections that do not answer a ping within [`PING_TIMEOUT`] are closed.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// Files that are not connections: log, lake, spilled queries. A server without one of these fails, so connections leave them free.
const OTHER_FILES: u64 = 1024;
/// Without a limit of the system, still not more than fit into memory: an idle connection takes some ten KB.
const CONNECTIONS_MAX: u64 = 100_000;

/// Room for connections, shared by all listeners. A client that finds none waits in the queue of the operating system.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    free: Arc<Semaphore>,
}

impl Connections {
    /// As many as the limit on open files allows, which is raised to what the system permits without privileges.
    pub(crate) fn within_file_limit() -> Self {
        let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
            warn!(%error, "could not raise the limit on open files");
            rlimit::Resource::NOFILE.get_soft().unwrap_or(1024)
        });
        // With a limit so low that both do not fit, half is for each.
        let connections = files.saturating_sub(OTHER_FILES).max(files / 2).min(CONNECTIONS_MAX);
        info!(files, connections, "limit on open files");
        Self { free: Arc::new(Semaphore::new(usize::try_from(connections).unwrap_or(usize::MAX >> 3))) }
    }
}

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
    /// As many connections at once as there is `room` for.
    pub(crate) async fn serve(self, router: Router, stop: CancellationToken, grace: Duration, room: Connections) {
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
            let accepted = async {
                let place = Arc::clone(&room.free).acquire_owned().await.expect("the semaphore is never closed");
                (place, self.tcp.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accepted => accepted,
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
                let _place = place;
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
