//! Serving the HTTP API: a listener of its own, with the limits that a server on a network needs.
//!
//! Hyper's connection driver is used directly, because a header time-out and a limit on connections (against clients
//! that open many and say little) must stand around each connection, below any router.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

use crate::error::ServeError;
use crate::system::Trimtab;

/// Connections that may be open at once; further ones wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 4_096;
/// How long a client may take to send the head of a request, and how long an idle connection is kept.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open requests may go on once the shutdown has begun.
pub const DRAIN: Duration = Duration::from_secs(10);

/// A listener that has its port, and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    system: Trimtab,
}

impl Server {
    /// Takes the port of `server.address`.
    ///
    /// # Errors
    ///
    /// [`ServeError::PortInUse`] and [`ServeError::Bind`], which name the setting and where its value comes from.
    pub(crate) async fn bind(system: Trimtab) -> Result<Self, ServeError> {
        let address = system.settings().server.address;
        let listener = TcpListener::bind(address).await.map_err(|source| {
            let origin = system.origin("server.address");
            if source.kind() == io::ErrorKind::AddrInUse {
                ServeError::PortInUse { address, origin }
            } else {
                ServeError::Bind { address, origin, source }
            }
        })?;
        // Port 0 asks the system for a free one: say which.
        let address = listener.local_addr().unwrap_or(address);
        Ok(Self { listener, address, router: system.standalone(), system })
    }

    /// Where it listens; tells the port that port 0 became.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until [`Trimtab::shutdown`] is called, then lets open requests finish for up to [`DRAIN`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the listener; open connections go on until their request ends.
    pub async fn run(self) {
        let Self { listener, router, system, .. } = self;
        // Until the last request is answered jobs are taken and locks are kept.
        let _serving = system.serving();
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let graceful = GracefulShutdown::new();
        // Wrong tokens, and where there is a limit requests, are counted by peer; else nobody asks who it is.
        let tell_peer = system.settings().server.token.is_some() || system.counts_peers();
        loop {
            let (stream, peer, permit) = tokio::select! {
                () = system.closing() => break,
                accepted = accept(&listener, &permits) => accepted,
            };
            let router = router.clone();
            let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
                if tell_peer {
                    request.extensions_mut().insert(ConnectInfo(peer));
                }
                router.clone().call(request)
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection ended early");
                }
                drop(permit);
            });
        }
        drop(listener);
        let open = graceful.count();
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!(open, after = ?DRAIN, "some requests did not finish and are cut off");
        }
    }
}

/// The next connection, once there is room for one.
async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let permit = Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are small and whole: waiting to fill a packet only adds delay.
                let _ = stream.set_nodelay(true);
                return (stream, peer, permit);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of file descriptors, most likely: nothing gets better by trying at once.
                tracing::warn!(%error, "cannot accept connections; trying again in a second");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Errors that concern the connection which would have come, and not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
