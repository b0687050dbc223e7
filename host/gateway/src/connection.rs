//! One connection: HTTP/1.1 or HTTP/2, with what a client may hold of the host.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::answer::Answers;

/// Connections at a time. Each costs a task and its buffers, some 20 KiB idle.
pub const CONNECTIONS_MAX: usize = 4_096;

/// How long a client may take over a request's head, and how long a connection may be idle: a client that trickles
/// headers, or sends nothing, holds a connection.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Headers of a request, and bytes of its head.
const HEADERS_MAX: usize = 100;
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Requests in progress on one HTTP/2 connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 100;

/// All connections of the host. They outlive a restart of the listener.
#[derive(Clone)]
pub struct Connections {
    room: Arc<Semaphore>,
    max: usize,
    stopping: Arc<watch::Sender<bool>>,
}

impl Connections {
    /// Room for `max` connections.
    pub fn new(max: usize) -> Self {
        let max = max.min(CONNECTIONS_MAX);
        Self { room: Arc::new(Semaphore::new(max)), max, stopping: Arc::new(watch::Sender::new(false)) }
    }

    /// A place for one more connection, when there is one.
    pub(crate) async fn room(&self) -> OwnedSemaphorePermit {
        self.room.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Has every connection finish the request it is at and close.
    pub fn finish(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until all connections are closed, at most this long.
    pub async fn closed(&self, at_most: Duration) {
        let all = u32::try_from(self.max).expect("a limit of thousands");
        // Whoever is still there after that time is cut off with the process.
        drop(tokio::time::timeout(at_most, self.room.acquire_many(all)).await);
    }

    /// Serves a connection until it is closed.
    pub(crate) async fn serve(self, stream: TcpStream, answers: Arc<Answers>, _room: OwnedSemaphorePermit) {
        // The HTTP library has no clock yet when it looks for the version that the client speaks.
        if tokio::time::timeout(HEADER_READ_TIMEOUT, stream.readable()).await.is_err() {
            return;
        }
        let service = service_fn(move |request| {
            let answers = answers.clone();
            async move { Ok::<_, Infallible>(answers.answer(request).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).expect("a limit of kilobytes"))
            .keep_alive_interval(Some(Duration::from_secs(30)));
        let mut stopping = self.stopping.subscribe();
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop(&mut stopping) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // A client that goes away in the middle is no fault of ours.
            tracing::debug!(error = &*error, "a connection ended early");
        }
    }
}

async fn stop(stopping: &mut watch::Receiver<bool>) {
    // An error means that the host is gone, which is a stop as well.
    drop(stopping.wait_for(|stopping| *stopping).await);
}
