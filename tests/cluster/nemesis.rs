//! Episodes of trouble under load: kills, processes that stand still, moves of the leader, and pairs of them.

use std::time::Duration;

use exesdb_test_support::{Rng, number, random, time_below};
use serde_json::json;

use crate::judge;
use crate::load::Load;
use crate::nodes::Nodes;

const CLIENTS: usize = 4;

/// Appends that are acknowledged after each episode before the next one begins.
const BETWEEN: u64 = 30;

/// Episodes from which on a run counts as long, and its troubles last longer.
const LONG: u64 = 50;

/// How long trouble lasts at most, in a short and in a long run.
const SHORT_TROUBLE: Duration = Duration::from_secs(4);
const LONG_TROUBLE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    KillLeader,
    KillAny,
    KillAll,
    /// SIGSTOP, and after a time SIGCONT: what a machine that swaps does, or one whose clock jumps.
    PauseLeader,
    PauseAny,
    /// The leader of the store hands over.
    Transfer,
}

const TROUBLES: [Trouble; 6] = [
    Trouble::KillLeader,
    Trouble::KillAny,
    Trouble::KillAll,
    Trouble::PauseLeader,
    Trouble::PauseAny,
    Trouble::Transfer,
];

/// The troubles of an episode: each alone in turn, and later pairs at random.
fn choose(episode: usize, random: &mut Rng) -> Vec<Trouble> {
    let any = |random: &mut Rng| TROUBLES[random.usize(..TROUBLES.len())];
    match TROUBLES.get(episode / 2) {
        // Every other episode is a pair.
        Some(alone) if episode.is_multiple_of(2) => vec![*alone],
        _ if random.u8(..3) == 0 => vec![any(random)],
        _ => vec![any(random), any(random)],
    }
}

fn begin(trouble: Trouble, nodes: &mut Nodes, random: &mut Rng) {
    let able: Vec<usize> =
        (0..nodes.len()).filter(|node| nodes.is_running(*node) && !nodes.is_paused(*node)).collect();
    if able.is_empty() {
        return;
    }
    let any = able[random.usize(..able.len())];
    // After the first trouble of a pair there may be no leader, or nobody who knows one.
    let leader = (able.len() > nodes.len() / 2).then(|| nodes.leader()).filter(|node| able.contains(node));
    match trouble {
        Trouble::KillLeader => nodes.kill(leader.unwrap_or(any)),
        Trouble::KillAny => nodes.kill(any),
        Trouble::KillAll => (0..nodes.len()).for_each(|node| nodes.kill(node)),
        Trouble::PauseLeader => nodes.pause(leader.unwrap_or(any)),
        Trouble::PauseAny => nodes.pause(any),
        Trouble::Transfer => {
            let moved = nodes.client(any).post("/v1/cluster/stores/main/transfer-leader", &json!({}));
            // It may have been moved, refused, or begun while the leader was lost.
            assert!([0, 200, 409, 503].contains(&moved.status), "{}: {}", moved.status, moved.text);
        }
    }
}

#[test]
fn a_cluster_in_trouble_keeps_every_promise() {
    let episodes = number("EXESDB_NEMESIS_EPISODES", 3);
    let longest = if episodes < LONG { SHORT_TROUBLE } else { LONG_TROUBLE };
    let mut random = random();
    let offset = random.usize(..2 * TROUBLES.len());
    let mut nodes = Nodes::start(3);
    let load = Load::start(&nodes, CLIENTS, &mut random);
    for episode in 0..episodes {
        load.go_on(BETWEEN);
        let place = (offset + usize::try_from(episode).expect("they are few")) % (3 * TROUBLES.len());
        let troubles = choose(place, &mut random);
        println!("episode {episode}: {troubles:?}");
        for trouble in troubles {
            begin(trouble, &mut nodes, &mut random);
            std::thread::sleep(Duration::from_secs(1) + time_below(&mut random, longest));
        }
        nodes.heal();
        nodes.redundant();
    }
    load.go_on(BETWEEN);
    judge(&nodes, load);
}
