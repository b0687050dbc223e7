//! A host under test: the real binary in a process of its own, with its own data directory.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::compiled::{keep_compiled, shared_compiled, take_compiled};
use crate::fault_fs::{Disk, Mount};
use crate::{
    Client, PATIENCE, POLL, binary_with_faults, command, command_of, eventually, exesdb, folder, probe,
    stderr,
};

/// A running host. On drop it is killed and its data is removed.
pub struct Host {
    process: Process,
    /// A client of the store `main`.
    pub http: Client,
    /// `http://ADDRESS:PORT`.
    pub url: String,
    directory: Arc<Directory>,
    address: SocketAddr,
    log: Log,
    start: Duration,
}

/// A host that does not run: its data, its configuration and its address.
pub struct Down {
    directory: Arc<Directory>,
    address: SocketAddr,
    faults: Option<Vec<(String, String)>>,
    environment: Vec<(String, String)>,
    files: Option<u64>,
}

/// How a host ended.
pub struct Stopped {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its complete log.
    pub log: Vec<String>,
    /// The host, to be started again.
    pub down: Down,
}

/// The folder of a host's data and configuration.
struct Directory {
    /// The simulated disk under the data directory, if any. It is unmounted before the folder is removed.
    mount: Option<Mount>,
    folder: tempfile::TempDir,
    configured: bool,
}

/// The lines of a host's log, which a thread reads until the host ends.
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Log {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no writer panics").clone()
    }

    /// All lines. The host must have ended.
    fn complete(&mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no reader panics");
        }
        self.lines()
    }
}

/// A process that is killed on drop.
struct Process(Child);

impl Process {
    fn try_wait(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("it is our child")
    }

    /// Sends SIGKILL, without waiting for the end.
    fn send_kill(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
    }

    fn kill(&mut self) {
        self.send_kill();
        self.0.wait().expect("it is our child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Host {
    /// A host with the builtin components and one store, `main`.
    pub fn start() -> Self {
        Down::new(None).start()
    }

    /// A host with this configuration (`exesdb.toml`, without `data` and `listen`).
    pub fn with_config(config: &str) -> Self {
        Down::new(Some(config)).start()
    }

    /// A host with two stores: `main` with the test components, and `neighbour` with the builtin ones. `main` holds further
    /// keys of the table `[[store]]`.
    pub fn with_probes(main: &str) -> Self {
        Self::with_gateway("gateway-probe", main)
    }

    /// The same with another gateway in `main`, which is named as in [`probe`].
    pub fn with_gateway(gateway: &str, main: &str) -> Self {
        Self::with_config(&format!(
            "[[store]]\nname = \"main\"\n{main}\n[store.components]\nstreams = {:?}\ngateway = {:?}\n\n\
             [[store]]\nname = \"neighbour\"\n",
            probe("streams-probe"),
            probe(gateway),
        ))
    }

    /// The host's process id.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// The host's data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.data()
    }

    /// The host's log so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Kills the process, as a crash would. On a simulated disk, the power fails, too.
    pub fn crash(mut self) -> Down {
        self.directory.kill(&mut self.process);
        self.down()
    }

    /// Kills the process, and starts another one on the same data and address.
    pub fn crash_and_restart(self) -> Self {
        self.crash().start()
    }

    /// Stops the host with SIGTERM, and waits for its end.
    ///
    /// # Panics
    ///
    /// When it has not ended within [`PATIENCE`].
    pub fn stop(self) -> Stopped {
        self.signal("TERM");
        self.ended()
    }

    /// Sends the host a signal, such as `TERM`.
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

    /// The time from the start of the process until the host was ready.
    pub fn start_took(&self) -> Duration {
        self.start
    }

    fn down(&self) -> Down {
        Down {
            directory: self.directory.clone(),
            address: self.address,
            faults: None,
            environment: Vec::new(),
            files: None,
        }
    }

    /// Runs `exesdb` against this host.
    pub fn exesdb(&self, arguments: &[&str]) -> Output {
        exesdb(arguments, &[("EXESDB_URL", &self.url), ("EXESDB_DATA", &self.data().to_string_lossy())])
    }

    /// As [`Host::exesdb`], but the caller runs the command, in the background or with input.
    pub fn command(&self) -> Command {
        command(&[("EXESDB_URL", &self.url), ("EXESDB_DATA", &self.data().to_string_lossy())])
    }

    /// As [`Host::exesdb`]; asserts success, and returns the standard output.
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

    /// The telemetry events that the host still keeps.
    pub fn events(&self) -> Vec<Value> {
        self.json(&["events", "--json"])
    }

    /// The traps in the telemetry, of all components.
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
    /// A host that was never started. For the configuration, see [`Host::with_config`].
    pub fn new(config: Option<&str>) -> Self {
        let folder = folder();
        if let Some(config) = config {
            std::fs::write(folder.path().join("exesdb.toml"), config)
                .expect("the test's folder can be written");
        }
        let directory = Directory { mount: None, folder, configured: config.is_some() };
        take_compiled(&shared_compiled(), &directory.data());
        Self::at(directory)
    }

    /// As [`Down::new`], with the data directory on a simulated disk, which stays mounted until the last [`Down`] or
    /// [`Host`] of this data directory is dropped. Its content before the first start is durable.
    pub fn on_disk(config: Option<&str>, disk: &Disk) -> Self {
        // Compiled components must come from an intact disk: on this one, their files may be torn.
        static COMPILED_ONCE: Once = Once::new();
        COMPILED_ONCE.call_once(|| drop(Host::start()));
        let mut directory = Arc::into_inner(Self::new(config).directory).expect("nobody shares it yet");
        std::fs::remove_dir_all(directory.data()).expect("it is ours");
        std::fs::create_dir(directory.data()).expect("the test's folder can be written");
        directory.mount = Some(Mount::new(disk, &directory.data()));
        take_compiled(&shared_compiled(), &directory.data());
        disk.sync();
        Self::at(directory)
    }

    fn at(directory: Directory) -> Self {
        let address = SocketAddr::new(own_loopback(0), 0);
        Self { directory: Arc::new(directory), address, faults: None, environment: Vec::new(), files: None }
    }

    /// Unmounts the disk of [`Down::on_disk`], calls `act` with it, and mounts it again.
    ///
    /// # Panics
    ///
    /// When the host has no simulated disk.
    pub fn at_rest<T>(&self, act: impl FnOnce(&Disk) -> T) -> T {
        self.directory.mount.as_ref().expect("the host has a simulated disk").while_unmounted(act)
    }

    /// The next start, and only that, uses the binary with fail points and faults. These environment variables select one.
    pub fn with_faults(mut self, environment: &[(&str, &str)]) -> Self {
        let owned = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.faults = Some(owned.collect());
        self
    }

    /// Sets environment variables for the next start only.
    pub fn with_environment(mut self, environment: &[(&str, &str)]) -> Self {
        let owned = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.environment = owned.collect();
        self
    }

    /// Limits the number of open files for the next start only.
    pub fn with_files(mut self, files: u64) -> Self {
        self.files = Some(files);
        self
    }

    /// Starts the host, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// When it is not ready within [`PATIENCE`].
    #[track_caller]
    pub fn start(self) -> Host {
        self.try_start().unwrap_or_else(|stopped| {
            panic!("the host did not become ready; its log:\n{}", stopped.log.join("\n"))
        })
    }

    /// Starts the host, and waits until it is ready or has ended.
    ///
    /// # Errors
    ///
    /// The exit status and the log of a host that ended.
    ///
    /// # Panics
    ///
    /// When neither happens within [`PATIENCE`].
    pub fn try_start(self) -> Result<Host, Box<Stopped>> {
        let begun = Instant::now();
        let (ready, address) = mpsc::channel();
        let (mut process, mut log) = self.spawn(move |line| {
            let record: Value = serde_json::from_str(line).unwrap_or_default();
            if let Some(address) = record["address"].as_str() {
                // The receiver is gone when the test is over.
                drop(ready.send(address.to_owned()));
            }
        });
        let address = match address.recv_timeout(PATIENCE) {
            Ok(address) => address,
            // The log has ended, so the process is about to end.
            Err(RecvTimeoutError::Disconnected) => {
                let status = eventually("the host ends", || process.try_wait());
                let down = Self {
                    directory: self.directory,
                    address: self.address,
                    faults: None,
                    environment: Vec::new(),
                    files: None,
                };
                return Err(Box::new(Stopped { status, log: log.complete(), down }));
            }
            Err(RecvTimeoutError::Timeout) => {
                process.kill();
                panic!("the host did not become ready; its log:\n{}", log.complete().join("\n"));
            }
        };
        let start = begun.elapsed();
        // A simulated disk may have torn files, so nothing is copied from it.
        if self.directory.mount.is_none() {
            keep_compiled(&self.directory.data(), &shared_compiled());
        }
        let url = format!("http://{address}");
        let address = address.parse().expect("the host logs its address");
        Ok(Host { process, http: Client::new(&url), url, directory: self.directory, address, log, start })
    }

    /// Starts the host and kills it after a time, whether it is ready or not.
    pub fn crash_while_starting(self, after: Duration) -> Self {
        let (mut process, _) = self.spawn(|_| ());
        let until = Instant::now() + after;
        while Instant::now() < until && process.try_wait().is_none() {
            std::thread::sleep(POLL.min(until.saturating_duration_since(Instant::now())));
        }
        self.directory.kill(&mut process);
        Self {
            directory: self.directory.clone(),
            address: self.address,
            faults: None,
            environment: Vec::new(),
            files: None,
        }
    }

    /// Runs `exesdb` against the data directory of this host.
    pub fn exesdb(&self, arguments: &[&str]) -> Output {
        exesdb(arguments, &[("EXESDB_DATA", &self.data().to_string_lossy())])
    }

    /// Starts a host that is expected to end with exit code 1, and returns its log.
    ///
    /// # Panics
    ///
    /// When it has not ended within [`PATIENCE`], or ended with another code.
    pub fn refused(self) -> String {
        let (mut process, mut log) = self.spawn(|_| ());
        let status = eventually("the host ends", || process.try_wait());
        let said = log.complete().join("\n");
        assert_eq!(status.code(), Some(1), "{said}");
        said
    }

    /// The host's data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.data()
    }

    fn spawn(&self, mut observe: impl FnMut(&str) + Send + 'static) -> (Process, Log) {
        let mut command = match &self.faults {
            None => command(&[]),
            Some(faults) => {
                let faults: Vec<_> = faults.iter().map(|(name, value)| (&**name, &**value)).collect();
                command_of(&binary_with_faults(), &faults)
            }
        };
        if let Some(files) = self.files {
            // The shell sets the limit and then executes the host.
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
        command.args(["serve", "--listen", &self.address.to_string(), "--data"]).arg(self.directory.data());
        if self.directory.configured {
            command.arg("--config").arg(self.directory.folder.path().join("exesdb.toml"));
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process(command.spawn().expect("the binary can be run"));
        let said = BufReader::new(process.0.stderr.take().expect("stderr was piped"));
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = lines.clone();
        let reader = std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                observe(&line);
                kept.lock().expect("no writer panics").push(line);
            }
        });
        (process, Log { lines, reader: Some(reader) })
    }
}

impl Directory {
    fn kill(&self, process: &mut Process) {
        if let Some(mount) = &self.mount {
            mount.disk().power_goes(|| process.send_kill());
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

/// A loopback address of this process where there are many (on Linux, all of 127/8), so that a restarted host finds its
/// port free. Number 0 belongs to [`Host`]; 1 to 3 are for hosts that a test starts in another way.
pub fn own_loopback(number: u8) -> IpAddr {
    if !cfg!(target_os = "linux") {
        return Ipv4Addr::LOCALHOST.into();
    }
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + high % 16 + 16 * (number % 4), middle, low).into()
}
