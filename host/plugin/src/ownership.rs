//! Protects a role's state from other components. Before a component's first write, the store records it as the owner of the
//! role's state; a role whose state is owned by another component does not start.
//!
//! The record is an ordinary entry of the store (owner `host`, keyspace `roles`, key: the role), so backups contain it.

use serde::{Deserialize, Serialize};

use exesdb_storage::{Batch, Commit, Direction, Operation, ReadError, Scan, Snapshot};

use crate::access::{CommitFailure, StoreAccess, Tenure};
use crate::context::ComponentContext;
use crate::description::Description;
use crate::names;

/// The owner of the records in the storage; no component has this role.
const OWNER: &str = "host";

/// The keyspace of the records.
const KEYSPACE: &str = "roles";

/// The roles that have state.
const ROLES: [&str; 3] = ["streams", "snapshots", "subscriptions"];

/// The role whose component writes the log, and the name of the built-in one.
const LOG_KEEPER: &str = "streams";

/// The version of the built-in components' state in stores without a record, which are older than records.
const UNRECORDED_STATE_VERSION: u32 = 1;

/// The owner of a role's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateOwner {
    /// The component's name; `sha256:` and its digest if it does not describe itself.
    pub name: String,
    /// The version of the layout of its state.
    pub state_version: u32,
    /// SHA-256 of the component's bytes, in hex; empty if unknown.
    pub digest: String,
}

impl StateOwner {
    /// The owner that a component with this description and digest is.
    #[must_use]
    pub fn of(description: Option<&Description>, digest: &str) -> Self {
        let digest = digest.to_owned();
        match description {
            Some(described) => {
                Self { name: described.name.clone(), state_version: described.state_version, digest }
            }
            None => Self { name: format!("sha256:{digest}"), state_version: 0, digest },
        }
    }

    /// The owner of a state without a record: the built-in component, which is named like its role.
    fn unrecorded(role: &str) -> Self {
        Self { name: role.to_owned(), state_version: UNRECORDED_STATE_VERSION, digest: String::new() }
    }
}

impl std::fmt::Display for StateOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (state version {})", self.name, self.state_version)
    }
}

/// What a starting role does about the record.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// The record is correct.
    Start,
    /// The record is missing, or names an older build or a component without state: it is written first.
    RecordFirst,
    /// The state is another component's. The message says whose, and what to do.
    Refuse(String),
}

/// Decides whether a component may use a role's state. `recorded` is the store's record; without one, any state is the
/// built-in component's.
fn decide(role: &str, recorded: Option<&StateOwner>, has_state: bool, running: &StateOwner) -> Claim {
    let unrecorded = StateOwner::unrecorded(role);
    let owner = match recorded {
        Some(recorded) => recorded,
        None if has_state => &unrecorded,
        None => return Claim::RecordFirst,
    };
    let same = owner.name == running.name && owner.state_version == running.state_version;
    if !same && !has_state {
        return Claim::RecordFirst;
    }
    if owner.name != running.name {
        return Claim::Refuse(format!(
            "the store's {role} are kept by the component {owner}, and the configuration has {running}, which cannot read them: nothing is damaged; name the component that keeps them in [store.components] {role}, or use {} in a store of its own",
            running.name
        ));
    }
    if !same {
        let (kept, built) = (owner.state_version, running.state_version);
        return Claim::Refuse(format!(
            "the store's {role} are kept by {} in state version {kept}, and this build of it keeps version {built}: nothing is damaged; use a build with state version {kept}",
            owner.name
        ));
    }
    if recorded.is_some_and(|recorded| recorded.digest == running.digest) {
        Claim::Start
    } else {
        Claim::RecordFirst
    }
}

/// The owners of a store's state, by role, for the roles that have state.
///
/// # Errors
///
/// The store or a record could not be read.
pub fn owners(snapshot: &Snapshot) -> Result<Vec<(&'static str, StateOwner)>, String> {
    let mut owners = Vec::new();
    for role in ROLES {
        if !has_state(snapshot, role).map_err(|error| error.to_string())? {
            continue;
        }
        owners.push((role, recorded(snapshot, role)?.unwrap_or_else(|| StateOwner::unrecorded(role))));
    }
    Ok(owners)
}

fn recorded(snapshot: &Snapshot, role: &str) -> Result<Option<StateOwner>, String> {
    let found = snapshot.get(OWNER, KEYSPACE, role.as_bytes()).map_err(|error| error.to_string())?;
    let Some(found) = found else { return Ok(None) };
    let record = serde_json::from_slice(&found).map_err(|error| {
        format!("the record of who keeps the store's {role} cannot be read ({error}); a newer version may have written it")
    })?;
    Ok(Some(record))
}

/// Whether the role has any state in the store.
fn has_state(snapshot: &Snapshot, role: &str) -> Result<bool, ReadError> {
    if role == LOG_KEEPER && snapshot.next_position() > 0 {
        return Ok(true);
    }
    let keyspaces = snapshot.keyspaces()?.into_iter().filter(|(owner, _)| owner == role);
    for (_, keyspace) in keyspaces {
        let scan = Scan {
            keyspace,
            start: Vec::new(),
            end: None,
            direction: Direction::Forward,
            limit: 1,
            max_bytes: 1,
        };
        if !snapshot.scan(role, &scan)?.entries.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether it is recorded who keeps the state of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// It is.
    Recorded,
    /// Not yet, because this node does not lead the store. An instance that only reads may start.
    NotYet,
}

/// Makes sure that a component owns its role's state, and records that, before an instance decides.
///
/// # Errors
///
/// The state is another component's, or the store cannot be read or written. The message says what to do.
pub(crate) async fn claim(context: &ComponentContext, running: &StateOwner) -> Result<Claimed, String> {
    let role = context.role;
    let store = context.registry.get::<StoreAccess>(&names::store(&context.store));
    let store = store.ok_or("the store is being restarted")?;
    // Before the state is read: what is decided on it belongs to this tenure, or to none.
    let tenure = store.backend().leads();
    let snapshot = store.reader().applied();
    let recorded = recorded(&snapshot, role)?;
    let has_old_positions = snapshot.next_position() > 0 && !snapshot.log_has_begun();
    if role == LOG_KEEPER && has_old_positions {
        check_old_positions(recorded.as_ref(), running)?;
    }
    // Nearly always the case, so that one entry is read.
    if recorded.as_ref() == Some(running) {
        return Ok(Claimed::Recorded);
    }
    let has_state = has_state(&snapshot, role).map_err(|error| error.to_string())?;
    match decide(role, recorded.as_ref(), has_state, running) {
        Claim::Start => return Ok(Claimed::Recorded),
        Claim::Refuse(message) => return Err(message),
        Claim::RecordFirst => {}
    }
    let written = match tenure {
        Ok(tenure) => write(&store, tenure, role, running).await,
        Err(failure) => Err(failure),
    };
    match written {
        Ok(()) => Ok(Claimed::Recorded),
        Err(CommitFailure::NotLeader { .. } | CommitFailure::NoLeader) => Ok(Claimed::NotYet),
        // Without the record, the next start would take this component's state for another's.
        Err(error) if matches!(decide(role, recorded.as_ref(), true, running), Claim::Refuse(_)) => {
            Err(format!("it cannot be recorded that {running} keeps the store's {role}: {error}"))
        }
        Err(error) => {
            tracing::warn!(store = context.store, role, %error, "the build of the component was not recorded");
            Ok(Claimed::Recorded)
        }
    }
}

/// Refuses positions that another component than the built-in one took before stores had a log: only the built-in one's old
/// events can be read as records of a log.
fn check_old_positions(recorded: Option<&StateOwner>, running: &StateOwner) -> Result<(), String> {
    let unrecorded = StateOwner::unrecorded(LOG_KEEPER);
    let owner = recorded.unwrap_or(&unrecorded);
    if owner.name == LOG_KEEPER && running.name == LOG_KEEPER {
        return Ok(());
    }
    Err(format!(
        "the store's events were kept by the component {owner} in keyspaces of its own, and this version of exesdb has the events of {running} in the store's log: nothing is damaged; export them with the version that wrote them (`exesdb export`), and import them into a new store"
    ))
}

async fn write(
    store: &StoreAccess,
    tenure: Tenure,
    role: &str,
    running: &StateOwner,
) -> Result<(), CommitFailure> {
    let value = serde_json::to_vec(running).expect("an identity is JSON");
    let put = Operation::Put {
        keyspace: KEYSPACE.to_owned(),
        key: role.as_bytes().to_vec(),
        value,
        key_stamps: Vec::new(),
        value_stamps: Vec::new(),
        chain: None,
    };
    let batch = Batch { operations: vec![put], ..Batch::default() };
    let commit =
        Commit { owner: OWNER.to_owned(), batches: vec![batch], makes_room: true, ..Commit::default() };
    store.commit(tenure, commit).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::{Claim, StateOwner, check_old_positions, decide};

    fn identity(name: &str, state_version: u32, digest: &str) -> StateOwner {
        StateOwner { name: name.to_owned(), state_version, digest: digest.to_owned() }
    }

    #[test]
    fn a_role_starts_on_its_own_state_only() {
        let ours = identity("acme", 2, "d1");
        let builtin = identity("snapshots", 1, "d9");
        let refused = |claim: &Claim| matches!(claim, Claim::Refuse(_));
        // record, has state, running component, is refused
        let table = [
            (None, false, &ours, false),
            (None, true, &ours, true),
            (None, true, &builtin, false),
            (None, false, &builtin, false),
            (Some(identity("acme", 2, "d0")), true, &ours, false),
            (Some(identity("acme", 1, "d1")), true, &ours, true),
            (Some(identity("acme", 3, "d1")), true, &ours, true),
            (Some(identity("other", 2, "d1")), true, &ours, true),
            (Some(identity("other", 2, "d1")), false, &ours, false),
            (Some(identity("acme", 1, "d1")), false, &ours, false),
            (Some(identity("snapshots", 1, "")), true, &ours, true),
        ];
        for (recorded, has_state, running, expected) in table {
            let claim = decide("snapshots", recorded.as_ref(), has_state, running);
            assert_eq!(refused(&claim), expected, "{recorded:?} {has_state} {running}: {claim:?}");
        }
        assert_eq!(decide("snapshots", Some(&ours), true, &ours), Claim::Start);
        assert_eq!(decide("snapshots", Some(&identity("acme", 2, "d0")), true, &ours), Claim::RecordFirst);
    }

    #[test]
    fn old_positions_are_the_built_in_components() {
        let (builtin, acme) = (identity("streams", 1, "d1"), identity("acme", 2, "d2"));
        assert_eq!(check_old_positions(None, &builtin), Ok(()));
        assert_eq!(check_old_positions(Some(&builtin), &builtin), Ok(()));
        for (recorded, running) in [(None, &acme), (Some(&acme), &acme), (Some(&acme), &builtin)] {
            let said = check_old_positions(recorded, running).unwrap_err();
            assert!(said.contains("exesdb export") && said.contains("acme"), "{said}");
        }
    }

    #[test]
    fn a_refusal_names_the_owner_and_the_remedy() {
        let ours = identity("acme", 2, "d1");
        let Claim::Refuse(message) = decide("snapshots", None, true, &ours) else {
            panic!("it is another's")
        };
        for part in [
            "snapshots (state version 1)",
            "acme (state version 2)",
            "nothing is damaged",
            "[store.components]",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        let newer = identity("acme", 3, "d1");
        let Claim::Refuse(message) = decide("snapshots", Some(&newer), true, &ours) else {
            panic!("too new")
        };
        assert!(message.contains("version 3") && message.contains("version 2"), "{message}");
    }
}
