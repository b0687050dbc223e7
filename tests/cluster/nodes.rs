//! The nodes of a cluster under test: real processes, made with the real commands.

mod place;
mod state;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use exesdb_tests::{Client, folder, keep_compiled, shared_compiled, stderr, take_compiled};
use serde_json::Value;

pub(crate) use place::{Place, free_address};
pub(crate) use state::local_events;

/// How long a cluster has for what takes a start, an election and a snapshot, on a machine that may be busy.
pub(crate) const RECOVERY: Duration = Duration::from_secs(180);

/// How long a request may take: longer than the host waits for a leader or a read index, and short enough for a node that is
/// stopped.
pub(crate) const REQUEST: Duration = Duration::from_secs(10);

/// The interval between two checks for an expected result. Each may ask all nodes.
const POLL: Duration = Duration::from_millis(50);

/// Lines of each node's log that are printed when a test fails.
const LOG_LINES_MAX: usize = 150;

/// A node, whether it runs or not.
struct Node {
    name: String,
    folder: PathBuf,
    place: Place,
    running: Option<Running>,
    /// The log of all its processes.
    log: Arc<Mutex<Vec<String>>>,
}

struct Running {
    child: Child,
    reader: JoinHandle<()>,
    is_paused: bool,
}

/// A cluster. On drop its processes are killed and its data is removed.
pub(crate) struct Nodes {
    nodes: Vec<Node>,
    folder: tempfile::TempDir,
}

impl Node {
    fn url(&self) -> String {
        format!("http://{}", self.place.clients)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn config(&self) -> PathBuf {
        self.folder.join("exesdb.toml")
    }

    /// A command that runs `exesdb` where the node is, against this node.
    fn command(&self, arguments: &[&str]) -> Command {
        let (url, data) = (self.url(), self.data().to_string_lossy().into_owned());
        let plain = exesdb_tests::command(&[("EXESDB_URL", &url), ("EXESDB_DATA", &data)]);
        let Some((within, before)) = self.place.within.split_first() else {
            let mut plain = plain;
            plain.args(arguments);
            return plain;
        };
        let mut command = Command::new(within);
        command.args(before).arg(plain.get_program()).args(arguments).stdin(Stdio::null());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        self.running.as_mut().expect("it was started").child.try_wait().expect("it is our child")
    }

    fn ended(&mut self) {
        let Running { mut child, reader, .. } = self.running.take().expect("it was started");
        child.wait().expect("it is our child");
        reader.join().expect("no reader panics");
    }

    fn kill(&mut self) {
        if let Some(running) = &mut self.running {
            // It may have ended already.
            drop(running.child.kill());
            self.ended();
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.running.as_ref().expect("it runs").child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill can be run");
        assert!(sent.success(), "{} was running", self.name);
    }

    fn last_lines(&self) -> String {
        let log = self.log.lock().expect("no writer panics");
        log[log.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
    }
}

impl Nodes {
    /// A cluster of so many nodes on loopback with the store `main`. Each node has a voter of it, and all run.
    pub(crate) fn start(count: usize) -> Self {
        Self::with_stores(count, "")
    }

    /// As [`Nodes::start`], with these `[[store]]` tables.
    pub(crate) fn with_stores(count: usize, stores: &str) -> Self {
        Self::at(Place::on_loopback(count), stores)
    }

    /// As [`Nodes::with_stores`], at these places.
    pub(crate) fn at(places: Vec<Place>, stores: &str) -> Self {
        let mut nodes = Self::made(places, stores);
        nodes.run(0, &["cluster", "init"]);
        nodes.start_node(0);
        for node in 1..nodes.len() {
            nodes.join(node);
            nodes.start_node(node);
        }
        if nodes.len() > 1 {
            nodes.redundant();
        }
        nodes
    }

    /// The folders and configuration files of nodes that belong to no cluster yet.
    pub(crate) fn made(places: Vec<Place>, stores: &str) -> Self {
        let folder = folder();
        let peers: Vec<String> = places.iter().map(|place| format!("\"{}\"", place.peers)).collect();
        let node = |(index, place): (usize, Place)| {
            let name = format!("node-{}", index + 1);
            let own = folder.path().join(&name);
            std::fs::create_dir(&own).expect("the test's folder can be written");
            // The stores are those of the first node's file, and in no other one.
            let stores = if index == 0 { stores } else { "" };
            let config = format!(
                "data = \"data\"\nlisten = \"{}\"\n\n[cluster]\nname = \"{name}\"\nlisten = \"{}\"\npeers = [{}]\n\n{stores}",
                place.clients,
                place.peers,
                peers.join(", "),
            );
            std::fs::write(own.join("exesdb.toml"), config).expect("the test's folder can be written");
            Node { name, folder: own, place, running: None, log: Arc::default() }
        };
        let nodes = places.into_iter().enumerate().map(node).collect();
        Self { nodes, folder }
    }

    /// Runs a command that needs the node's configuration file, and asserts success.
    #[track_caller]
    pub(crate) fn run(&self, node: usize, arguments: &[&str]) -> String {
        let output = self.try_run(node, arguments);
        assert!(output.status.success(), "exesdb {arguments:?} failed: {}", stderr(&output));
        String::from_utf8(output.stdout).expect("output is UTF-8")
    }

    /// Runs a command that needs the node's configuration file.
    pub(crate) fn try_run(&self, node: usize, arguments: &[&str]) -> Output {
        let node = &self.nodes[node];
        let mut command = node.command(arguments);
        command.arg("--config").arg(node.config());
        command.output().expect("the binary can be run")
    }

    /// A token of the first node.
    pub(crate) fn token(&self) -> String {
        within("the first node makes a token", || {
            let output = self.exesdb(0, &["cluster", "token"]);
            let made = output.status.success();
            made.then(|| String::from_utf8(output.stdout).expect("it is text").trim().to_owned())
        })
    }

    /// Has a node join, which may take several tries: a cluster that has just begun has no leader.
    pub(crate) fn join(&self, node: usize) {
        let (mut token, mut said) = (self.token(), String::new());
        let until = Instant::now() + RECOVERY;
        loop {
            let output = self.try_run(node, &["cluster", "join", &token]);
            if output.status.success() {
                return;
            }
            let why = stderr(&output);
            // An attempt whose answer was lost may have used it up.
            if why.contains("token") {
                token = self.token();
            }
            if why != said {
                println!("{} does not join yet: {why}", self.nodes[node].name);
                said = why;
            }
            assert!(Instant::now() < until, "{} does not join: {said}", self.nodes[node].name);
            std::thread::sleep(POLL);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn name(&self, node: usize) -> &str {
        &self.nodes[node].name
    }

    /// The folder of all nodes, for files of the test.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn data(&self, node: usize) -> PathBuf {
        self.nodes[node].data()
    }

    pub(crate) fn config(&self, node: usize) -> PathBuf {
        self.nodes[node].config()
    }

    /// Where a node serves clients, as `host:port`.
    pub(crate) fn address(&self, node: usize) -> String {
        self.nodes[node].place.clients.to_string()
    }

    pub(crate) fn peer_address(&self, node: usize) -> SocketAddr {
        self.nodes[node].place.peers
    }

    pub(crate) fn url(&self, node: usize) -> String {
        self.nodes[node].url()
    }

    /// A client of a node, which waits for [`REQUEST`] at most.
    pub(crate) fn client(&self, node: usize) -> Client {
        Client::impatient(&self.url(node), REQUEST)
    }

    /// Clients of all nodes.
    pub(crate) fn clients(&self) -> Vec<Client> {
        (0..self.len()).map(|node| self.client(node)).collect()
    }

    /// What a node has logged, over all its processes.
    pub(crate) fn log(&self, node: usize) -> String {
        self.nodes[node].log.lock().expect("no writer panics").join("\n")
    }

    /// Runs `exesdb` against a node.
    pub(crate) fn exesdb(&self, node: usize, arguments: &[&str]) -> Output {
        self.nodes[node].command(arguments).output().expect("the binary can be run")
    }

    /// As [`Nodes::exesdb`], but the caller runs the command.
    pub(crate) fn command(&self, node: usize, arguments: &[&str]) -> Command {
        self.nodes[node].command(arguments)
    }

    /// As [`Nodes::exesdb`], for a command that prints JSON lines; asserts success.
    #[track_caller]
    pub(crate) fn json(&self, node: usize, arguments: &[&str]) -> Vec<Value> {
        let output = self.exesdb(node, arguments);
        assert!(output.status.success(), "exesdb {arguments:?} failed: {}", stderr(&output));
        let lines = String::from_utf8(output.stdout).expect("output is UTF-8");
        lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    /// Whether a node has a process, which may be paused.
    pub(crate) fn is_running(&self, node: usize) -> bool {
        self.nodes[node].running.is_some()
    }

    pub(crate) fn is_paused(&self, node: usize) -> bool {
        self.nodes[node].running.as_ref().is_some_and(|running| running.is_paused)
    }

    /// Starts a process of a node.
    pub(crate) fn spawn(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        assert!(node.running.is_none(), "{} runs already", node.name);
        take_compiled(&shared_compiled(), &node.data());
        let mut command = node.command(&["serve", "--config"]);
        command.arg(node.config()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be run");
        let said = BufReader::new(child.stderr.take().expect("stderr was piped"));
        let log = node.log.clone();
        let reader = std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                log.lock().expect("no writer panics").push(line);
            }
        });
        node.running = Some(Running { child, reader, is_paused: false });
    }

    /// Waits until a node says that it is ready.
    #[track_caller]
    pub(crate) fn ready(&mut self, node: usize) {
        let client = self.client(node);
        let until = Instant::now() + RECOVERY;
        while client.get("/health/ready").status != 200 {
            let name = &self.nodes[node].name;
            assert!(Instant::now() < until, "{name} is not ready within {RECOVERY:?}");
            if let Some(status) = self.nodes[node].try_wait() {
                panic!("{} has ended ({status})", self.nodes[node].name);
            }
            std::thread::sleep(POLL);
        }
        keep_compiled(&self.data(node), &shared_compiled());
    }

    /// Starts a node, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start_node(&mut self, node: usize) {
        self.spawn(node);
        self.ready(node);
    }

    /// Starts a node that must end by itself with exit code 1. Returns what this process logged.
    #[track_caller]
    pub(crate) fn refused(&mut self, node: usize) -> String {
        let before = self.nodes[node].log.lock().expect("no writer panics").len();
        self.spawn(node);
        let name = self.nodes[node].name.clone();
        let status = within(&format!("{name} ends"), || self.nodes[node].try_wait());
        self.nodes[node].ended();
        let said = self.nodes[node].log.lock().expect("no writer panics")[before..].join("\n");
        assert_eq!(status.code(), Some(1), "{said}");
        said
    }

    /// Kills a node's process, running or paused.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Stops a node with SIGTERM, and waits for its end.
    #[track_caller]
    pub(crate) fn stop(&mut self, node: usize) {
        self.nodes[node].signal("TERM");
        let name = self.nodes[node].name.clone();
        let status = within(&format!("{name} ends"), || self.nodes[node].try_wait());
        assert!(status.success(), "{name} ended with {status}");
        self.nodes[node].ended();
    }

    /// Stops the threads of a node where they are.
    pub(crate) fn pause(&mut self, node: usize) {
        self.nodes[node].signal("STOP");
        self.nodes[node].running.as_mut().expect("it runs").is_paused = true;
    }

    /// Lets a paused node go on.
    pub(crate) fn resume(&mut self, node: usize) {
        self.nodes[node].signal("CONT");
        self.nodes[node].running.as_mut().expect("it runs").is_paused = false;
    }

    /// Lets paused nodes go on, and starts those that do not run.
    pub(crate) fn heal(&mut self) {
        for node in 0..self.len() {
            match (self.is_running(node), self.is_paused(node)) {
                (true, true) => self.resume(node),
                (true, false) => {}
                (false, _) => self.spawn(node),
            }
        }
        (0..self.len()).for_each(|node| self.ready(node));
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(Node::kill);
        if std::thread::panicking() {
            for node in &self.nodes {
                println!("--- the end of the log of {}\n{}\n---", node.name, node.last_lines());
            }
        }
    }
}

/// Calls `check` until it returns a value. `what` describes the expectation.
///
/// # Panics
///
/// When there is no value within [`RECOVERY`].
#[track_caller]
pub(crate) fn within<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + RECOVERY;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < until, "not within {RECOVERY:?}: {what}");
        std::thread::sleep(POLL);
    }
}
