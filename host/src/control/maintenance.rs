//! What an operator has done to a store that runs: hidden events removed, its files made smaller, all of it copied.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use exesdb_plugin::contract::maintenance::ScavengeStep;
use exesdb_plugin::contract::snapshots::SnapshotId;
use exesdb_plugin::contract::types::Error;
use exesdb_plugin::{SnapshotsPool, StoreAccess, StreamsPool, VisibleSnapshots, names};
use exesdb_storage::Compacted;
use exesdb_storage::dump::Summary;
use exesdb_supervisor::{Kind, Registry};
use futures_util::future::BoxFuture;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;

use super::server::{Control, Over, send};
use super::{DATA_BYTES_MAX, Keeper, Refusal, Response};
use crate::maintenance::{explain, has_advanced, is_passing};
use crate::tree::Compactor;

/// How often a step that failed in passing is tried again: an instance is back within milliseconds.
const STEP_TRIES: u32 = 20;
/// Before the next try.
const STEP_PAUSE: Duration = Duration::from_millis(250);
/// Pieces of a backup that wait for the client: enough that the disk is read while the socket is written.
const PIECES_WAITING: usize = 4;
/// Until a client has taken a piece. It writes each to a disk, which may stand still for a while.
const PIECE_TIMEOUT: Duration = Duration::from_secs(120);

/// Why a request ended without its last answer.
enum Ended {
    /// The client is gone.
    Over(Over),
    /// It is told why.
    Refused(Refusal),
}

impl From<Over> for Ended {
    fn from(over: Over) -> Self {
        Ended::Over(over)
    }
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Ended::Refused(refusal)
    }
}

fn failed(detail: impl ToString) -> Ended {
    Ended::Refused(Refusal::Failed { detail: detail.to_string() })
}

/// Removes what is hidden, step by step, and tells of each step; then gives the room back, and sees to it that nothing of
/// what was deleted is left in the store's files.
pub(super) async fn scavenge(control: &Control, store: &str, write: &mut OwnedWriteHalf) -> Result<(), Over> {
    let done = async {
        let streams = part::<StreamsPool>(control, store, &names::writers(store)).await?;
        let snapshots = part::<SnapshotsPool>(control, store, &names::snapshots(store)).await?;
        tracing::info!(store, "scavenging was asked for over the control socket");
        scavenge_all("streams", &|from| Box::pin(streams.scavenge(from)), Done::default(), write).await?;
        // Snapshots that are unavailable keep no stream from giving its room back.
        let readers = part::<StreamsPool>(control, store, &names::readers(store)).await?;
        let visible = VisibleSnapshots::new(snapshots.clone(), readers);
        let snapshots = match sweep_all(&visible, write).await {
            Ok(swept) => {
                scavenge_all("snapshots", &|from| Box::pin(snapshots.scavenge(from)), swept, write).await
            }
            Err(ended) => Err(ended),
        };
        if let Err(Ended::Over(_)) = snapshots {
            return snapshots;
        }
        compact_all(control, store, Files::Erased, write).await?;
        snapshots
    };
    let done = done.await;
    finish(done, write).await
}

/// Rewrites the store's files without what was deleted and overwritten.
pub(super) async fn compact(control: &Control, store: &str, write: &mut OwnedWriteHalf) -> Result<(), Over> {
    tracing::info!(store, "compacting was asked for over the control socket");
    let done = compact_all(control, store, Files::Compacted, write).await;
    finish(done, write).await
}

/// Sends everything that the store has as of now, in pieces, and then what it was.
pub(super) async fn backup(control: &Control, store: &str, write: &mut OwnedWriteHalf) -> Result<(), Over> {
    let sent = async {
        let access = part::<StoreAccess>(control, store, &names::store(store)).await?;
        tracing::info!(store, "a backup was asked for over the control socket");
        send_dump(&access, write).await
    };
    let sent = sent.await;
    match sent {
        Ok((summary, keepers)) => send(write, &Response::BackedUp { summary: summary.into(), keepers }).await,
        Err(Ended::Refused(error)) => send(write, &Response::Error { error }).await,
        Err(Ended::Over(over)) => Err(over),
    }
}

async fn finish(done: Result<(), Ended>, write: &mut OwnedWriteHalf) -> Result<(), Over> {
    match done {
        Ok(()) => send(write, &Response::End).await,
        Err(Ended::Refused(error)) => send(write, &Response::Error { error }).await,
        Err(Ended::Over(over)) => Err(over),
    }
}

/// A part of a store that runs.
async fn part<T: Send + Sync + 'static>(
    control: &Control,
    store: &str,
    name: &str,
) -> Result<Arc<T>, Refusal> {
    let registry: &Registry = &control.registry;
    if let Some(part) = registry.get::<T>(name) {
        return Ok(part);
    }
    let tree = control.handle.tree().await;
    let stores = tree.children.iter().filter(|child| child.kind == Kind::Supervisor);
    let stores: Vec<String> = stores.map(|child| child.id.clone()).collect();
    if stores.iter().any(|known| known == store) {
        let detail = format!("store {store} does not run at the moment; look at `exesdb tree`");
        return Err(Refusal::Declined { detail });
    }
    Err(Refusal::UnknownStore { store: store.to_owned(), stores })
}

type Step<'a> = &'a (dyn Fn(Option<Vec<u8>>) -> BoxFuture<'a, Result<ScavengeStep, Error>> + Sync);

/// What was done of a component's data so far.
#[derive(Clone, Copy, Default)]
struct Done {
    examined: u64,
    removed: u64,
    bytes: u64,
}

impl Done {
    fn add(&mut self, examined: u64, removed: u64, bytes: u64) {
        self.examined = self.examined.saturating_add(examined);
        self.removed = self.removed.saturating_add(removed);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn response(self, component: &str) -> Response {
        let Self { examined, removed, bytes } = self;
        Response::Scavenged { component: component.to_owned(), examined, removed, bytes }
    }
}

/// Deletes the snapshots of streams that were deleted since, step by step.
async fn sweep_all(visible: &VisibleSnapshots, write: &mut OwnedWriteHalf) -> Result<Done, Ended> {
    let mut total = Done::default();
    let (mut after, mut tries) = (None, 0);
    loop {
        let swept = match visible.sweep(after.clone()).await {
            Ok(swept) => swept,
            Err(error) if is_passing(&error) && tries < STEP_TRIES => {
                tries += 1;
                tokio::time::sleep(STEP_PAUSE).await;
                continue;
            }
            Err(error) => {
                let why = explain(&error);
                let what = "removing the snapshots of deleted streams stopped";
                return Err(failed(format!("{what}: {why}; scavenge again")));
            }
        };
        tries = 0;
        total.add(swept.examined, swept.removed, swept.bytes);
        send(write, &total.response("snapshots")).await?;
        if swept.after.is_none() {
            return Ok(total);
        }
        let place = |id: &SnapshotId| (id.stream_id.clone(), id.source_id.clone(), id.version);
        if swept.after.as_ref().map(place) == after.as_ref().map(place) {
            return Err(failed("the component snapshots stands still: its lists end where they begin"));
        }
        after = swept.after;
    }
}

async fn scavenge_all(
    component: &str,
    step: Step<'_>,
    before: Done,
    write: &mut OwnedWriteHalf,
) -> Result<(), Ended> {
    let mut total = before;
    let mut from = None;
    let mut tries = 0;
    loop {
        let done = match step(from.clone()).await {
            Ok(done) => done,
            Err(error) if is_passing(&error) && tries < STEP_TRIES => {
                tries += 1;
                tokio::time::sleep(STEP_PAUSE).await;
                continue;
            }
            Err(error) => {
                let why = explain(&error);
                return Err(failed(format!("scavenging {component} stopped: {why}; scavenge again")));
            }
        };
        tries = 0;
        total.add(done.examined, done.removed, done.bytes);
        send(write, &total.response(component)).await?;
        if done.next.is_none() {
            return Ok(());
        }
        if !has_advanced(from.as_deref(), &done) {
            return Err(failed(format!(
                "the component {component} stands still: a step of its scavenging removed nothing and ended where it \
                 began; what was removed before stays removed; report this to the component's author"
            )));
        }
        from = done.next;
    }
}

/// What becomes of a store's files.
#[derive(Clone, Copy)]
enum Files {
    /// They are rewritten without what was deleted.
    Compacted,
    /// Besides, nothing of it is left in any other file, journals included.
    Erased,
}

async fn compact_all(
    control: &Control,
    store: &str,
    files: Files,
    write: &mut OwnedWriteHalf,
) -> Result<(), Ended> {
    let compactor = part::<Compactor>(control, store, &Compactor::name(store)).await?;
    let (steps, mut done) = mpsc::unbounded_channel();
    let compacting = tokio::task::spawn_blocking(move || {
        let mut tell = |compacted: Compacted<'_>| {
            let step = Response::Compacted {
                keyspace: format!("{}.{}", compacted.owner, compacted.keyspace),
                bytes_before: compacted.bytes_before,
                bytes_after: compacted.bytes_after,
                done: compacted.done as u64,
                total: compacted.total as u64,
            };
            // A client that left does not keep the rest from being done. One step for each keyspace: few.
            drop(steps.send(step));
        };
        match files {
            Files::Compacted => compactor.compact(&mut tell),
            Files::Erased => compactor.erase(&mut tell),
        }
    });
    while let Some(step) = done.recv().await {
        send(write, &step).await?;
    }
    compacting.await.map_err(failed)?.map_err(failed)
}

async fn send_dump(
    access: &StoreAccess,
    write: &mut OwnedWriteHalf,
) -> Result<(Summary, Vec<Keeper>), Ended> {
    let snapshot = access.reader.snapshot();
    let keepers = Keeper::all(&snapshot).map_err(failed)?;
    let (pieces, mut taken) = mpsc::channel(PIECES_WAITING);
    let dumping = tokio::task::spawn_blocking(move || {
        let mut out = Pieces { pieces, gathered: Vec::with_capacity(DATA_BYTES_MAX) };
        snapshot.dump(&mut out, &mut |_| ())
    });
    while let Some(piece) = taken.recv().await {
        send_piece(&piece, write).await?;
    }
    let summary = dumping.await.map_err(failed)?.map_err(failed)?;
    Ok((summary, keepers))
}

async fn send_piece(piece: &[u8], write: &mut OwnedWriteHalf) -> Result<(), Over> {
    send(write, &Response::Data { bytes: piece.len() as u64 }).await?;
    match tokio::time::timeout(PIECE_TIMEOUT, write.write_all(piece)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Over),
    }
}

/// Gathers what is written into pieces, and hands them over. Fails when nobody takes them any more.
struct Pieces {
    pieces: mpsc::Sender<Vec<u8>>,
    gathered: Vec<u8>,
}

impl Pieces {
    fn hand_over(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.gathered, Vec::with_capacity(DATA_BYTES_MAX));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone");
        self.pieces.blocking_send(piece).map_err(gone)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = bytes.len().min(DATA_BYTES_MAX - self.gathered.len());
        self.gathered.extend_from_slice(&bytes[..fits]);
        if self.gathered.len() == DATA_BYTES_MAX {
            self.hand_over()?;
        }
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_over()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::Pieces;
    use crate::control::DATA_BYTES_MAX;
    use tokio::sync::mpsc;

    #[test]
    fn pieces_are_bounded_and_whole_and_end_with_their_reader() {
        let (pieces, mut taken) = mpsc::channel(8);
        let mut out = Pieces { pieces, gathered: Vec::new() };
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
