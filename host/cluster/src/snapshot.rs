//! Snapshots: a handle that costs nothing until it is sent, and the dump that it is sent as.

use std::any::Any;
use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use exesdb_storage::{Engine, Snapshot};
use tokio::sync::{mpsc, watch};

use crate::kept::Execution;
use crate::limits::{SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS_WAITING_MAX};
use crate::transport::SnapshotBody;

/// What the engine passes on as a snapshot.
pub(crate) enum SnapshotData {
    /// One to be sent.
    Outgoing(Box<dyn Dump>),
    /// One that was received: the home's `Incoming`.
    Incoming(Box<dyn Any + Send>),
}

/// Something of which a dump can be made.
pub(crate) trait Dump: Send {
    fn dump(self: Box<Self>, out: &mut dyn Write) -> Result<(), String>;
}

impl<E: Engine> Dump for Snapshot<E> {
    fn dump(self: Box<Self>, out: &mut dyn Write) -> Result<(), String> {
        Snapshot::dump(&self, out, &mut |_| {}).map(drop).map_err(|error| error.to_string())
    }
}

/// Begins to make a dump. It is made as fast as it is taken; the watch changes with each part, and closes after the last.
pub(crate) fn send(dump: Box<dyn Dump>, execution: Execution) -> (SnapshotBody, watch::Receiver<()>) {
    let (taken, progress) = watch::channel(());
    let (chunks, body) = match execution {
        Execution::Threads => mpsc::channel(SNAPSHOT_CHUNKS_WAITING_MAX),
        // Made at once, so it must fit.
        Execution::Inline => mpsc::channel(1 << 20),
    };
    let make = move || {
        let mut writer = Writer { chunks, chunk: BytesMut::new(), taken, execution };
        // A peer notices that the dump has no end.
        if let Err(error) = dump.dump(&mut writer).and_then(|()| writer.send().map_err(|e| e.to_string())) {
            tracing::warn!(error, "a snapshot was not sent");
        }
    };
    match execution {
        Execution::Threads => drop(tokio::task::spawn_blocking(make)),
        Execution::Inline => make(),
    }
    (body, progress)
}

struct Writer {
    chunks: mpsc::Sender<Bytes>,
    chunk: BytesMut,
    taken: watch::Sender<()>,
    execution: Execution,
}

impl Writer {
    /// Sends what is collected.
    fn send(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = self.chunk.split().freeze();
        let is_sent = match self.execution {
            Execution::Threads => self.chunks.blocking_send(chunk).is_ok(),
            Execution::Inline => self.chunks.try_send(chunk).is_ok(),
        };
        self.taken.send_replace(());
        if is_sent { Ok(()) } else { Err(io::Error::other("nobody takes it any more")) }
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // No more than a part at a time: the frames of a dump are larger, and no part is copied twice.
        let taken = bytes.len().min(SNAPSHOT_CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == SNAPSHOT_CHUNK_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a dump as it arrives.
pub(crate) struct Received {
    body: SnapshotBody,
    chunk: Bytes,
}

impl Received {
    /// With inline execution, everything is received before the first read.
    pub(crate) async fn new(mut body: SnapshotBody, execution: Execution) -> Self {
        if execution == Execution::Threads {
            return Self { body, chunk: Bytes::new() };
        }
        let mut whole = BytesMut::new();
        while let Some(chunk) = body.recv().await {
            whole.extend_from_slice(&chunk);
        }
        Self { body, chunk: whole.freeze() }
    }
}

impl Read for Received {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            // A body that has ended may be asked on any thread, any other one on a thread that may wait.
            let next = match self.body.try_recv() {
                Ok(chunk) => Some(chunk),
                Err(mpsc::error::TryRecvError::Disconnected) => None,
                Err(mpsc::error::TryRecvError::Empty) => self.body.blocking_recv(),
            };
            match next {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let len = out.len().min(self.chunk.len());
        out[..len].copy_from_slice(&self.chunk[..len]);
        self.chunk.advance(len);
        Ok(len)
    }
}
