//! A client and a host over a real socket.

use std::path::Path;

use exesdb_supervisor::{
    ChildSpec, Node, Options, Reason, Registry, Root, Shutdown, Start, Strategy, SupervisorSpec, Telemetry,
};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::hello::{HELLO_BYTES_MAX, Hello};
use super::protocol::{CONNECTIONS_MAX, DATA_BYTES_MAX, REQUEST_BYTES_MAX};
use super::{ControlClient, ControlError, ControlSocket, Inviter, Refusal, Request, Response, serve};

/// A host with two children, controlled over a real socket.
struct Host {
    data: TempDir,
    root: Root,
    telemetry: Telemetry,
    registry: Registry,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Host {
    async fn start() -> Host {
        let idle = |id: &str| {
            ChildSpec::worker(id, |_| async { Ok(Start::running(std::future::pending::<Reason>())) })
                .shutdown(Shutdown::BrutalKill)
        };
        let system = SupervisorSpec::new("system", Strategy::OneForOne).child(idle("worker"));
        let spec = SupervisorSpec::new("host", Strategy::OneForOne)
            .child(ChildSpec::supervisor(system))
            .child(idle("other"));
        let telemetry = Telemetry::new();
        let options = Options { telemetry: telemetry.clone(), ..Options::default() };
        let root = Root::start(spec, options).await.unwrap();
        let data = tempfile::tempdir().unwrap();
        let socket = ControlSocket::bind(data.path()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let registry = Registry::new();
        let serving =
            tokio::spawn(serve(socket, root.handle(), registry.clone(), telemetry.clone(), shutdown));
        Host { data, root, telemetry, registry, stop, serving }
    }

    async fn client(&self) -> ControlClient {
        ControlClient::connect(self.data.path()).await.unwrap()
    }

    /// A connection that has said nothing.
    async fn silent(&self) -> BufReader<UnixStream> {
        BufReader::new(UnixStream::connect(self.data.path().join("control.sock")).await.unwrap())
    }

    /// A connection after the hellos.
    async fn raw(&self) -> BufReader<UnixStream> {
        let mut raw = self.silent().await;
        raw.write_all(&Hello::own().line()).await.unwrap();
        assert_eq!(next_hello(&mut raw).await, Hello::own());
        raw
    }
}

async fn tree(client: &mut ControlClient) -> Node {
    match client.ask(&Request::Tree {}).await.unwrap() {
        Response::Tree { tree } => tree,
        other => panic!("{other:?}"),
    }
}

async fn next_hello(stream: &mut BufReader<UnixStream>) -> Hello {
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    Hello::parse(line.as_bytes()).expect(&line)
}

async fn next_refusal(stream: &mut BufReader<UnixStream>) -> Refusal {
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    match serde_json::from_str(&line).unwrap() {
        Response::Error { error } => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_killed_child_is_restarted_and_the_events_show_it() {
    let host = Host::start().await;
    let mut followed = host.telemetry.subscribe();
    let mut client = host.client().await;
    assert_eq!(tree(&mut client).await.find("host/system/worker").unwrap().restarts, 0);
    for path in ["host/system/worker", "system/worker"] {
        let request = Request::Kill { path: path.to_owned(), reason: Reason::Killed };
        let response = client.ask(&request).await.unwrap();
        assert_eq!(response, Response::Killed { path: "host/system/worker".to_owned() });
        while followed.recv().await.unwrap().kind != "started" {}
    }
    assert_eq!(tree(&mut client).await.find("host/system/worker").unwrap().restarts, 2);
    // The events over the socket are those of the telemetry.
    let kinds = vec!["restarting".to_owned()];
    let mut response = client.ask(&Request::Events { follow: false, kinds }).await.unwrap();
    let mut restarted = 0;
    while let Response::Event { event } = &response {
        assert_eq!((event.kind.as_str(), event.path.as_str()), ("restarting", "host/system"));
        restarted += 1;
        response = client.next().await.unwrap();
    }
    assert_eq!((restarted, response), (2, Response::End));
}

#[tokio::test]
async fn only_a_node_of_a_cluster_makes_tokens() {
    let host = Host::start().await;
    let mut client = host.client().await;
    match client.ask(&Request::Invite {}).await {
        Err(ControlError::Refused(Refusal::Declined { detail })) => {
            assert!(detail.contains("exesdb cluster init"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    let inviter = Inviter::new(|| Box::pin(async { Ok("exesdb1-a".to_owned()) }));
    let registration = host.registry.register(Inviter::NAME, inviter);
    let invited = Response::Invited { token: "exesdb1-a".to_owned() };
    assert_eq!(client.ask(&Request::Invite {}).await.unwrap(), invited);
    drop(registration);
    let inviter = Inviter::new(|| Box::pin(async { Err("there is no key".to_owned()) }));
    let _registration = host.registry.register(Inviter::NAME, inviter);
    let refused = client.ask(&Request::Invite {}).await.unwrap_err();
    assert!(matches!(refused, ControlError::Refused(Refusal::Failed { .. })), "{refused}");
}

#[tokio::test]
async fn only_a_child_that_ended_is_restarted() {
    let host = Host::start().await;
    let mut client = host.client().await;
    let restart = |path: &str| Request::Restart { path: path.to_owned() };
    for running in ["host/system/worker", "host"] {
        let response = client.ask(&restart(running)).await;
        assert!(
            matches!(response, Err(ControlError::Refused(Refusal::Declined { .. }))),
            "{running}: {response:?}"
        );
    }
    host.root.handle().terminate_child("host/system", "worker").await.unwrap();
    let started = client.ask(&restart("system/worker")).await.unwrap();
    assert_eq!(started, Response::Restarted { path: "host/system/worker".to_owned() });
}

#[tokio::test]
async fn an_unknown_child_is_refused_with_the_names_that_exist() {
    let host = Host::start().await;
    let request = Request::Kill { path: "host/system/wroker".to_owned(), reason: Reason::Killed };
    let error = host.client().await.ask(&request).await.unwrap_err();
    let ControlError::Refused(Refusal::UnknownPath { nearest, children, .. }) = error else {
        panic!("{error}")
    };
    assert_eq!((nearest.as_str(), children), ("host/system", vec!["worker".to_owned()]));
}

#[tokio::test]
async fn a_follower_gets_the_last_events_and_the_end() {
    let Host { data, root, telemetry, stop, serving, .. } = Host::start().await;
    let mut client = ControlClient::connect(data.path()).await.unwrap();
    let mut response = client.ask(&Request::Events { follow: true, kinds: vec![] }).await.unwrap();
    root.stop().await;
    telemetry.emit("host", "farewell", serde_json::json!({}));
    stop.send(()).unwrap();
    let mut last = String::new();
    while let Response::Event { event } = response {
        last = event.kind;
        response = client.next().await.unwrap();
    }
    assert_eq!((last.as_str(), response), ("farewell", Response::End));
    serving.await.unwrap();
    let error = ControlClient::connect(data.path()).await.unwrap_err().to_string();
    assert!(error.contains("no exesdb is running on"), "{error}");
}

#[tokio::test]
async fn a_follower_that_leaves_frees_its_connection() {
    let host = Host::start().await;
    for _ in 0..CONNECTIONS_MAX * 2 {
        let mut client = loop {
            match ControlClient::connect(host.data.path()).await {
                Ok(client) => break client,
                // The host has not yet seen that the one before left.
                Err(ControlError::Refused(Refusal::Busy)) => {}
                Err(error) => panic!("{error}"),
            }
        };
        client.ask(&Request::Events { follow: true, kinds: vec![] }).await.unwrap();
    }
}

#[tokio::test]
async fn malformed_requests_are_refused_and_the_connection_goes_on() {
    let host = Host::start().await;
    let mut raw = host.raw().await;
    let lines: [&[u8]; 6] =
        [b"\n", b"\xff\xfe\n", b"{\n", b"null\n", b"{\"request\":\"stop\"}\n", b"\0\0\0\n"];
    for line in lines {
        raw.write_all(line).await.unwrap();
        let refusal = next_refusal(&mut raw).await;
        assert!(matches!(refusal, Refusal::Malformed { .. }), "{refusal}");
    }
    let deep = format!("{}\n", "[".repeat(100_000));
    raw.write_all(deep.as_bytes()).await.unwrap();
    assert!(matches!(next_refusal(&mut raw).await, Refusal::Malformed { .. }));
    raw.write_all(b"{\"request\":\"tree\"}\n").await.unwrap();
    let mut line = String::new();
    raw.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("{\"response\":\"tree\""), "{line}");
}

#[tokio::test]
async fn a_request_without_end_is_refused() {
    let host = Host::start().await;
    let mut raw = host.raw().await;
    raw.write_all(&vec![b'x'; REQUEST_BYTES_MAX]).await.unwrap();
    assert_eq!(next_refusal(&mut raw).await, Refusal::TooLong);
    assert_eq!(raw.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn one_connection_too_many_is_refused() {
    let host = Host::start().await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut client = host.client().await;
        tree(&mut client).await;
        open.push(client);
    }
    assert_eq!(next_refusal(&mut host.silent().await).await, Refusal::Busy);
    let error = ControlClient::connect(host.data.path()).await.unwrap_err();
    assert!(matches!(error, ControlError::Refused(Refusal::Busy)), "{error}");
    tree(&mut open[0]).await;
}

#[tokio::test]
async fn without_a_host_the_error_says_how_to_start_one() {
    let data = tempfile::tempdir().unwrap();
    let connect = async |data: &Path| ControlClient::connect(data).await.unwrap_err().to_string();
    let error = connect(data.path()).await;
    assert!(error.contains("no exesdb is running on") && error.contains("exesdb serve --data"), "{error}");
    // As a host leaves it that was killed.
    drop(std::os::unix::net::UnixListener::bind(data.path().join("control.sock")).unwrap());
    assert!(connect(data.path()).await.contains("no exesdb is running on"));
    // A path of any length is one that can be looked at.
    assert!(connect(Path::new(&"x".repeat(120))).await.contains("no exesdb is running on"));
}

#[tokio::test]
async fn upkeep_needs_a_store_that_runs() {
    let host = Host::start().await;
    let mut client = host.client().await;
    let asked = |store: &str| {
        let store = store.to_owned();
        let of = |request: fn(String) -> Request| request(store.clone());
        [
            of(|store| Request::Scavenge { store }),
            of(|store| Request::Compact { store }),
            of(|store| Request::Backup { store }),
        ]
    };
    for request in asked("mian") {
        match client.ask(&request).await.unwrap_err() {
            ControlError::Refused(Refusal::UnknownStore { store, stores }) => {
                assert_eq!((store.as_str(), stores), ("mian", vec!["system".to_owned()]));
            }
            other => panic!("{other}"),
        }
    }
    for request in asked("system") {
        let error = client.ask(&request).await.unwrap_err().to_string();
        assert!(error.contains("does not run at the moment"), "{error}");
    }
    // A piece is as large as the line before it says, and that is bounded.
    let error = client.data(DATA_BYTES_MAX as u64 + 1).await.unwrap_err().to_string();
    assert!(error.contains("a piece of 262145 bytes"), "{error}");
}

/// The error of a client that connects to a host which sends these bytes.
async fn connect_to(bytes: &[u8]) -> ControlError {
    let data = tempfile::tempdir().unwrap();
    let socket = ControlSocket::bind(data.path()).unwrap();
    let (connected, ()) = tokio::join!(ControlClient::connect(data.path()), async {
        let (mut stream, _) = socket.listener.accept().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        if bytes.last() != Some(&b'\n') {
            return;
        }
        // Until the client is done with it.
        while stream.read(&mut [0; 64]).await.unwrap() > 0 {}
    });
    connected.unwrap_err()
}

#[tokio::test]
async fn a_host_of_another_version_is_named_with_what_to_do() {
    let newer = b"{\"exesdb\":\"9.8.7\",\"control\":99,\"more\":true}\n";
    let error = connect_to(newer).await.to_string();
    let own = format!("and you are exesdb {} with control protocol 1", env!("CARGO_PKG_VERSION"));
    assert!(error.contains("is exesdb 9.8.7 with control protocol 99") && error.contains(&own), "{error}");
    assert!(error.ends_with("use the exesdb that the host runs, or restart the host with yours"), "{error}");
    // A host before protocol 1 takes the hello for a request.
    let detail = "missing field `request`".to_owned();
    let older = Response::Error { error: Refusal::Malformed { detail } }.line();
    let error = connect_to(&older).await.to_string();
    assert!(error.contains("an older exesdb") && error.contains(&own), "{error}");
}

#[tokio::test]
async fn a_client_of_another_version_gets_the_hello_of_the_host() {
    let host = Host::start().await;
    let mut newer = host.silent().await;
    newer.write_all(b"{\"exesdb\":\"9.8.7\",\"control\":99}\n{\"request\":\"tree\"}\n").await.unwrap();
    assert_eq!(next_hello(&mut newer).await, Hello::own());
    assert_ended(&mut newer).await;
    // A client before protocol 1 sends a request at once, and shows the refusal.
    let mut older = host.silent().await;
    older.write_all(b"{\"request\":\"tree\"}\n").await.unwrap();
    let refusal = next_refusal(&mut older).await.to_string();
    let versions = format!("this host is {}, and you do not say what you are", Hello::own());
    assert!(refusal.contains(&versions) && refusal.contains("restart the host with yours"), "{refusal}");
    assert_ended(&mut older).await;
}

/// The host has closed the connection; what it did not read may reset it.
async fn assert_ended(stream: &mut BufReader<UnixStream>) {
    let read = stream.read(&mut [0]).await;
    assert!(matches!(read, Ok(0)) || read.is_err(), "{read:?}");
}

#[tokio::test]
async fn hostile_bytes_instead_of_a_hello_end_the_connection() {
    let host = Host::start().await;
    let deep = [b"[".repeat(HELLO_BYTES_MAX - 1), b"\n".to_vec()].concat();
    let lines: [&[u8]; 7] = [
        b"\n",
        b"\xff\xfe\n",
        b"\0\0\0\n",
        b"GET / HTTP/1.1\r\n",
        b"{\"exesdb\":\"\\u001b[2J\",\"control\":1}\n",
        &vec![b'x'; HELLO_BYTES_MAX * 2],
        &deep,
    ];
    for line in lines {
        let mut raw = host.silent().await;
        raw.write_all(line).await.unwrap();
        let refusal = next_refusal(&mut raw).await;
        assert!(matches!(refusal, Refusal::Malformed { .. }), "{refusal}");
        assert_ended(&mut raw).await;
        assert!(matches!(connect_to(line).await, ControlError::Unreadable { .. }), "{line:?}");
    }
    // Neither side waits for one that has left.
    drop(host.silent().await);
    assert!(matches!(connect_to(b"").await, ControlError::Ended { .. }));
    tree(&mut host.client().await).await;
}

#[tokio::test]
async fn a_side_that_says_nothing_is_not_waited_for() {
    let host = Host::start().await;
    let mut silent = host.silent().await;
    let data = tempfile::tempdir().unwrap();
    let _socket = ControlSocket::bind(data.path()).unwrap();
    let error = ControlClient::connect(data.path()).await.unwrap_err();
    assert!(matches!(error, ControlError::Silent { .. }), "{error}");
    assert_ended(&mut silent).await;
}
