//! A host under test: the real binary as a process of its own, on a data directory of its own.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fault_fs::{Disk, Mount};
use crate::{
    Client, PATIENCE, POLL, binary_with_faults, command, command_of, eventually, exesdb, folder, probe, root,
    stderr,
};

/// A running host. Killed, with its data removed, when dropped.
pub struct Host {
    process: Process,
    /// Its clients, of store `main` unless they say otherwise.
    pub http: Client,
    /// `http://ADDRESS:PORT`.
    pub url: String,
    place: Arc<Place>,
    address: SocketAddr,
    log: Log,
    start: Duration,
}

/// A host that is not running: its data, its configuration and its address.
pub struct Down {
    place: Arc<Place>,
    address: SocketAddr,
    faults: Option<Vec<(String, String)>>,
    environment: Vec<(String, String)>,
    files: Option<u64>,
}

/// How a host ended.
pub struct Stopped {
    /// Its exit status.
    pub status: ExitStatus,
    /// All that it logged.
    pub log: Vec<String>,
    /// To start it again.
    pub down: Down,
}

struct Place {
    /// What the data directory lies on, if not on the disk of everything else. Unmounted before its folder goes.
    mount: Option<Mount>,
    folder: tempfile::TempDir,
    configured: bool,
}

/// What a host logs, line by line, read by a thread until the host ends.
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Log {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no writer panics").clone()
    }

    /// All lines, of a host that has ended.
    fn complete(&mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no reader panics");
        }
        self.lines()
    }
}

/// A process that does not outlive the test.
struct Process(Child);

impl Process {
    fn try_wait(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("it is our child")
    }

    /// Sends the signal that nothing survives, and does not wait for the end.
    fn strike(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
    }

    fn kill(&mut self) {
        self.strike();
        self.0.wait().expect("it is our child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Host {
    /// A host with one store, `main`, and everything built in.
    pub fn start() -> Self {
        Down::new(None).start()
    }

    /// A host with this configuration (`exesdb.toml`, without `data` and `listen`).
    pub fn with_config(config: &str) -> Self {
        Down::new(Some(config)).start()
    }

    /// A host with the test components in place of the builtin ones in a store `main`, and beside it a store
    /// `neighbour` with the builtin ones. `main` is what `[[store]]` may say of it beside its name and components.
    pub fn with_probes(main: &str) -> Self {
        Self::with_config(&format!(
            "[[store]]\nname = \"main\"\n{main}\n[store.components]\nstreams = {:?}\ngateway = {:?}\n\n\
             [[store]]\nname = \"neighbour\"\n",
            probe("streams-probe"),
            probe("gateway-probe"),
        ))
    }

    /// The host's process id.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// The host's data directory.
    pub fn data(&self) -> PathBuf {
        self.place.data()
    }

    /// What the host has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Kills the process as a crash would; on a medium of its own, as a loss of power would.
    pub fn crash(mut self) -> Down {
        self.place.kill(&mut self.process);
        self.down()
    }

    /// Kills the process as a crash would, and starts another on the same data and the same address.
    pub fn crash_and_restart(self) -> Self {
        self.crash().start()
    }

    /// Stops the host as an operator does, and waits for its end.
    ///
    /// # Panics
    ///
    /// When it has not ended within [`PATIENCE`].
    pub fn stop(self) -> Stopped {
        self.signal("TERM");
        self.ended()
    }

    /// Sends the host a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill can be run");
        assert!(sent.success(), "the host was running");
    }

    /// Waits for the host's end.
    ///
    /// # Panics
    ///
    /// When it has not ended within [`PATIENCE`].
    pub fn ended(mut self) -> Stopped {
        let status = eventually("the host ends", || self.process.try_wait());
        Stopped { status, log: self.log.complete(), down: self.down() }
    }

    /// How long it took from the start of the process until it served.
    pub fn start_took(&self) -> Duration {
        self.start
    }

    fn down(&self) -> Down {
        Down {
            place: self.place.clone(),
            address: self.address,
            faults: None,
            environment: Vec::new(),
            files: None,
        }
    }

    /// Runs the command line against this host.
    pub fn exesdb(&self, arguments: &[&str]) -> Output {
        exesdb(arguments, &[("EXESDB_URL", &self.url), ("EXESDB_DATA", &self.data().to_string_lossy())])
    }

    /// As [`Host::exesdb`], to be run by the caller, in the background or with an input.
    pub fn command(&self) -> Command {
        command(&[("EXESDB_URL", &self.url), ("EXESDB_DATA", &self.data().to_string_lossy())])
    }

    /// As [`Host::exesdb`], for a command that has to succeed: what it printed.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.exesdb(arguments);
        assert!(output.status.success(), "exesdb {arguments:?} failed: {}", stderr(&output));
        String::from_utf8(output.stdout).expect("output is UTF-8")
    }

    /// As [`Host::ok`], for a command that prints JSON lines.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {line}"))
        };
        self.ok(arguments).lines().map(parse).collect()
    }

    /// The supervision tree.
    pub fn tree(&self) -> Value {
        self.json(&["tree", "--json"]).remove(0)
    }

    /// The telemetry that the host still has.
    pub fn events(&self) -> Vec<Value> {
        self.json(&["events", "--json"])
    }

    /// Traps in the telemetry, of any component.
    pub fn traps(&self) -> Vec<Value> {
        self.json(&["events", "--json", "--kind", "trap"])
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.process.kill();
            eprintln!("--- the host's log\n{}\n---", self.log.complete().join("\n"));
        }
    }
}

impl Down {
    /// A host that was never started, with this configuration (see [`Host::with_config`]) or none.
    pub fn new(config: Option<&str>) -> Self {
        let folder = folder();
        if let Some(config) = config {
            std::fs::write(folder.path().join("exesdb.toml"), config)
                .expect("the test's folder can be written");
        }
        let place = Place { mount: None, folder, configured: config.is_some() };
        copy_compiled(&compiled_before(), &place.data().join(COMPILED)).expect("files can be copied");
        Self::at(place)
    }

    /// As [`Down::new`], with the data directory on this medium, which stays mounted until the last of the host is
    /// dropped. What is there before the first start is durable.
    pub fn on_disk(config: Option<&str>, disk: &Disk) -> Self {
        // Compiled components that a torn file may hide must come from a disk that is whole.
        static COMPILED_ONCE: Once = Once::new();
        COMPILED_ONCE.call_once(|| drop(Host::start()));
        let mut place = Arc::into_inner(Self::new(config).place).expect("nobody else has it");
        std::fs::remove_dir_all(place.data()).expect("it is ours");
        std::fs::create_dir(place.data()).expect("the test's folder can be written");
        place.mount = Some(Mount::new(disk, &place.data()));
        copy_compiled(&compiled_before(), &place.data().join(COMPILED)).expect("files can be copied");
        disk.sync();
        Self::at(place)
    }

    fn at(place: Place) -> Self {
        let address = SocketAddr::new(own_loopback(0), 0);
        Self { place: Arc::new(place), address, faults: None, environment: Vec::new(), files: None }
    }

    /// Does something with the medium of a host that was made by [`Down::on_disk`] while it is not mounted.
    ///
    /// # Panics
    ///
    /// When the host has no such medium.
    pub fn at_rest<T>(&self, act: impl FnOnce(&Disk) -> T) -> T {
        self.place.mount.as_ref().expect("the host was made with a medium").while_unmounted(act)
    }

    /// The next start alone is one of the binary that has fail points and faults built in, with these environment
    /// variables, which choose among them.
    pub fn with_faults(mut self, environment: &[(&str, &str)]) -> Self {
        let owned = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.faults = Some(owned.collect());
        self
    }

    /// The next start alone has these environment variables.
    pub fn with_environment(mut self, environment: &[(&str, &str)]) -> Self {
        let owned = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.environment = owned.collect();
        self
    }

    /// The next start alone may have only so many files open.
    pub fn with_files(mut self, files: u64) -> Self {
        self.files = Some(files);
        self
    }

    /// Starts the host, and waits until it serves.
    ///
    /// # Panics
    ///
    /// When it does not within [`PATIENCE`].
    #[track_caller]
    pub fn start(self) -> Host {
        self.try_start().unwrap_or_else(|stopped| {
            panic!("the host did not become ready; it said:\n{}", stopped.log.join("\n"))
        })
    }

    /// Starts the host, and waits until it serves or has ended; then that is what it gives back.
    ///
    /// # Errors
    ///
    /// How it ended.
    ///
    /// # Panics
    ///
    /// When it has done neither within [`PATIENCE`].
    pub fn try_start(self) -> Result<Host, Box<Stopped>> {
        let begun = Instant::now();
        let (ready, address) = mpsc::channel();
        let (mut process, mut log) = self.spawn(move |line| {
            let record: Value = serde_json::from_str(line).unwrap_or_default();
            if let Some(address) = record["address"].as_str() {
                // Nobody listens any more when the test is over.
                drop(ready.send(address.to_owned()));
            }
        });
        let address = match address.recv_timeout(PATIENCE) {
            Ok(address) => address,
            // Its log has ended, and so will it.
            Err(RecvTimeoutError::Disconnected) => {
                let status = eventually("the host ends", || process.try_wait());
                let down = Self {
                    place: self.place,
                    address: self.address,
                    faults: None,
                    environment: Vec::new(),
                    files: None,
                };
                return Err(Box::new(Stopped { status, log: log.complete(), down }));
            }
            Err(RecvTimeoutError::Timeout) => {
                process.kill();
                panic!("the host did not become ready; it said:\n{}", log.complete().join("\n"));
            }
        };
        let start = begun.elapsed();
        // From a disk that may lose half of a file nothing is taken for others.
        if self.place.mount.is_none() {
            copy_compiled(&self.place.data().join(COMPILED), &compiled_before())
                .expect("files can be copied");
        }
        let url = format!("http://{address}");
        let address = address.parse().expect("the host logs its address");
        Ok(Host { process, http: Client::new(&url), url, place: self.place, address, log, start })
    }

    /// Starts the host and kills it after a while, whatever it has come to.
    pub fn crash_while_starting(self, after: Duration) -> Self {
        let (mut process, _) = self.spawn(|_| ());
        let until = Instant::now() + after;
        while Instant::now() < until && process.try_wait().is_none() {
            std::thread::sleep(POLL.min(until.saturating_duration_since(Instant::now())));
        }
        self.place.kill(&mut process);
        Self {
            place: self.place.clone(),
            address: self.address,
            faults: None,
            environment: Vec::new(),
            files: None,
        }
    }

    /// Runs the command line against the data directory of this host.
    pub fn exesdb(&self, arguments: &[&str]) -> Output {
        exesdb(arguments, &[("EXESDB_DATA", &self.data().to_string_lossy())])
    }

    /// Starts a host that is expected to refuse: what it said.
    ///
    /// # Panics
    ///
    /// When it has not ended within [`PATIENCE`], or does not say by its exit code that it failed.
    pub fn refused(self) -> String {
        let (mut process, mut log) = self.spawn(|_| ());
        let status = eventually("the host ends", || process.try_wait());
        let said = log.complete().join("\n");
        assert_eq!(status.code(), Some(1), "{said}");
        said
    }

    /// The host's data directory.
    pub fn data(&self) -> PathBuf {
        self.place.data()
    }

    fn spawn(&self, mut look: impl FnMut(&str) + Send + 'static) -> (Process, Log) {
        let mut command = match &self.faults {
            None => command(&[]),
            Some(faults) => {
                let faults: Vec<_> = faults.iter().map(|(name, value)| (&**name, &**value)).collect();
                command_of(&binary_with_faults(), &faults)
            }
        };
        if let Some(files) = self.files {
            // The shell sets the limit, and becomes the host.
            let program = command.get_program().to_owned();
            let mut limited = Command::new("sh");
            limited.args(["-c", &format!("ulimit -n {files}; exec \"$0\" \"$@\"")]).arg(program);
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => limited.env(name, value),
                    None => limited.env_remove(name),
                };
            }
            command = limited;
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command.args(["serve", "--listen", &self.address.to_string(), "--data"]).arg(self.place.data());
        if self.place.configured {
            command.arg("--config").arg(self.place.folder.path().join("exesdb.toml"));
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process(command.spawn().expect("the binary can be run"));
        let said = BufReader::new(process.0.stderr.take().expect("stderr was piped"));
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = lines.clone();
        let reader = std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                look(&line);
                kept.lock().expect("no writer panics").push(line);
            }
        });
        (process, Log { lines, reader: Some(reader) })
    }
}

impl Place {
    fn kill(&self, process: &mut Process) {
        if let Some(mount) = &self.mount {
            mount.disk().power_goes(|| process.strike());
        }
        process.kill();
        if let Some(mount) = &self.mount {
            mount.disk().power_returns();
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// Where a host keeps compiled components, in its data directory.
const COMPILED: &str = ".compiled/modules";

/// Where the tests keep compiled components for each other: compiling them takes a host ten times as long as all the
/// rest of its start.
fn compiled_before() -> PathBuf {
    root().join("target/tmp/compiled")
}

/// Gives a data directory the components that were kept in a folder.
pub fn take_compiled(kept: &Path, data: &Path) {
    copy_compiled(kept, &data.join(COMPILED)).expect("files can be copied");
}

/// Keeps in a folder what a host has compiled in its data directory.
pub fn keep_compiled(data: &Path, kept: &Path) {
    copy_compiled(&data.join(COMPILED), kept).expect("files can be copied");
}

/// Copies compiled components that `to` lacks, out of one folder for each version of the engine. Copies, because a
/// host follows no link out of its data directory.
fn copy_compiled(from: &Path, to: &Path) -> std::io::Result<()> {
    let Ok(versions) = std::fs::read_dir(from) else { return Ok(()) };
    for version in versions {
        let version = version?;
        let folder = to.join(version.file_name());
        std::fs::create_dir_all(&folder)?;
        for file in std::fs::read_dir(version.path())? {
            let file = file?;
            let (name, copy) = (file.file_name(), folder.join(file.file_name()));
            // The engine's own notes on use are written while we look, and are missed by nobody.
            if name.to_string_lossy().contains('.') || copy.exists() {
                continue;
            }
            // Tests run side by side: a file appears under its name when it is complete.
            let unfinished = folder.join(format!("{}.{}", name.to_string_lossy(), std::process::id()));
            std::fs::copy(file.path(), &unfinished)?;
            std::fs::rename(unfinished, copy)?;
        }
    }
    Ok(())
}

/// A loopback address of this process's own where there are many (on Linux, all of 127/8), so that a host that is
/// started again finds its port free. Number 0 is that of [`Host`], 1 to 3 are for hosts that a test starts by other means.
pub fn own_loopback(number: u8) -> IpAddr {
    if !cfg!(target_os = "linux") {
        return Ipv4Addr::LOCALHOST.into();
    }
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + high % 16 + 16 * (number % 4), middle, low).into()
}
