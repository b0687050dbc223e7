//! Clients that append at a fixed rate together, as clients send, so that what is compared has the same load.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::load::Appender;
use crate::spread::Spread;

/// What came of some time of appends.
pub(crate) struct Paced {
    pub(crate) appends: usize,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
}

/// Appends at a rate, of all rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Appends {
    pub(crate) per_second: Spread,
    pub(crate) p50_us: Spread,
}

impl Paced {
    pub(crate) fn per_second(&self) -> f64 {
        self.appends as f64 / self.seconds
    }
}

impl Appends {
    pub(crate) fn of<'a>(turns: impl IntoIterator<Item = &'a Paced> + Clone) -> anyhow::Result<Self> {
        let spread = |figure: fn(&Paced) -> f64| {
            Spread::of(turns.clone().into_iter().map(figure)).context("no round was measured")
        };
        Ok(Self { per_second: spread(Paced::per_second)?, p50_us: spread(|turn| turn.p50_us)? })
    }
}

/// Has all clients append one event at a time, in their turns, so that there are `rate` appends each second. Calls `appended` with
/// a client after each of its appends. One that is late makes up for it.
pub(crate) async fn append<A: Appender>(
    clients: &mut Vec<A>,
    rate: u32,
    time: Duration,
    appended: impl Fn(&A) + Clone + Send + 'static,
) -> anyhow::Result<Paced> {
    let begun = Instant::now();
    let count = u32::try_from(clients.len())?.max(1);
    let pause = Duration::from_secs(1) * count / rate;
    let mut running = JoinSet::new();
    for (number, mut client) in (0..count).zip(clients.drain(..)) {
        let first = tokio::time::Instant::now() + pause * number / count;
        let appended = appended.clone();
        running.spawn(async move {
            let (mut ticks, mut latencies) = (tokio::time::interval_at(first, pause), Vec::new());
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            while begun.elapsed() < time {
                ticks.tick().await;
                latencies.push(client.append(1).await?);
                appended(&client);
            }
            anyhow::Ok((client, latencies))
        });
    }
    let mut latencies = Vec::new();
    while let Some(ended) = running.join_next().await {
        let (client, of_client) = ended.context("a client failed")??;
        clients.push(client);
        latencies.extend(of_client);
    }
    let seconds = begun.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let p50 = latencies.get(latencies.len() / 2).context("nothing was appended")?;
    Ok(Paced { appends: latencies.len(), seconds, p50_us: p50.as_secs_f64() * 1e6 })
}
