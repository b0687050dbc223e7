//! `exesdb cluster status`: nodes, stores and replicas, what is wrong and what to do.

use anyhow::bail;
use clap::Args;

use crate::client::{
    Availability, Client, ClusterStatus, DEFAULT_URL, GatewayUrl, NodeStatus, ReplicaStatus, StoreStatus,
};
use crate::output::{Output, printable};

/// Options of `cluster status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb cluster status
  exesdb cluster status --store main --url http://10.0.0.2:2113
  exesdb cluster status --json | jq '.nodes[] | {name, pid, state, leads}'

Any node can be asked. LAG is the number of entries that a replica misses of what its leader has.

Exit codes: 0 every store survives the loss of any one node; 1 some store does not, or the state is not known (a message says
so); 2 some store has no majority of its voters, and takes no writes. An invalid command line has exit code 2, too.")]
pub struct StatusOptions {
    /// Only this store.
    #[arg(long)]
    pub store: Option<String>,

    /// Print the document of the gateway as JSON, with all stores.
    #[arg(long)]
    pub json: bool,

    /// The gateway of a node.
    #[arg(long, env = "EXESDB_URL", default_value = DEFAULT_URL)]
    pub url: GatewayUrl,
}

/// The state was shown, and it is not good. The process ends with an exit code of its own.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", match self.0 {
    Availability::NoMajority => "there is a store without a majority: it takes no writes",
    _ => "there is a store that does not survive the loss of one more node",
})]
pub struct NotRedundant(Availability);

impl NotRedundant {
    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self.0 {
            Availability::NoMajority => 2,
            Availability::Redundant | Availability::NoRedundancy => 1,
        }
    }
}

/// Shows the state.
pub async fn run(options: StatusOptions) -> anyhow::Result<()> {
    let client = Client::new(options.url, "");
    let document = client.cluster().await?;
    let status = only(client.cluster_status(&document)?, options.store.as_deref())?;
    let mut output = Output::stdout();
    if options.json {
        output.line(document.get())?;
    } else {
        for line in render(&status) {
            output.line(line)?;
        }
    }
    output.flush()?;
    verdict(&status).map_err(anyhow::Error::from)
}

/// The state without other stores than this one.
fn only(mut status: ClusterStatus, store: Option<&str>) -> anyhow::Result<ClusterStatus> {
    let Some(store) = store else { return Ok(status) };
    if !status.stores.iter().any(|known| known.name == store) {
        let known: Vec<String> = status.stores.iter().map(|store| printable(&store.name)).collect();
        bail!("the cluster has no store {}; it has {}", printable(store), known.join(", "));
    }
    let of_others = |about: &str| status.stores.iter().any(|known| known.name == about && about != store);
    let findings = status.findings.iter().filter(|finding| !of_others(&finding.about));
    status.findings = findings.cloned().collect();
    status.stores.retain(|known| known.name == store);
    Ok(status)
}

/// Whether every store survives the loss of any one node.
pub(super) fn verdict(status: &ClusterStatus) -> Result<(), NotRedundant> {
    match status.stores.iter().map(|store| store.availability).max() {
        None | Some(Availability::Redundant) => Ok(()),
        Some(worst) => Err(NotRedundant(worst)),
    }
}

/// The state as lines for people.
fn render(status: &ClusterStatus) -> Vec<String> {
    let header = ["NODE", "STATE", "PID", "NODES AT", "CLIENTS AT", "LEADS"].map(str::to_owned);
    let mut lines = vec![format!("cluster {}", printable(&status.cluster)), String::new()];
    lines.extend(table(std::iter::once(header).chain(status.nodes.iter().map(node)).collect()));
    for store in &status.stores {
        lines.push(String::new());
        lines.push(store_line(store));
        let header = ["  NODE", "ROLE", "VOTES", "LAG"].map(str::to_owned);
        lines.extend(table(std::iter::once(header).chain(store.replicas.iter().map(replica)).collect()));
    }
    for finding in &status.findings {
        lines.push(String::new());
        lines.push(format!("{}: {}", printable(&finding.about), printable(&finding.what)));
        lines.push(format!("  {}", printable(&finding.advice)));
    }
    lines
}

fn node(node: &NodeStatus) -> [String; 6] {
    let list = |texts: &[String]| match texts {
        [] => "-".to_owned(),
        texts => printable(&texts.join(",")),
    };
    let pid = node.pid.map_or("-".to_owned(), |pid| pid.to_string());
    let addresses = &node.addresses;
    [
        printable(&node.name),
        printable(&node.state),
        pid,
        list(&addresses.peers),
        list(&addresses.clients),
        list(&node.leads),
    ]
}

fn store_line(store: &StoreStatus) -> String {
    let leader = match &store.leader {
        Some(leader) => format!("{} leads", printable(leader)),
        None => "no node leads".to_owned(),
    };
    let survives = match store.availability {
        Availability::Redundant => "it survives the loss of any one node",
        Availability::NoRedundancy => "it does not survive the loss of one more node",
        Availability::NoMajority => "it takes no writes",
    };
    format!("store {}: {leader}, {survives}", printable(&store.name))
}

fn replica(replica: &ReplicaStatus) -> [String; 4] {
    let votes = if replica.votes { "yes" } else { "no" };
    let lag = replica.lag.map_or("?".to_owned(), |lag| lag.to_string());
    [format!("  {}", printable(&replica.node)), printable(&replica.role), votes.to_owned(), lag]
}

/// Rows with columns as wide as their widest cell, without trailing spaces.
fn table<const N: usize>(rows: Vec<[String; N]>) -> Vec<String> {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{NotRedundant, only, render, verdict};
    use crate::client::{Availability, ClusterStatus};

    fn status() -> ClusterStatus {
        serde_json::from_str(
            r#"{
                "cluster": "00ab", "feature_level": 1,
                "nodes": [
                    { "id": 1, "name": "a", "pid": 17, "state": "up", "zone": null, "leads": ["main"],
                      "addresses": { "peers": ["127.0.0.1:2114"], "clients": ["127.0.0.1:2113"] } },
                    { "id": 2, "name": "node-2", "pid": null, "state": "unreachable", "zone": null, "leads": [],
                      "addresses": { "peers": ["127.0.0.1:2124"], "clients": [] } }
                ],
                "stores": [
                    { "name": "$cluster", "leader": "a", "availability": "redundant", "replicas": [] },
                    { "name": "main", "leader": "a", "availability": "no-redundancy", "replicas": [
                        { "replica": 2, "node": "a", "role": "leader", "votes": true, "lag": 0 },
                        { "replica": 4, "node": "node-2", "role": "unknown", "votes": false, "lag": null }
                    ] }
                ],
                "findings": [
                    { "about": "$cluster", "what": "x", "advice": "y" },
                    { "about": "node-2", "what": "it does\u001b not answer", "advice": "start it" }
                ]
            }"#,
        )
        .unwrap()
    }

    #[test]
    fn people_see_nodes_stores_and_what_to_do() {
        let status = only(status(), Some("main")).unwrap();
        let expected = [
            "cluster 00ab",
            "",
            "NODE    STATE        PID  NODES AT        CLIENTS AT      LEADS",
            "a       up           17   127.0.0.1:2114  127.0.0.1:2113  main",
            "node-2  unreachable  -    127.0.0.1:2124  -               -",
            "",
            "store main: a leads, it does not survive the loss of one more node",
            "  NODE    ROLE     VOTES  LAG",
            "  a       leader   yes    0",
            "  node-2  unknown  no     ?",
            "",
            "node-2: it does\\u{1b} not answer",
            "  start it",
        ];
        assert_eq!(render(&status), expected);
    }

    #[test]
    fn the_exit_code_is_that_of_the_store_that_is_worst_off() {
        let of = |availability| {
            let mut status = status();
            status.stores[1].availability = availability;
            verdict(&status).err().map_or(0, |error: NotRedundant| error.exit_code())
        };
        assert_eq!(of(Availability::Redundant), 0);
        assert_eq!(of(Availability::NoRedundancy), 1);
        assert_eq!(of(Availability::NoMajority), 2);
        let good = only(status(), Some("$cluster")).unwrap();
        assert_eq!(verdict(&good), Ok(()), "only of the store that was asked for");
    }

    #[test]
    fn a_store_that_the_cluster_does_not_have_is_an_error() {
        let error = only(status(), Some("other")).unwrap_err().to_string();
        assert_eq!(error, "the cluster has no store other; it has $cluster, main");
    }
}
