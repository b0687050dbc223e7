//! A consumer that reads what `exesdb consume` prints.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde_json::Value;

use super::{Consumer, Mishap};

/// Lines that are read ahead. Others wait in the pipe, and then the command waits.
const LINES_MAX: usize = 8;

/// How long a line is waited for: short, so that the consumer notices when another time begins.
const READ_TIMEOUT: Duration = Duration::from_millis(200);

/// What is still in the pipe of a command that has ended comes at once.
const REST_TIMEOUT: Duration = Duration::from_secs(60);

impl Consumer {
    /// Reads until the session ends. The command acknowledges what it has printed, which nobody confirms to the reader.
    pub(super) fn command(&mut self, begun: u64) {
        let name = &self.record.subscription.name;
        let window = self.record.subscription.window.to_string();
        let mut command =
            exesdb_tests::command(&[("EXESDB_URL", &format!("http://{}", self.http.address()))]);
        let arguments = ["consume", name, "--json", "--window", &window, "--retry-for", "3"];
        let child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.expect("the binary can be run");
        let lines = lines(&mut child);
        let session = self.begins(begun);
        let is_alive = loop {
            if self.time.is_over(begun) {
                break true;
            }
            match lines.recv_timeout(READ_TIMEOUT) {
                Ok(line) => self.printed(session, &line),
                Err(RecvTimeoutError::Timeout) => {}
                // It gives up when the host is away for long.
                Err(RecvTimeoutError::Disconnected) => break false,
            }
            match self.mishap() {
                Mishap::Dies => {
                    child.kill().expect("it is our child");
                    break false;
                }
                Mishap::Stalls | Mishap::ForgetsToSay => self.stall(),
                Mishap::None => {}
            }
        };
        if is_alive {
            // It leaves. Not SIGINT: a shell without job control starts what runs in the background with that ignored, so a command
            // that has only just begun would miss it.
            let sent = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
            sent.expect("kill can be run");
        }
        // What was printed was acknowledged, whether it was read by then or not.
        while let Ok(line) = lines.recv_timeout(REST_TIMEOUT) {
            self.printed(session, &line);
        }
        child.wait().expect("it is our child");
    }

    fn printed(&self, session: u32, line: &str) {
        let event: Value = serde_json::from_str(line).expect("a whole line is JSON");
        let taken = self.delivered(session, &[event]);
        self.record.settling(session, &taken);
    }
}

/// The whole lines that a command prints.
fn lines(child: &mut Child) -> Receiver<String> {
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    let (sender, receiver) = sync_channel(LINES_MAX);
    std::thread::spawn(move || {
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|bytes| bytes > 0) && line.ends_with('\n') {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    receiver
}
