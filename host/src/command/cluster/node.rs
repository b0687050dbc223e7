//! The node that a command makes or adds: its configuration, and its files in the data directory.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::config::{ClusterConfig, Config, DEFAULT_DATA, StoreTable, TlsFiles, store_tables};

/// Only its owner may read what nobody else should have.
const PRIVATE: u32 = 0o600;
/// Everybody may read a certificate.
const PUBLIC: u32 = 0o644;

/// The node, as `serve` is told of it.
#[derive(Debug, Args)]
pub struct NodeOptions {
    /// The file that `serve` is started with. It has a table [cluster].
    #[arg(long, env = "EXESDB_CONFIG", value_name = "FILE")]
    pub config: PathBuf,

    /// The data directory, if not the file's.
    #[arg(
        long,
        env = "EXESDB_DATA",
        value_name = "DIR",
        help = format!("Where data is kept; goes before the file's `data` [default: {DEFAULT_DATA}]")
    )]
    pub data: Option<PathBuf>,
}

/// What the options and the file say.
#[derive(Debug)]
pub struct NodeSetup {
    /// The file.
    pub file: PathBuf,
    /// What is in it.
    pub config: Config,
    /// Its table of the cluster.
    pub cluster: ClusterConfig,
    /// The node's name.
    pub name: String,
}

impl NodeOptions {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// It has a mistake, or is none of a node.
    pub fn setup(&self) -> anyhow::Result<NodeSetup> {
        let mut config = Config::load(&self.config)?;
        if let Some(data) = &self.data {
            config.data.clone_from(data);
        }
        let file = self.config.clone();
        let cluster = config.cluster.clone().with_context(|| {
            format!(
                "{} is not that of a node; add a table [cluster], as docs/cluster.md shows it",
                file.display()
            )
        })?;
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let name = cluster.node_name(&machine).map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))?;
        Ok(NodeSetup { file, config, cluster, name })
    }
}

impl NodeSetup {
    /// Where the other nodes reach it.
    pub fn peer_addresses(&self) -> Vec<String> {
        vec![self.cluster.advertise.clone()]
    }

    /// Where clients reach it.
    pub fn client_addresses(&self) -> Vec<String> {
        let listen: SocketAddr = self.config.listen;
        vec![self.cluster.client_address(listen)]
    }

    /// The tables of the stores that the cluster begins with.
    ///
    /// # Errors
    ///
    /// The file was changed meanwhile.
    pub fn stores(&self) -> anyhow::Result<Vec<StoreTable>> {
        Ok(store_tables(Some(&self.file))?)
    }

    /// The folder for certificates and keys. It is made if it is not there.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn tls_folder(&self) -> anyhow::Result<PathBuf> {
        use std::os::unix::fs::DirBuilderExt as _;
        let folder = TlsFiles::folder(&self.config.data);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        Ok(folder)
    }
}

/// Writes the key and the certificate of a node, and last the authority's certificate: whoever finds that finds all.
///
/// # Errors
///
/// The system's; what was there is as it was, or replaced as a whole.
pub fn write_tls_files(
    files: &TlsFiles,
    key: &str,
    certificate: &str,
    authority: &str,
) -> anyhow::Result<()> {
    for (path, mode, content) in
        [(&files.key, PRIVATE, key), (&files.cert, PUBLIC, certificate), (&files.ca, PUBLIC, authority)]
    {
        ensure!(!content.is_empty(), "{} would be empty", path.display());
        write(path, mode, content).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

fn write(path: &Path, mode: u32, content: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content.as_bytes())?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // Names are kept by the folder.
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::{NodeOptions, write_tls_files};
    use crate::config::{ClusterConfig, TlsFiles};

    fn options(folder: &Path, text: &str) -> NodeOptions {
        let config = folder.join("exesdb.toml");
        std::fs::write(&config, text).unwrap();
        NodeOptions { config, data: None }
    }

    #[test]
    fn a_node_is_what_its_file_says() {
        let folder = tempfile::tempdir().unwrap();
        let text = "data = \"d\"\nlisten = \"0.0.0.0:2113\"\n[cluster]\nname = \"a\"\nlisten = \"0.0.0.0:2114\"\n\
                    advertise = \"10.0.0.1:2114\"\n[[store]]\nname = \"orders\"";
        let setup = options(folder.path(), text).setup().unwrap();
        assert_eq!((setup.name.as_str(), &setup.config.data), ("a", &folder.path().join("d")));
        assert_eq!(setup.peer_addresses(), ["10.0.0.1:2114"]);
        assert_eq!(setup.client_addresses(), ["10.0.0.1:2113"]);
        assert_eq!(setup.stores().unwrap()[0].name, "orders");
        assert!(setup.config.check_stores_are_left_to_the_cluster().is_err());
        let other = NodeOptions { data: Some("e".into()), ..options(folder.path(), text) };
        assert_eq!(other.setup().unwrap().config.data, Path::new("e"));
    }

    #[test]
    fn a_file_of_a_host_that_is_no_node_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = options(folder.path(), "").setup().unwrap_err().to_string();
        assert!(error.contains("add a table [cluster]"), "{error}");
    }

    #[test]
    fn keys_are_readable_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let files = TlsFiles { ca: file("ca.pem"), cert: file("node.pem"), key: file("node.key") };
        for key in ["one", "another"] {
            write_tls_files(&files, key, "certificate", "authority").unwrap();
            assert_eq!(std::fs::read_to_string(&files.key).unwrap(), key);
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&files.key), mode(&files.cert), mode(&files.ca)), (0o600, 0o644, 0o644));
        assert!(write_tls_files(&files, "key", "", "authority").is_err());
    }

    #[test]
    fn the_files_that_the_operator_names_precede_those_of_the_data_directory() {
        let own = TlsFiles { ca: "a".into(), cert: "b".into(), key: "c".into() };
        let config = ClusterConfig { tls: Some(own.clone()), ..ClusterConfig::default() };
        assert_eq!(config.tls_files(Path::new("d")), own);
        let made = ClusterConfig::default().tls_files(Path::new("d"));
        assert_eq!(made.key, Path::new("d/$cluster/tls/node.key"));
    }
}
