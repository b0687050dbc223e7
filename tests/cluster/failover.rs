//! The leader is killed under load, again and again.

use std::time::Duration;

use exesdb_test_support::{number, random};

use crate::judge;
use crate::load::Load;
use crate::nodes::Nodes;

const CLIENTS: usize = 4;

/// Appends between two kills.
const BETWEEN: u64 = 40;

/// How long a failover may take at most, however busy the machine is. How long it takes is printed, and not asserted.
const FAILOVER_MAX: Duration = Duration::from_secs(60);

/// The smallest time that a part of all times, in percent, does not exceed. The times are sorted.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times[rank - 1]
}

#[test]
fn a_killed_leader_is_succeeded_and_nothing_acknowledged_is_lost() {
    let rounds = number("EXESDB_FAILOVER_ROUNDS", 3);
    let mut random = random();
    let mut nodes = Nodes::start(3);
    let load = Load::start(&nodes, CLIENTS, &mut random);
    let mut times = Vec::new();
    for round in 0..rounds {
        load.go_on(BETWEEN);
        let leader = nodes.leader();
        nodes.kill(leader);
        load.watch();
        let took = load.next_acknowledgement();
        println!("round {round}: after the death of {}, an append took {took:?}", nodes.name(leader));
        assert!(took <= FAILOVER_MAX, "{took:?}");
        times.push(took);
        load.go_on(BETWEEN);
        nodes.start_node(leader);
        nodes.redundant();
    }
    times.sort_unstable();
    if let Some(max) = times.last() {
        let (half, most) = (percentile(&times, 50), percentile(&times, 99));
        println!(
            "next acknowledgement after {rounds} kills of the leader: p50 {half:?}, p99 {most:?}, max {max:?}"
        );
    }
    judge(&nodes, load);
}

#[test]
fn a_leader_that_is_stopped_in_order_hands_over_and_nothing_acknowledged_is_lost() {
    let mut random = random();
    let mut nodes = Nodes::start(3);
    let load = Load::start(&nodes, CLIENTS, &mut random);
    // Each node once, as in an upgrade.
    for node in 0..nodes.len() {
        load.go_on(BETWEEN);
        nodes.stop(node);
        load.go_on(BETWEEN);
        nodes.start_node(node);
        nodes.redundant();
    }
    judge(&nodes, load);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::percentile;

    #[test]
    fn percentiles_are_of_the_times_that_there_are() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let found = [50, 99, 100].map(|percent| percentile(&times, percent).as_millis());
        assert_eq!(found, [100, 198, 200]);
        assert_eq!(percentile(&times[..1], 50).as_millis(), 1);
    }
}
