//! A copy of all that a store has, while it runs.

use std::io::{self, Write};

use exesdb_plugin::{StoreAccess, names};
use exesdb_storage::dump::Summary;
use tokio::sync::mpsc;

use super::connection::{Connection, Disconnected};
use super::host::Host;
use super::protocol::{DATA_BYTES_MAX, Keeper, Response};
use super::stopped::{Stopped, send_last};

/// Pieces that wait for the client: enough that the disk is read while the socket is written.
const PIECES_WAITING_MAX: usize = 4;

/// Sends everything that the store has as of now, in pieces, and then a summary.
pub(super) async fn backup(
    host: &Host,
    store: &str,
    connection: &mut Connection,
) -> Result<(), Disconnected> {
    let outcome = async {
        let access = host.part::<StoreAccess>(store, &names::store(store)).await?;
        tracing::info!(store, "a backup was asked for over the control socket");
        let (summary, keepers) = send_dump(&access, connection).await?;
        Ok(Response::BackedUp { summary: summary.into(), keepers })
    };
    let outcome = outcome.await;
    send_last(outcome, connection).await
}

async fn send_dump(
    access: &StoreAccess,
    connection: &mut Connection,
) -> Result<(Summary, Vec<Keeper>), Stopped> {
    let snapshot = access.reader().snapshot();
    let keepers = Keeper::all(&snapshot).map_err(Stopped::failed)?;
    let (pieces, mut to_send) = mpsc::channel(PIECES_WAITING_MAX);
    let dumping = tokio::task::spawn_blocking(move || {
        let mut out = Pieces { pieces, piece: Vec::with_capacity(DATA_BYTES_MAX) };
        snapshot.dump(&mut out, &mut |_| ())
    });
    while let Some(piece) = to_send.recv().await {
        connection.send_piece(&piece).await?;
    }
    let summary = dumping.await.map_err(Stopped::failed)?.map_err(Stopped::failed)?;
    Ok((summary, keepers))
}

/// Divides what is written into pieces, and sends them on. Fails when their reader is gone.
struct Pieces {
    pieces: mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
}

impl Pieces {
    fn pass_on(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(DATA_BYTES_MAX));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone");
        self.pieces.blocking_send(piece).map_err(gone)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(DATA_BYTES_MAX - self.piece.len());
        self.piece.extend_from_slice(&bytes[..fits]);
        if self.piece.len() == DATA_BYTES_MAX {
            self.pass_on()?;
        }
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::Pieces;
    use crate::control::protocol::DATA_BYTES_MAX;
    use tokio::sync::mpsc;

    #[test]
    fn pieces_are_complete_and_bounded_and_fail_without_a_reader() {
        let (pieces, mut taken) = mpsc::channel(8);
        let mut out = Pieces { pieces, piece: Vec::new() };
        let data: Vec<u8> = (0..DATA_BYTES_MAX * 2 + 5).map(|at| (at % 251) as u8).collect();
        out.write_all(&data[..7]).unwrap();
        out.write_all(&data[7..]).unwrap();
        out.flush().unwrap();
        out.flush().unwrap();
        let mut received = Vec::new();
        let mut sizes = Vec::new();
        while let Ok(piece) = taken.try_recv() {
            sizes.push(piece.len());
            received.extend(piece);
        }
        assert_eq!(sizes, [DATA_BYTES_MAX, DATA_BYTES_MAX, 5]);
        assert!(received == data);
        drop(taken);
        assert!(out.write_all(&data).is_err());
    }
}
