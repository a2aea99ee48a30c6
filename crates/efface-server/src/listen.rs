//! Listening: connections within bounds, and an end that lets open calls finish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use crate::app::App;
use crate::error::{Error, Result};

/// How long open calls may take when the service ends.
const END: Duration = Duration::from_secs(20);
/// Between two looks at previews that are too old.
const FORGET: Duration = Duration::from_secs(10);
/// Bytes of a head.
const HEAD_BYTES: usize = 64 << 10;
/// Connections to the private address.
const PRIVATE_CONNECTIONS: usize = 64;

/// Serves until the process is asked to end.
pub(crate) async fn serve(app: &Arc<App>, public: Router, private: Router) -> Result<()> {
    let config = &app.config;
    let (end, ended) = watch::channel(());
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    let public_at = bind(config.listen).await?;
    let private_at = bind(config.private_listen).await?;
    tracing::info!(listen = %config.listen, private = %config.private_listen, "serving");
    let head = Duration::from_secs(config.limits.read_seconds);
    let public = accept(
        public_at,
        public,
        config.limits.connections,
        head,
        ended.clone(),
    );
    let private = accept(private_at, private, PRIVATE_CONNECTIONS, head, ended);
    let signals = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending");
        app.is_ending
            .store(true, std::sync::atomic::Ordering::Relaxed);
        drop(end);
    };
    let served = async { tokio::join!(public, private, signals) };
    tokio::select! {
        _ = served => Ok(()),
        never = forget_previews(app) => match never {},
    }
}

/// Forgets previews when their time is over: a project's own thread may be busy for hours.
async fn forget_previews(app: &App) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(FORGET).await;
        app.previews.forget_old(app.now());
    }
}

fn on(kind: SignalKind) -> Result<tokio::signal::unix::Signal> {
    signal(kind).map_err(|source| Error::Io {
        doing: "handle",
        what: "signals".to_owned(),
        source,
    })
}

async fn bind(at: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(at).await.map_err(|source| Error::Io {
        doing: "listen at",
        what: at.to_string(),
        source,
    })
}

/// Takes connections until `ended` says so, then lets the open ones finish.
async fn accept(
    listener: TcpListener,
    router: Router,
    connections: usize,
    head: Duration,
    mut ended: watch::Receiver<()>,
) {
    let room = Arc::new(Semaphore::new(connections));
    let graceful = GracefulShutdown::new();
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HEAD_BYTES);
    loop {
        // Beyond the bound, others wait in the system's backlog.
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, taken) = tokio::select! {
            // The sender was dropped.
            _ = ended.changed() => break,
            next = next => next,
        };
        let (stream, peer) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                // Often too many open files: others are closed in a moment.
                tracing::warn!(%error, "can't take a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let router = router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request.map(Body::new))
        });
        set_options(&stream);
        let connection = server.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that breaks off is no fault of ours.
            let _ended = connection.await;
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(END, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("calls that did not end in time are broken off");
    }
}

fn set_options(stream: &TcpStream) {
    // Without it an answer only comes a little later.
    drop(stream.set_nodelay(true));
}
