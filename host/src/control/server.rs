//! Accepts connections, and carries out their requests.

use std::time::Duration;

use exesdb_supervisor::{Handle, Registry, Telemetry};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::{Connection, Disconnected};
use super::host::Host;
use super::protocol::{CONNECTIONS_MAX, Refusal, Request, Response};
use super::socket::ControlSocket;
use super::{backup, events, invite, maintenance, operate};

/// What followers get to take the last events when the host ends.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// Before the next try to accept when the system refuses, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves control connections until `shutdown`, which has to complete after the tree has stopped: followers of the
/// telemetry then get its last events.
pub async fn serve(
    socket: ControlSocket,
    handle: Handle,
    registry: Registry,
    telemetry: Telemetry,
    shutdown: impl Future<Output = ()>,
) {
    let (end, ending) = watch::channel(false);
    let host = Host { handle, registry, telemetry, ending };
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() >= CONNECTIONS_MAX => refuse(&stream),
                Ok((stream, _)) => {
                    connections.spawn(converse(Connection::new(stream), host.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a control connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(socket);
    end.send_replace(true);
    let farewell = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    // Connections that take longer end with the runtime.
    drop(tokio::time::timeout(FAREWELL_TIMEOUT, farewell).await);
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a control connection panicked, which is a bug");
    }
}

/// Tells a client that there are too many. Its socket's buffer is empty, so this does not wait.
fn refuse(stream: &UnixStream) {
    let busy = Response::Error { error: Refusal::Busy };
    // A client that left already does not need it.
    drop(stream.try_write(&busy.line()));
}

/// One connection: hellos, then request after request.
async fn converse(mut connection: Connection, host: Host) {
    if connection.exchange_hellos().await.is_err() {
        return;
    }
    loop {
        let request = tokio::select! {
            request = connection.request() => request,
            () = host.ended() => return,
        };
        let Ok(request) = request else { return };
        let is_out_of_step = matches!(request, Err(Refusal::TooLong));
        let done = match request {
            Ok(request) => carry_out(request, &host, &mut connection).await,
            Err(error) => connection.send(&Response::Error { error }).await,
        };
        if is_out_of_step || done.is_err() {
            return;
        }
    }
}

async fn carry_out(request: Request, host: &Host, connection: &mut Connection) -> Result<(), Disconnected> {
    let response = match request {
        Request::Tree {} => Ok(operate::tree(host).await),
        Request::Kill { path, reason } => operate::kill(host, &path, reason).await,
        Request::Restart { path } => operate::restart(host, &path).await,
        Request::Events { follow: false, kinds } => return events::recent(host, &kinds, connection).await,
        Request::Events { follow: true, kinds } => return events::follow(host, &kinds, connection).await,
        Request::Scavenge { store } => return maintenance::scavenge(host, &store, connection).await,
        Request::Compact { store } => return maintenance::compact(host, &store, connection).await,
        Request::Backup { store } => return backup::backup(host, &store, connection).await,
        Request::Invite {} => invite::invite(host).await,
    };
    connection.send(&response.unwrap_or_else(|error| Response::Error { error })).await
}
