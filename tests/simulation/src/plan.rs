//! What a seed decides before anything happens: the cluster, its network, and who is in trouble when.

use std::time::Duration;

use fastrand::Rng;

use crate::network::Loss;

/// A simulation.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Number of nodes: 3 or 5.
    pub nodes: usize,
    /// How long a step is: messages are delivered between steps.
    pub tick: Duration,
    /// The shortest and longest time of a message on its way.
    pub latency: (Duration, Duration),
    /// How unreliable the network is.
    pub loss: Loss,
    /// How long a sync takes.
    pub sync: Duration,
    /// Bytes of the log that are kept for followers that are behind.
    pub log_bytes_kept: u64,
    /// How often clients ask for something, on average.
    pub client_pause: Duration,
    /// What kind of trouble there is.
    pub theme: Theme,
    /// Whether trouble begins while the replicas still join.
    pub early: bool,
    /// How long there is trouble.
    pub length: Duration,
    /// The troubles, by when they begin.
    pub troubles: Vec<Trouble>,
}

/// What kind of trouble a seed makes. All but the first are about coincidences that chance alone hardly finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Anything.
    Any,
    /// Leaders that are cut off, and slow disks that lose power: what a vote or an entry that is not synced is worth.
    Elections,
    /// A voter with a slow disk that loses power once it has voted, while the leader that it voted for is cut off and the one before
    /// is back.
    Votes,
    /// Leaders that are cut off while the clocks of all others are fast: what a lease is worth.
    Leases,
    /// Disks that are lost while a follower is behind: what the rest of a majority has.
    Losses,
}

impl Theme {
    fn new(random: &mut Rng) -> Self {
        const ALL: [Theme; 8] = {
            use Theme::{Any, Elections, Leases, Losses, Votes};
            [Any, Any, Any, Any, Elections, Votes, Leases, Losses]
        };
        ALL[random.usize(..ALL.len())]
    }

    /// Milliseconds of a sync.
    fn syncs(self) -> &'static [u64] {
        if self == Self::Elections { &[5, 30, 100, 250] } else { &[0, 1, 5, 30] }
    }

    fn troubles(self, random: &mut Rng, nodes: usize, at: u64) -> Vec<Trouble> {
        let node = random.usize(..nodes);
        let trouble = |after: u64, lasts: u64, what| Trouble {
            at: Duration::from_millis(at + after),
            lasts: Duration::from_millis(lasts),
            what,
        };
        match self {
            Self::Any => vec![trouble(0, random.u64(50..4_000), what(random, nodes))],
            Self::Elections => {
                let leader = Who::Leader(node);
                let loser = if random.bool() { leader } else { Who::Follower(random.usize(..nodes)) };
                let end =
                    if random.bool() { What::End(vec![loser]) } else { What::LosePower(vec![loser], 0) };
                let slow = Duration::from_millis(random.u64(200..2_000));
                vec![
                    trouble(0, random.u64(500..3_000), What::SlowSync(Who::Node(node), slow)),
                    trouble(0, random.u64(500..4_000), What::Split(vec![leader])),
                    trouble(random.u64(..700), random.u64(10..500), end),
                    trouble(
                        random.u64(1_000..2_500),
                        random.u64(10..300),
                        What::LosePower(vec![Who::Node(node)], 0),
                    ),
                ]
            }
            Self::Votes => {
                let [old, voter, new] = [0, 1, 2].map(|number| Who::Node((node + number) % nodes));
                let lost = random.u64(1_200..1_900);
                let slow = Duration::from_secs(2);
                vec![
                    trouble(0, 4_000, What::SlowSync(voter, slow)),
                    trouble(0, lost, What::Split(vec![old])),
                    trouble(lost, random.u64(10..60), What::LosePower(vec![voter], 0)),
                    trouble(lost, random.u64(1_000..4_000), What::Split(vec![new])),
                ]
            }
            Self::Leases => {
                let fast = random.u64(50..200);
                vec![
                    trouble(0, 2_000, What::FastOthers(Who::Leader(node), fast)),
                    trouble(random.u64(..300), random.u64(800..3_000), What::Split(vec![Who::Leader(node)])),
                ]
            }
            Self::Losses => {
                let after = random.u64(200..1_000);
                let lost = Who::Node((node + 1) % nodes);
                vec![
                    trouble(0, after + random.u64(50..500), What::Split(vec![Who::Follower(node)])),
                    trouble(after, random.u64(10..100), What::Wipe(lost)),
                    trouble(
                        after + random.u64(..100),
                        random.u64(1_500..4_000),
                        What::Split(vec![Who::Leader(node)]),
                    ),
                ]
            }
        }
    }
}

/// Something that happens to the cluster.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What it is.
    pub what: What,
}

/// Whom a trouble meets; numbers count the nodes from there on.
#[derive(Clone, Copy, Debug)]
pub enum Who {
    /// The leader that is ready, or this node if there is none.
    Leader(usize),
    /// Some node that is not the leader.
    Follower(usize),
    /// This node.
    Node(usize),
}

/// What happens.
#[derive(Clone, Debug)]
pub enum What {
    /// Two groups of nodes do not reach each other: those in the list, and the others.
    Split(Vec<Who>),
    /// Nothing from one arrives at the other.
    OneWay(Who, Who),
    /// Nothing that a node sends arrives.
    Dumb(Who),
    /// Nothing arrives at a node.
    Deaf(Who),
    /// Two halves reach each other only through this node.
    Bridge(Who),
    /// Messages between two nodes take this long.
    Slow(Who, Who, Duration),
    /// Processes end, and start again afterwards.
    End(Vec<Who>),
    /// Machines lose power; each store keeps up to so many of the records that were not synced.
    LosePower(Vec<Who>, u64),
    /// All processes end.
    EndAll,
    /// All machines lose power.
    LosePowerOfAll(u64),
    /// Syncs take this long.
    SlowSync(Who, Duration),
    /// The clock is off by so many seconds, from then on.
    Skew(Who, i64),
    /// The clock that timers run by jumps ahead by so many milliseconds each 50.
    Fast(Who, u64),
    /// The same, of all nodes but this one.
    FastOthers(Who, u64),
    /// The leadership is to be given to another node.
    Transfer(Who),
    /// A node loses its disks, and comes back as a new replica.
    Wipe(Who),
    /// The node drains.
    Drain(Who),
    /// The disk is full.
    DiskFull(Who),
}

impl Plan {
    /// What the seed decides.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let nodes = if random.u8(..3) == 0 { 5 } else { 3 };
        let one_of =
            |random: &mut Rng, millis: &[u64]| Duration::from_millis(millis[random.usize(..millis.len())]);
        let latency_max = one_of(&mut random, &[1, 5, 20, 60]);
        let rare = |random: &mut Rng| if random.bool() { 0 } else { random.u32(20..300) };
        let loss = Loss { lost: rare(&mut random), doubled: rare(&mut random) };
        let length = Duration::from_millis(random.u64(4_000..12_000));
        let theme = Theme::new(&mut random);
        let mut troubles = Vec::new();
        for _ in 0..random.usize(2..9) {
            let at = random.u64(..u64::try_from(length.as_millis()).unwrap_or(0));
            troubles.extend(theme.troubles(&mut random, nodes, at));
        }
        troubles.sort_by_key(|trouble| trouble.at);
        Self {
            nodes,
            tick: one_of(&mut random, &[2, 5, 10]),
            latency: (Duration::ZERO, latency_max),
            loss,
            sync: one_of(&mut random, theme.syncs()),
            log_bytes_kept: [0, 4_096, u64::MAX][random.usize(..3)],
            client_pause: one_of(&mut random, &[5, 20, 60]),
            theme,
            early: random.u8(..5) == 0,
            length,
            troubles,
        }
    }
}

fn who(random: &mut Rng, nodes: usize) -> Who {
    let node = random.usize(..nodes);
    [Who::Leader(node), Who::Follower(node), Who::Node(node)][random.usize(..3)]
}

fn some(random: &mut Rng, nodes: usize, range: std::ops::RangeInclusive<usize>) -> Vec<Who> {
    let first = random.usize(..nodes);
    let count = random.usize(range);
    let led = random.bool();
    let who = |at: usize| {
        let node = (first + at) % nodes;
        if at == 0 && led { Who::Leader(node) } else { Who::Node(node) }
    };
    (0..count).map(who).collect()
}

fn what(random: &mut Rng, nodes: usize) -> What {
    let minority = nodes / 2;
    match random.u8(..34) {
        0..3 => What::Split(some(random, nodes, 1..=minority)),
        3..5 => What::Split(some(random, nodes, minority + 1..=nodes - 1)),
        5 | 6 => What::OneWay(who(random, nodes), who(random, nodes)),
        7 => What::Dumb(who(random, nodes)),
        8 => What::Deaf(who(random, nodes)),
        9 => What::Bridge(who(random, nodes)),
        10 | 11 => {
            let latency = Duration::from_millis(random.u64(100..1_500));
            What::Slow(who(random, nodes), who(random, nodes), latency)
        }
        12 | 13 => What::End(some(random, nodes, 1..=minority)),
        14 => What::End(some(random, nodes, minority + 1..=nodes - 1)),
        15..18 => What::LosePower(some(random, nodes, 1..=minority), kept(random)),
        18 => What::LosePower(some(random, nodes, minority + 1..=nodes - 1), kept(random)),
        19 => What::EndAll,
        20 | 21 => What::LosePowerOfAll(kept(random)),
        22 | 23 => What::SlowSync(who(random, nodes), Duration::from_millis(random.u64(50..2_000))),
        24 => What::Skew(who(random, nodes), random.i64(-3_600..=3_600)),
        25 | 26 => What::Fast(who(random, nodes), random.u64(20..200)),
        27..29 => What::Transfer(who(random, nodes)),
        29..32 => What::Wipe(who(random, nodes)),
        32 => What::Drain(who(random, nodes)),
        _ => What::DiskFull(who(random, nodes)),
    }
}

fn kept(random: &mut Rng) -> u64 {
    if random.bool() { 0 } else { random.u64(..200) }
}
