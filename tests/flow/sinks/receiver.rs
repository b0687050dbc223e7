//! An HTTP server on loopback that records requests, and responds as a test says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use exesdb_tests::own_loopback;
use hmac::{Hmac, Mac as _};
use serde_json::Value;
use sha2::Sha256;

/// A request that was received.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// By names in lower case.
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    /// The status of the response.
    pub(super) status: u16,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// The signature that it should have.
    pub(super) fn signature(&self, secret: &str, time: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key may have any length");
        mac.update(&[time.as_bytes(), b".", &self.body].concat());
        mac.finalize().into_bytes().iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a String takes all");
            hex
        })
    }
}

type Respond = Box<dyn Fn(&Request) -> u16 + Send>;

struct Shared {
    requests: Mutex<Vec<Request>>,
    respond: Mutex<Respond>,
    location: Mutex<String>,
    takes_ms: AtomicU64,
    is_over: AtomicBool,
}

/// A receiver. It ends on drop.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The address of a receiver that was stopped.
pub(super) struct Stopped(SocketAddr);

impl Stopped {
    /// Another one at the same address.
    pub(super) fn start(&self) -> Receiver {
        Receiver::at(self.0)
    }
}

impl Receiver {
    /// A receiver that responds with 204.
    pub(super) fn start() -> Self {
        Self::at(SocketAddr::new(own_loopback(1), 0))
    }

    fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            requests: Mutex::default(),
            respond: Mutex::new(Box::new(|_| 204)),
            location: Mutex::default(),
            takes_ms: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let serving = shared.clone();
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if serving.is_over.load(Ordering::SeqCst) {
                    return;
                }
                // A client that was killed sends half of a request.
                drop(connection.and_then(|connection| serve(connection, &serving)));
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// How it responds from now on.
    pub(super) fn respond(&self, respond: impl Fn(&Request) -> u16 + Send + 'static) {
        *self.shared.respond.lock().expect("no thread panics") = Box::new(respond);
    }

    /// Where its redirects lead.
    pub(super) fn redirect_to(&self, url: &str) {
        url.clone_into(&mut self.shared.location.lock().expect("no thread panics"));
    }

    /// How long it takes for a request.
    pub(super) fn take_ms(&self, takes_ms: u64) {
        self.shared.takes_ms.store(takes_ms, Ordering::SeqCst);
    }

    /// What it has received.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("no thread panics").clone()
    }

    /// Closes its socket.
    pub(super) fn stop(mut self) -> Stopped {
        self.end();
        Stopped(self.address)
    }

    fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the receiver does not panic");
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.end();
    }
}

fn serve(connection: TcpStream, shared: &Shared) -> std::io::Result<()> {
    connection.set_read_timeout(Some(exesdb_tests::PATIENCE))?;
    let mut reader = BufReader::new(connection.try_clone()?);
    let line = |reader: &mut BufReader<TcpStream>| -> std::io::Result<String> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    };
    let first = line(&mut reader)?;
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = BTreeMap::new();
    loop {
        let header = line(&mut reader)?;
        let Some((name, value)) = header.split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    std::thread::sleep(Duration::from_millis(shared.takes_ms.load(Ordering::SeqCst)));
    let mut request = Request { method, path, headers, body, status: 0 };
    request.status = (shared.respond.lock().expect("no test panics in it"))(&request);
    let (status, location) = (request.status, shared.location.lock().expect("no thread panics").clone());
    shared.requests.lock().expect("no thread panics").push(request);
    let head = format!(
        "HTTP/1.1 {status} \r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    (&connection).write_all(head.as_bytes())
}
