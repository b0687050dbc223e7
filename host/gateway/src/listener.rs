//! The listening socket, and the child that accepts connections from it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::{ChildSpec, Context, Reason, Start};
use tokio::net::TcpListener;

use crate::connection::Connections;
use crate::service::{Service, ServiceConfig};

/// The pause after a failed accept. The usual cause is a lack of file descriptors, which are freed when clients leave.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The listening socket. It is bound before the tree starts, so that a port in use is reported at once, and outlives the
/// child that accepts from it, so that a restart refuses no connection.
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

/// What to do if an address cannot be listened on.
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
    /// Binds the address; port 0 means any free port.
    ///
    /// # Errors
    ///
    /// The address is in use or not available.
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenerError> {
        let failed = |error| ListenerError { address, error };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket: Arc::new(socket), address })
    }

    /// The bound address, with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The child that accepts connections.
pub fn listener_child(listener: Listener, connections: Connections, config: ServiceConfig) -> ChildSpec {
    let service = Arc::new(Service::new(config));
    ChildSpec::worker("listener", move |context: Context| {
        let (listener, connections, service) = (listener.clone(), connections.clone(), service.clone());
        async move {
            Ok(Start::running(async move {
                // Connections continue: they end when the host stops, after the gateway workers have finished.
                let shutdown = context.shutdown();
                tokio::select! {
                    () = shutdown.requested() => {}
                    () = accept(&listener, &connections, &service) => {}
                }
                Reason::Shutdown
            }))
        }
    })
}

async fn accept(listener: &Listener, connections: &Connections, service: &Arc<Service>) {
    loop {
        let permit = connections.permit().await;
        match listener.socket.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection is gone already");
                    continue;
                }
                tokio::spawn(connections.clone().serve(stream, service.clone(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed; it is tried again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
