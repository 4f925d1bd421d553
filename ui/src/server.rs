//! Connections: taken, served, and ended. An accept loop of our own, because a client that never finishes its headers, or
//! never reads its answer, must not keep a connection, and `axum::serve` has no settings for that.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use topology::{Cluster, Timestamp};
use tracing::{debug, warn};

use crate::live::Live;
use crate::live::socket::SOCKETS_MAX;
use crate::metrics::Metrics;
use crate::render::Renders;
use crate::views::Views;
use crate::write_deadline::WriteDeadline;
use crate::{About, App, Peers, api, router};

/// Open connections, WebSockets left out; more wait in the kernel's backlog. A browser keeps up to six.
const CONNECTIONS_MAX: usize = 1024;

/// Time for a request's headers to arrive.
const HEADERS_DEADLINE: Duration = Duration::from_secs(10);

/// Time without a byte of an answer read, after which the client is gone: nobody's link stands still as long as a whole request
/// may take.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// Time for answers under way and goodbyes, once the peer ends. An answer in memory goes out in far less; a peer has two
/// seconds to end, and its probes need some of them.
const GRACE: Duration = Duration::from_millis(500);

/// Wait after the kernel had no connection to give: out of file descriptors, mostly, and those come back.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How often views nobody asks for any more are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// What handlers share.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) about: About,
    pub(crate) cluster: watch::Receiver<Cluster>,
    pub(crate) peers: watch::Receiver<Arc<Peers>>,
    pub(crate) started: Timestamp,
    pub(crate) views: Views,
    pub(crate) live: Arc<Live>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) renders: Renders,
    /// Places for WebSockets.
    pub(crate) sockets: Arc<Semaphore>,
    places: Arc<Semaphore>,
    /// Connections, WebSockets and owners of live views: all that must end before the server has.
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Server {
    pub(crate) fn new(app: App, stop: CancellationToken) -> Self {
        let App { about, cluster, peers, registry } = app;
        let metrics = Arc::new(Metrics::new(registry, &about));
        let tasks = TaskTracker::new();
        Self {
            about,
            started: api::now(),
            views: Views::new(cluster.clone(), metrics.clone()),
            live: Arc::new(Live::new(cluster.clone(), tasks.clone(), metrics.clone())),
            cluster,
            peers,
            metrics,
            renders: Renders::default(),
            sockets: Arc::new(Semaphore::new(SOCKETS_MAX)),
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            tasks,
            stop,
        }
    }

    /// Connections open now.
    pub(crate) fn connections(&self) -> usize {
        CONNECTIONS_MAX - self.places.available_permits()
    }
}

/// Serves `app` on `listener` until `stop`. Then answers under way are finished and WebSockets get a close frame, all within
/// half a second.
///
/// # Errors
/// If the listener is no listener. Failing connections are no error.
pub async fn serve(listener: TcpListener, app: App, stop: CancellationToken) -> io::Result<()> {
    let address = listener.local_addr()?;
    let server = Arc::new(Server::new(app, stop.clone()));
    let router = router::router(server.clone());
    debug!(%address, "serving HTTP");
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept(&listener, &server, &router) => {}
        () = sweep(&server) => {}
    }
    drop(listener);
    server.tasks.close();
    if timeout(GRACE, server.tasks.wait()).await.is_err() {
        warn!(left = server.tasks.len(), "connections cut that did not end in time");
    }
    Ok(())
}

async fn sweep(server: &Server) {
    let mut beat = interval(SWEEP);
    loop {
        beat.tick().await;
        server.views.sweep();
    }
}

async fn accept(listener: &TcpListener, server: &Server, router: &Router) {
    loop {
        // Waits for a place but does not take it yet: a place taken is a connection that is counted.
        drop(server.places.acquire().await.expect("nobody closes the semaphore"));
        match listener.accept().await {
            Ok((stream, _)) => {
                let place = server.places.clone().try_acquire_owned().expect("only this loop takes places");
                let drive = drive(stream, router.clone(), server.stop.clone(), place);
                drop(server.tasks.spawn(drive));
            }
            Err(error) => {
                warn!(%error, "no connection taken");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Serves one connection until it ends; after `stop`, until the answer under way is out.
async fn drive(stream: TcpStream, router: Router, stop: CancellationToken, place: OwnedSemaphorePermit) {
    // Without it the latency of small diffs is the kernel's to choose. A socket that refuses works all the same.
    drop(stream.set_nodelay(true));
    let stream = WriteDeadline::new(stream, WRITE_DEADLINE);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_DEADLINE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection broke");
    }
    drop(place);
}
