//! The registry as records, and the difference of two as a commit.

use std::collections::BTreeMap;

use exesdb_storage::limits::{PAGE_BYTES_MAX, PAGE_ENTRIES_MAX};
use exesdb_storage::{Batch, Changes, Commit, Direction, Engine, Guard, Scan, Snapshot, push_put};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Registry, RegistryError};

/// Owner of the keyspaces.
pub(super) const OWNER: &str = "cluster";

const HEAD: &str = "registry";
const NODES: &str = "nodes";
const STORES: &str = "stores";
const REPLICAS: &str = "replicas";
const HEAD_KEY: &[u8] = b"head";

/// Records by keyspace and key.
type Records = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

/// Reads all records. They are well-formed then, and may not fit each other.
pub(super) fn read<E: Engine>(snapshot: &Snapshot<E>) -> Result<Registry, RegistryError> {
    let stored_head = snapshot.get(OWNER, HEAD, HEAD_KEY)?.ok_or(RegistryError::Missing)?.to_vec();
    Ok(Registry {
        head: decode(HEAD, "head", &stored_head)?,
        stored_head,
        nodes: read_all(snapshot, NODES)?,
        stores: read_all(snapshot, STORES)?,
        replicas: read_all(snapshot, REPLICAS)?,
    })
}

fn decode<T: DeserializeOwned>(
    keyspace: &'static str,
    key: impl ToString,
    value: &[u8],
) -> Result<T, RegistryError> {
    serde_json::from_slice(value).map_err(|error| RegistryError::Malformed {
        keyspace,
        key: key.to_string(),
        reason: error.to_string(),
    })
}

fn read_all<E: Engine, T: DeserializeOwned>(
    snapshot: &Snapshot<E>,
    keyspace: &'static str,
) -> Result<BTreeMap<u64, T>, RegistryError> {
    let mut records = BTreeMap::new();
    let mut start = Vec::new();
    loop {
        let scan = Scan {
            keyspace: keyspace.to_owned(),
            start,
            end: None,
            direction: Direction::Forward,
            limit: PAGE_ENTRIES_MAX,
            max_bytes: PAGE_BYTES_MAX,
        };
        let page = snapshot.scan(OWNER, &scan)?;
        for (key, value) in &page.entries {
            let id = <[u8; 8]>::try_from(&**key).map(u64::from_be_bytes).map_err(|_| {
                RegistryError::Malformed {
                    keyspace,
                    key: format!("{:?}", &key[..key.len().min(32)]),
                    reason: "the key is no number of 8 bytes".to_owned(),
                }
            })?;
            records.insert(id, decode(keyspace, id, value)?);
        }
        match page.entries.last() {
            Some((last, _)) if page.more => start = [&**last, &[0]].concat(),
            _ => return Ok(records),
        }
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("records have text as keys, and nothing that can fail")
}

fn records(registry: &Registry) -> Records {
    let mut records = Records::new();
    let key = |id: &u64| id.to_be_bytes().to_vec();
    records.insert((HEAD, HEAD_KEY.to_vec()), registry.stored_head.clone());
    records.extend(registry.nodes.iter().map(|(id, node)| ((NODES, key(id)), encode(node))));
    records.extend(registry.stores.iter().map(|(id, store)| ((STORES, key(id)), encode(store))));
    records.extend(registry.replicas.iter().map(|(id, replica)| ((REPLICAS, key(id)), encode(replica))));
    records
}

/// The commit that makes `after`, whose head gets its stored form here, of `before`; of nothing, if there is none.
pub(super) fn commit(before: Option<&Registry>, after: &mut Registry) -> Commit {
    after.stored_head = encode(&after.head);
    let old = before.map(records).unwrap_or_default();
    let new = records(after);
    let mut changes = BTreeMap::<&'static str, Changes>::new();
    for (place @ (keyspace, key), value) in &new {
        if old.get(place) != Some(value) {
            push_put(&mut changes.entry(keyspace).or_default().puts, key, value, &[], &[]);
        }
    }
    for place @ (keyspace, key) in old.keys() {
        if !new.contains_key(place) {
            changes.entry(keyspace).or_default().deletes.push(key.clone());
        }
    }
    let named = |(keyspace, changes): (&str, Changes)| Changes { keyspace: keyspace.to_owned(), ..changes };
    let changes = changes.into_iter().map(named).collect();
    let (keyspace, key) = (HEAD.to_owned(), HEAD_KEY.to_vec());
    let guard = match before {
        None => Guard::Absent { keyspace, key },
        Some(before) => Guard::Equals { keyspace, key, value: before.stored_head.clone() },
    };
    let batch = Batch { guards: vec![guard], changes, ..Batch::default() };
    Commit { owner: OWNER.to_owned(), batches: vec![batch], ..Commit::default() }
}
