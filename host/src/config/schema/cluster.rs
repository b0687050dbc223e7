//! The keys of the table of a node of a cluster.

use super::{Key, Names, Number, Table, Text};
use crate::config::address;

/// The table of a node of a cluster.
pub(in crate::config) const CLUSTER: &str = "cluster";
pub(in crate::config) const TLS: &str = "tls";

pub(in crate::config) const PEER_LISTEN: Text = Text {
    name: "listen",
    // As that of the gateway: nothing is open to a network before somebody asks for it.
    default: "127.0.0.1:2114",
    expected: "an address and a port such as \"0.0.0.0:2114\"",
    meaning: "Where the other nodes connect. The default is for nodes on one machine: nothing is open to a network before \
              somebody asks for it.",
};

pub(in crate::config) const ADVERTISE: Text = Text {
    name: "advertise",
    default: "",
    expected: address::ADDRESS,
    meaning: "Where the other nodes reach this one. Without it, `listen`, which must then be an address that they can \
              connect to.",
};

pub(in crate::config) const ADVERTISE_CLIENTS: Text = Text {
    name: "advertise_clients",
    default: "",
    expected: address::ADDRESS,
    meaning: "Where clients reach this node, as the header `exesdb-leader` names it. Without it, the gateway's `listen`, \
              with the host of `advertise` if that is all addresses or loopback.",
};

pub(in crate::config) const PEERS: Names = Names {
    name: "peers",
    expected: address::ADDRESS,
    meaning: "Addresses of other nodes, to find the cluster by. Nodes that are not listed are found through those that are, \
              and no node becomes a member by being listed.",
};

pub(in crate::config) const PEERS_DNS: Text = Text {
    name: "peers_dns",
    default: "",
    expected: "a DNS name and a port such as \"exesdb:2114\"",
    meaning: "A name whose addresses are those of other nodes, as of a headless service in Kubernetes. It is asked for again \
              and again.",
};

pub(in crate::config) const NODE_NAME: Text = Text {
    name: "name",
    default: "",
    expected: address::NODE,
    meaning: "The node's name in the cluster, and in its certificate: it is given once. Without it, the machine's host name.",
};

pub(in crate::config) const ZONE: Text = Text {
    name: "zone",
    default: "",
    expected: address::ZONE,
    meaning: "What fails together with this node, such as a rack or a data centre.",
};

pub(in crate::config) const LOG_RETAIN_MIB: Number = Number {
    name: "log_retain_mib",
    // As `LOG_BYTES_KEPT` of host/cluster: minutes of a busy store.
    default: 128,
    min: 16,
    max: 1_024,
    unit: "MiB",
    meaning: "The log of each store that is kept for nodes that are behind. One that misses more gets a copy of the store.",
    why_bounded: "With less, a short break costs a copy; 1 GiB is half of what the log of a node has for all its stores.",
};

pub(in crate::config) const CA: Text = Text {
    name: "ca",
    default: "",
    expected: "a file such as \"ca.pem\"",
    meaning: "The certificate of the authority that signs those of all nodes, in PEM.",
};

pub(in crate::config) const CERT: Text = Text {
    name: "cert",
    default: "",
    expected: "a file such as \"node.pem\"",
    meaning: "This node's certificate, in PEM. The DNS name in it is the node's name.",
};

pub(in crate::config) const TLS_KEY: Text = Text {
    name: "key",
    default: "",
    expected: "a file such as \"node.key\"",
    meaning: "The key of the certificate, in PEM.",
};

pub(in crate::config) const CLUSTER_TABLE: Table = Table {
    header: "[cluster]",
    meaning: "With this table the host is a node of a cluster. `exesdb cluster init` makes the first node, `exesdb cluster \
              join` all others. The stores are those of the cluster: `[[store]]` tables count in the file of the first node \
              alone, when `cluster init` runs. In the files of other nodes they are refused.",
    keys: &[
        Key::Text(&PEER_LISTEN),
        Key::Text(&ADVERTISE),
        Key::Text(&ADVERTISE_CLIENTS),
        Key::Names(&PEERS),
        Key::Text(&PEERS_DNS),
        Key::Text(&NODE_NAME),
        Key::Text(&ZONE),
        Key::Number(&LOG_RETAIN_MIB),
    ],
    tables: &[TLS],
};

pub(in crate::config) const TLS_TABLE: Table = Table {
    header: "[cluster.tls]",
    meaning: "Files of an authority of your own, relative to this file: all three of them. Without this table, the node uses \
              those that `cluster init` and `cluster join` write into the data directory.",
    keys: &[Key::Text(&CA), Key::Text(&CERT), Key::Text(&TLS_KEY)],
    tables: &[],
};
