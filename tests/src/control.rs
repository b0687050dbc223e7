//! A connection to a host's control socket that sends and receives lines.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::Host;

/// A connection to a host's control socket. It costs no process, unlike a command.
#[derive(Debug)]
pub struct Control {
    write: UnixStream,
    read: BufReader<UnixStream>,
}

impl Control {
    /// Connects to a host.
    pub fn of(host: &Host) -> Self {
        Self::at(&host.data())
    }

    /// Connects to the host of a data directory.
    pub fn at(data: &Path) -> Self {
        let write = UnixStream::connect(data.join("control.sock")).expect("the host has a control socket");
        let read = BufReader::new(write.try_clone().expect("a socket has two ends"));
        let mut control = Self { write, read };
        let host = control.ask(&json!({ "exesdb": "0.1.0", "control": 1 }));
        assert_eq!(host["control"], 1, "{host}");
        control
    }

    /// Sends a request, and returns the response.
    pub fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.write, "{request}").expect("the host reads requests");
        let mut line = String::new();
        self.read.read_line(&mut line).expect("the host responds");
        serde_json::from_str(&line).expect("a response is JSON")
    }

    /// The supervision tree.
    pub fn tree(&mut self) -> Value {
        self.ask(&json!({ "request": "tree" }))["tree"].take()
    }

    /// Kills a child. Returns whether it ran.
    pub fn kill(&mut self, path: &str) -> bool {
        let response = self.ask(&json!({ "request": "kill", "path": path, "reason": "killed" }));
        match response["response"].as_str() {
            Some("killed") => true,
            // It was not running, because of a kill above it.
            Some("error") => false,
            other => panic!("{path}: {other:?}"),
        }
    }

    /// Starts a child that is parked.
    pub fn restart(&mut self, path: &str) -> Value {
        self.ask(&json!({ "request": "restart", "path": path }))
    }
}
