//! How fast a durable subscription that begins at the first event catches up, with one consumer that acknowledges in bulk.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::Api;
use super::consumer::{Consumer, Delivered};
use crate::host::BenchHost;
use crate::spread::Spread;

/// Events in flight at the consumer: as many as may be.
const WINDOW: u32 = 10_000;

/// Events that are acknowledged at a time.
const BULK: usize = 2_000;

/// Lists of places that may wait for the connection that acknowledges.
const QUEUE: usize = 16;

/// How fast a subscription caught up.
#[derive(Debug, Serialize)]
pub(crate) struct CaughtUp {
    events: u64,
    per_second: Spread,
    processor_us_per_event: Spread,
}

impl CaughtUp {
    pub(crate) fn line(&self) -> String {
        format!(
            "One durable subscription over {} events, acknowledged in bulk: {:.0} events/s ({:.0}-{:.0}), {:.1} us of the \
             host's processors for each",
            self.events,
            self.per_second.median,
            self.per_second.least,
            self.per_second.most,
            self.processor_us_per_event.median
        )
    }
}

/// Measures this many rounds over a store that has so many events.
pub(crate) async fn measure(host: &BenchHost, events: u64, rounds: usize) -> anyhow::Result<CaughtUp> {
    let (mut per_second, mut processor_us) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let name = format!("bench-{}", uuid::Uuid::new_v4());
        let mut api = Api::connect(host.address()).await?;
        let new = json!({ "selector": {}, "settings": { "buffer_events": 10_000 } });
        api.create(&name, &new).await?;
        let (processor, begun) = (host.processor_time()?, Instant::now());
        catch_up(host.address(), &name, events).await?;
        per_second.push(events as f64 / begun.elapsed().as_secs_f64());
        let processor = host.processor_time()?.since(&processor);
        processor_us.push(processor.as_secs_f64() * 1e6 / events as f64);
        Api::connect(host.address()).await?.remove(&name).await?;
    }
    let spread = |figures: Vec<f64>| Spread::of(figures).context("no round was measured");
    Ok(CaughtUp { events, per_second: spread(per_second)?, processor_us_per_event: spread(processor_us)? })
}

/// Takes and acknowledges so many events.
async fn catch_up(address: SocketAddr, name: &str, events: u64) -> anyhow::Result<()> {
    let mut consumer = Consumer::join(address, name, WINDOW).await?;
    let id = consumer.id;
    let (sender, mut waiting) = mpsc::channel::<Vec<u64>>(QUEUE);
    let receive = async move {
        let (mut left, mut places) = (events, Vec::new());
        while left > 0 {
            let mut failed = None;
            let before = places.len();
            consumer
                .next(|data| match serde_json::from_slice::<Delivered<'_>>(data) {
                    Ok(event) => places.push(event.delivery.place),
                    Err(error) => failed = Some(error),
                })
                .await?;
            failed.map_or(Ok(()), Err)?;
            left = left.saturating_sub((places.len() - before) as u64);
            if places.len() >= BULK || left == 0 {
                sender.send(std::mem::take(&mut places)).await.context("nobody acknowledges any more")?;
            }
        }
        drop(sender);
        // The consumer stays until everything is acknowledged.
        anyhow::Ok(consumer)
    };
    let acknowledge = async {
        let (mut api, mut acknowledged) = (Api::connect(address).await?, 0);
        while let Some(places) = waiting.recv().await {
            acknowledged += api.acknowledge(name, id, &places).await?;
        }
        anyhow::ensure!(acknowledged >= events, "{acknowledged} of {events} events were acknowledged");
        anyhow::Ok(())
    };
    tokio::try_join!(receive, acknowledge)?;
    Ok(())
}
