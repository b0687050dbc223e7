//! A host under test: the real binary as a process of its own, on a data directory of its own, on a free port.
//!
//! `cargo xtask test` builds the binary and the components before the tests run. A test that fails shows the
//! host's log.
#![allow(clippy::print_stderr)] // the log of a host whose test failed

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything that is expected may take on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub fn binary() -> PathBuf {
    let binary = root().join("target/release/exesdb");
    assert!(binary.is_file(), "{} is missing; run the tests with `cargo xtask test`", binary.display());
    binary
}

/// A component built for the tests: `streams-probe`, `gateway-probe`, `misfit`.
pub fn probe(name: &str) -> PathBuf {
    let probe = root().join(format!("target/components/tests/{name}.wasm"));
    assert!(probe.is_file(), "{} is missing; run the tests with `cargo xtask test`", probe.display());
    probe
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace")
}

/// A running host. Killed, with its data removed, when dropped.
pub struct Host {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    data: Arc<tempfile::TempDir>,
    config: Option<String>,
    log: Arc<Mutex<Vec<String>>>,
    agent: ureq::Agent,
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, if it is JSON.
    pub json: Value,
    /// The body as text.
    pub text: String,
}

impl Host {
    /// A host with one store, `main`, and everything built in.
    pub fn start() -> Self {
        Self::on(Arc::new(folder()), None)
    }

    /// A host with this configuration (`exesdb.toml`, without `data` and `listen`).
    pub fn with_config(config: &str) -> Self {
        Self::on(Arc::new(folder()), Some(config.to_owned()))
    }

    /// A host with the test components in place of the builtin ones, in a store `main` and, beside it, a store
    /// `neighbour` with the builtin ones.
    pub fn with_probes() -> Self {
        Self::with_config(&format!(
            "[[store]]\nname = \"main\"\n[store.components]\nstreams = {:?}\ngateway = {:?}\n\n[[store]]\nname = \"neighbour\"\n",
            probe("streams-probe"),
            probe("gateway-probe"),
        ))
    }

    fn on(data: Arc<tempfile::TempDir>, config: Option<String>) -> Self {
        let mut command = Command::new(binary());
        command.arg("serve").args(["--listen", "127.0.0.1:0", "--log", "info"]);
        command.arg("--data").arg(data.path().join("data"));
        if let Some(config) = &config {
            let file = data.path().join("exesdb.toml");
            std::fs::write(&file, config).expect("the test's folder can be written");
            command.arg("--config").arg(file);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be run");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (ready, address) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().expect("stderr was piped")).lines();
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let record: Value = serde_json::from_str(&line).unwrap_or_default();
                if let Some(address) = record["address"].as_str() {
                    // Nobody listens any more when the test is over.
                    let _ = ready.send(address.to_owned());
                }
                kept.lock().expect("no writer panics").push(line);
            }
        });
        let Ok(address) = address.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            panic!(
                "the host did not become ready; it said:\n{}",
                log.lock().expect("no writer panics").join("\n")
            );
        };
        let agent =
            ureq::Agent::config_builder().http_status_as_error(false).max_idle_connections(64).build().into();
        Self { child, url: format!("http://{address}"), data, config, log, agent }
    }

    /// The host's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The host's data directory.
    pub fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// What the host has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no writer panics").clone()
    }

    /// Kills the process as a crash would, and starts another on the same data.
    pub fn crash_and_restart(mut self) -> Self {
        self.child.kill().expect("the host was running");
        self.child.wait().expect("it was our child");
        Self::on(self.data.clone(), self.config.clone())
    }

    /// Stops the host as an operator does, and waits for its end.
    pub fn stop(mut self) -> (ExitStatus, Vec<String>) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill can be run");
        assert!(sent.success(), "the host was running");
        let status = self.child.wait().expect("it was our child");
        // The log's thread ends with the pipe.
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until && !self.log().iter().any(|line| line.contains("stopped")) {
            std::thread::sleep(Duration::from_millis(10));
        }
        (status, self.log())
    }

    /// Runs the command line against this host.
    pub fn exesdb(&self, arguments: &[&str]) -> Output {
        exesdb(arguments, &[("EXESDB_URL", &self.url), ("EXESDB_DATA", &self.data().to_string_lossy())])
    }

    /// As [`Host::exesdb`], for a command that has to succeed: what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.exesdb(arguments);
        assert!(
            output.status.success(),
            "exesdb {arguments:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("output is UTF-8")
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        answer(self.agent.get(format!("{}{path}", self.url)).call())
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Answer {
        answer(self.agent.delete(format!("{}{path}", self.url)).call())
    }

    /// POST of a JSON document.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, "application/json", body.to_string().as_bytes())
    }

    /// PUT of a JSON document.
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        let request =
            self.agent.put(format!("{}{path}", self.url)).header("content-type", "application/json");
        answer(request.send(body.to_string()))
    }

    /// POST of anything.
    pub fn post_bytes(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        let request = self.agent.post(format!("{}{path}", self.url)).header("content-type", content_type);
        answer(request.send(body))
    }

    /// Appends one event to a stream of store `main`.
    pub fn append(&self, stream: &str, event: &Value) -> Answer {
        let body = serde_json::json!({ "expected_version": "any", "events": [event] });
        self.post(&format!("/v1/stores/main/streams/{stream}/events"), &body)
    }

    /// Follows an SSE route in a thread of its own: its messages as (id, data).
    pub fn follow(&self, path: &str, last_event_id: Option<u64>) -> mpsc::Receiver<(u64, Value)> {
        let (sender, receiver) = mpsc::channel();
        let mut request = self.agent.get(format!("{}{path}", self.url)).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id.to_string());
        }
        let response = request.call().expect("the host answers");
        assert_eq!(response.status(), 200, "{path} can be followed");
        std::thread::spawn(move || {
            let mut id = 0;
            let reader = BufReader::new(response.into_body().into_reader());
            for line in reader.lines().map_while(Result::ok) {
                if let Some(value) = line.strip_prefix("id:") {
                    id = value.trim().parse().expect("ids are positions");
                } else if let Some(data) = line.strip_prefix("data:") {
                    let event = serde_json::from_str(data).expect("data is JSON");
                    if sender.send((id, event)).is_err() {
                        return;
                    }
                }
            }
        });
        receiver
    }

    /// The supervision tree.
    pub fn tree(&self) -> Value {
        serde_json::from_str(&self.ok(&["tree", "--json"])).expect("the tree is JSON")
    }

    /// The telemetry that the host still has.
    pub fn events(&self) -> Vec<Value> {
        let lines = self.ok(&["events", "--json"]);
        lines.lines().map(|line| serde_json::from_str(line).expect("an event is JSON")).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have been stopped or killed by the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the host's log\n{}\n---", self.log().join("\n"));
        }
    }
}

/// Runs the command line.
pub fn exesdb(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null());
    command.output().expect("the binary can be run")
}

/// Waits until something holds.
///
/// # Panics
///
/// When it does not within [`PATIENCE`].
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room for a test's folder")
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    match response {
        Ok(mut response) => {
            let status = response.status().as_u16();
            let text =
                response.body_mut().with_config().limit(256 << 20).read_to_string().unwrap_or_default();
            let json = serde_json::from_str(&text).unwrap_or_default();
            Answer { status, json, text }
        }
        // A host that is gone, or cut the connection: no status.
        Err(error) => Answer { status: 0, json: Value::Null, text: error.to_string() },
    }
}
