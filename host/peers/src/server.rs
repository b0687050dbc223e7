//! The listener for nodes: TLS, the bounds on connections, and what is left of each when it ends.

mod connection;
mod raft;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use self::connection::Connection;
use crate::hello::Kind;
use crate::limits::{STRANGERS_MAX, TLS_WAIT};
use crate::node::Node;

/// The pause after the system refused a connection, which it does when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections that have said hello: one of each kind of each node. A later one takes the place of an earlier one, whose
/// other side has given it up.
#[derive(Default)]
pub(crate) struct Known {
    all: Mutex<HashMap<(String, Kind), oneshot::Sender<()>>>,
}

impl Known {
    /// Puts a connection in the place of an earlier one. The receiver ends when another takes its own.
    fn replace(&self, name: &str, kind: Kind) -> oneshot::Receiver<()> {
        let (replaced, is_replaced) = oneshot::channel();
        let mut all = self.all.lock();
        all.retain(|_, one| !one.is_closed());
        all.insert((name.to_owned(), kind), replaced);
        is_replaced
    }
}

/// Accepts connections, without end.
pub(crate) async fn run(listener: TcpListener, node: Arc<Node>) {
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    let known = Arc::new(Known::default());
    let mut connections = JoinSet::new();
    loop {
        let tcp = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => tcp,
                Err(error) => {
                    tracing::error!(%error, "the listener for nodes accepts nothing");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        let Ok(stranger) = Arc::clone(&strangers).try_acquire_owned() else {
            tracing::warn!("a connection was closed: {STRANGERS_MAX} others have not said hello");
            continue;
        };
        connections.spawn(serve(tcp, Arc::clone(&node), Arc::clone(&known), stranger));
    }
}

async fn serve(tcp: TcpStream, node: Arc<Node>, known: Arc<Known>, stranger: OwnedSemaphorePermit) {
    let from = tcp.peer_addr().map_or_else(|error| error.to_string(), |address| address.to_string());
    // Without it messages only wait longer.
    drop(tcp.set_nodelay(true));
    let acceptor = TlsAcceptor::from(Arc::clone(&node.credentials.server));
    let tls = match timeout(TLS_WAIT, acceptor.accept(tcp)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return tracing::warn!(from, %error, "a connection without TLS of the cluster"),
        Err(_) => return tracing::warn!(from, "a connection that did not begin with TLS in time"),
    };
    let reason = Connection::serve(tls, node, known, stranger).await;
    tracing::debug!(from, reason, "a connection of a node ended");
}
