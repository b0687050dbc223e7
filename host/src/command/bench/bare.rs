//! A bare server: the least that a durable log server can do, to have something to compare with. TCP, a version check in a
//! hash map, one writer thread, group commit. No index, no supervision, no sandbox, no HTTP.
//!
//! An append is a frame: length of what follows (`u32`), expected version plus one (`u64`, 0 for none), number of events
//! (`u32`), length of the stream's name (`u16`), the name, the events. The answer is one byte: 1 if it is on disk. All
//! integers are little-endian.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader as AsyncBufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::append::{EVENT_BYTES, Load, Measured, WARM_UP};

/// Appends that may wait for the writer.
const QUEUE: usize = 1_024;

/// Largest frame that is taken, in bytes.
const FRAME_BYTES_MAX: u32 = 16 << 20;

/// An append on its way to the writer.
struct Append {
    expected: u64,
    events: u32,
    stream: Vec<u8>,
    frame: Vec<u8>,
    reply: Sender<bool>,
}

/// Serves until the process is killed. Prints its address first.
pub(super) fn serve(folder: &Path) -> anyhow::Result<()> {
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

/// The one writer: what waits is checked, written, synced once, and answered.
fn write(mut file: File, receiver: &Receiver<Append>) -> anyhow::Result<()> {
    let mut versions: HashMap<Vec<u8>, u64> = HashMap::new();
    while let Ok(first) = receiver.recv() {
        let (mut bytes, mut answers) = (Vec::new(), Vec::new());
        for append in std::iter::once(first).chain(receiver.try_iter()) {
            let next = versions.entry(append.stream).or_default();
            let holds = *next == append.expected;
            if holds {
                *next += u64::from(append.events);
                bytes.extend_from_slice(&append.frame);
            }
            answers.push((append.reply, holds));
        }
        file.write_all(&bytes)?;
        file.sync_data()?;
        for (reply, holds) in answers {
            // Its connection may have ended.
            let _ = reply.send(holds);
        }
    }
    Ok(())
}

fn connection(socket: TcpStream, writer: &SyncSender<Append>) -> anyhow::Result<()> {
    socket.set_nodelay(true)?;
    let mut output = socket.try_clone()?;
    let mut input = BufReader::with_capacity(1 << 16, socket);
    let (reply, answer) = channel();
    let mut length = [0; 4];
    while input.read_exact(&mut length).is_ok() {
        let length = u32::from_le_bytes(length);
        anyhow::ensure!((14..=FRAME_BYTES_MAX).contains(&length), "a frame of {length} bytes");
        let mut frame = vec![0; length as usize];
        input.read_exact(&mut frame)?;
        let (head, rest) = frame.split_at(14);
        let expected = u64::from_le_bytes(head[..8].try_into()?);
        let events = u32::from_le_bytes(head[8..12].try_into()?);
        let name = usize::from(u16::from_le_bytes(head[12..].try_into()?));
        let stream = rest.get(..name).context("a frame shorter than its stream's name")?.to_owned();
        writer.send(Append { expected, events, stream, frame, reply: reply.clone() })?;
        output.write_all(&[u8::from(answer.recv()?)])?;
    }
    Ok(())
}

/// The running server; killed when dropped.
pub(super) struct BareServer {
    _child: Child,
    address: SocketAddr,
}

impl BareServer {
    /// Starts this binary as the server, on a file in the folder that is measured.
    pub(super) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(super::host::this_binary()?)
            .arg("bench")
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
        Ok(Self { _child: child, address: address.parse().context("the bare server's address")? })
    }

    /// The load of `append::Load`, against this server.
    pub(super) async fn run(&self, load: Load, time: Duration) -> anyhow::Result<Measured> {
        let mut clients = JoinSet::new();
        for _ in 0..load.clients {
            clients.spawn(client(self.address, load.events, time));
        }
        let mut latencies = Vec::new();
        while let Some(client) = clients.join_next().await {
            latencies.extend(client.context("a client failed")??);
        }
        Ok(Measured::new(latencies, time))
    }
}

async fn client(address: SocketAddr, events: usize, time: Duration) -> anyhow::Result<Vec<Duration>> {
    let mut socket = tokio::net::TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let stream = uuid::Uuid::new_v4().to_string();
    let count_from = Instant::now() + WARM_UP;
    let (mut latencies, mut version) = (Vec::new(), 0_u64);
    loop {
        let frame = frame(&stream, version, events)?;
        let start = Instant::now();
        if start >= count_from + time {
            return Ok(latencies);
        }
        socket.write_all(&frame).await?;
        let answer = socket.read_u8().await?;
        anyhow::ensure!(answer == 1, "the bare server refused an append");
        if start >= count_from {
            latencies.push(start.elapsed());
        }
        version += events as u64;
    }
}

fn frame(stream: &str, version: u64, events: usize) -> anyhow::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    frame.extend_from_slice(&version.to_le_bytes());
    frame.extend_from_slice(&u32::try_from(events)?.to_le_bytes());
    frame.extend_from_slice(&u16::try_from(stream.len())?.to_le_bytes());
    frame.extend_from_slice(stream.as_bytes());
    for _ in 0..events {
        // What identifies an event, and its data.
        frame.extend_from_slice(uuid::Uuid::new_v4().as_bytes());
        frame.extend(std::iter::repeat_n(b'x', EVENT_BYTES));
    }
    let length = u32::try_from(frame.len() - 4)?;
    frame[..4].copy_from_slice(&length.to_le_bytes());
    Ok(frame)
}
