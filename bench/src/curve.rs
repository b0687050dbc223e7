//! The cost of an append while the store grows: with more streams, and with a longer stream.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::body::Form;
use crate::client::Client;
use crate::load::{Appender as _, Clients};

/// Clients that create the streams.
const CLIENTS: usize = 32;

/// Events of each append to the stream that grows.
const APPEND_EVENTS: usize = 500;

/// A point of the curve: one client that appends one event at a time to a stream of its own.
#[derive(Debug, Serialize)]
pub(crate) struct Point {
    grown: &'static str,
    to: usize,
    p50_us: u64,
    p99_us: u64,
}

impl Point {
    pub(crate) const HEADING: &str =
        "store with                    p50 us   p99 us   of one append by one client";

    pub(crate) fn line(&self) -> String {
        let grown = format!("{} {}", self.to, self.grown);
        format!("{grown:<28}  {:>7}  {:>7}", self.p50_us, self.p99_us)
    }
}

/// Grows the store to `most` streams, and a stream to `most` events, in steps of a factor of ten.
pub(crate) async fn measure(address: SocketAddr, most: usize, time: Duration) -> anyhow::Result<Vec<Point>> {
    let mut points = Vec::new();
    let mut streams = 0;
    for to in steps(most) {
        create_streams(address, streams, to).await?;
        streams = to;
        let client = Client::connect_all(address, Form::Json, 1).await?;
        let measured = Clients::new(client, 1).run(time).await?;
        points.push(Point {
            grown: "streams",
            to,
            p50_us: measured.percentile_us(50),
            p99_us: measured.percentile_us(99),
        });
    }
    let mut long = Client::connect(address, Form::Json, "long".to_owned()).await?;
    for to in steps(most) {
        while long.version() < to {
            long.append(APPEND_EVENTS.min(to - long.version())).await?;
        }
        let latencies = long.append_for(1, time).await?;
        points.push(Point {
            grown: "events in its stream",
            to,
            p50_us: latencies.percentile_us(50),
            p99_us: latencies.percentile_us(99),
        });
    }
    Ok(points)
}

/// 1,000, 10,000, 100,000 and so on, up to `most`.
fn steps(most: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1_000_usize), |step| step.checked_mul(10))
        .take_while(move |step| *step <= most)
}

/// Creates streams of one event each.
async fn create_streams(address: SocketAddr, from: usize, to: usize) -> anyhow::Result<()> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            let mut connection = Client::connect(address, Form::Json, String::new()).await?;
            for number in (from + client..to).step_by(CLIENTS) {
                connection.switch_to(format_args!("one-of-many-{number}"));
                connection.append(1).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client.context("a client failed")??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::steps;

    #[test]
    fn steps_are_tenfold() {
        assert_eq!(steps(1_000_000).collect::<Vec<_>>(), [1_000, 10_000, 100_000, 1_000_000]);
        assert_eq!(steps(999).count(), 0);
    }
}
