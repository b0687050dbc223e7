//! Nodes that must not be let in, and data that is not a node's own: each is refused by name, and the cluster goes on.

use std::fs;
use std::path::{Path, PathBuf};

use exesdb_tests::stderr;

use crate::nodes::{Nodes, Place, free_address, within};

/// The files of a node's certificate: of the node, its key, and the authority's.
const CERTIFICATE: [&str; 3] = ["node.pem", "node.key", "ca.pem"];

/// Where a node has these files.
fn certificates(data: &Path) -> PathBuf {
    let cluster = data.join("$cluster");
    let folders = [cluster.join("tls"), cluster];
    folders.into_iter().find(|folder| folder.join("node.pem").is_file()).expect("a member has a certificate")
}

fn copy_files(names: &[&str], from: &Path, to: &Path) {
    for name in names {
        fs::copy(from.join(name), to.join(name)).expect("files can be copied");
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("it is a folder") {
        let entry = entry.expect("it can be listed");
        let copy = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &copy);
        } else {
            fs::copy(entry.path(), copy).expect("files can be copied");
        }
    }
}

/// Asserts that the cluster takes appends through a node.
#[track_caller]
fn goes_on(nodes: &Nodes, node: usize) {
    let client = nodes.client(node);
    within("the cluster goes on", || (client.append_one("s").status == 200).then_some(()));
}

#[track_caller]
fn said(text: &str, expected: &str) {
    assert!(text.contains(expected), "{expected:?} is expected:\n{text}");
}

/// The first node of another cluster, which does not run.
fn founded() -> Nodes {
    let nodes = Nodes::made(Place::on_loopback(1), "");
    nodes.run(0, &["cluster", "init"]);
    nodes
}

#[test]
fn a_node_with_a_wrong_certificate_is_refused() {
    let mut nodes = Nodes::start(3);
    let other = founded();
    let kept = nodes.folder().join("kept");
    fs::create_dir(&kept).expect("the test's folder can be written");

    // Another node's.
    nodes.kill(2);
    let (own, second) = (certificates(&nodes.data(2)), certificates(&nodes.data(1)));
    copy_files(&CERTIFICATE, &own, &kept);
    copy_files(&["node.pem", "node.key"], &second, &own);
    said(&nodes.refused(2), "the certificate is for node-2, and this node is node-3");
    goes_on(&nodes, 0);
    // A certificate without its key.
    copy_files(&CERTIFICATE, &kept, &own);
    copy_files(&["node.key"], &second, &own);
    said(&nodes.refused(2), "this key is not that of the certificate");
    copy_files(&CERTIFICATE, &kept, &own);
    nodes.start_node(2);
    nodes.redundant();

    // Another authority's, of the same name.
    nodes.kill(0);
    let (own, foreign) = (certificates(&nodes.data(0)), certificates(&other.data(0)));
    copy_files(&CERTIFICATE, &own, &kept);
    copy_files(&["node.pem", "node.key"], &foreign, &own);
    said(&nodes.refused(0), "did not sign this certificate");
    goes_on(&nodes, 1);
    // With that authority the node starts, and no node of the cluster speaks with it.
    copy_files(&["ca.pem"], &foreign, &own);
    nodes.spawn(0);
    within("another node closes its connections", || {
        (1..nodes.len()).any(|node| nodes.log(node).contains("without TLS of the cluster")).then_some(())
    });
    goes_on(&nodes, 1);
    let status = nodes.client(1).get("/v1/cluster").expect(200).json;
    assert_eq!(status["nodes"][0]["state"], "unreachable", "{status:#}");
    nodes.kill(0);
    copy_files(&CERTIFICATE, &kept, &own);
    nodes.start_node(0);
    nodes.redundant();
    goes_on(&nodes, 0);
}

#[test]
fn a_data_folder_that_is_not_the_nodes_own_is_refused() {
    let mut nodes = Nodes::start(3);
    let other = founded();

    // Another process runs on it: one that serves, and one that would join.
    let text = fs::read_to_string(nodes.config(1)).expect("it was written");
    let ports = text.replace(&nodes.address(1), &free_address().to_string()).replace(
        &format!("listen = \"{}\"", nodes.peer_address(1)),
        &format!("listen = \"{}\"", free_address()),
    );
    assert_ne!(ports, text);
    let second = nodes.config(1).with_file_name("second.toml");
    fs::write(&second, ports).expect("the test's folder can be written");
    let output = nodes.command(1, &["serve", "--config", &second.to_string_lossy()]).output();
    let output = output.expect("the binary can be run");
    assert_eq!(output.status.code(), Some(1));
    said(&stderr(&output), "another exesdb is running on");
    let output = nodes.try_run(1, &["cluster", "join", &nodes.token()]);
    assert!(!output.status.success());
    said(&stderr(&output), "is used by another process");

    // Its log is missing, or another one.
    nodes.kill(2);
    let (log, aside) = (nodes.data(2).join("$log"), nodes.folder().join("aside"));
    fs::rename(&log, &aside).expect("a folder can be renamed");
    said(&nodes.refused(2), "node-3 lost its log");
    copy_folder(&other.data(0).join("$log"), &log);
    said(&nodes.refused(2), "it was replaced, or copied from elsewhere");
    fs::remove_dir_all(&log).expect("it is ours");
    fs::rename(&aside, &log).expect("a folder can be renamed");

    // Its replica is missing.
    let (store, aside) = (nodes.data(2).join("main"), nodes.folder().join("main"));
    fs::rename(&store, &aside).expect("a folder can be renamed");
    nodes.spawn(2);
    within("the node says what is missing", || {
        let (log, health) = (nodes.log(2), nodes.client(2).get("/health/ready").text);
        [log, health].iter().any(|text| text.contains("of main is missing in")).then_some(())
    });
    nodes.kill(2);
    // What the start has made in its place is empty.
    drop(fs::remove_dir_all(&store));
    fs::rename(&aside, &store).expect("a folder can be renamed");

    // Stores belong to the cluster.
    let text = fs::read_to_string(nodes.config(2)).expect("it was written");
    fs::write(nodes.config(2), format!("{text}\n[[store]]\nname = \"main\"\n")).expect("it can be written");
    said(&nodes.refused(2), "a node gets its stores from the cluster");
    fs::write(nodes.config(2), text).expect("it can be written");

    nodes.start_node(2);
    nodes.redundant();
    goes_on(&nodes, 2);
}

#[test]
fn a_node_that_does_not_belong_to_the_cluster_is_not_let_in() {
    let mut nodes = Nodes::start(3);
    let other = founded();
    let token = nodes.token();

    // A member of another cluster, a token that is none, and a name that is given.
    let output = other.try_run(0, &["cluster", "join", &token]);
    assert!(!output.status.success());
    said(&stderr(&output), "belongs to node node-1 of cluster");
    let stranger = Nodes::made(Place::on_loopback(1), "");
    let last = if token.ends_with('x') { 'y' } else { 'x' };
    let damaged = format!("{}{last}", &token[..token.len() - 1]);
    for wrong in [damaged.as_str(), "exesdb", ""] {
        let output = stranger.try_run(0, &["cluster", "join", wrong]);
        assert!(!output.status.success(), "{wrong}");
        said(&stderr(&output), "token");
    }
    let output = stranger.try_run(0, &["cluster", "join", &token]);
    assert!(!output.status.success(), "another node is called node-1");
    said(&stderr(&output), "node-1");
    goes_on(&nodes, 1);

    // A node that lost everything does not come back under its name: nobody knows what it had promised.
    nodes.kill(2);
    fs::remove_dir_all(nodes.data(2)).expect("it is ours");
    said(&nodes.refused(2), "belongs to no cluster");
    fs::remove_dir_all(nodes.data(2)).expect("it is ours");
    let output = nodes.try_run(2, &["cluster", "join", &nodes.token()]);
    assert!(!output.status.success());
    said(&stderr(&output), "name");
    goes_on(&nodes, 0);
    let status = nodes.client(0).get("/v1/cluster").expect(200).json;
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(3), "{status:#}");
    assert_eq!(status["nodes"][2]["state"], "unreachable", "{status:#}");
}
