//! Clients that append in a closed loop: each has a number of appends in flight, one as a rule, and sends another when one is
//! answered.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;

/// Time before measuring begins, in which processors, disk and server come out of idleness. Connections exist already.
pub(crate) const WARM_UP: Duration = Duration::from_millis(200);

/// A client of a server that is measured.
pub(crate) trait Appender: Send + Sized + 'static {
    /// Appends this many events to the client's own stream. Returns how long the answer took.
    fn append(&mut self, events: usize) -> impl Future<Output = anyhow::Result<Duration>> + Send;

    /// Appends in a closed loop, one at a time, and measures after a warm-up.
    fn append_for(
        &mut self,
        events: usize,
        time: Duration,
    ) -> impl Future<Output = anyhow::Result<Measured>> + Send {
        async move {
            let count_from = Instant::now() + WARM_UP;
            let (mut latencies, mut appends) = (Vec::new(), 0);
            loop {
                let start = Instant::now();
                if start >= count_from + time {
                    return Ok(Measured::new(latencies, appends, time));
                }
                let latency = self.append(events).await?;
                appends += 1;
                if start >= count_from {
                    latencies.push(latency);
                }
            }
        }
    }
}

/// What was measured in some time.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The latency of each append after the warm-up, sorted.
    latencies: Vec<Duration>,
    /// The number of appends with those of the warm-up.
    appends: usize,
    time: Duration,
}

impl Measured {
    pub(crate) fn new(mut latencies: Vec<Duration>, appends: usize, time: Duration) -> Self {
        latencies.sort_unstable();
        Self { latencies, appends, time }
    }

    /// What several clients did in the same time.
    fn of_all(clients: impl IntoIterator<Item = Self>, time: Duration) -> Self {
        let (mut latencies, mut appends) = (Vec::new(), 0);
        for client in clients {
            latencies.extend(client.latencies);
            appends += client.appends;
        }
        Self::new(latencies, appends, time)
    }

    /// All latencies of several rounds.
    pub(crate) fn of_rounds(rounds: impl IntoIterator<Item = Self>) -> Self {
        let (mut latencies, mut appends, mut time) = (Vec::new(), 0, Duration::ZERO);
        for round in rounds {
            latencies.extend(round.latencies);
            appends += round.appends;
            time += round.time;
        }
        Self::new(latencies, appends, time)
    }

    pub(crate) fn appends_per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    /// Processor time for each append, in microseconds, if all of them took this much.
    pub(crate) fn processor_us(&self, all: Duration) -> f64 {
        all.as_secs_f64() * 1e6 / self.appends as f64
    }

    pub(crate) fn percentile_us(&self, percent: usize) -> u64 {
        let index = self.latencies.len().saturating_sub(1) * percent / 100;
        self.latencies.get(index).map_or(0, |latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Clients that append at the same time.
pub(crate) struct Clients<A> {
    clients: Vec<A>,
    /// Events in each append.
    events: usize,
}

impl<A: Appender> Clients<A> {
    pub(crate) fn new(clients: Vec<A>, events: usize) -> Self {
        Self { clients, events }
    }

    /// The number of clients.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Events in each append.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Has all clients append for some time. Their connections stay open.
    pub(crate) async fn run(&mut self, time: Duration) -> anyhow::Result<Measured> {
        let (mut running, events) = (JoinSet::new(), self.events);
        for mut client in self.clients.drain(..) {
            running.spawn(async move {
                let measured = client.append_for(events, time).await?;
                anyhow::Ok((client, measured))
            });
        }
        let mut measured = Vec::new();
        while let Some(ended) = running.join_next().await {
            let (client, of_client) = ended.context("a client failed")??;
            self.clients.push(client);
            measured.push(of_client);
        }
        Ok(Measured::of_all(measured, time))
    }
}

#[cfg(test)]
mod tests {
    use super::Measured;
    use std::time::Duration;

    #[test]
    fn percentiles_and_rates_are_computed_from_the_latencies() {
        let latencies = (1..=100).rev().map(Duration::from_micros).collect();
        let measured = Measured::new(latencies, 125, Duration::from_secs(2));
        assert_eq!((measured.percentile_us(50), measured.percentile_us(99)), (50, 99));
        assert!((measured.appends_per_second() - 50.0).abs() < f64::EPSILON);
        // The server worked for the appends of the warm-up, too.
        assert!((measured.processor_us(Duration::from_micros(500)) - 4.0).abs() < 1e-9);
        let nothing = Measured::new(Vec::new(), 0, Duration::from_secs(1));
        assert_eq!(nothing.percentile_us(99), 0);
    }

    #[test]
    fn clients_share_the_time_and_rounds_add_it_up() {
        let part = |latency| Measured::new(vec![Duration::from_micros(latency)], 3, Duration::from_secs(1));
        let clients = Measured::of_all([part(30), part(10)], Duration::from_secs(1));
        let rounds = Measured::of_rounds([part(30), part(10)]);
        let figures = |measured: &Measured| (measured.appends, measured.time, measured.percentile_us(100));
        assert_eq!(figures(&clients), (6, Duration::from_secs(1), 30));
        assert_eq!(figures(&rounds), (6, Duration::from_secs(2), 30));
        assert_eq!(clients.percentile_us(0), 10);
    }
}
