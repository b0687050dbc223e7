//! The table of a node of a cluster.

use crate::config::address;
use crate::config::listen::parse_listen;
use crate::config::model::{ClusterConfig, TlsFiles};
use crate::config::schema::{self, Text};
use crate::config::source::Violation;
use crate::config::table::Table;

pub(super) fn parse_cluster(table: &Table<'_>) -> Result<ClusterConfig, Violation> {
    let mut cluster = ClusterConfig::default();
    if let Some(text) = table.text(&schema::PEER_LISTEN)? {
        cluster.listen = parse_listen(text)
            .map_err(|why| violation(table, &schema::PEER_LISTEN, &format!("listen is {text:?}; {why}")))?;
    }
    match checked(table, &schema::ADVERTISE, address::address)? {
        Some(advertise) => cluster.advertise = advertise,
        None if address::is_reachable(cluster.listen) => cluster.advertise = cluster.listen.to_string(),
        None => {
            let message = format!(
                "listen is {}, to which no other node can connect; add advertise, {}",
                cluster.listen,
                schema::ADVERTISE.expected
            );
            return Err(violation(table, &schema::PEER_LISTEN, &message));
        }
    }
    cluster.advertise_clients = checked(table, &schema::ADVERTISE_CLIENTS, address::address)?;
    cluster.peers = table.names(&schema::PEERS, address::address)?;
    cluster.peers_dns = checked(table, &schema::PEERS_DNS, address::address)?;
    cluster.name = checked(table, &schema::NODE_NAME, address::node)?;
    cluster.zone = checked(table, &schema::ZONE, address::zone)?;
    if let Some(mib) = table.number(&schema::LOG_RETAIN_MIB)? {
        cluster.log_retain_mib = mib;
    }
    if let Some(tls) = table.table(schema::TLS)? {
        cluster.tls = Some(parse_tls(&tls.check_keys(&schema::TLS_TABLE)?)?);
    }
    Ok(cluster)
}

/// Files that the host does not look at yet: it says which one is missing when it starts.
fn parse_tls(table: &Table<'_>) -> Result<TlsFiles, Violation> {
    let file = |key: &Text| match table.text(key)? {
        Some(path) if !path.is_empty() => Ok(table.source.resolve(path)),
        Some(_) => Err(violation(table, key, &format!("{} is \"\"; it must be {}", key.name, key.expected))),
        None => Err(table
            .violation(format!("tls has no {}; it has all of ca, cert and key, or is left out", key.name))),
    };
    Ok(TlsFiles { ca: file(&schema::CA)?, cert: file(&schema::CERT)?, key: file(&schema::TLS_KEY)? })
}

/// A text in the form that `check` gives it. It gives none to a text that is not as expected.
fn checked(
    table: &Table<'_>,
    key: &Text,
    check: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, Violation> {
    let Some(text) = table.text(key)? else { return Ok(None) };
    let message = || format!("{} is {text:?}; it must be {}", key.name, key.expected);
    check(text).map(Some).ok_or_else(|| violation(table, key, &message()))
}

/// The violation of a rule by a key's value, or by the table without it.
fn violation(table: &Table<'_>, key: &Text, message: &str) -> Violation {
    match table.get(key.name) {
        Some(value) => Violation::at(value, message),
        None => table.violation(message),
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use crate::config::model::{ClusterConfig, Config, TlsFiles};
    use crate::config::parse::parse;
    use crate::config::source::SourceText;

    fn parsed(text: &str) -> Result<Config, String> {
        let source = SourceText { file: Path::new("etc/exesdb.toml"), text };
        parse(source).map_err(|violation| source.error(violation).to_string())
    }

    #[test]
    fn every_key_sets_its_field() {
        let text = "[cluster]\nlisten = \"0.0.0.0:2114\"\nadvertise = \"10.0.0.1:2114\"\n\
                    advertise_clients = \"db.example.org:80\"\npeers = [\"10.0.0.2:2114\", \"node-3:2114\"]\n\
                    peers_dns = \"exesdb:2114\"\nname = \"node-1\"\nzone = \"a\"\nlog_retain_mib = 64\n\
                    tls = { ca = \"ca.pem\", cert = \"/n.pem\", key = \"n.key\" }";
        let expected = ClusterConfig {
            listen: "0.0.0.0:2114".parse().unwrap(),
            advertise: "10.0.0.1:2114".into(),
            advertise_clients: Some("db.example.org:80".into()),
            peers: vec!["10.0.0.2:2114".into(), "node-3:2114".into()],
            peers_dns: Some("exesdb:2114".into()),
            name: Some("node-1".into()),
            zone: Some("a".into()),
            tls: Some(TlsFiles {
                ca: PathBuf::from("etc/ca.pem"),
                cert: PathBuf::from("/n.pem"),
                key: PathBuf::from("etc/n.key"),
            }),
            log_retain_mib: 64,
        };
        assert_eq!(parsed(text).unwrap().cluster, Some(expected));
        assert_eq!(parsed("[cluster]").unwrap().cluster, Some(ClusterConfig::default()));
        assert_eq!(parsed("").unwrap().cluster, None, "a host without the table is in no cluster");
    }

    #[test]
    fn errors_have_the_place_the_mistake_and_what_is_expected() {
        for (text, expected) in [
            ("cluster = 1", "1:11: cluster is 1; it must be a table"),
            ("[cluster]\nlease_ms = 900", "2:1: unknown field `lease_ms`, expected one of `listen`"),
            ("[cluster]\nlisten = \"here\"", "2:10: listen is \"here\"; it must be an address and a port"),
            (
                "[cluster]\nlisten = \"0.0.0.0:2114\"",
                "2:10: listen is 0.0.0.0:2114, to which no other node can",
            ),
            (
                "[cluster]\nlisten = \"127.0.0.1:0\"",
                "2:10: listen is 127.0.0.1:0, to which no other node can",
            ),
            (
                "[cluster]\nadvertise = \"0.0.0.0:1\"",
                "2:13: advertise is \"0.0.0.0:1\"; it must be a host and",
            ),
            (
                "[cluster]\nadvertise_clients = \"a\"",
                "2:21: advertise_clients is \"a\"; it must be a host and",
            ),
            (
                "[cluster]\npeers = \"a:1\"",
                "2:9: peers is \"a:1\"; it must be a list of texts, each a host and",
            ),
            ("[cluster]\npeers = [\"a:1\", \"b\"]", "2:9: peers[1] is \"b\"; it must be a host and a port"),
            ("[cluster]\npeers_dns = \"\"", "2:13: peers_dns is \"\"; it must be a DNS name and a port"),
            ("[cluster]\nname = \"Node 1\"", "2:8: name is \"Node 1\"; it must be a name such as \"node-2\""),
            ("[cluster]\nname = \"../a\"", "2:8: name is \"../a\"; it must be a name such as"),
            ("[cluster]\nzone = \"a/b\"", "2:8: zone is \"a/b\"; it must be 1 to 64 characters"),
            (
                "[cluster]\nlog_retain_mib = 15",
                "2:18: log_retain_mib is 15; it must be a whole number from 16",
            ),
            (
                "[cluster.tls]\nca = \"a\"\ncert = \"b\"",
                "1:1: tls has no key; it has all of ca, cert and key",
            ),
            ("[cluster.tls]\nca = \"\"", "2:6: ca is \"\"; it must be a file such as"),
            ("[cluster.tls]\nca = \"a\"\nsecret = \"b\"", "3:1: unknown field `secret`"),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.starts_with(&format!("etc/exesdb.toml:{expected}")), "{text}\n{error}\n{expected}");
        }
    }
}
