//! Requests and calls that another node answers, and nodes that join.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use exesdb_peers::limits::CALL_BYTES_MAX;
use exesdb_peers::{
    Body, BodyError, CallError, CertificateRequest, ControlRequest, ControlResponse, Credentials, JoinError,
    JoinRefusal, JoinRequest, RELAYED, RelayError, Secret, Token, join,
};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use nodes::{CLUSTER, Cluster, Node, now_us, raw, within};
use serde_json::{Value, json};

const PART: usize = 64 * 1024;

/// A body that is made as it is taken, with trailers at its end.
struct Made {
    parts: usize,
    made: Arc<AtomicUsize>,
    trailers: Option<HeaderMap>,
}

impl http_body::Body for Made {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        if self.parts == 0 {
            return Poll::Ready(
                self.trailers.take().map(|trailers| Ok(http_body::Frame::trailers(trailers))),
            );
        }
        self.parts -= 1;
        self.made.fetch_add(PART, Ordering::SeqCst);
        Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from(vec![7; PART])))))
    }
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

async fn two() -> (Cluster, Node, Node) {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1).await, cluster.start(2).await);
    one.connect(&[("node-2", &two.address)]);
    one.connected("node-2").await;
    (cluster, one, two)
}

#[tokio::test]
async fn a_relayed_body_streams_both_ways_and_is_not_held() {
    let (_cluster, one, _two) = two().await;
    let made = Arc::new(AtomicUsize::new(0));
    let trailers = HeaderMap::from_iter([("x-last".parse().unwrap(), "yes".parse().unwrap())]);
    let parts = 20 * 1024 * 1024 / PART;
    let body = Made { parts, made: Arc::clone(&made), trailers: Some(trailers) };
    let request = Request::post("http://store.example/streams/a?from=1")
        .header("connection", "keep-alive")
        .header("content-type", "application/json")
        .body(body.boxed_unsync())
        .unwrap();
    let response = within(one.peers.relay("node-2", request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("x-head"), Some("POST /streams/a?from=1"));
    assert_eq!(header("x-from"), Some("node-1"));
    assert_eq!(header("x-content-type"), Some("application/json"));
    assert_eq!(header("x-host"), Some("store.example"));
    assert_eq!(header("x-exesdb-relayed"), Some("node-1"));
    assert_eq!(header("x-connection"), None);
    let mut body = response.into_body();
    let (mut taken, mut held_max, mut last) = (0, 0, None);
    while let Some(frame) = within(body.frame()).await {
        match frame.unwrap().into_data() {
            Ok(data) => {
                assert!(data.iter().all(|byte| *byte == 7));
                taken += data.len();
                held_max = held_max.max(made.load(Ordering::SeqCst) - taken);
            }
            Err(frame) => last = frame.into_trailers().ok(),
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(taken, parts * PART);
    assert!(held_max < 4 * 1024 * 1024, "{held_max} bytes were on their way at a time");
    assert_eq!(last.unwrap()["x-last"], "yes");
}

#[tokio::test]
async fn a_relayed_request_is_never_relayed_again() {
    let (cluster, one, two) = two().await;
    let request = Request::get("/a").header(RELAYED, "node-3").body(empty()).unwrap();
    assert_eq!(within(one.peers.relay("node-2", request)).await.err(), Some(RelayError::Relayed));
    // What a node says about it does not count: the certificate does.
    cluster.register(3);
    let mut requests = raw::connect_as(&cluster, "node-3", &two.address, "node-2").await;
    raw::say_hello(&mut requests, &raw::hello(3, 2, "client")).await;
    let request = Request::get("https://node/relay/a").header(RELAYED, "node-9");
    let request = request.body(Full::default().boxed_unsync()).unwrap();
    let response = within(requests.send_request(request)).await.unwrap();
    assert_eq!(response.headers()["x-exesdb-relayed"], "node-3");
}

#[tokio::test]
async fn what_cannot_be_relayed_is_not_sent() {
    let (_cluster, one, two) = two().await;
    let get = |uri: &str| Request::get(uri).body(empty()).unwrap();
    let refused = within(one.peers.relay("node-9", get("/a"))).await.err();
    assert!(matches!(refused, Some(RelayError::Unreachable { .. })), "{refused:?}");
    let mut options = get("/a");
    *options.uri_mut() = "*".parse().unwrap();
    assert_eq!(within(one.peers.relay("node-2", options)).await.err(), Some(RelayError::NoPath));
    let mut held = Vec::new();
    for _ in 0..exesdb_peers::limits::RELAYS_MAX {
        held.push(within(one.peers.relay("node-2", get("/a"))).await.unwrap());
    }
    assert_eq!(within(one.peers.relay("node-2", get("/a"))).await.err(), Some(RelayError::Busy));
    held.pop();
    assert!(within(one.peers.relay("node-2", get("/a"))).await.is_ok());
    two.peers.stop().await;
    within(async {
        while one.status("node-2").unwrap().connected_to.is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    drop(held);
    let refused = within(one.peers.relay("node-2", get("/a"))).await.err();
    assert!(matches!(refused, Some(RelayError::Unreachable { .. })), "{refused:?}");
}

#[tokio::test]
async fn hosts_call_each_other() {
    let (_cluster, one, _two) = two().await;
    let call = |what: &str, content: Value| {
        let request = ControlRequest { what: what.to_owned(), content };
        let peers = &one.peers;
        async move { within(peers.call("node-2", &request)).await }
    };
    let done = ControlResponse::Done(json!(["node-1", { "a": [1, 2] }]));
    assert_eq!(call("echo", json!({ "a": [1, 2] })).await, Ok(done));
    assert_eq!(call("other", Value::Null).await, Ok(ControlResponse::Refused("no other".into())));
    let large = call("echo", json!("x".repeat(CALL_BYTES_MAX))).await;
    assert!(matches!(large, Err(CallError::TooLarge { .. })), "{large:?}");
    let status = one.status("node-2").unwrap();
    assert!(status.round_trip.is_some() && !status.is_skewed, "{status:?}");
}

#[tokio::test]
async fn a_node_joins_with_a_token_and_speaks_with_the_others() {
    let cluster = Cluster::new();
    let one = cluster.start(1).await;
    let token = |change: fn(&mut Token)| {
        let secret = Secret::new();
        cluster.invitations.lock().issue(&secret, now_us()).unwrap();
        let fingerprint = cluster.authority.fingerprint();
        let addresses = vec!["127.0.0.1:1".to_owned(), one.address.clone()];
        let mut token = Token { cluster: CLUSTER, addresses, fingerprint, secret };
        change(&mut token);
        token.to_string().parse::<Token>().unwrap()
    };
    let key = CertificateRequest::new().unwrap();
    let request = JoinRequest {
        name: "node-4".into(),
        incarnation: 1_004,
        addresses: vec!["127.0.0.1:9".into()],
        certificate_request: key.pem().to_owned(),
        content: serde_json::Value::Null,
    };
    let good = token(|_| {});
    let joined = within(join(&good, &request)).await.unwrap();
    assert_eq!(joined.content, json!({ "node": 4 }));
    assert!(within(join(&good, &request)).await.is_ok(), "joining is safe to repeat");

    let refusal = |joined| match joined {
        Err(JoinError::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    };
    let with = |change: fn(&mut JoinRequest)| {
        let mut request = request.clone();
        change(&mut request);
        request
    };
    let refused = refusal(within(join(&good, &with(|request| request.name = "node-5".into()))).await);
    assert!(matches!(refused, JoinRefusal::Token { .. }), "{refused}");
    let refused = refusal(within(join(&token(|token| token.secret = Secret::new()), &request)).await);
    assert!(matches!(refused, JoinRefusal::Token { .. }), "{refused}");
    let refused = refusal(within(join(&token(|token| token.cluster = 1), &request)).await);
    assert!(matches!(refused, JoinRefusal::OtherCluster { .. }), "{refused}");
    let malformed: [fn(&mut JoinRequest); 4] = [
        |request| request.name = "Node 4".into(),
        |request| request.addresses = vec!["nowhere".into()],
        |request| request.certificate_request = "no PEM".into(),
        |request| request.certificate_request = "x".repeat(20_000),
    ];
    for change in malformed {
        let refused = refusal(within(join(&token(|_| {}), &with(change))).await);
        assert!(matches!(refused, JoinRefusal::Malformed { .. }), "{refused}");
    }
    // Whoever answers has to be of the token's authority.
    let other = within(join(&token(|token| token.fingerprint = [1; 32]), &request)).await;
    assert!(matches!(other, Err(JoinError::Unreachable { .. })), "{other:?}");

    let file = |name: &str| cluster.folder.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(file(name), text).unwrap();
    write("joined-ca.pem", &joined.authority);
    write("joined.pem", &joined.certificate);
    write("joined.key", &key.key_pem());
    let credentials =
        Credentials::load(&file("joined-ca.pem"), &file("joined.pem"), &file("joined.key"), "node-4")
            .unwrap();
    cluster.register(4);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let services = Arc::new(nodes::TestServices::of(&cluster));
    let registry = Arc::clone(&cluster.registry);
    let identity = Cluster::identity(4);
    let four = exesdb_peers::Peers::start(listener, identity, credentials, registry, services).unwrap();
    four.set_addresses(BTreeMap::from([("node-1".to_owned(), vec![one.address.clone()])]));
    let request = ControlRequest { what: "echo".into(), content: Value::Null };
    within(async {
        while four.call("node-1", &request).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
}
