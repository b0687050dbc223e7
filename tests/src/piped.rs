//! Clients that append in pipelines: each sends appends on one connection, without waiting for the answers to those before.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use exesdb_test_support::Rng;
use serde_json::{Value, json};

use crate::load::{Report, SHARED_STREAM};
use crate::{Append, Client, Connection, Outcome, PATIENCE, Response};

/// Most appends that are sent at once.
const BURST: usize = 4;

/// The pause after them: without one, a store would get more events in a second than a test can compare.
const PAUSE: Duration = Duration::from_millis(2);

/// Most appends without an answer.
const UNANSWERED_MAX: usize = 32;

/// Every third append is to the client's stream with exact versions.
const TURNS: usize = 3;

/// A client with one pipeline, until its first answer that is not an acknowledgement.
pub(crate) struct PipedAppender {
    client: Client,
    name: String,
    random: Rng,
    ending: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    /// In the order in which they were sent.
    appends: Vec<Append>,
    /// For each of them: the version that its first event must get, if it was sent with an exact one.
    due: Vec<Option<u64>>,
    /// How many of them are answered.
    answered: usize,
    /// The number of events that were sent to the stream with exact versions.
    exact_events: u64,
    /// The position of the last acknowledgement in each stream.
    positions: BTreeMap<String, u64>,
    /// What came after the last whole line of the response.
    received: Vec<u8>,
    report: Report,
}

impl PipedAppender {
    pub(crate) fn new(
        client: &Client,
        name: String,
        seed: u64,
        ending: Arc<AtomicBool>,
        acknowledged: Arc<AtomicU64>,
    ) -> Self {
        Self {
            client: client.clone(),
            name,
            random: Rng::with_seed(seed),
            ending,
            acknowledged,
            appends: Vec::new(),
            due: Vec::new(),
            answered: 0,
            exact_events: 0,
            positions: BTreeMap::new(),
            received: Vec::new(),
            report: Report::default(),
        }
    }

    pub(crate) fn run(mut self) -> Report {
        if let Err(error) = self.pipe() {
            self.report.refusals.push(response(0, Value::Null, error.to_string()));
        }
        let Self { appends, mut report, .. } = self;
        report.pipelines.push(appends);
        report
    }

    fn pipe(&mut self) -> io::Result<()> {
        let mut connection = self.client.try_connect()?;
        connection.set_read_timeout(Some(PAUSE))?;
        let written = self.write_appends(&mut connection);
        // Answers that came before the end of a host count, although nothing can be written any more.
        connection.set_read_timeout(Some(PATIENCE))?;
        while self.receive(&mut connection)? {}
        written?;
        match self.appends.len() - self.answered {
            0 => Ok(()),
            unanswered => Err(io::Error::other(format!("{unanswered} appends have no answer"))),
        }
    }

    /// Sends appends until the load ends or one is refused, and then the end of the request.
    fn write_appends(&mut self, connection: &mut Connection) -> io::Result<()> {
        let head = format!(
            "POST {}/append HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n\r\n",
            self.client.path()
        );
        connection.write_all(head.as_bytes())?;
        while !self.ending.load(Ordering::Relaxed) && self.report.refusals.is_empty() {
            let room = UNANSWERED_MAX.saturating_sub(self.appends.len() - self.answered);
            let lines: String = (0..room.min(BURST)).map(|_| self.next_line()).collect();
            if !lines.is_empty() {
                connection.write_all(format!("{:x}\r\n{lines}\r\n", lines.len()).as_bytes())?;
            }
            std::thread::sleep(PAUSE);
            match self.receive(connection) {
                Ok(true) => {}
                Ok(false) => return Err(ErrorKind::UnexpectedEof.into()),
                // Nothing has come yet.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        connection.write_all(b"0\r\n\r\n")
    }

    /// The line of the next append, which counts as sent from now on.
    fn next_line(&mut self) -> String {
        let number = self.appends.len();
        let (stream, is_exact) = match number % TURNS {
            0 => (SHARED_STREAM.to_owned(), false),
            turn => (format!("{}-{turn}", self.name), turn == TURNS - 1),
        };
        let size = 1 + self.random.u64(..2);
        let ids = (0..size).map(|event| format!("{}-{number}-{event}", self.name)).collect();
        let append = Append { stream, ids, outcome: Outcome::Unknown };
        let expected = match (is_exact, self.exact_events) {
            (false, _) => json!("any"),
            (true, 0) => json!("no_stream"),
            (true, next) => json!(next - 1),
        };
        self.due.push(is_exact.then_some(self.exact_events));
        self.exact_events += if is_exact { size } else { 0 };
        let line =
            json!({ "stream": append.stream, "expected_version": expected, "events": append.events() });
        self.appends.push(append);
        format!("{line}\n")
    }

    /// Takes what has come of the response. Returns whether more may come.
    fn receive(&mut self, connection: &mut Connection) -> io::Result<bool> {
        let mut bytes = [0; 16 << 10];
        let count = connection.read(&mut bytes)?;
        self.received.extend_from_slice(&bytes[..count]);
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            self.take(&String::from_utf8_lossy(&line));
        }
        Ok(count > 0)
    }

    /// Takes a line of the response. The lines of an answer are whole in their chunks, so each begins a line here.
    fn take(&mut self, line: &str) {
        if let Some(status) = line.strip_prefix("HTTP/1.1 ").filter(|status| !status.starts_with("200")) {
            let number = status.get(..3).and_then(|number| number.parse::<u16>().ok()).unwrap_or_default();
            self.report.refusals.push(response(number, Value::Null, line.to_owned()));
        }
        if !line.starts_with('{') {
            return;
        }
        let json: Value = serde_json::from_str(line).expect("an answer is a line of JSON");
        let status = json["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        let response = response(status.unwrap_or(200), json, line.to_owned());
        let Some(append) = self.appends.get_mut(self.answered) else {
            // The reason why a pipeline ends, which is no answer to an append.
            self.report.refusals.push(response);
            return;
        };
        append.record(&response, &response.json);
        let (append, due) = (append.clone(), self.due[self.answered]);
        self.answered += 1;
        self.check(&append, due, response);
    }

    /// Checks an answer against the append and the answers before it.
    fn check(&mut self, append: &Append, due: Option<u64>, response: Response) {
        let violations = &mut self.report.violations;
        match append.outcome {
            Outcome::Acknowledged { first_version, position, .. } => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                if due.is_some_and(|due| due != first_version) {
                    violations.push(format!("expected version before {due:?}: {append:?}"));
                }
                let before = self.positions.insert(append.stream.clone(), position);
                if before.is_some_and(|before| before >= position) {
                    violations.push(format!("not after position {before:?}: {append:?}"));
                }
            }
            // Exact versions follow from the appends before, which must have been made.
            Outcome::Refused if self.report.refusals.is_empty() => {
                let text = response.text;
                violations.push(format!("a conflict in a stream of one writer: {append:?}: {text}"));
            }
            Outcome::Refused => {}
            Outcome::Unknown => self.report.refusals.push(response),
        }
    }
}

fn response(status: u16, json: Value, text: String) -> Response {
    Response { status, content_type: String::new(), json, text, cut_off: status == 0, headers: Vec::new() }
}
