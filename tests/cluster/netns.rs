//! Partitions: each node is in a network namespace of its own, and its link to the others is cut, or drops what goes one way.
//!
//! Clients reach all nodes over another network, so that each node is asked whatever happens between them.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use exesdb_test_support::{Rng, number, random, skip, time_below};

use crate::judge;
use crate::load::Load;
use crate::nodes::{Nodes, Place};

const NODES: usize = 3;

const CLIENTS: usize = 4;

/// Appends that a majority must acknowledge during a partition, and all nodes after it.
const BETWEEN: u64 = 20;

/// The address of no device.
const NOBODY: &str = "02:00:00:00:00:01";

/// Longest partition in a short run and in a long one, and how many episodes make a long one.
const SHORT: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(20);
const LONG_EPISODES: u64 = 50;

/// Namespaces, bridges and links. On drop they are removed.
struct Network {
    /// What the names of its namespaces and links begin with.
    name: String,
    /// The third number of its addresses, so that networks of several processes do not meet.
    subnet: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Partition {
    /// The leader alone, and the others together.
    LeaderAlone,
    /// Another node alone.
    FollowerAlone,
    /// Every node alone: there is no majority.
    AllAlone,
    /// Two nodes that do not see each other, and a third one that sees both.
    Bridge,
    /// What the leader sends to others is lost.
    LeaderMute,
    /// What others send to the leader is lost.
    LeaderDeaf,
    /// The leader's link goes down and up all the time.
    Flapping,
}

const PARTITIONS: [Partition; 7] = [
    Partition::LeaderAlone,
    Partition::LeaderMute,
    Partition::Bridge,
    Partition::AllAlone,
    Partition::LeaderDeaf,
    Partition::FollowerAlone,
    Partition::Flapping,
];

/// Runs `ip`. The error is what it said.
fn ip(arguments: &str) -> Result<(), String> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &str) -> Result<(), String> {
    let output = Command::new(program).args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("{program} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

impl Network {
    /// Makes the namespaces and their links.
    ///
    /// # Errors
    ///
    /// Why it cannot be done here: usually, who runs the tests is not root.
    fn new() -> Result<Self, String> {
        let id = std::process::id();
        let subnet = u8::try_from(id % 250).expect("it is below 250");
        let network = Self { name: format!("exd{:x}", id % 0xffff), subnet };
        let hub = network.hub();
        ip(&format!("netns add {hub}"))?;
        for bridge in ["peers", "clients"] {
            ip(&format!("-n {hub} link add {bridge} type bridge"))?;
            ip(&format!("-n {hub} link set {bridge} up"))?;
        }
        for node in 0..NODES {
            let own = network.namespace(node);
            ip(&format!("netns add {own}"))?;
            ip(&format!("-n {own} link set lo up"))?;
            for (bridge, device, address) in
                [("peers", "eth0", network.address(18, node)), ("clients", "eth1", network.address(19, node))]
            {
                let port = Self::port(bridge, node);
                ip(&format!("link add {port} netns {hub} type veth peer name {device} netns {own}"))?;
                ip(&format!("-n {hub} link set {port} master {bridge} up"))?;
                ip(&format!("-n {own} addr add {address}/24 dev {device}"))?;
                ip(&format!("-n {own} link set {device} up"))?;
            }
        }
        let outside = format!("{}o", network.name);
        ip(&format!("link add {outside} type veth peer name outside netns {hub}"))?;
        ip(&format!("-n {hub} link set outside master clients up"))?;
        ip(&format!("addr add {}/24 dev {outside}", network.address(19, NODES)))?;
        ip(&format!("link set {outside} up"))?;
        Ok(network)
    }

    fn hub(&self) -> String {
        format!("{}h", self.name)
    }

    fn namespace(&self, node: usize) -> String {
        format!("{}n{node}", self.name)
    }

    /// An address of 198.18.0.0/15, which is for tests of networks.
    fn address(&self, second: u8, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(198, second, self.subnet, u8::try_from(node + 1).expect("there are few nodes"))
    }

    /// The end of a node's link at a bridge.
    fn port(bridge: &str, node: usize) -> String {
        format!("{bridge}{node}")
    }

    fn places(&self) -> Vec<Place> {
        let place = |node: usize| Place {
            within: ["ip", "netns", "exec", &self.namespace(node)].map(str::to_owned).into(),
            clients: SocketAddr::from((self.address(19, node), 2113)),
            peers: SocketAddr::from((self.address(18, node), 2114)),
        };
        (0..NODES).map(place).collect()
    }

    /// Cuts the link of a node to the others, or mends it.
    fn link(&self, node: usize, state: &str) {
        let port = Self::port("peers", node);
        ip(&format!("-n {} link set {port} {state}", self.hub())).expect("links can be set");
    }

    /// Loses what a node sends to another one: it goes to a device that nobody has.
    fn drop_to(&self, from: usize, to: usize) {
        let (own, address) = (self.namespace(from), self.address(18, to));
        let lost = format!("-n {own} neigh replace {address} lladdr {NOBODY} dev eth0 nud permanent");
        ip(&lost).expect("neighbours can be set");
    }

    /// Two nodes do not see each other any more, or do again.
    fn part(&self, nodes: [usize; 2], isolated: &str) {
        for node in nodes {
            let port = Self::port("peers", node);
            let arguments = format!("-n {} link set dev {port} isolated {isolated}", self.hub());
            run("bridge", &arguments).expect("ports can be set");
        }
    }

    fn begin(&self, partition: Partition, leader: usize) {
        let others: Vec<usize> = (0..NODES).filter(|node| *node != leader).collect();
        match partition {
            Partition::LeaderAlone => self.link(leader, "down"),
            Partition::FollowerAlone => self.link(others[0], "down"),
            Partition::AllAlone => (0..NODES).for_each(|node| self.link(node, "down")),
            Partition::Bridge => self.part([leader, others[0]], "on"),
            Partition::LeaderMute => others.iter().for_each(|other| self.drop_to(leader, *other)),
            Partition::LeaderDeaf => others.iter().for_each(|other| self.drop_to(*other, leader)),
            Partition::Flapping => {
                for _ in 0..10 {
                    self.link(leader, "down");
                    std::thread::sleep(Duration::from_millis(300));
                    self.link(leader, "up");
                    std::thread::sleep(Duration::from_millis(200));
                }
            }
        }
    }

    fn heal(&self) {
        for node in 0..NODES {
            self.link(node, "up");
            for other in (0..NODES).filter(|other| *other != node) {
                let (own, address) = (self.namespace(node), self.address(18, other));
                // There may be none.
                drop(ip(&format!("-n {own} neigh del {address} dev eth0")));
            }
        }
        self.part([0, 1], "off");
        self.part([1, 2], "off");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The links go with their namespaces, and what was not made cannot be removed.
        for namespace in (0..NODES).map(|node| self.namespace(node)).chain([self.hub()]) {
            drop(ip(&format!("netns del {namespace}")));
        }
    }
}

/// How long a partition lasts.
fn duration(episodes: u64, random: &mut Rng) -> Duration {
    let longest = if episodes < LONG_EPISODES { SHORT } else { LONG };
    Duration::from_secs(1) + time_below(random, longest)
}

#[test]
fn a_partitioned_cluster_serves_where_a_majority_is_and_keeps_every_promise() {
    let network = match Network::new() {
        Ok(network) => network,
        Err(why) => {
            return skip("a_partitioned_cluster_serves_where_a_majority_is_and_keeps_every_promise", &why);
        }
    };
    let episodes = number("EXESDB_PARTITION_EPISODES", 3);
    let mut random = random();
    let offset = random.usize(..PARTITIONS.len());
    let nodes = Nodes::at(network.places(), "");
    let load = Load::start(&nodes, CLIENTS, &mut random);
    for episode in 0..episodes {
        load.go_on(BETWEEN);
        let index = offset + usize::try_from(episode).expect("they are few");
        let partition = PARTITIONS[index % PARTITIONS.len()];
        let leader = nodes.leader();
        println!("episode {episode}: {partition:?}, {} leads", nodes.name(leader));
        network.begin(partition, leader);
        std::thread::sleep(duration(episodes, &mut random));
        if partition != Partition::AllAlone {
            load.go_on(BETWEEN);
        }
        network.heal();
        nodes.redundant();
    }
    load.go_on(BETWEEN);
    judge(&nodes, load);
}
