//! What a client sees: reads of three levels, who serves what, and what is refused by name.

use exesdb_tests::{Client, NO_EVENTS, Response};
use serde_json::{Value, json};

use crate::nodes::{Nodes, local_events, within};

fn append_to(client: &Client, stream: &str, headers: &[(&str, &str)]) -> Response {
    let body = json!({ "expected_version": "any", "events": [{ "type": "t", "data": 1 }] });
    let headers: Vec<_> = headers.iter().copied().chain([("content-type", "application/json")]).collect();
    client.post_with(&format!("{}/events", client.stream(stream)), &headers, body.to_string().as_bytes())
}

fn read_at(client: &Client, stream: &str, level: &str) -> Response {
    client.get_with(&format!("{}/events?count=1000", client.stream(stream)), &[("exesdb-read", level)])
}

fn count(page: &Response) -> usize {
    page.json["events"].as_array().map_or(0, Vec::len)
}

fn token(response: &Response) -> u64 {
    response.header("exesdb-token").and_then(|token| token.parse().ok()).expect("every response has a token")
}

#[test]
fn a_linearizable_read_of_any_node_sees_what_another_one_acknowledged() {
    let nodes = Nodes::start(3);
    let clients = nodes.clients();
    for round in 1..=20 {
        for (index, client) in clients.iter().enumerate() {
            append_to(client, "s", &[]).expect(200);
            for reader in &clients {
                let seen = count(&read_at(reader, "s", "linearizable").expect(200));
                assert_eq!(seen, (round - 1) * clients.len() + index + 1);
            }
        }
    }
    // It is the level of a read that asks for none.
    append_to(&clients[0], "s", &[]).expect(200);
    for reader in &clients {
        assert_eq!(reader.read("s").len(), 61);
    }
}

#[test]
fn a_read_with_the_token_of_an_append_sees_it_on_every_node() {
    let nodes = Nodes::start(3);
    let clients = nodes.clients();
    for round in 1..=20 {
        let appended = append_to(&clients[round % clients.len()], "s", &[]).expect(200);
        let level = format!("at-least={}", token(&appended));
        for reader in &clients {
            let read = read_at(reader, "s", &level).expect(200);
            assert!(count(&read) >= round, "{level}: {}", read.text);
            assert!(token(&read) >= token(&appended), "{level}");
        }
    }
}

#[test]
fn a_local_read_is_a_prefix_and_every_replica_comes_to_the_end() {
    let mut nodes = Nodes::start(3);
    let clients = nodes.clients();
    append_to(&clients[0], "s", &[]).expect(200);
    nodes.caught_up();
    // A node that stands still falls behind, and says what it had when it goes on.
    let follower = nodes.follower();
    let leader = nodes.leader();
    nodes.pause(follower);
    for _ in 0..50 {
        append_to(&clients[leader], "s", &[]).expect(200);
    }
    nodes.resume(follower);
    let all = clients[leader].read_all();
    assert_eq!(all.len(), 51);
    let local = local_events(&clients[follower], 0);
    assert!(!local.is_empty() && all.starts_with(&local), "{} events of {}", local.len(), all.len());
    within("the follower has everything", || (local_events(&clients[follower], 0) == all).then_some(()));
    nodes.redundant();
}

#[test]
fn headers_that_mean_nothing_are_refused_by_name() {
    let nodes = Nodes::start(3);
    for client in nodes.clients() {
        for (name, value) in [
            ("exesdb-read", "eventual"),
            ("exesdb-read", "at-least="),
            ("exesdb-read", "at-least=-1"),
            ("exesdb-read", "at-least=18446744073709551616"),
            ("exesdb-no-relay", "0"),
            ("exesdb-no-relay", "yes"),
        ] {
            let path = format!("{}/events", client.path());
            let refused = client.get_with(&path, &[(name, value)]).expect(400);
            assert!(refused.detail().contains(name), "{name}: {value}: {}", refused.text);
            assert_eq!(append_to(&client, "s", &[(name, value)]).status, 400, "{name}: {value}");
        }
    }
    assert_eq!(nodes.client(0).read_all(), NO_EVENTS);
}

#[test]
fn a_client_that_wants_no_relay_is_told_who_leads() {
    let nodes = Nodes::start(3);
    let (leader, follower) = (nodes.leader(), nodes.follower());
    let no_relay = [("exesdb-no-relay", "1")];
    let told = append_to(&nodes.client(follower), "s", &no_relay).expect_problem(421, "not-leader");
    assert_eq!(told.header("exesdb-leader"), Some(nodes.address(leader).as_str()));
    assert!(nodes.client(leader).read_all().is_empty(), "nothing was done");
    append_to(&nodes.client(leader), "s", &no_relay).expect(200);
    // Without the header the node relays, and says who leads all the same.
    let relayed = append_to(&nodes.client(follower), "s", &[]).expect(200);
    assert_eq!(relayed.header("exesdb-leader"), Some(nodes.address(leader).as_str()));
    assert_eq!(relayed.json["first_version"], 1);
    // What a peer would say, a client cannot.
    let spoofed = [("exesdb-relayed", "1"), ("exesdb-misdirected", "1")];
    append_to(&nodes.client(follower), "s", &spoofed).expect(200);
}

#[test]
fn a_large_append_is_relayed_whole() {
    let nodes = Nodes::start(3);
    let follower = nodes.client(nodes.follower());
    // More than a node keeps of a request that it relays.
    let data: String = "x".repeat(100 << 10);
    let events: Vec<Value> = (0..2).map(|_| json!({ "type": "t", "data": data })).collect();
    follower.append("s", "no_stream", &events).expect(200);
    let read = nodes.client(nodes.leader()).read("s");
    assert!(read.len() == 2 && read.iter().all(|event| event["data"] == *data), "{} events", read.len());
}

#[test]
fn a_node_without_a_majority_serves_what_it_has_and_refuses_the_rest() {
    let mut nodes = Nodes::start(3);
    let client = nodes.client(0);
    append_to(&client, "s", &[]).expect(200);
    nodes.caught_up();
    (1..nodes.len()).for_each(|node| nodes.kill(node));
    // A leader notices within a lease that nobody hears it; until then it may accept what it cannot finish.
    within("an append is refused", || {
        let refused = append_to(&client, "t", &[]);
        (refused.status == 503 && refused.problem() == "no-leader").then_some(())
    });
    assert_eq!(local_events(&client, 0).len(), 1);
    read_at(&client, "s", "linearizable").expect_problem(503, "no-leader");
    let ahead = format!("at-least={}", u64::MAX);
    assert_eq!(read_at(&client, "s", &ahead).status, 503);
    let status = nodes.exesdb(0, &["cluster", "status"]);
    assert_eq!(status.status.code(), Some(2), "{}", String::from_utf8_lossy(&status.stdout));
    // It starts alone, too.
    nodes.kill(0);
    nodes.spawn(0);
    let is_live = || (client.get("/health/live").status == 200).then_some(());
    within("a node without the others starts", is_live);
    assert_eq!(client.get("/health/ready").status, 503);
    within("it serves what it has", || (read_at(&client, "s", "local").status == 200).then_some(()));
    assert_eq!(local_events(&client, 0).len(), 1);
    nodes.heal();
    nodes.redundant();
    append_to(&client, "s", &[]).expect(200);
    assert_eq!(nodes.client(1).read("s").len(), 2);
}
