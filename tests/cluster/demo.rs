//! `exesdb cluster local`: the demonstration, as its own output describes it.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use exesdb_tests::{exesdb, folder, keep_compiled, shared_compiled, stderr, take_compiled};
use serde_json::Value;

use crate::nodes::within;

/// The ports that are tried: below those that the system gives to others.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Between the ports of two nodes.
const STEP: u16 = 10;

const NODES: u16 = 3;

/// A first port with which all ports of the nodes are free.
fn free_port() -> u16 {
    let is_free = |port: u16| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok();
    let all_free = |first: &u16| {
        (0..NODES).all(|node| [0_u16, 1].iter().all(|next| is_free(first + STEP * node + next)))
    };
    // Tests that run at the same time begin at different places.
    let begin = PORTS.start + u16::try_from(std::process::id() % 9_000).expect("it is below 9,000");
    (begin..PORTS.end).find(all_free).expect("some ports are free")
}

/// The command, and what it has printed. On drop it is stopped with its nodes.
struct Demo {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Demo {
    fn start(folder: &Path, port: u16) -> Self {
        for node in 1..=NODES {
            take_compiled(&shared_compiled(), &folder.join(node.to_string()).join("data"));
        }
        let mut command = exesdb_tests::command(&[]);
        command
            .args(["cluster", "local", &NODES.to_string(), "--port", &port.to_string(), "--dir"])
            .arg(folder);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary can be run");
        let output = BufReader::new(child.stdout.take().expect("stdout was piped"));
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                println!("| {line}");
                kept.lock().expect("nobody panics").push(line);
            }
        });
        let mut demo = Self { child, lines };
        within("all nodes run", || {
            if let Some(status) = demo.child.try_wait().expect("it is our child") {
                panic!("it has ended ({status})");
            }
            let printed = demo.printed();
            (1..=NODES).all(|node| printed.contains(&format!("node-{node} "))).then_some(())
        });
        keep_compiled(&folder.join("1").join("data"), &shared_compiled());
        demo
    }

    fn printed(&self) -> String {
        self.lines.lock().expect("nobody panics").join("\n")
    }

    /// Stops it as Ctrl-C does, and returns whether it ended well.
    fn stop(mut self) -> bool {
        self.signal();
        let status = within("it ends", || self.child.try_wait().expect("it is our child"));
        status.success()
    }

    fn signal(&self) {
        let sent = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        sent.expect("kill can be run");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // Not SIGKILL, with which its nodes would go on.
            self.signal();
            drop(self.child.wait());
        }
    }
}

/// What `cluster status --json` says, and its exit code.
fn status(url: &str) -> Option<(Value, i32)> {
    let output = exesdb(&["cluster", "status", "--json"], &[("EXESDB_URL", url)]);
    let document = serde_json::from_slice(&output.stdout).ok()?;
    Some((document, output.status.code().expect("no signal ends it")))
}

/// Waits until the status has an exit code.
#[track_caller]
fn status_with(url: &str, code: i32) -> Value {
    within(&format!("the status has exit code {code}"), || {
        status(url).filter(|(_, found)| *found == code).map(|(document, _)| document)
    })
}

fn nodes(status: &Value) -> &[Value] {
    status["nodes"].as_array().map_or(&[], Vec::as_slice)
}

#[track_caller]
fn append_at_last(url: &str) {
    let arguments = ["append", "orders-1", "--type", "placed", "--data", "{}"];
    let appended = || exesdb(&arguments, &[("EXESDB_URL", url)]).status.success().then_some(());
    within(&format!("{url} takes an append"), appended);
}

fn kill(pid: u64) {
    let sent = Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status().expect("kill can be run");
    assert!(sent.success(), "it was running");
}

#[test]
fn a_local_cluster_goes_on_without_the_node_that_led() {
    let (folder, port) = (folder(), free_port());
    let url = |node: u16| format!("http://127.0.0.1:{}", port + STEP * (node - 1));
    let demo = Demo::start(folder.path(), port);
    for node in 1..=NODES {
        append_at_last(&url(node));
    }
    let all = status_with(&url(1), 0);
    assert_eq!(nodes(&all).len(), usize::from(NODES), "{all:#}");
    for node in nodes(&all) {
        assert!(node["name"].is_string() && node["pid"].is_u64() && node["leads"].is_array(), "{node}");
        assert_eq!(node["state"], "up", "{node}");
    }
    let leads =
        |node: &&Value| node["leads"].as_array().is_some_and(|stores| stores.contains(&"main".into()));
    let leader = nodes(&all).iter().find(leads).expect("a node leads");
    let number: u16 =
        leader["name"].as_str().and_then(|name| name.strip_prefix("node-")?.parse().ok()).unwrap();
    let (pid, others): (u64, Vec<u16>) =
        (leader["pid"].as_u64().unwrap(), (1..=NODES).filter(|node| *node != number).collect());

    // One dies, and the others go on. Another one, and the last one takes nothing any more.
    kill(pid);
    others.iter().for_each(|node| append_at_last(&url(*node)));
    let less = status_with(&url(others[0]), 1);
    let dead = nodes(&less).iter().find(|node| node["name"] == leader["name"]).expect("it is a member");
    assert!(dead["pid"].is_null() && dead["state"] == "unreachable", "{dead}");
    let text = exesdb(&["cluster", "status"], &[("EXESDB_URL", &url(others[0]))]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains(&format!("node-{number}")) && text.contains("start it"), "{text}");
    let again = nodes(&less).iter().find(|node| node["name"] == format!("node-{}", others[1]));
    kill(again.and_then(|node| node["pid"].as_u64()).expect("it runs"));
    status_with(&url(others[0]), 2);

    // Both are started again with the command that was printed.
    let mut started = Vec::new();
    for node in [number, others[1]] {
        let said = within("it says that the node has ended", || {
            let printed = demo.printed();
            let line = printed.lines().find(|line| line.starts_with(&format!("node-{node} has ended")));
            line.map(str::to_owned)
        });
        let (_, command) = said.split_once("exesdb serve --config ").expect("it shows a command");
        let mut serve = exesdb_tests::command(&[]);
        serve.args(["serve", "--config", command.trim()]).stderr(Stdio::null());
        started.push(Started(serve.spawn().expect("the binary can be run")));
    }
    status_with(&url(number), 0);
    append_at_last(&url(number));
    let read = exesdb(&["read", "orders-1", "--json"], &[("EXESDB_URL", &url(number))]);
    let events = String::from_utf8_lossy(&read.stdout).lines().count();
    // At least: the first append through a node may have been repeated.
    assert!(events >= 6, "{events}: {}", stderr(&read));
    drop(started);
    assert!(demo.stop(), "it stops in order");

    // The same folder is the same cluster.
    let demo = Demo::start(folder.path(), port);
    let read = within("the cluster can be read", || {
        let read = exesdb(&["read", "orders-1", "--json"], &[("EXESDB_URL", &url(1))]);
        read.status.success().then(|| String::from_utf8_lossy(&read.stdout).lines().count())
    });
    assert_eq!(read, events);
    assert!(demo.stop(), "it stops in order");
}

/// A node that was started by hand; killed on drop.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn what_makes_no_local_cluster_is_refused_by_name() {
    let folder = folder();
    let local = |arguments: &[&str]| {
        let mut command = exesdb_tests::command(&[]);
        command.args(["cluster", "local"]).args(arguments).arg("--dir").arg(folder.path());
        command.output().expect("the binary can be run")
    };
    for (count, expected) in [("2", "an even number"), ("4", "an even number"), ("0", "1, 3 or 5")] {
        let output = local(&[count]);
        assert!(!output.status.success(), "{count}");
        assert!(stderr(&output).contains(expected), "{count}: {}", stderr(&output));
    }
    // A port of the second node is taken.
    let port = free_port();
    let taken = SocketAddr::from((Ipv4Addr::LOCALHOST, port + STEP));
    let _listener = TcpListener::bind(taken).expect("it was free");
    let output = local(&["3", "--port", &port.to_string()]);
    assert!(!output.status.success());
    assert!(stderr(&output).contains(&(port + STEP).to_string()), "{}", stderr(&output));
}
