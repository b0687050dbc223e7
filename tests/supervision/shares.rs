//! Long requests hold no instance of a gateway on steps, so there may be many more of them than instances.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use exesdb_tests::{Client, Connection, Host, NO_EVENTS, Response, eventually};
use serde_json::json;

/// More clients with long requests than a gateway has instances by default.
const LONG: usize = 200;

const WRITERS: usize = 100;
const APPENDS_EACH: usize = 20;

/// Appends from many clients concurrently, and returns the responses that are not acknowledgements.
fn append_from_all(client: &Client, writers: usize) -> Vec<Response> {
    let writer = |writer: usize| {
        let client = Client::clone(client);
        std::thread::spawn(move || {
            let append = |_| client.append_one(&format!("writer-{writer}"));
            (0..APPENDS_EACH).map(append).filter(|response| response.status != 200).collect::<Vec<_>>()
        })
    };
    let writers: Vec<_> = (0..writers).map(writer).collect();
    writers.into_iter().flat_map(|writer| writer.join().expect("a writer does not panic")).collect()
}

/// Requests the whole store as lines, without reading the response.
fn reader_that_does_not_read(client: &Client) -> Connection {
    let mut connection = client.connect();
    let request =
        "GET /v1/stores/main/events HTTP/1.1\r\nhost: localhost\r\naccept: application/x-ndjson\r\n\r\n";
    connection.write_all(request.as_bytes()).expect("the host reads");
    connection
}

#[test]
fn readers_that_do_not_read_do_not_block_writers() {
    let host = Host::start();
    // More than all buffers between the store and a reader hold.
    let events = vec![json!({ "type": "t", "data": "x".repeat(3_000) }); 1_000];
    for _ in 0..5 {
        host.http.append("read", "any", &events).expect(200);
    }
    let lines = [("accept", "application/x-ndjson")];
    let readers: Vec<_> = (0..LONG).map(|_| reader_that_does_not_read(&host.http)).collect();
    let refused = append_from_all(&host.http, WRITERS);
    assert!(refused.is_empty(), "{} refused: {:?}", refused.len(), refused.first());
    host.http.get("/v1/stores/main/events?count=4").expect(200);
    let path = "/v1/stores/main/events?stream_prefix=writer-&from=5000&count=1100";
    let response = host.http.get_with(path, &lines).expect(200);
    assert_eq!((response.text.lines().count(), response.cut_off), (1_101, false));
    drop(readers);
    let response = host.http.get_with("/v1/stores/main/events", &lines).expect(200);
    assert!(!response.cut_off);
}

/// These responses have a content length, so they begin as short ones.
#[test]
fn pages_that_nobody_reads_do_not_block_writers() {
    let limits = "[store.limits]\ngateway_instances_per_worker = 16\n";
    let host = Host::with_config(&format!("[[store]]\nname = \"main\"\ngateway_pool_size = 1\n{limits}"));
    let large = json!({ "type": "t", "data": "x".repeat(1_000_000) });
    for _ in 0..2 {
        host.http.append("large", "any", &vec![large.clone(); 4]).expect(200);
    }
    let reader = |_| {
        let mut connection = host.http.connect();
        let request = "GET /v1/stores/main/streams/large/events HTTP/1.1\r\nhost: localhost\r\n\r\n";
        connection.write_all(request.as_bytes()).expect("the host reads");
        connection
    };
    let readers: Vec<_> = (0..16).map(reader).collect();
    let refused = append_from_all(&host.http, 40);
    assert!(refused.is_empty(), "{} refused: {:?}", refused.len(), refused.first());
    drop(readers);
}

#[test]
fn incomplete_request_bodies_do_not_block_writers() {
    let limits = "[store.limits]\ngateway_instances_per_worker = 16\n";
    let host = Host::with_config(&format!("[[store]]\nname = \"main\"\ngateway_pool_size = 1\n{limits}"));
    let sender = |_| {
        let mut connection = host.http.connect();
        let head = "POST /v1/stores/main/streams/s/events HTTP/1.1\r\nhost: localhost\r\n\
                    content-type: application/json\r\ncontent-length: 100\r\n\r\n{";
        connection.write_all(head.as_bytes()).expect("the host reads");
        connection
    };
    let mut senders: Vec<_> = (0..4 * 16).map(sender).collect();
    let refused = append_from_all(&host.http, 40);
    assert!(refused.is_empty(), "{} refused: {:?}", refused.len(), refused.first());
    // None of them was refused: the next byte of the body is still waited for.
    for connection in &mut senders {
        connection.set_read_timeout(Some(std::time::Duration::from_millis(1))).expect("it is not zero");
        let error = connection.read(&mut [0; 12]).expect_err("there is no response");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
    host.http.get("/v1/stores/main/streams/s").expect_problem(404, "stream-not-found");
}

#[test]
fn many_followers_do_not_block_appends() {
    let host = Host::start();
    let seen = Arc::new(AtomicUsize::new(0));
    let follower = |_| {
        let mut connection = host.http.connect();
        let request =
            "GET /v1/stores/main/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
        connection.write_all(request.as_bytes()).expect("the host reads");
        let mut head = [0; 15];
        connection.read_exact(&mut head).expect("the host responds");
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        let seen = seen.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(bytes) = connection.read(&mut buffer)
                && bytes > 0
            {
                let events = buffer[..bytes].windows(6).filter(|window| window == b"\ndata:").count();
                seen.fetch_add(events, Ordering::Relaxed);
            }
        })
    };
    let followers: Vec<_> = (0..LONG).map(follower).collect();
    let refused = append_from_all(&host.http, WRITERS);
    assert!(refused.is_empty(), "{} refused: {:?}", refused.len(), refused.first());
    // A line that the end of a buffer cuts off is not counted.
    let all = LONG * WRITERS * APPENDS_EACH;
    eventually("the followers get it all", || (seen.load(Ordering::Relaxed) > all * 9 / 10).then_some(()));
    assert_eq!(host.traps(), NO_EVENTS);
    let stopped = host.stop();
    assert!(stopped.status.success());
    for follower in followers {
        follower.join().expect("a follower does not panic");
    }
}
