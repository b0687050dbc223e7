//! The nodes of a cluster on one machine: their folders, ports and configuration files.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::output::printable;

/// Between the ports of two nodes.
const PORT_STEP: u16 = 10;

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalNode {
    /// From 1.
    pub(super) number: u16,
    /// What it has: its configuration file, its data and its log.
    pub(super) folder: PathBuf,
    /// The port for clients; that for other nodes is the next one.
    pub(super) port: u16,
}

impl LocalNode {
    pub(super) fn name(&self) -> String {
        format!("node-{}", self.number)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.join("exesdb.toml")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What the node logs.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("exesdb.log")
    }

    pub(super) fn clients(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub(super) fn peers(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port + 1))
    }
}

/// The nodes of a cluster in a folder.
///
/// # Errors
///
/// There are not enough ports.
pub(super) fn plan(folder: &Path, count: u16, port: u16) -> anyhow::Result<Vec<LocalNode>> {
    let last = u32::from(port) + u32::from(PORT_STEP) * u32::from(count - 1) + 1;
    ensure!(
        port > 0 && last <= u32::from(u16::MAX),
        "{count} nodes from port {port} on need the ports {port} to {last}; give a --port from 1 to {}",
        u32::from(u16::MAX) + u32::from(port) - last
    );
    let node = |index: u16| LocalNode {
        number: index + 1,
        folder: folder.join((index + 1).to_string()),
        port: port + PORT_STEP * index,
    };
    Ok((0..count).map(node).collect())
}

/// The configuration file of a node.
pub(super) fn config_file(node: &LocalNode, nodes: &[LocalNode]) -> String {
    let others = nodes.iter().filter(|other| other.number != node.number);
    let peers: Vec<String> = others.map(|other| format!("\"{}\"", other.peers())).collect();
    format!(
        "\
# Made by `exesdb cluster local`, which refuses to run with another content.
data = \"./data\"
listen = \"{clients}\"

[cluster]
name = \"{name}\"
listen = \"{own}\"
peers = [{peers}]
",
        clients = node.clients(),
        name = node.name(),
        own = node.peers(),
        peers = peers.join(", "),
    )
}

/// Makes the folders and files of the nodes, or checks that they are those of an earlier run.
///
/// # Errors
///
/// The folder has another cluster, or cannot be used.
pub(super) fn write(folder: &Path, nodes: &[LocalNode]) -> anyhow::Result<()> {
    let is_there = |number: usize| folder.join(number.to_string()).join("exesdb.toml").exists();
    let before = (1..).take_while(|number| is_there(*number)).count();
    let shown = printable(&folder.display().to_string());
    if before != 0 && before != nodes.len() && (before > nodes.len() || is_joined(folder, before)) {
        bail!(
            "{shown} has a cluster of {before} nodes; run `exesdb cluster local {before} --dir {shown}`, or give another --dir"
        );
    }
    for node in nodes {
        let (file, text) = (node.config(), config_file(node, nodes));
        match std::fs::read_to_string(&file) {
            Ok(found) if found == text => continue,
            Ok(_) if is_member(node) => bail!(
                "{} is not what this command writes for these ports; give the --port of the first run, or another --dir",
                file.display()
            ),
            _ => {}
        }
        create_private(&node.folder)?;
        std::fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}

fn create_private(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    created.with_context(|| format!("the folder {} cannot be made", folder.display()))
}

/// Whether the last of these nodes has joined: then their number is that of the cluster.
fn is_joined(folder: &Path, count: usize) -> bool {
    is_member_folder(&folder.join(count.to_string()).join("data"))
}

/// Whether a node is one of a cluster already.
pub(super) fn is_member(node: &LocalNode) -> bool {
    is_member_folder(&node.data())
}

fn is_member_folder(data: &Path) -> bool {
    data.join("$cluster").join("node.json").exists()
}

/// Checks that nobody listens on the ports of the nodes.
///
/// # Errors
///
/// The port that is in use, and what to do.
pub(super) fn check_ports(nodes: &[LocalNode]) -> anyhow::Result<()> {
    for node in nodes {
        for address in [node.clients(), node.peers()] {
            if let Err(error) = TcpListener::bind(address) {
                bail!(
                    "{} cannot listen on {address} ({error}); if a cluster runs there already, end it, otherwise give another \
                     --port and --dir",
                    node.name()
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::Path;

    use super::{LocalNode, check_ports, config_file, plan, write};
    use crate::config::Config;

    #[test]
    fn nodes_have_folders_and_ports_of_their_own() {
        let nodes = plan(Path::new("d"), 3, 2113).unwrap();
        let shown: Vec<_> = nodes
            .iter()
            .map(|node| (node.name(), node.config(), node.clients().port(), node.peers().port()))
            .collect();
        let expected = [(1, 2113, 2114), (2, 2123, 2124), (3, 2133, 2134)].map(|(number, clients, peers)| {
            (
                format!("node-{number}"),
                Path::new("d").join(number.to_string()).join("exesdb.toml"),
                clients,
                peers,
            )
        });
        assert_eq!(shown, expected);
        assert_eq!(plan(Path::new("d"), 1, 65_534).unwrap().len(), 1);
        for (count, port, most) in [(3, 65_530, 65_514), (1, 65_535, 65_534), (1, 0, 65_534)] {
            let error = plan(Path::new("d"), count, port).unwrap_err().to_string();
            assert!(error.ends_with(&format!("from 1 to {most}")), "{error}");
        }
    }

    #[test]
    fn the_configuration_of_a_node_names_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let nodes = plan(folder.path(), 3, 2113).unwrap();
        write(folder.path(), &nodes).unwrap();
        let config = Config::load(&nodes[1].config()).unwrap();
        let cluster = config.cluster.unwrap();
        assert_eq!((config.listen, cluster.listen), (nodes[1].clients(), nodes[1].peers()));
        assert_eq!(cluster.peers, ["127.0.0.1:2114", "127.0.0.1:2134"]);
        assert_eq!((cluster.name.as_deref(), config.data), (Some("node-2"), nodes[1].folder.join("./data")));
        assert_eq!(config.store_place, None);
        assert!(config_file(&nodes[0], &nodes[..1]).contains("peers = []"));
    }

    #[test]
    fn a_folder_with_another_cluster_is_refused_and_the_same_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let three = plan(folder.path(), 3, 2113).unwrap();
        write(folder.path(), &three).unwrap();
        write(folder.path(), &three).unwrap();
        let join = |node: &LocalNode| {
            std::fs::create_dir_all(node.data().join("$cluster")).unwrap();
            std::fs::write(node.data().join("$cluster/node.json"), "{}").unwrap();
        };
        three.iter().for_each(join);
        write(folder.path(), &three).unwrap();
        let refused = |count, port| {
            let nodes = plan(folder.path(), count, port).unwrap();
            write(folder.path(), &nodes).unwrap_err().to_string()
        };
        for count in [1, 5] {
            assert!(refused(count, 2113).contains("has a cluster of 3 nodes"), "{}", refused(count, 2113));
        }
        assert!(refused(3, 3113).contains("give the --port of the first run"), "{}", refused(3, 3113));
    }

    #[test]
    fn a_port_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let node = LocalNode { number: 2, folder: "d".into(), port };
        let error = check_ports(&[node]).unwrap_err().to_string();
        assert!(error.contains(&format!("node-2 cannot listen on 127.0.0.1:{port}")), "{error}");
    }
}
