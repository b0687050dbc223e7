//! The telemetry, as it was kept and as it happens.

use exesdb_supervisor::Event;

use super::connection::{Connection, Disconnected};
use super::host::Host;
use super::protocol::Response;

/// Sends the events that are kept.
pub(super) async fn recent(
    host: &Host,
    kinds: &[String],
    connection: &mut Connection,
) -> Result<(), Disconnected> {
    for event in host.telemetry.recent() {
        send_event(connection, &event, kinds).await?;
    }
    connection.send(&Response::End).await
}

/// Sends the events that are kept and then new ones, until the client leaves or the host ends.
pub(super) async fn follow(
    host: &Host,
    kinds: &[String],
    connection: &mut Connection,
) -> Result<(), Disconnected> {
    let mut events = host.telemetry.subscribe_from_oldest();
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => send_event(connection, &event, kinds).await?,
                None => break,
            },
            // A follower has nothing to say: input is as wrong as the end is final.
            () = connection.has_input() => return Err(Disconnected),
            () = host.ended() => {
                while let Some(event) = events.try_recv() {
                    send_event(connection, &event, kinds).await?;
                }
                break;
            }
        }
    }
    connection.send(&Response::End).await
}

async fn send_event(
    connection: &mut Connection,
    event: &Event,
    kinds: &[String],
) -> Result<(), Disconnected> {
    // A client that filters must still learn that events were missed: they may have been of these kinds.
    if kinds.is_empty() || event.kind == "missed" || kinds.contains(&event.kind) {
        return connection.send(&Response::Event { event: event.clone() }).await;
    }
    Ok(())
}
