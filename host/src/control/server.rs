//! The host's side: accept, read a line, answer.

use std::sync::Arc;
use std::time::Duration;

use exesdb_plugin::{SnapshotsPool, StreamsPool, names};
use exesdb_supervisor::{
    CallError, Event, Handle, Node, NodeState, Reason, Registry, Subscription, Telemetry,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::maintenance;
use super::path::resolve;
use super::{CONNECTIONS_MAX, ControlSocket, REQUEST_BYTES_MAX, Refusal, Request, Response};
use crate::readiness::cause;

/// Until a request is complete: longer than a person who types one by hand takes, and then the connection is free
/// for somebody else.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Until an answer is taken: a client that stands still is not waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// What followers get to take the last events when the host ends.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// Before the next try to accept when the system refuses, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
pub(super) struct Control {
    pub(super) handle: Handle,
    /// Where the parts of the stores are found.
    pub(super) registry: Registry,
    telemetry: Telemetry,
    /// Turns true when the host ends.
    ending: watch::Receiver<bool>,
}

/// Answers control connections until `shutdown`, which is to be over when the tree has stopped: those who follow
/// the telemetry then get its last events.
pub async fn serve(
    socket: ControlSocket,
    handle: Handle,
    registry: Registry,
    telemetry: Telemetry,
    shutdown: impl Future<Output = ()>,
) {
    let (end, ending) = watch::channel(false);
    let control = Arc::new(Control { handle, registry, telemetry, ending });
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() >= CONNECTIONS_MAX => refuse(&stream),
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, Arc::clone(&control)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a control connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(socket);
    // Nobody listens when there is no connection, and then there is nobody to tell.
    let _ = end.send(true);
    let farewell = async {
        while let Some(ended) = connections.join_next().await {
            log_panic(ended);
        }
    };
    let _ = tokio::time::timeout(FAREWELL_TIMEOUT, farewell).await;
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a control connection ended by a broken promise of ours");
    }
}

/// Tells a client that there are too many, if that can be done without waiting: its socket's buffer is empty.
fn refuse(stream: &UnixStream) {
    let _ = stream.try_write(&line(&Response::Error { error: Refusal::Busy }));
}

/// The connection is of no use any more: the client left, stands still, or sent a line without end.
pub(super) struct Over;

/// One connection: request, answer, request, ...
async fn converse(stream: UnixStream, control: Arc<Control>) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut ending = control.ending.clone();
    loop {
        let request = tokio::select! {
            request = tokio::time::timeout(REQUEST_TIMEOUT, read_request(&mut read)) => request,
            () = ended(&mut ending) => return,
        };
        let Ok(Some(request)) = request else { return };
        let is_lost = matches!(request, Err(Refusal::TooLong));
        let done = match request {
            Ok(request) => answer(request, &control, &mut read, &mut write).await,
            Err(error) => send(&mut write, &Response::Error { error }).await,
        };
        if is_lost || done.is_err() {
            return;
        }
    }
}

/// The next request; `None` when the client has left.
async fn read_request(read: &mut BufReader<OwnedReadHalf>) -> Option<Result<Request, Refusal>> {
    let mut bytes = Vec::new();
    let limit = REQUEST_BYTES_MAX as u64;
    let length = read.take(limit).read_until(b'\n', &mut bytes).await.ok()?;
    if bytes.last() != Some(&b'\n') {
        return (length == REQUEST_BYTES_MAX).then_some(Err(Refusal::TooLong));
    }
    let request = serde_json::from_slice(&bytes);
    Some(request.map_err(|error| Refusal::Malformed { detail: error.to_string() }))
}

async fn answer(
    request: Request,
    control: &Control,
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
) -> Result<(), Over> {
    match request {
        Request::Tree {} => {
            let mut tree = control.handle.tree().await;
            note_troubles(&mut tree, &control.registry);
            send(write, &Response::Tree { tree }).await
        }
        Request::Kill { path, reason } => {
            let killed = kill(control, &path, reason).await;
            let killed =
                killed.map_or_else(|error| Response::Error { error }, |path| Response::Killed { path });
            send(write, &killed).await
        }
        Request::Restart { path } => {
            let started = restart(control, &path).await;
            let started =
                started.map_or_else(|error| Response::Error { error }, |path| Response::Restarted { path });
            send(write, &started).await
        }
        Request::Events { follow: false, kinds } => {
            for event in control.telemetry.recent() {
                send_event(write, &event, &kinds).await?;
            }
            send(write, &Response::End).await
        }
        Request::Events { follow: true, kinds } => {
            let events = control.telemetry.subscribe_from_oldest();
            follow(events, &kinds, control.ending.clone(), read, write).await
        }
        Request::Scavenge { store } => maintenance::scavenge(control, &store, write).await,
        Request::Compact { store } => maintenance::compact(control, &store, write).await,
        Request::Backup { store } => maintenance::backup(control, &store, write).await,
    }
}

/// Notes at each store why it is parked, and at its pools why they refuse calls, if they do.
fn note_troubles(tree: &mut Node, registry: &Registry) {
    for store in &mut tree.children {
        let name = store.id.clone();
        if store.state == NodeState::Parked {
            store.note = Some(cause(store, registry));
        }
        let streams = |name: String| registry.get::<StreamsPool>(&name)?.trouble();
        let snapshots = |name: String| registry.get::<SnapshotsPool>(&name)?.trouble();
        let pools = [
            ("streams/writers", streams(names::writers(&name))),
            ("streams/readers", streams(names::readers(&name))),
            ("snapshots", snapshots(names::snapshots(&name))),
        ];
        for (pool, trouble) in pools {
            let path = format!("{}/system/core-system/persistence-system/{pool}", store.path);
            if let Some(node) = trouble.is_some().then(|| store.find_mut(&path)).flatten() {
                node.note = trouble;
            }
        }
    }
}

async fn kill(control: &Control, asked: &str, reason: Reason) -> Result<String, Refusal> {
    let path = resolve(&control.handle.tree().await, asked)?;
    tracing::info!(path, %reason, "an exit signal was asked for over the control socket");
    let sent = control.handle.exit(&path, reason).await;
    sent.map(|()| path).map_err(|error| Refusal::Declined { detail: error.to_string() })
}

async fn restart(control: &Control, asked: &str) -> Result<String, Refusal> {
    let path = resolve(&control.handle.tree().await, asked)?;
    let Some((supervisor, id)) = path.rsplit_once('/') else {
        return Err(Refusal::Declined {
            detail: format!("`{path}` is the root, which runs as long as the host"),
        });
    };
    tracing::info!(path, "a restart was asked for over the control socket");
    match control.handle.restart_child(supervisor, id).await {
        Ok(_) => Ok(path),
        Err(error) => Err(Refusal::Declined { detail: not_restarted(&path, &error) }),
    }
}

/// Why a child was not started, with the command that helps.
fn not_restarted(path: &str, error: &CallError) -> String {
    match error {
        CallError::Running { .. } => {
            format!("`{path}` runs; `exesdb kill {path}` ends it, and its supervisor starts it again")
        }
        CallError::Restarting { .. } => {
            format!("`{path}` is being restarted by its supervisor; `exesdb tree` shows when it runs")
        }
        other => other.to_string(),
    }
}

/// Waits until the host ends (or `serve` is dropped, which is the same for a connection).
async fn ended(ending: &mut watch::Receiver<bool>) {
    let _ = ending.wait_for(|ending| *ending).await;
}

/// Sends events until the client leaves or the host ends.
async fn follow(
    mut events: Subscription,
    kinds: &[String],
    mut ending: watch::Receiver<bool>,
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
) -> Result<(), Over> {
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => send_event(write, &event, kinds).await?,
                None => break,
            },
            // A follower has nothing to say: a byte is as wrong as the end is final.
            _ = read.fill_buf() => return Err(Over),
            () = ended(&mut ending) => {
                while let Some(event) = events.try_recv() {
                    send_event(write, &event, kinds).await?;
                }
                break;
            }
        }
    }
    send(write, &Response::End).await
}

async fn send_event(write: &mut OwnedWriteHalf, event: &Event, kinds: &[String]) -> Result<(), Over> {
    // Whoever filters must still learn that something was missed: it may have been of these kinds.
    if kinds.is_empty() || event.kind == "missed" || kinds.contains(&event.kind) {
        return send(write, &Response::Event { event: event.clone() }).await;
    }
    Ok(())
}

pub(super) async fn send(write: &mut OwnedWriteHalf, response: &Response) -> Result<(), Over> {
    match tokio::time::timeout(ANSWER_TIMEOUT, write.write_all(&line(response))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Over),
    }
}

fn line(response: &Response) -> Vec<u8> {
    let mut line = serde_json::to_vec(response).expect("responses are JSON");
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use exesdb_supervisor::{
        ChildSpec, Node, Options, Reason, Registry, Root, Shutdown, Start, Strategy, SupervisorSpec,
        Telemetry,
    };
    use tempfile::TempDir;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::UnixStream;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::serve;
    use crate::control::{
        CONNECTIONS_MAX, ControlClient, ControlError, ControlSocket, DATA_BYTES_MAX, REQUEST_BYTES_MAX,
        Refusal, Request, Response,
    };

    /// A host with two children, controlled over a real socket.
    struct Host {
        data: TempDir,
        root: Root,
        telemetry: Telemetry,
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
            let serving =
                tokio::spawn(serve(socket, root.handle(), Registry::new(), telemetry.clone(), shutdown));
            Host { data, root, telemetry, stop, serving }
        }

        async fn client(&self) -> ControlClient {
            ControlClient::connect(self.data.path()).await.unwrap()
        }

        async fn raw(&self) -> BufReader<UnixStream> {
            BufReader::new(UnixStream::connect(self.data.path().join("control.sock")).await.unwrap())
        }
    }

    async fn tree(client: &mut ControlClient) -> Node {
        match client.ask(&Request::Tree {}).await.unwrap() {
            Response::Tree { tree } => tree,
            other => panic!("{other:?}"),
        }
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
    async fn a_killed_child_is_restarted_and_the_events_tell() {
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
    async fn what_runs_is_not_restarted_and_what_ended_is() {
        let host = Host::start().await;
        let mut client = host.client().await;
        let restart = |path: &str| Request::Restart { path: path.to_owned() };
        for running in ["host/system/worker", "host"] {
            let answer = client.ask(&restart(running)).await;
            assert!(
                matches!(answer, Err(ControlError::Refused(Refusal::Declined { .. }))),
                "{running}: {answer:?}"
            );
        }
        host.root.handle().terminate_child("host/system", "worker").await.unwrap();
        let started = client.ask(&restart("system/worker")).await.unwrap();
        assert_eq!(started, Response::Restarted { path: "host/system/worker".to_owned() });
    }

    #[tokio::test]
    async fn an_unknown_child_is_refused_with_those_that_exist() {
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
        let Host { data, root, telemetry, stop, serving } = Host::start().await;
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
    async fn a_follower_that_leaves_makes_room() {
        let host = Host::start().await;
        for _ in 0..CONNECTIONS_MAX * 2 {
            let mut client = host.client().await;
            loop {
                match client.ask(&Request::Events { follow: true, kinds: vec![] }).await {
                    Ok(_) => break,
                    // The host has not yet seen that the one before left.
                    Err(ControlError::Refused(Refusal::Busy)) => client = host.client().await,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    #[tokio::test]
    async fn malformed_lines_get_an_answer_and_the_connection_goes_on() {
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
    async fn a_line_without_end_is_refused() {
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
        assert_eq!(next_refusal(&mut host.raw().await).await, Refusal::Busy);
        let error = host.client().await.ask(&Request::Tree {}).await.unwrap_err();
        assert!(matches!(error, ControlError::Refused(Refusal::Busy)), "{error}");
        tree(&mut open[0]).await;
    }

    #[tokio::test]
    async fn a_missing_host_is_said_with_what_to_do() {
        let data = tempfile::tempdir().unwrap();
        let connect = async |data: &Path| ControlClient::connect(data).await.unwrap_err().to_string();
        let error = connect(data.path()).await;
        assert!(
            error.contains("no exesdb is running on") && error.contains("exesdb serve --data"),
            "{error}"
        );
        // As a host leaves it that was killed.
        drop(std::os::unix::net::UnixListener::bind(data.path().join("control.sock")).unwrap());
        assert!(connect(data.path()).await.contains("no exesdb is running on"));
        // A path of any length is one that can be looked at.
        assert!(connect(Path::new(&"x".repeat(120))).await.contains("no exesdb is running on"));
    }

    #[tokio::test]
    async fn upkeep_is_of_stores_that_run() {
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
}
