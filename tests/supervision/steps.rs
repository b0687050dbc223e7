//! Gateways as steps: a component that was made from the WIT without the SDK, and packs events with `exesdb-packed`, does every
//! action and breaks every rule.

mod actions;
mod breaches;
mod bulk;
mod sharing;

use std::io::{Read as _, Write as _};

use exesdb_tests::{Connection, Host, probe};

/// A host whose store `main` has the gateway of these tests; `main` holds further keys of the table `[[store]]`.
fn host(main: &str) -> Host {
    Host::with_config(&format!(
        "[[store]]\nname = \"main\"\n{main}\n[store.components]\ngateway = {:?}\n",
        probe("steps-probe")
    ))
}

fn path(what: &str) -> String {
    format!("/v1/stores/main/probe/{what}")
}

/// The response to a request that must succeed.
#[track_caller]
fn get(host: &Host, what: &str) -> String {
    host.http.get(&path(what)).expect(200).text
}

/// Appends one event to a stream.
#[track_caller]
fn append(host: &Host, stream: &str, data: &str) -> String {
    let path = path(&format!("append/{stream}"));
    host.http.post_bytes(&path, "text/plain", data.as_bytes()).expect(200).text
}

/// A request on a connection of its own, whose response is read as it comes.
struct Exchange {
    connection: Connection,
    /// What was received, without what was returned already.
    received: String,
}

impl Exchange {
    /// A request without a body.
    fn get(host: &Host, what: &str) -> Self {
        Self::begin(host, &format!("GET {} HTTP/1.1\r\nhost: localhost\r\n\r\n", path(what)))
    }

    /// A request whose body is sent in chunks.
    fn post(host: &Host, what: &str) -> Self {
        let head = "host: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
        Self::begin(host, &format!("POST {} HTTP/1.1\r\n{head}", path(what)))
    }

    fn begin(host: &Host, head: &str) -> Self {
        let mut exchange = Self { connection: host.http.connect(), received: String::new() };
        exchange.write(head);
        exchange
    }

    fn write(&mut self, text: &str) {
        self.connection.write_all(text.as_bytes()).expect("the host reads");
    }

    /// Sends a chunk of the body; the empty one ends it.
    fn send(&mut self, chunk: &str) {
        self.write(&format!("{:x}\r\n{chunk}\r\n", chunk.len()));
    }

    /// Says that nothing more is sent.
    fn shutdown(&self) {
        self.connection.shutdown(std::net::Shutdown::Write).expect("the connection is there");
    }

    /// Reads until a text comes, and returns everything up to its end.
    #[track_caller]
    fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.received.find(text) {
                let rest = self.received.split_off(at + text.len());
                return std::mem::replace(&mut self.received, rest);
            }
            let mut bytes = [0; 4_096];
            let count = self.connection.read(&mut bytes).expect("the host writes in time");
            assert!(count > 0, "{text:?} did not come before the end: {}", self.received);
            self.received.push_str(std::str::from_utf8(&bytes[..count]).expect("texts are UTF-8"));
        }
    }

    /// Reads until the connection ends, and returns everything.
    #[track_caller]
    fn end(mut self) -> String {
        let mut bytes = Vec::new();
        // A connection that is reset has an end, too.
        drop(self.connection.read_to_end(&mut bytes));
        self.received.push_str(std::str::from_utf8(&bytes).expect("texts are UTF-8"));
        std::mem::take(&mut self.received)
    }
}

/// The end of a body in chunks.
const LAST_CHUNK: &str = "0\r\n\r\n";
