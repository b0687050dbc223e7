//! Connections: HTTP/1.1 and HTTP/2, with limits on what a client may occupy.

use std::convert::Infallible;
use std::sync::{Arc, Once};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::service::Service;

/// Connections at a time. An idle one costs a task and its buffers, about 20 KiB.
pub const CONNECTIONS_MAX: usize = 8_192;

/// How long a client may take to send a request's head, and how long a connection may be idle.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of what was sent before the system breaks the connection off. More than the 30 s after which
/// a gateway ends such a response, which frees everything else.
const UNTAKEN_TIME_MAX: Duration = Duration::from_secs(60);

/// Headers of a request, and bytes of its head.
const HEADERS_MAX: usize = 100;
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Requests in progress on one HTTP/2 connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 100;

/// All connections of the host. They outlive a restart of the listener.
#[derive(Clone)]
pub struct Connections {
    permits: Arc<Semaphore>,
    max: usize,
    stopping: Arc<watch::Sender<bool>>,
}

impl Connections {
    /// Allows `max` connections at a time, but no more than [`CONNECTIONS_MAX`].
    pub fn new(max: usize) -> Self {
        let max = max.min(CONNECTIONS_MAX);
        Self { permits: Arc::new(Semaphore::new(max)), max, stopping: Arc::new(watch::Sender::new(false)) }
    }

    /// Waits for the permit for one more connection.
    pub(crate) async fn permit(&self) -> OwnedSemaphorePermit {
        self.permits.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Makes every connection finish its request and close.
    pub fn finish(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until all connections are closed, but no longer than `at_most`.
    pub async fn closed(&self, at_most: Duration) {
        let all = u32::try_from(self.max).expect("a limit of thousands");
        // Connections that are still open then end with the process.
        drop(tokio::time::timeout(at_most, self.permits.acquire_many(all)).await);
    }

    /// Serves a connection until it is closed.
    pub(crate) async fn serve(self, stream: TcpStream, service: Arc<Service>, _permit: OwnedSemaphorePermit) {
        // The HTTP library has no timeout for the detection of the client's version.
        if tokio::time::timeout(HEADER_READ_TIMEOUT, stream.readable()).await.is_err() {
            return;
        }
        let service = service_fn(move |request| {
            // In a box, which is freed with the response's head: the connection keeps the future's place until it ends.
            let response = Box::pin(service.clone().respond(request));
            async move { Ok::<_, Infallible>(response.await) }
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
        // The HTTP library waits without limit for a client that takes nothing.
        if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(UNTAKEN_TIME_MAX)) {
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                tracing::warn!(%error, "the system has no time limit for clients that take nothing");
            });
        }
        let mut stopping = self.stopping.subscribe();
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop(&mut stopping) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // The usual cause is a client that goes away.
            tracing::debug!(error = &*error, "a connection ended early");
        }
    }
}

async fn stop(stopping: &mut watch::Receiver<bool>) {
    // An error means that the host has ended, which is a stop as well.
    drop(stopping.wait_for(|stopping| *stopping).await);
}
