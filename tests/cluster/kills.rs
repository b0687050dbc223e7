//! Any node, or all of them, are killed at random times under load.

use std::time::Duration;

use exesdb_test_support::{number, random, time_below};

use crate::check::differences;
use crate::judge;
use crate::load::Load;
use crate::nodes::Nodes;

const CLIENTS: usize = 4;

/// Longest time between two things that are done to nodes.
const PAUSE_MAX: Duration = Duration::from_millis(1_500);

/// Rounds after which the nodes are compared.
const COMPARED_EVERY: u64 = 3;

/// One round in so many kills all nodes.
const ALL_EVERY: u32 = 4;

/// Compares what was appended since the last time, while nobody appends. Returns from where to compare the next time.
#[track_caller]
fn compare(nodes: &Nodes, load: &Load, from: u64) -> u64 {
    let resting = load.rest();
    nodes.caught_up();
    let events = nodes.events_from(from);
    drop(resting);
    let found = differences(&events);
    assert!(found.is_empty(), "the nodes differ from position {from} on: {found:#?}");
    from + events.first().map_or(0, |(_, events)| events.len() as u64)
}

#[test]
fn nodes_that_are_killed_at_random_times_lose_nothing_acknowledged() {
    let goal = number("EXESDB_CLUSTER_KILLS", 6);
    let mut random = random();
    let mut nodes = Nodes::start(3);
    let load = Load::start(&nodes, CLIENTS, &mut random);
    let (mut kills, mut rounds, mut compared) = (0, 0, 0);
    while kills < goal {
        load.go_on(20);
        std::thread::sleep(time_below(&mut random, PAUSE_MAX));
        let first = random.usize(..nodes.len());
        let count = if random.u32(..ALL_EVERY) == 0 { nodes.len() } else { 1 };
        for step in 0..count {
            nodes.kill((first + step) % nodes.len());
            kills += 1;
        }
        std::thread::sleep(time_below(&mut random, PAUSE_MAX));
        // A start is cut short now and then: what a node finds at the next one, it was just writing.
        if random.bool() {
            let node = first;
            nodes.spawn(node);
            std::thread::sleep(time_below(&mut random, PAUSE_MAX));
            nodes.kill(node);
            kills += 1;
        }
        nodes.heal();
        rounds += 1;
        if u64::is_multiple_of(rounds, COMPARED_EVERY) {
            nodes.redundant();
            compared = compare(&nodes, &load, compared);
            println!("{kills} kills, {compared} events are equal on all nodes");
        }
    }
    judge(&nodes, load);
}
