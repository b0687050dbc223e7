//! Long responses may use only a share of the gateway's instances. The rest is for short requests, which queue.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use exesdb_tests::{Client, Connection, Host, NO_EVENTS, Response, eventually};
use serde_json::json;

/// The default number of a gateway's instances, and how many of them may serve long responses.
const INSTANCES: usize = 192;
const LONG_MAX: usize = 144;

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
    let mut readers: Vec<_> = (0..INSTANCES).map(|_| reader_that_does_not_read(&host.http)).collect();
    // Another reader is told that there are too many. A reader that finishes frees an instance for the next one.
    let refused = eventually("there are too many", || {
        readers.push(reader_that_does_not_read(&host.http));
        let response = host.http.get_with("/v1/stores/main/events", &lines);
        (response.status == 503).then_some(response)
    });
    assert!(refused.expect_problem(503, "overloaded").detail().contains("144 long responses"));
    let refused = append_from_all(&host.http, WRITERS);
    assert!(refused.is_empty(), "{} refused: {:?}", refused.len(), refused.first());
    // A page is not a long response, and neither is any other response that ends quickly.
    host.http.get("/v1/stores/main/events?count=4").expect(200);
    let path = "/v1/stores/main/events?stream_prefix=writer-&from=5000&count=1100";
    let response = eventually("two pages are read within a moment", || {
        let response = host.http.get_with(path, &lines);
        (response.status == 200).then_some(response)
    });
    assert_eq!((response.text.lines().count(), response.cut_off), (1_101, false));
    drop(readers);
    // When they are gone, there are free instances again.
    eventually("a long response is served", || {
        let response = host.http.get_with("/v1/stores/main/events", &lines);
        (response.status == 200 && !response.cut_off).then_some(())
    });
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

/// A client that sends its request slowly occupies an instance, too.
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
    let mut senders: Vec<_> = (0..16).map(sender).collect();
    let refused = append_from_all(&host.http, 40);
    assert!(refused.is_empty(), "{} refused: {:?}", refused.len(), refused.first());
    // Four of them were refused. All stay connected until they are counted: a client that leaves would free an instance.
    let told = senders.iter_mut().map(|connection| {
        connection.set_read_timeout(Some(std::time::Duration::from_millis(50))).expect("it is not zero");
        let mut start = [0; 12];
        connection.read_exact(&mut start).is_ok() && &start == b"HTTP/1.1 503"
    });
    assert_eq!(told.filter(|told| *told).count(), 4);
    host.http.get("/v1/stores/main/streams/s").expect_problem(404, "stream-not-found");
}

#[test]
fn the_maximum_of_followers_does_not_block_appends() {
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
    let followers: Vec<_> = (0..LONG_MAX).map(follower).collect();
    let response = host.http.get_with("/v1/stores/main/events", &[("accept", "text/event-stream")]);
    response.expect_problem(503, "overloaded");
    let refused = append_from_all(&host.http, WRITERS);
    assert!(refused.is_empty(), "{} refused: {:?}", refused.len(), refused.first());
    // A line that the end of a buffer cuts off is not counted.
    let all = LONG_MAX * WRITERS * APPENDS_EACH;
    eventually("the followers get it all", || (seen.load(Ordering::Relaxed) > all * 9 / 10).then_some(()));
    assert_eq!(host.traps(), NO_EVENTS);
    let stopped = host.stop();
    assert!(stopped.status.success());
    for follower in followers {
        follower.join().expect("a follower does not panic");
    }
}
