//! Followers that share a reader: each gets the events of the log from where it began, whatever happens to the others and to
//! the parts of the store.

use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use exesdb_packed::Events;
use exesdb_tests::{Connection, Host, eventually};

use super::{Exchange, LAST_CHUNK, append, get, host, path};

/// A position, and the stream of its event.
type Place = (u64, String);

/// What is between the parentheses of marks does not count.
fn without_marks(text: &str) -> String {
    let mut depth = 0;
    let kept = text.chars().filter(|char| {
        depth += i32::from(*char == '(');
        let kept = depth == 0;
        depth -= i32::from(*char == ')');
        kept
    });
    kept.collect()
}

/// The body of a chunked response, as far as it was received.
fn body(received: &[u8]) -> Vec<u8> {
    let head = received.windows(4).position(|window| window == b"\r\n\r\n");
    let mut rest = head.map_or(&[][..], |head| &received[head + 4..]);
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).expect("a chunk begins with its size");
        let size = usize::from_str_radix(size, 16).expect("it is in hex");
        let data = &rest[line + 2..];
        let Some(next) = data.get(size + 2..) else { break };
        body.extend_from_slice(&data[..size]);
        rest = next;
    }
    body
}

/// Places as the probe shows them.
fn shown(text: &str) -> Vec<Place> {
    let place = |part: &str| {
        let (position, stream) = part.split_once('@').expect("a position and a stream");
        (position.parse().expect("a number"), stream.to_owned())
    };
    without_marks(text).split_terminator(';').map(place).collect()
}

/// Places of whole events; the last one may not have come as a whole.
fn packed(bytes: &[u8]) -> Vec<Place> {
    let events = Events::new(bytes).map_while(Result::ok);
    events.map(|(position, envelope)| (position, envelope.stream_id.to_owned())).collect()
}

/// How fast a client reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Fast,
    /// Little by little, until the load is over.
    Slow,
}

/// A client that follows, in a thread of its own.
struct Live {
    what: String,
    /// Whether an event is among those that it follows.
    follows: Box<dyn Fn(&Place) -> bool>,
    received: Arc<Mutex<Vec<u8>>>,
    released: Arc<AtomicBool>,
}

impl Live {
    fn begin(host: &Host, form: &str, source: &str, from: u64, pace: Pace) -> Self {
        let what = format!("live/{form}.{source}.{from}");
        // A read may fail before its head, while a part is being restarted.
        let (connection, head) = eventually("a follower begins", || begun(host, &what));
        let (received, released) = (Arc::new(Mutex::new(head)), Arc::<AtomicBool>::default());
        {
            let (received, released) = (received.clone(), released.clone());
            thread::spawn(move || read(connection, pace, &received, &released));
        }
        let name = source.to_owned();
        let follows: Box<dyn Fn(&Place) -> bool> = match source.strip_suffix('*') {
            _ if source == "all" => Box::new(move |(position, _)| *position >= from),
            Some(prefix) => {
                let prefix = prefix.to_owned();
                Box::new(move |(position, stream)| *position >= from && stream.starts_with(&prefix))
            }
            // From its beginning.
            None => Box::new(move |(_, stream)| *stream == name),
        };
        Self { what, follows, received, released }
    }

    fn is_packed(&self) -> bool {
        self.what.starts_with("live/as-is")
    }

    /// Whether it has the last event, whose data say so.
    fn has(&self, (position, stream): &Place) -> bool {
        let last = if self.is_packed() { last(stream) } else { format!("{position}@{stream};") };
        let received = self.received.lock().expect("nobody panics");
        let tail = &received[received.len().saturating_sub(TAIL_BYTES)..];
        tail.windows(last.len()).any(|window| window == last.as_bytes())
    }

    fn places(&self) -> Vec<Place> {
        let body = body(&self.received.lock().expect("nobody panics"));
        if self.is_packed() { packed(&body) } else { shown(std::str::from_utf8(&body).expect("a text")) }
    }
}

/// A connection whose response has begun, and what came of it so far.
fn begun(host: &Host, what: &str) -> Option<(Connection, Vec<u8>)> {
    let mut connection = host.http.connect();
    let request = format!("GET {} HTTP/1.1\r\nhost: localhost\r\n\r\n", path(what));
    connection.write_all(request.as_bytes()).expect("the host reads");
    let mut head = vec![0; 1_024];
    let count = connection.read(&mut head).expect("the host responds");
    head.truncate(count);
    head.starts_with(b"HTTP/1.1 200 ").then_some((connection, head))
}

/// In so many bytes the last event is found, and the marks that came after it.
const TAIL_BYTES: usize = 64 << 10;

/// The data of a stream's last event.
fn last(stream: &str) -> String {
    format!("the last of {stream}")
}

/// Reads until the connection ends.
fn read(mut connection: Connection, pace: Pace, received: &Mutex<Vec<u8>>, released: &AtomicBool) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        if pace == Pace::Slow && !released.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(100));
        }
        match connection.read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(count) => received.lock().expect("nobody panics").extend_from_slice(&bytes[..count]),
        }
    }
}

/// What the log has.
fn log(host: &Host) -> Vec<Place> {
    let text = get(host, "bulk/positions");
    let (places, end) = text.split_at(text.rfind(';').expect("there are events") + 1);
    assert!(end.starts_with(" complete at "), "{end}");
    shown(places)
}

#[test]
fn pages_are_encoded_once_for_all_who_follow_the_same() {
    const FOLLOWERS: usize = 20;
    const PAGES: usize = 8;
    // One instance, so that its count is that of all pages.
    let host = host("gateway_pool_size = 1\n[store.limits]\ngateway_instances_per_worker = 1");
    for _ in 0..3 {
        append(&host, "s", "before");
    }
    let begin = |number: usize| {
        let mut follower = Exchange::get(&host, &format!("live/counted.all.{}", number % 4));
        follower.until("(caught-up 3)");
        follower
    };
    let mut followers: Vec<Exchange> = (0..FOLLOWERS).map(begin).collect();
    for follower in &mut followers {
        // This mark comes from the group: the follower has joined.
        follower.until("(idle 3)");
    }
    for page in 0..PAGES {
        append(&host, "s", &format!("page {page}"));
        for follower in &mut followers {
            let got = without_marks(&follower.until(&format!("{}@s;", page + 3)));
            let (_, got) = got.split_once('#').expect("the number of the page");
            let number: usize = got.split(' ').next().and_then(|text| text.parse().ok()).expect("a number");
            // The pages before were those that each follower read by itself.
            assert_eq!(number, FOLLOWERS + page, "{got}");
        }
    }
    // A mark of one place is the same for all, too; those who come later get theirs.
    let mut late = Exchange::get(&host, "live/counted.all.11");
    late.until("(caught-up 11)");
    late.until("(idle 11)");
    host.signal("TERM");
    for follower in followers.iter_mut().chain([&mut late]) {
        follower.until(" stopping at Some(11)");
        follower.until(LAST_CHUNK);
    }
    host.ended();
}

#[test]
fn each_follower_gets_the_log_from_where_it_began() {
    const APPENDS: usize = 400;
    /// More than the buffers of a connection hold, in all.
    const EVENT_BYTES: usize = 30_000;
    const PARTS: [&str; 5] = [
        "host/main/system/core-system/persistence-system/streams/readers/0",
        "host/main/system/gateway-system/gateway-workers/0",
        "host/main/system/core-system/store-system/store",
        "host/main/system/gateway-system/pubsub",
        "host/main/system/core-system/persistence-system/streams/writers/0",
    ];
    let host = host("");
    let data = "x".repeat(EVENT_BYTES);
    append(&host, "a-1", &data);
    append(&host, "b-1", &data);
    let appended = Arc::new(AtomicUsize::new(0));
    let mut followers = Vec::new();
    thread::scope(|scope| {
        for stream in ["a-1", "b-1"] {
            let (host, data, appended) = (&host, &data, appended.clone());
            scope.spawn(move || {
                for number in 0..APPENDS {
                    // Its beginning makes the event's id.
                    let data = format!("{stream} {number} {data}");
                    // While a part is being restarted, it may be refused.
                    let path = path(&format!("append/{stream}"));
                    eventually("an append is served", || {
                        let response = host.http.post_bytes(&path, "text/plain", data.as_bytes());
                        response.text.starts_with("versions").then_some(())
                    });
                    appended.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        let mut begin =
            |form, source, from, pace| followers.push(Live::begin(&host, form, source, from, pace));
        for (round, part) in (1..).zip(PARTS) {
            let from = appended.load(Ordering::Acquire) as u64 / 2;
            for form in ["positions", "as-is"] {
                begin(form, "all", 0, Pace::Fast);
                begin(form, "all", from, Pace::Fast);
                begin(form, "a*", from, Pace::Fast);
                begin(form, "b-1", 0, Pace::Fast);
            }
            begin("as-is", "all", from, Pace::Slow);
            eventually("appends go on", || {
                (appended.load(Ordering::Acquire) > round * 2 * APPENDS / (PARTS.len() + 1)).then_some(())
            });
            host.ok(&["kill", part]);
        }
    });
    followers.iter().for_each(|follower| follower.released.store(true, Ordering::Release));
    // The last events show that a follower goes on after all that happened.
    for stream in ["a-1", "b-1"] {
        append(&host, stream, &last(stream));
    }
    let log = log(&host);
    assert!(log.len() >= 2 * APPENDS + 4, "{} of {} events", log.len(), 2 * APPENDS + 4);
    for follower in followers {
        let expected: Vec<Place> = log.iter().filter(|place| (follower.follows)(place)).cloned().collect();
        let last = expected.last().expect("there are events");
        let what = &follower.what;
        eventually(&format!("{what} has the last event"), || follower.has(last).then_some(()));
        let got = follower.places();
        let differs = got.iter().zip(&expected).position(|(got, expected)| got != expected);
        assert!(
            got == expected,
            "{what}: {} of {} events, differs at {differs:?}",
            got.len(),
            expected.len()
        );
    }
}

#[test]
fn those_who_wait_for_what_is_to_come_take_nothing_from_others() {
    let host = host("");
    append(&host, "s", "0");
    append(&host, "s", "1");
    let mut now = Exchange::get(&host, "live/positions.s.0");
    now.until("(idle 2)");
    let mut later = Exchange::get(&host, "live/positions.s.5");
    later.until("(idle ");
    now.until("(idle 2)");
    for number in 2..6 {
        append(&host, "s", &number.to_string());
    }
    let got = now.until("5@s;");
    // On a busy machine several of them come as one page.
    let got: String = got.lines().filter(|line| line.contains("@s;")).collect();
    assert_eq!(got, "2@s;3@s;4@s;5@s;");
    let got = later.until("5@s;");
    assert_eq!(got.matches("@s;").count(), 1, "{got}");
}

#[test]
fn followers_of_a_deleted_stream_wait_wherever_they_are() {
    let host = host("");
    (0..3).for_each(|number| drop(append(&host, "s", &format!("before {number}"))));
    let begin = |from: u64| Exchange::get(&host, &format!("live/positions.s.{from}"));
    let mut before = begin(0);
    before.until("(idle 3)");
    assert_eq!(get(&host, "delete/s"), "deleted");
    let mut others = [0, 1, 2, 3, 4, 9].map(begin);
    // A keepalive comes from a group that waits.
    for follower in others.iter_mut().chain([&mut before]) {
        follower.until("(idle ");
        follower.until("(idle ");
    }
    append(&host, "s", "after 0");
    for follower in others[..4].iter_mut().chain([&mut before]) {
        follower.until("3@s;");
    }
    append(&host, "s", "after 1");
    for follower in others[..5].iter_mut().chain([&mut before]) {
        let got = follower.until("4@s;");
        assert_eq!(got.matches("@s;").count(), 1, "{got}");
    }
}

#[test]
fn short_requests_have_an_instance_while_pages_are_encoded() {
    // One of the two instances may encode.
    let limits = "[store.limits]\ngateway_instances_per_worker = 2\ncall_cpu_ms = 10000";
    let host = host(&format!("gateway_pool_size = 1\n{limits}"));
    append(&host, "s", "one");
    append(&host, "s", "two");
    // The encoding of these pages takes all the time that it may.
    let mut reads: Vec<Exchange> = (0..6).map(|_| Exchange::get(&host, "bulk/halved")).collect();
    thread::sleep(Duration::from_millis(200));
    for _ in 0..20 {
        get(&host, "echo");
        append(&host, "s", "short");
    }
    for read in &mut reads {
        read.connection.set_read_timeout(Some(Duration::from_millis(1))).expect("it is not zero");
        assert!(read.connection.read(&mut [0; 1]).is_err(), "the requests were served after the encoding");
    }
}
