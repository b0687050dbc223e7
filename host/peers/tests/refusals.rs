//! Who is refused, and how both sides learn why.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use std::fs;
use std::sync::Arc;

use exesdb_peers::{Identity, Registered};
use http::StatusCode;
use nodes::{Cluster, Registry, name, raw, wait_for, within};
use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Whether a node still takes the connection of another one.
async fn still_serves(cluster: &Cluster, address: &str) {
    cluster.register(2);
    within(async {
        let mut requests = raw::connect_as(cluster, "node-2", address, "node-1").await;
        let (status, answer) = raw::say_hello(&mut requests, &raw::hello(2, 1, "raft")).await;
        assert_eq!((status, &answer["from"]["name"]), (StatusCode::OK, &json!("node-1")), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn each_hello_that_does_not_fit_is_refused_by_name() {
    let cluster = Cluster::new();
    let node = cluster.start(1).await;
    for number in [2, 3] {
        cluster.register(number);
    }
    cluster.change(3, |node| node.is_removed = true);
    type Change = fn(&mut Value);
    let table: [(&str, u64, Change); 11] = [
        ("other-cluster", 2, |hello| hello["cluster"] = json!("1")),
        ("other-node", 2, |hello| hello["to"] = json!(2)),
        ("other-name", 2, |hello| hello["from"]["name"] = json!("node-1")),
        ("other-name", 2, |hello| hello["from"]["name"] = json!("../x")),
        ("unknown-node", 4, |_| {}),
        ("removed-node", 3, |_| {}),
        ("other-id", 2, |hello| hello["from"]["node"] = json!(5)),
        ("other-incarnation", 2, |hello| hello["from"]["incarnation"] = json!(u64::MAX)),
        ("protocols", 2, |hello| hello["protocols"] = json!([2, 9])),
        ("feature-level", 2, |hello| hello["feature_level"] = json!(2)),
        ("malformed", 2, |hello| hello["kind"] = json!("other")),
    ];
    for (refused, from, change) in table {
        let mut requests = raw::connect_as(&cluster, &name(from), &node.address, "node-1").await;
        let mut hello = raw::hello(from, 1, "raft");
        change(&mut hello);
        let (status, answer) = within(raw::say_hello(&mut requests, &hello)).await;
        assert_eq!((status, &answer["refused"]), (StatusCode::FORBIDDEN, &json!(refused)), "{answer}");
        let (_, answer) = within(raw::post(&mut requests, "/raft", "")).await.unwrap();
        assert_eq!(answer["refused"], "no-hello", "nothing else is answered: {answer}");
        // The same connection may say it better.
        if from == 2 {
            let (status, _) = within(raw::say_hello(&mut requests, &raw::hello(2, 1, "raft"))).await;
            assert_eq!(status, StatusCode::OK);
        }
    }
    let said = node.status("node-4").unwrap().refused.unwrap();
    assert!(said.contains("have it join the cluster"), "{said}");
}

#[tokio::test]
async fn hostile_requests_are_refused_and_the_node_serves_on() {
    let cluster = Cluster::new();
    let node = cluster.start(1).await;
    cluster.register(2);
    let mut requests = raw::connect_as(&cluster, "node-2", &node.address, "node-1").await;
    let deep = "[".repeat(10_000);
    let long = "x".repeat(20_000);
    for content in ["", "x", "{}", "[]", "null", &deep, &long] {
        let (status, answer) = within(raw::post(&mut requests, "/hello", content.to_owned())).await.unwrap();
        assert_eq!((status, &answer["refused"]), (StatusCode::FORBIDDEN, &json!("malformed")), "{answer}");
    }
    let (status, _) = within(raw::say_hello(&mut requests, &raw::hello(2, 1, "client"))).await;
    assert_eq!(status, StatusCode::OK);
    for path in ["/raft", "/snapshot", "/", "/relay", "/relayed", "/join"] {
        let (status, answer) = within(raw::post(&mut requests, path, "")).await.unwrap();
        assert_eq!(
            (status, &answer["refused"]),
            (StatusCode::FORBIDDEN, &json!("not-there")),
            "{path}: {answer}"
        );
    }
    for content in ["", "{}", &deep, r#"{"what":1}"#] {
        let (status, answer) =
            within(raw::post(&mut requests, "/control", content.to_owned())).await.unwrap();
        assert_eq!((status, &answer["refused"]), (StatusCode::FORBIDDEN, &json!("malformed")), "{answer}");
    }
    still_serves(&cluster, &node.address).await;
}

#[tokio::test]
async fn without_a_certificate_a_node_may_only_join() {
    let cluster = Cluster::new();
    let node = cluster.start(1).await;
    let mut requests = raw::connect(raw::client(&cluster.ca(), None), &node.address, "node-1").await.unwrap();
    for path in ["/hello", "/raft", "/snapshot", "/control", "/relay/x"] {
        let hello = raw::hello(1, 1, "raft").to_string();
        let (status, answer) = within(raw::post(&mut requests, path, hello)).await.unwrap();
        assert_eq!((status, &answer["refused"]), (StatusCode::FORBIDDEN, &json!("no-certificate")), "{path}");
    }
    let (status, answer) = within(raw::post(&mut requests, "/join", "{}")).await.unwrap();
    assert_eq!((status, &answer["refused"]), (StatusCode::FORBIDDEN, &json!("malformed")), "{answer}");
}

#[tokio::test]
async fn certificates_of_others_and_expired_ones_end_the_handshake() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let node = cluster.start(1).await;
    let (certificate, key) = other.certificate("node-2");
    let foreign = raw::client(&cluster.ca(), Some((&certificate, &key)));

    // The authority of an operator, which signs what it should not.
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let operator = Cluster::new();
    let pem = |label: &str, der: &[u8]| {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    let root = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let sign = |file: &str, last_year: i32| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([file.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        let signed = params.signed_by(&key, &issuer).unwrap();
        let path = |kind: &str| operator.folder.path().join(format!("{file}.{kind}"));
        fs::write(path("pem"), pem("CERTIFICATE", signed.der())).unwrap();
        fs::write(path("key"), pem("PRIVATE KEY", &key.serialize_der())).unwrap();
        (path("pem"), path("key"))
    };
    let ca = operator.folder.path().join("operator.pem");
    fs::write(&ca, pem("CERTIFICATE", root.der())).unwrap();
    let (certificate, key) = sign("node-1", 2999);
    let credentials = exesdb_peers::Credentials::load(&ca, &certificate, &key, "node-1").unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let services = Arc::new(nodes::TestServices::of(&operator));
    let registry = Arc::clone(&operator.registry);
    let identity = Cluster::identity(1);
    let _peers = exesdb_peers::Peers::start(listener, identity, credentials, registry, services).unwrap();
    let (certificate, key) = sign("node-2", 2020);
    let expired = raw::client(&ca, Some((&certificate, &key)));
    let (certificate, key) = sign("node-3", 2999);
    let valid = raw::client(&ca, Some((&certificate, &key)));

    for (config, address) in [(foreign, &node.address), (expired, &address)] {
        let asked = within(async {
            // The client's handshake is done before the server has looked at its certificate.
            let mut requests = raw::connect(config, address, "node-1").await?;
            raw::post(&mut requests, "/hello", raw::hello(2, 1, "raft").to_string()).await
        });
        let asked = asked.await;
        assert!(asked.is_err(), "{asked:?}");
    }
    let mut requests = raw::connect(valid, &address, "node-1").await.unwrap();
    let (_, answer) = within(raw::say_hello(&mut requests, &raw::hello(3, 1, "raft"))).await;
    assert_eq!(answer["refused"], "unknown-node", "the certificate itself was good");
    still_serves(&cluster, &node.address).await;
}

#[tokio::test]
async fn who_does_not_speak_tls_is_closed() {
    let cluster = Cluster::new();
    let node = cluster.start(1).await;
    let garbage: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(100_000).collect();
    for said in [&b"GET / HTTP/1.1\r\nHost: node\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &garbage]
    {
        let mut tcp = TcpStream::connect(&node.address).await.unwrap();
        // It may be closed before everything was said.
        drop(tcp.write_all(said).await);
        let mut heard = Vec::new();
        drop(within(tcp.read_to_end(&mut heard)).await);
        assert!(heard.len() < 100, "an alert at most: {heard:?}");
    }
    still_serves(&cluster, &node.address).await;
}

#[tokio::test]
async fn silent_connections_are_closed_and_make_room() {
    let cluster = Cluster::new();
    let node = cluster.start(1).await;
    let mut silent = Vec::new();
    for _ in 0..exesdb_peers::limits::STRANGERS_MAX {
        silent.push(TcpStream::connect(&node.address).await.unwrap());
    }
    // One more than there is room for is closed at once.
    let mut more = TcpStream::connect(&node.address).await.unwrap();
    assert_eq!(within(more.read(&mut [0])).await.unwrap_or(0), 0);
    for mut tcp in silent {
        assert_eq!(within(tcp.read(&mut [0])).await.unwrap_or(0), 0);
    }
    still_serves(&cluster, &node.address).await;
    // With a certificate, but without a hello.
    let mut requests = raw::connect_as(&cluster, "node-2", &node.address, "node-1").await;
    let (_, answer) = within(raw::post(&mut requests, "/raft", "")).await.unwrap();
    assert_eq!(answer["refused"], "no-hello");
    wait_for("the end of a connection without a hello", || requests.is_closed()).await;
}

#[tokio::test]
async fn a_later_connection_of_a_node_takes_the_place_of_an_earlier_one() {
    let cluster = Cluster::new();
    let node = cluster.start(1).await;
    cluster.register(2);
    let connect = async |kind: &str| {
        let mut requests = raw::connect_as(&cluster, "node-2", &node.address, "node-1").await;
        let (status, _) = within(raw::say_hello(&mut requests, &raw::hello(2, 1, kind))).await;
        assert_eq!(status, StatusCode::OK);
        requests
    };
    let (first, other_kind) = (connect("raft").await, connect("client").await);
    let second = connect("raft").await;
    wait_for("the end of the first", || first.is_closed()).await;
    assert!(!other_kind.is_closed() && !second.is_closed());
}

#[tokio::test]
async fn both_sides_show_a_refusal() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1).await, cluster.start(2).await);
    // Node 2 was wiped: its certificate is still there, its log is another one.
    let wiped = Identity { incarnation: 1, ..Cluster::identity(3) };
    cluster.register(3);
    let three = cluster.start_as(wiped, Arc::clone(&cluster.registry)).await;
    three.connect(&[("node-1", &one.address)]);
    three.says("node-1", "the log of node \"node-3\" is not the one that is registered").await;
    one.says("node-3", "the log of node \"node-3\" is not the one that is registered").await;
    // And who connects to it refuses it as well.
    one.connect(&[("node-3", &three.address)]);
    one.says("node-3", "refused by this node: the log of node \"node-3\"").await;

    two.connect(&[("node-1", &three.address)]);
    two.says("node-1", "certificate").await;
    two.connect(&[("node-9", &one.address)]);
    two.says("node-9", "no node \"node-9\" is registered").await;
    two.connect(&[("node-1", "127.0.0.1:1")]);
    two.says("node-1", "refused").await;
}

#[tokio::test]
async fn who_shows_a_certificate_of_another_authority_learns_it() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let one = cluster.start(1).await;
    // It accepts the other node, which does not accept it.
    let both = [fs::read(other.ca()).unwrap(), fs::read(cluster.ca()).unwrap()].concat();
    fs::write(other.ca(), both).unwrap();
    let two = other.start_as(Cluster::identity(2), Arc::clone(&cluster.registry)).await;
    two.connect(&[("node-1", &one.address)]);
    two.says("node-1", "UnknownCA").await;
    // And the other way round the node's own check says it.
    cluster.register(2);
    one.connect(&[("node-2", &two.address)]);
    one.says("node-2", "UnknownIssuer").await;
}

#[tokio::test]
async fn a_node_that_is_removed_loses_its_connections() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1).await, cluster.start(2).await);
    // Node 2 does not know yet.
    let registry = Arc::new(Registry::default());
    *registry.nodes.lock() = cluster.registry.nodes.lock().clone();
    let three = cluster.start_as(Cluster::identity(3), registry).await;
    cluster.register(3);
    three.connect(&[("node-1", &one.address), ("node-2", &two.address)]);
    one.connect(&[("node-3", &three.address)]);
    three.connected("node-1").await;
    one.connect(&[]);
    cluster.change(3, |node: &mut Registered| node.is_removed = true);
    three.says("node-1", "was removed from the cluster").await;
    one.says("node-3", "was removed from the cluster").await;
}
