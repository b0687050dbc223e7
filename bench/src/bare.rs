//! A bare server to compare with, which does the least that a durable log server can do: TCP, a version check in a hash
//! map, one writer thread, group commit. [`DESCRIPTION`] says it in full.
//!
//! An append is a frame: the length of the rest (`u32`), the expected version plus one (`u64`, 0 for no stream), the number
//! of events (`u32`), the length of the stream's name (`u16`), the name, the events. The response is one byte: 1 if the
//! append is on disk. All integers are little-endian. A frame of length 0 makes the connection a follower: from then on it gets
//! each frame that is on disk, after an empty one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader as AsyncBufReader};
use tokio::process::{Child, Command};

use crate::body::EVENT_BYTES;
use crate::load::Appender;
use crate::processor::ProcessorTime;

/// The description of the bare server, which the help and the report print with its figures.
pub(crate) const DESCRIPTION: &str = "\
The bare server is the least that a durable log server can do, in a process of its own. It
has a thread for each connection, which reads an append (a binary frame on TCP), hands it to
the one writer thread, and waits. The writer takes all appends that wait, checks their
expected versions in a hash map, appends them to a file, calls fdatasync once, and lets them
answer. There is no HTTP, no JSON, no check of event ids, no index, no supervision, no
sandbox, and no way to read the file. Compare it with exesdb in the same run only: a server
that is built in another way, for example with one thread for all connections, takes other
processor time for the same appends.";

/// Appends that may wait for the writer; more of them block their connections.
const QUEUE: usize = 1_024;

/// The largest frame that the server accepts, in bytes.
const FRAME_BYTES_MAX: u32 = 16 << 20;

/// An append on its way to the writer.
struct Append {
    expected: u64,
    events: u32,
    stream: Vec<u8>,
    frame: Vec<u8>,
    reply: Sender<bool>,
}

/// What a connection asks of the writer.
enum Request {
    Append(Append),
    /// Everything that is on disk from now on.
    Follow(SyncSender<Arc<[u8]>>),
}

/// Prints the server's address, and serves until the process is killed.
pub(crate) fn serve(folder: &Path) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on loopback")?;
    let path = folder.join("bare");
    let file = File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("cannot append to {}", path.display()))?;
    let (sender, receiver) = sync_channel(QUEUE);
    std::thread::spawn(move || write(file, &receiver));
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", listener.local_addr()?)?;
    output.flush()?;
    for socket in listener.incoming() {
        let (socket, sender) = (socket?, sender.clone());
        std::thread::spawn(move || connection(socket, &sender));
    }
    Ok(())
}

/// The one writer: takes all waiting appends, checks and writes them, syncs once, replies to each, and sends them to followers.
fn write(mut file: File, receiver: &Receiver<Request>) -> anyhow::Result<()> {
    let mut versions: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut followers: Vec<SyncSender<Arc<[u8]>>> = Vec::new();
    while let Ok(first) = receiver.recv() {
        let (mut bytes, mut replies) = (Vec::new(), Vec::new());
        for request in std::iter::once(first).chain(receiver.try_iter()) {
            let append = match request {
                Request::Append(append) => append,
                Request::Follow(follower) => {
                    let empty = 0_u32.to_le_bytes();
                    if follower.send(empty.as_slice().into()).is_ok() {
                        followers.push(follower);
                    }
                    continue;
                }
            };
            let next = versions.entry(append.stream).or_default();
            let holds = *next == append.expected;
            if holds {
                *next += u64::from(append.events);
                bytes.extend_from_slice(&u32::try_from(append.frame.len())?.to_le_bytes());
                bytes.extend_from_slice(&append.frame);
            }
            replies.push((append.reply, holds));
        }
        if replies.is_empty() {
            continue;
        }
        file.write_all(&bytes)?;
        file.sync_data()?;
        for (reply, holds) in replies {
            // The connection may have ended.
            let _ = reply.send(holds);
        }
        if !followers.is_empty() {
            let bytes: Arc<[u8]> = bytes.into();
            followers.retain(|follower| follower.send(bytes.clone()).is_ok());
        }
    }
    Ok(())
}

fn connection(socket: TcpStream, writer: &SyncSender<Request>) -> anyhow::Result<()> {
    socket.set_nodelay(true)?;
    let mut output = socket.try_clone()?;
    let mut input = BufReader::with_capacity(1 << 16, socket);
    let (reply, result) = channel();
    let mut length = [0; 4];
    while input.read_exact(&mut length).is_ok() {
        let length = u32::from_le_bytes(length);
        if length == 0 {
            let (sender, synced) = sync_channel(QUEUE);
            writer.send(Request::Follow(sender))?;
            for bytes in synced {
                output.write_all(&bytes)?;
            }
            return Ok(());
        }
        anyhow::ensure!((14..=FRAME_BYTES_MAX).contains(&length), "a frame of {length} bytes");
        let mut frame = vec![0; length as usize];
        input.read_exact(&mut frame)?;
        let (head, rest) = frame.split_at(14);
        let expected = u64::from_le_bytes(head[..8].try_into()?);
        let events = u32::from_le_bytes(head[8..12].try_into()?);
        let name = usize::from(u16::from_le_bytes(head[12..].try_into()?));
        let stream = rest.get(..name).context("a frame shorter than its stream's name")?.to_owned();
        writer.send(Request::Append(Append { expected, events, stream, frame, reply: reply.clone() }))?;
        output.write_all(&[u8::from(result.recv()?)])?;
    }
    Ok(())
}

/// The running server; killed when dropped.
pub(crate) struct BareServer {
    child: Child,
    address: SocketAddr,
}

impl BareServer {
    /// Starts this program as the server, with its file in a folder of the measured disk.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(crate::host::this_program()?)
            .arg("--bare-server")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the bare server")?;
        let output = child.stdout.take().context("the bare server's output was piped")?;
        let line = AsyncBufReader::new(output).lines().next_line().await?;
        let address = line.context("the bare server ended before it was ready")?;
        Ok(Self { child, address: address.parse().context("the bare server's address")? })
    }

    /// Connects this many clients, each with a stream of its own.
    pub(crate) async fn connect_all(&self, clients: usize) -> anyhow::Result<Vec<BareClient>> {
        let mut connected = Vec::with_capacity(clients);
        for _ in 0..clients {
            let socket = tokio::net::TcpStream::connect(self.address).await?;
            socket.set_nodelay(true)?;
            connected.push(BareClient { socket, stream: uuid::Uuid::new_v4().to_string(), version: 0 });
        }
        Ok(connected)
    }

    /// Connects a follower.
    pub(crate) async fn follow(&self) -> anyhow::Result<BareFollower> {
        let mut socket = tokio::net::TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        socket.write_all(&0_u32.to_le_bytes()).await?;
        let mut input = AsyncBufReader::new(socket);
        anyhow::ensure!(input.read_u32_le().await? == 0, "the bare server sends no empty frame first");
        Ok(BareFollower { input })
    }

    /// The processor time that it took so far.
    pub(crate) fn processor_time(&self) -> anyhow::Result<ProcessorTime> {
        ProcessorTime::of(self.child.id().context("the bare server ended by itself")?)
    }
}

/// A connection that appends to one stream.
pub(crate) struct BareClient {
    socket: tokio::net::TcpStream,
    stream: String,
    version: u64,
}

impl BareClient {
    /// The stream and version of the last event.
    pub(crate) fn place(&self) -> (String, u64) {
        (self.stream.clone(), self.version.saturating_sub(1))
    }
}

/// A connection that gets what is on disk.
pub(crate) struct BareFollower {
    input: AsyncBufReader<tokio::net::TcpStream>,
}

impl BareFollower {
    /// The stream and version of the first event of the next append.
    pub(crate) async fn next(&mut self) -> anyhow::Result<(String, u64)> {
        let mut frame = vec![0; self.input.read_u32_le().await? as usize];
        self.input.read_exact(&mut frame).await?;
        let (head, rest) = frame.split_at_checked(14).context("a frame shorter than its head")?;
        let version = u64::from_le_bytes(head[..8].try_into()?);
        let name = usize::from(u16::from_le_bytes(head[12..].try_into()?));
        let name = rest.get(..name).context("a frame shorter than its stream's name")?;
        Ok((String::from_utf8(name.to_owned())?, version))
    }
}

impl Appender for BareClient {
    async fn append(&mut self, events: usize) -> anyhow::Result<Duration> {
        let frame = frame(&self.stream, self.version, events)?;
        let start = Instant::now();
        self.socket.write_all(&frame).await?;
        let result = self.socket.read_u8().await?;
        anyhow::ensure!(result == 1, "the bare server refused an append");
        self.version += events as u64;
        Ok(start.elapsed())
    }
}

fn frame(stream: &str, version: u64, events: usize) -> anyhow::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    frame.extend_from_slice(&version.to_le_bytes());
    frame.extend_from_slice(&u32::try_from(events)?.to_le_bytes());
    frame.extend_from_slice(&u16::try_from(stream.len())?.to_le_bytes());
    frame.extend_from_slice(stream.as_bytes());
    for _ in 0..events {
        // The event's id and its data.
        frame.extend_from_slice(uuid::Uuid::new_v4().as_bytes());
        frame.extend(std::iter::repeat_n(b'x', EVENT_BYTES));
    }
    let length = u32::try_from(frame.len() - 4)?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}
