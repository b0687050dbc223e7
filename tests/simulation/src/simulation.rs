//! Playing a seed.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use exesdb_cluster::home::MemoryHome;
use exesdb_cluster::{Health, Member, genesis};
use exesdb_storage::{Direction, Histories, Memory, Reader, Scan};
use turmoil::Sim;

use crate::clients::{Clients, state_of, term_of};
use crate::committed;
use crate::faults::Fault;
use crate::history::{Answer, Final, History, Led, Level, Recorder, Seen, State};
use crate::home::{ALL, OWNER};
use crate::invariants::{self, Violation};
use crate::network::PORT;
use crate::node::{Node, Setup, name};
use crate::operator::Operator;
use crate::plan::{Plan, Trouble, What, Who};
use crate::trace::Event;

/// How long the replicas may take to join at the beginning.
const JOIN_WAIT: Duration = Duration::from_secs(60);
/// How long the cluster may take to serve and to have equal replicas once all is repaired: an engine that gave up waiting
/// for a snapshot, an election, a change of members, and the proposals that were on their way.
const REPAIR_WAIT: Duration = Duration::from_secs(120);
/// Events of the trace that are kept to be read.
const TRACE: u64 = 150;

/// A seed that was played.
pub struct Played {
    /// The seed.
    pub seed: u64,
    /// What it decided.
    pub plan: Plan,
    /// What happened.
    pub history: History,
    /// How long that took, on the simulated clock.
    pub simulated: Duration,
    /// Number of the events of the trace.
    pub events: u64,
    /// The trace's hash.
    pub hash: u64,
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// The last events.
    pub tail: String,
}

impl Played {
    /// What to print about a seed that failed.
    #[must_use]
    pub fn report(&self) -> String {
        let seed = self.seed;
        let again =
            format!("EXESDB_TEST_SEED={seed} EXESDB_SIMULATION_SEEDS=1 cargo test --release --test seeds");
        let violations: String = self.violations.iter().map(|violation| format!("  {violation}\n")).collect();
        format!("seed {seed} failed:\n{violations}{:?}\n{}\nplay it again: {again}\n", self.plan, self.tail)
    }
}

/// Plays a seed, with a fault or none.
///
/// # Panics
///
/// If `EXESDB_SIMULATION_TRACE` is not a number.
#[must_use]
pub fn run(seed: u64, fault: Option<Fault>) -> Played {
    let kept = exesdb_test_support::number("EXESDB_SIMULATION_TRACE", TRACE);
    let recorder = Recorder::new(usize::try_from(kept).unwrap_or(usize::MAX));
    let plan = Plan::new(seed);
    let played =
        catch_unwind(AssertUnwindSafe(|| Simulation::new(seed, &plan, fault, recorder.clone()).play()));
    let mut violations = match played {
        Ok(Ok(())) => Vec::new(),
        Ok(Err(violation)) => vec![violation],
        Err(panic) => vec![Violation::new("nothing panics", text_of(&*panic))],
    };
    recorder.with(|recording| {
        let history = std::mem::take(&mut recording.history);
        violations.extend(invariants::check(&history, violations.is_empty()));
        let (simulated, events) = (recording.now, recording.trace.count());
        let (hash, tail) = (recording.trace.hash(), recording.trace.tail());
        Played { seed, plan, history, simulated, events, hash, violations, tail }
    })
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".into())
}

/// What ends a trouble.
enum End {
    /// The cut with this number is repaired.
    Cut(u64),
    /// The node starts again.
    Start(usize),
    /// The link has its old latency again.
    Latency(usize, usize),
    Sync(usize),
    Fast(usize),
    Health(usize),
}

struct Simulation {
    plan: Plan,
    fault: Option<Fault>,
    sim: Sim<'static>,
    nodes: Vec<Arc<Node>>,
    clients: Clients,
    operator: Operator,
    recorder: Recorder,
    /// What ends when.
    ends: Vec<(Duration, End)>,
    /// What is cut by which trouble, from whom to whom.
    cuts: BTreeMap<u64, BTreeSet<(usize, usize)>>,
    cut: BTreeSet<(usize, usize)>,
    next_cut: u64,
    next_replica: u64,
    seen: Vec<Option<State>>,
    /// Which record of a leadership each node is in.
    leads: Vec<Option<usize>>,
}

impl Simulation {
    fn new(seed: u64, plan: &Plan, fault: Option<Fault>, recorder: Recorder) -> Self {
        let plan = plan.clone();
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
            .tick_duration(plan.tick)
            .min_message_latency(plan.latency.0)
            .max_message_latency(plan.latency.1)
            .simulation_duration(Duration::MAX)
            .udp_capacity(1 << 16)
            .enable_random_order()
            .build();
        let names: Vec<_> = (0..plan.nodes).map(name).collect();
        let address = |name: &String| (name.clone(), SocketAddr::new(sim.lookup(name.as_str()), PORT));
        let setup = Setup {
            seed,
            addresses: Arc::new(names.iter().map(address).collect()),
            loss: plan.loss,
            log_bytes_kept: plan.log_bytes_kept,
            sync: plan.sync,
            fault,
            recorder: recorder.clone(),
        };
        let founder = Member { node: name(0), incarnation: 1_001 };
        let founder = MemoryHome::create(&genesis(1, founder), &Histories::begin());
        let mut home = Some(founder.expect("memory does not fail"));
        let nodes: Vec<_> = (0..plan.nodes)
            .map(|number| {
                let home = home.take().unwrap_or_default();
                Arc::new(Node::new(number, number as u64 + 1, home, setup.clone()))
            })
            .collect();
        for node in &nodes {
            let node = Arc::clone(node);
            sim.host(name(node.number), move || {
                let node = Arc::clone(&node);
                async move {
                    node.run().await;
                    Ok(())
                }
            });
        }
        let count = plan.nodes;
        Self {
            clients: Clients::new(seed, plan.client_pause, recorder.clone()),
            operator: Operator::new(recorder.clone()),
            fault,
            sim,
            recorder,
            ends: Vec::new(),
            cuts: BTreeMap::new(),
            cut: BTreeSet::new(),
            next_cut: 0,
            next_replica: count as u64 + 1,
            seen: vec![None; count],
            leads: vec![None; count],
            plan,
            nodes,
        }
    }

    /// Joins the replicas, makes trouble, repairs everything, and notes what the replicas have then.
    fn play(&mut self) -> Result<(), Violation> {
        let played = self.play_through();
        for node in &self.nodes {
            node.ended();
        }
        played
    }

    fn play_through(&mut self) -> Result<(), Violation> {
        if !self.plan.early {
            self.until("the replicas join", JOIN_WAIT, |simulation| simulation.operator.is_settled)?;
        }
        let begin = self.sim.elapsed();
        let mut troubles = self.plan.troubles.clone().into_iter().peekable();
        while self.sim.elapsed() < begin + self.plan.length {
            let now = self.sim.elapsed();
            while let Some(trouble) = troubles.next_if(|trouble| begin + trouble.at <= now) {
                self.begin(&trouble);
            }
            self.end_troubles(now);
            self.clients.step(now, &self.nodes);
            self.step()?;
        }
        self.repair()?;
        self.note_replicas()
    }

    fn step(&mut self) -> Result<(), Violation> {
        self.sim.step().map_err(|error| Violation::new("nothing fails", error.to_string()))?;
        let now = self.sim.elapsed();
        self.recorder.with(|recording| recording.now = now);
        self.observe();
        self.operator.step(now, &self.nodes);
        let stop = self.recorder.with(|recording| recording.history.stops.first().cloned());
        match stop {
            Some((node, reason)) => Err(Violation::new("no group stops", format!("node-{node}: {reason}"))),
            None => Ok(()),
        }
    }

    fn until(
        &mut self,
        what: &str,
        wait: Duration,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), Violation> {
        let end = self.sim.elapsed() + wait;
        while !holds(self) {
            if self.sim.elapsed() > end {
                let groups = self.nodes.iter().map(|node| node.group().map(|group| group.metrics()));
                let groups: Vec<_> = groups.collect();
                return Err(Violation::new("it goes on once all is repaired", format!("{what}: {groups:?}")));
            }
            self.step()?;
        }
        Ok(())
    }

    /// Records what replicas show.
    fn observe(&mut self) {
        for node in &self.nodes {
            let number = node.number;
            let group = node.group();
            let state = group.as_ref().and_then(|group| group.reader()).as_ref().map(state_of);
            if let Some(state) = state.filter(|_| state != self.seen[number]) {
                let State { id, head, link, .. } = state;
                self.recorder.with(|recording| {
                    recording.add(Event::Seen { node: number, id, sequence: head.sequence, link });
                    recording.history.seen.push(Seen { node: number, state });
                });
            }
            self.seen[number] = state;
            let term = term_of(node);
            if let Some(term) = term {
                self.clients.note_term(term);
            }
            let replica = node.state.lock().replica;
            self.recorder.with(|recording| {
                let led = &mut recording.history.led;
                let before = self.leads[number].map(|at| led[at].term);
                if before != term {
                    recording.add(Event::Ready { node: number, term });
                }
                let until = recording.trace.count();
                let led = &mut recording.history.led;
                if let Some(at) = self.leads[number] {
                    led[at].until = until;
                }
                if before != term {
                    self.leads[number] = term.map(|term| {
                        led.push(Led { node: number, replica, term, from: until, until });
                        led.len() - 1
                    });
                }
            });
        }
    }

    fn leader(&self) -> Option<usize> {
        self.nodes.iter().find(|node| term_of(node).is_some()).map(|node| node.number)
    }

    fn number(&self, who: Who) -> usize {
        match who {
            Who::Node(node) => node,
            Who::Leader(node) => self.leader().unwrap_or(node),
            Who::Follower(node) if self.leader() == Some(node) => (node + 1) % self.plan.nodes,
            Who::Follower(node) => node,
        }
    }

    fn numbers(&self, all: &[Who]) -> BTreeSet<usize> {
        all.iter().map(|who| self.number(*who)).collect()
    }

    fn begin(&mut self, trouble: &Trouble) {
        let Trouble { lasts, what, .. } = trouble;
        let until = self.sim.elapsed() + *lasts;
        self.recorder.add(Event::Did(format!("{what:?} for {lasts:?}, leader {:?}", self.leader())));
        let all: BTreeSet<_> = (0..self.plan.nodes).collect();
        match what {
            What::Split(some) => {
                let some = self.numbers(some);
                self.cut(until, |from, to| some.contains(&from) != some.contains(&to));
            }
            What::OneWay(from, to) => {
                let link = (self.number(*from), self.number(*to));
                self.cut(until, |from, to| (from, to) == link);
            }
            What::Dumb(who) => {
                let who = self.number(*who);
                self.cut(until, |from, _| from == who);
            }
            What::Deaf(who) => {
                let who = self.number(*who);
                self.cut(until, |_, to| to == who);
            }
            What::Bridge(who) => {
                let who = self.number(*who);
                let half = move |node: usize| (node > who) != (who == 0 && node > 1);
                self.cut(until, |from, to| from != who && to != who && half(from) != half(to));
            }
            What::Slow(one, other, latency) => {
                let (one, other) = (self.number(*one), self.number(*other));
                if one != other {
                    self.sim.set_link_latency(name(one), name(other), *latency);
                    self.ends.push((until, End::Latency(one, other)));
                }
            }
            What::End(some) => self.stop(&self.numbers(some), None, until),
            What::EndAll => self.stop(&all, None, until),
            What::LosePower(some, kept) => self.stop(&self.numbers(some), Some(*kept), until),
            What::LosePowerOfAll(kept) => self.stop(&all, Some(*kept), until),
            What::SlowSync(who, delay) => {
                let who = self.number(*who);
                self.nodes[who].state.lock().disk.set_delay(*delay);
                self.ends.push((until, End::Sync(who)));
            }
            What::Skew(who, seconds) => {
                self.nodes[self.number(*who)].skew_us.store(seconds * 1_000_000, Ordering::Relaxed);
            }
            What::Fast(who, millis) => {
                let who = self.number(*who);
                self.nodes[who].fast_ms.store(*millis, Ordering::Relaxed);
                self.ends.push((until, End::Fast(who)));
            }
            What::FastOthers(who, millis) => {
                let who = self.number(*who);
                for node in self.nodes.iter().filter(|node| node.number != who) {
                    node.fast_ms.store(*millis, Ordering::Relaxed);
                    self.ends.push((until, End::Fast(node.number)));
                }
            }
            What::Transfer(to) => {
                let to = self.nodes[self.number(*to)].state.lock().replica;
                if let Some(leader) = self.leader() {
                    // Whether it succeeds is up to what else happens.
                    self.nodes[leader]
                        .work(Box::new(move |group| Box::pin(async move { drop(group.transfer(to).await) })));
                }
            }
            What::Wipe(who) => self.wipe(self.number(*who), until),
            What::Drain(who) => {
                let health = Health { is_draining: true, ..Health::default() };
                self.set_health(self.number(*who), health, until);
            }
            What::DiskFull(who) => {
                let health = Health { is_disk_full: true, ..Health::default() };
                self.set_health(self.number(*who), health, until);
            }
        }
    }

    fn set_health(&mut self, node: usize, health: Health, until: Duration) {
        *self.nodes[node].health.lock() = health;
        self.ends.push((until, End::Health(node)));
    }

    fn cut(&mut self, until: Duration, is_cut: impl Fn(usize, usize) -> bool) {
        let nodes = self.plan.nodes;
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        let cut = pairs.filter(|(from, to)| from != to && is_cut(*from, *to)).collect();
        self.next_cut += 1;
        self.cuts.insert(self.next_cut, cut);
        self.ends.push((until, End::Cut(self.next_cut)));
        self.apply_cuts();
    }

    fn apply_cuts(&mut self) {
        let cut: BTreeSet<_> = self.cuts.values().flatten().copied().collect();
        for (from, to) in cut.difference(&self.cut) {
            self.sim.partition_oneway(name(*from), name(*to));
        }
        for (from, to) in self.cut.difference(&cut) {
            self.sim.repair_oneway(name(*from), name(*to));
        }
        self.cut = cut;
    }

    /// Ends processes. With `kept`, their machines lose power, and their stores keep so many records that were not synced.
    fn stop(&mut self, some: &BTreeSet<usize>, kept: Option<u64>, until: Duration) {
        for number in some {
            if !self.sim.is_host_running(name(*number)) {
                continue;
            }
            self.end_process(*number);
            let state = self.nodes[*number].state.lock().clone();
            match kept {
                None => state.disk.end(),
                Some(kept) => {
                    state.disk.lose_power();
                    if let Some(memory) = state.home.memory.memory() {
                        memory.lose_power(kept);
                    }
                }
            }
            self.ends.push((until, End::Start(*number)));
        }
    }

    fn end_process(&mut self, number: usize) {
        self.nodes[number].ended();
        self.sim.crash(name(number));
        self.clients.note_end(number);
        self.seen[number] = None;
        self.observe();
    }

    /// A node loses its disks. Only one at a time, and only once the group knows the replica that took the place of the last
    /// one: more is the loss of a majority.
    fn wipe(&mut self, number: usize, until: Duration) {
        let is_running = self.sim.is_host_running(name(number));
        let applied = self.nodes[number].group().and_then(|group| group.reader()).as_ref().map(state_of);
        let (true, true, Some(applied)) = (is_running, self.operator.is_settled, applied) else { return };
        self.end_process(number);
        let disk = Arc::clone(&self.nodes[number].state.lock().disk);
        self.note_committed(number, &disk.entries(applied.id.index));
        let replica = match self.fault {
            Some(Fault::ReplicaIdTwice) => self.nodes[number].state.lock().replica,
            _ => self.next_replica,
        };
        self.next_replica += 1;
        self.nodes[number].wipe(replica);
        self.operator.is_settled = false;
        self.ends.push((until, End::Start(number)));
    }

    fn note_committed(&self, node: usize, entries: &BTreeMap<u64, bytes::Bytes>) {
        self.recorder.with(|recording| {
            let history = &mut recording.history;
            for (index, bytes) in entries {
                match committed::decode(bytes) {
                    Ok(entry) => match history.log.get(index) {
                        Some(known) if *known != entry => {
                            history
                                .conflicts
                                .push(format!("node-{node} has {entry:?} where another has {known:?}"));
                        }
                        Some(_) => {}
                        None => drop(history.log.insert(*index, entry)),
                    },
                    Err(error) => history.conflicts.push(format!("entry {index} of node-{node}: {error}")),
                }
            }
        });
    }

    fn end_troubles(&mut self, now: Duration) {
        let (due, later) = std::mem::take(&mut self.ends).into_iter().partition(|(at, _)| *at <= now);
        self.ends = later;
        let due: Vec<(Duration, End)> = due;
        for (_, end) in due {
            match end {
                End::Cut(cut) => {
                    self.cuts.remove(&cut);
                    self.apply_cuts();
                }
                End::Start(node) => {
                    self.recorder.add(Event::Did(format!("node-{node} starts")));
                    self.sim.bounce(name(node));
                }
                End::Latency(one, other) => {
                    self.sim.set_link_latency(name(one), name(other), Duration::ZERO);
                    self.sim.set_link_max_message_latency(name(one), name(other), self.plan.latency.1);
                }
                End::Sync(node) => self.nodes[node].state.lock().disk.set_delay(self.plan.sync),
                End::Fast(node) => self.nodes[node].fast_ms.store(0, Ordering::Relaxed),
                End::Health(node) => *self.nodes[node].health.lock() = Health::default(),
            }
        }
    }

    /// Ends all troubles. Then an append has to succeed, each node has to answer a read, and the replicas have to become equal.
    fn repair(&mut self) -> Result<(), Violation> {
        self.recorder.add(Event::Did("everything is repaired".into()));
        self.end_troubles(Duration::MAX);
        self.until("the group has all replicas", REPAIR_WAIT, |simulation| simulation.operator.is_settled)?;
        let first = self.recorder.with(|recording| recording.history.appends.len());
        let mut next = Duration::ZERO;
        self.until("an append succeeds", REPAIR_WAIT, |simulation| {
            let now = simulation.sim.elapsed();
            if let Some(leader) = simulation.leader().filter(|_| next <= now) {
                next = now + Duration::from_millis(500);
                let node = Arc::clone(&simulation.nodes[leader]);
                simulation.clients.append(&node);
            }
            simulation.recorder.with(|recording| {
                let appends = &recording.history.appends[first..];
                appends.iter().any(|append| matches!(append.answer, Some((_, Answer::Decided { .. }))))
            })
        })?;
        let first = self.recorder.with(|recording| recording.history.reads.len());
        let mut next = Duration::ZERO;
        self.until("each node answers a read", REPAIR_WAIT, |simulation| {
            let now = simulation.sim.elapsed();
            if next <= now {
                next = now + Duration::from_secs(6);
                for node in simulation.nodes.clone() {
                    simulation.clients.read(&node, Level::Linearizable);
                }
            }
            simulation.recorder.with(|recording| {
                let reads = &recording.history.reads[first..];
                let answered = |node| reads.iter().any(|read| read.node == node && read.answer.is_some());
                (0..simulation.plan.nodes).all(answered)
            })
        })?;
        self.until("the replicas become equal", REPAIR_WAIT, |simulation| {
            let Some(leader) = simulation.leader() else { return false };
            let last = simulation.nodes[leader].group().and_then(|group| group.metrics().last_log);
            simulation.seen.iter().all(|state| state.is_some_and(|state| Some(state.id) == last))
        })
    }

    fn note_replicas(&mut self) -> Result<(), Violation> {
        for node in self.nodes.clone() {
            let group = node.group().expect("every node runs");
            let reader = group.reader().expect("every node has a replica");
            let state = state_of(&reader);
            let digest = reader.snapshot().digest().expect("memory does not fail");
            let replica = Final { node: node.number, state, digest, appends: appends_of(&reader) };
            let disk = Arc::clone(&node.state.lock().disk);
            self.note_committed(node.number, &disk.entries(state.id.index));
            self.recorder.with(|recording| recording.history.replicas.push(replica));
        }
        Ok(())
    }
}

/// The ids of the appends that a replica has, by position.
fn appends_of(reader: &Reader<Memory>) -> Vec<usize> {
    let snapshot = reader.snapshot();
    let mut scan = Scan {
        keyspace: ALL.into(),
        start: Vec::new(),
        end: None,
        direction: Direction::Forward,
        limit: usize::MAX,
        max_bytes: usize::MAX,
    };
    let mut appends = Vec::new();
    loop {
        let page = snapshot.scan(OWNER, &scan).expect("memory does not fail");
        for (key, value) in &page.entries {
            // A position that is missing shifts all that follow, which the properties notice.
            scan.start = [key, &[0][..]].concat();
            let id = u64::from_be_bytes((**value).try_into().expect("a value is an id"));
            appends.push(usize::try_from(id).expect("ids are small"));
        }
        if !page.more {
            return appends;
        }
    }
}
