//! Whose state a role's state is. A store records for each role the component that keeps its state there, before that
//! component's first write; a role whose state is another component's does not start.
//!
//! The record is an entry of the store like any other (owner `host`, keyspace `roles`, key: the role), so a backup has it.

use serde::{Deserialize, Serialize};

use exesdb_storage::{Batch, Commit, CommitError, Direction, Operation, ReadError, Scan, Snapshot};

use crate::access::StoreAccess;
use crate::describe::Description;
use crate::names;
use crate::state::Tenancy;

/// Whom the records belong to in the storage; no component has this role.
const OWNER: &str = "host";

/// The keyspace of the records.
const KEYSPACE: &str = "roles";

/// The roles that keep state.
const ROLES: [&str; 2] = ["streams", "snapshots"];

/// The version of what the built-in components wrote in stores that have no record: all that were made before there
/// were any.
const UNRECORDED_STATE_VERSION: u32 = 1;

/// A component, as far as what it keeps is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateOwner {
    /// Its name; of a component that does not say one, `sha256:` and its digest.
    pub name: String,
    /// The version of the layout of what it keeps.
    pub state_version: u32,
    /// SHA-256 of its bytes, in hex; empty where it is not known.
    pub digest: String,
}

impl StateOwner {
    /// The identity of a component with these bytes that says this of itself.
    #[must_use]
    pub fn of(description: Option<&Description>, digest: &str) -> Self {
        let digest = digest.to_owned();
        match description {
            Some(said) => Self { name: said.name.clone(), state_version: said.state_version, digest },
            None => Self { name: format!("sha256:{digest}"), state_version: 0, digest },
        }
    }

    /// The component that kept the state of a role before there were records: the built-in one, which has its name.
    fn unrecorded(role: &str) -> Self {
        Self { name: role.to_owned(), state_version: UNRECORDED_STATE_VERSION, digest: String::new() }
    }
}

impl std::fmt::Display for StateOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (state version {})", self.name, self.state_version)
    }
}

/// What a role that starts does about the record.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// The record is right.
    Start,
    /// The record is missing, or names an older build, or a component that left nothing: it is written first.
    RecordFirst,
    /// The state is another's; the sentence says whose, and what to do.
    Refuse(String),
}

/// Decides whether a component may have the state of a role. `recorded` is the store's record; without one the state, if
/// there is any, was kept by the built-in component.
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

/// The components that keep a store's state, by role; none of a role that keeps nothing.
///
/// # Errors
///
/// What of the store could not be read.
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

/// Whether a component of the role has anything in the store.
fn has_state(snapshot: &Snapshot, role: &str) -> Result<bool, ReadError> {
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

/// Makes sure that the state of a role is this component's, and recorded as such, before an instance of it starts.
///
/// # Errors
///
/// The state is another's, or the store cannot be read or written: a sentence that says what to do.
pub(crate) async fn claim(tenancy: &Tenancy, running: &StateOwner) -> Result<(), String> {
    let role = tenancy.role;
    let store = tenancy.registry.get::<StoreAccess>(&names::store(&tenancy.store));
    let store = store.ok_or("the store is being restarted")?;
    let snapshot = store.reader.snapshot();
    let recorded = recorded(&snapshot, role)?;
    // Nearly always: a look at one entry.
    if recorded.as_ref() == Some(running) {
        return Ok(());
    }
    let has_state = has_state(&snapshot, role).map_err(|error| error.to_string())?;
    match decide(role, recorded.as_ref(), has_state, running) {
        Claim::Start => return Ok(()),
        Claim::Refuse(sentence) => return Err(sentence),
        Claim::RecordFirst => {}
    }
    match write(&store, role, running).await {
        Ok(()) => Ok(()),
        // Without the record, the next start would take what this component writes for another's.
        Err(error) if matches!(decide(role, recorded.as_ref(), true, running), Claim::Refuse(_)) => {
            Err(format!("it cannot be recorded that {running} keeps the store's {role}: {error}"))
        }
        Err(error) => {
            tracing::warn!(store = tenancy.store, role, %error, "the build of the component was not recorded");
            Ok(())
        }
    }
}

async fn write(store: &StoreAccess, role: &str, running: &StateOwner) -> Result<(), CommitError> {
    let value = serde_json::to_vec(running).expect("an identity is JSON");
    let put = Operation::Put {
        keyspace: KEYSPACE.to_owned(),
        key: role.as_bytes().to_vec(),
        value,
        key_stamps: Vec::new(),
        value_stamps: Vec::new(),
        chain: None,
    };
    let batch = Batch { guards: Vec::new(), operations: vec![put], events: 0 };
    let (reply, answer) = tokio::sync::oneshot::channel();
    let commit = Commit { owner: OWNER.to_owned(), batches: vec![batch] };
    store.writer.commit_making_room(commit, move |outcome| drop(reply.send(outcome)))?;
    answer.await.unwrap_or(Err(CommitError::Closed)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::{Claim, StateOwner, decide};

    fn identity(name: &str, state_version: u32, digest: &str) -> StateOwner {
        StateOwner { name: name.to_owned(), state_version, digest: digest.to_owned() }
    }

    #[test]
    fn a_role_starts_on_its_own_state_alone() {
        let ours = identity("acme", 2, "d1");
        let builtin = identity("snapshots", 1, "d9");
        let refused = |claim: &Claim| matches!(claim, Claim::Refuse(_));
        // recorded, whether there is state, what runs, whether it is refused
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
    fn a_refusal_says_whose_the_state_is_and_what_to_do() {
        let ours = identity("acme", 2, "d1");
        let Claim::Refuse(sentence) = decide("snapshots", None, true, &ours) else {
            panic!("it is another's")
        };
        for part in [
            "snapshots (state version 1)",
            "acme (state version 2)",
            "nothing is damaged",
            "[store.components]",
        ] {
            assert!(sentence.contains(part), "{part}: {sentence}");
        }
        let newer = identity("acme", 3, "d1");
        let Claim::Refuse(sentence) = decide("snapshots", Some(&newer), true, &ours) else {
            panic!("too new")
        };
        assert!(sentence.contains("version 3") && sentence.contains("version 2"), "{sentence}");
    }
}
