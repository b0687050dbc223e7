//! The listening socket, and the child that accepts from it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::{ChildSpec, Context, Reason, Registry, Start};
use tokio::net::TcpListener;

use crate::answer::Answers;
use crate::connection::Connections;
use crate::health::Readiness;
use crate::route::StoreRoute;
use crate::web::WebAccess;

/// Pause after a failed accept, which is mostly a lack of file descriptors: they come back when clients go.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The socket. It is bound once, before the tree starts, so that a taken port is told at once, and outlives the
/// child that accepts, so that a restart refuses nobody.
#[derive(Clone)]
pub struct Listener {
    socket: Arc<TcpListener>,
    address: SocketAddr,
}

/// Why there is no listening socket.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}; {}", way_out(error))]
pub struct ListenerError {
    address: SocketAddr,
    error: std::io::Error,
}

/// What helps if an address cannot be listened on.
fn way_out(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "stop what uses this address, or choose another one with --listen (`listen` of the configuration)"
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: choose one that it has with --listen (`listen` of the configuration)"
        }
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 are for privileged processes: choose another one with --listen (`listen` of the configuration)"
        }
        _ => "choose another address with --listen (`listen` of the configuration)",
    }
}

impl Listener {
    /// Binds the address; port 0 takes any free one.
    ///
    /// # Errors
    ///
    /// When the address is taken or not ours.
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenerError> {
        let failed = |error| ListenerError { address, error };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket: Arc::new(socket), address })
    }

    /// The address with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What the connections of a listener get to see.
pub struct Served {
    /// Where the gateway workers are found.
    pub registry: Registry,
    /// The stores, in the order of the configuration.
    pub stores: Vec<StoreRoute>,
    /// How each of them is.
    pub readiness: Readiness,
    /// Which web pages may send requests.
    pub web: WebAccess,
}

/// The child that accepts connections.
pub fn listener_child(listener: Listener, connections: Connections, served: Served) -> ChildSpec {
    let answers = Arc::new(Answers { served, turn: Default::default() });
    ChildSpec::worker("listener", move |context: Context| {
        let (listener, connections, answers) = (listener.clone(), connections.clone(), answers.clone());
        async move {
            Ok(Start::running(async move {
                // The connections go on: they end when the host stops, after the gateway workers have finished.
                let shutdown = context.shutdown();
                tokio::select! {
                    () = shutdown.requested() => {}
                    () = accept(&listener, &connections, &answers) => {}
                }
                Reason::Shutdown
            }))
        }
    })
}

async fn accept(listener: &Listener, connections: &Connections, answers: &Arc<Answers>) {
    loop {
        let room = connections.room().await;
        match listener.socket.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection is gone already");
                    continue;
                }
                tokio::spawn(connections.clone().serve(stream, answers.clone(), room));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed; it is tried again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
