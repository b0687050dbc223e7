//! `store`: opens the database, which owns the committer thread, and lets others find it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use exesdb_plugin::{StoreAccess, names};
use exesdb_pubsub::Bus;
use exesdb_storage::{OpenError, Options, Store};
use exesdb_supervisor::{ChildSpec, Context, Reason, Shutdown, Start};
use tokio::sync::oneshot;

/// How long a starting store waits for its predecessor to let go of the database. A committer that was killed first
/// finishes what it is writing, which a slow disk may draw out.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(10);

/// Pause between two attempts to open.
const PREDECESSOR_POLL: Duration = Duration::from_millis(5);

/// Time to close: the committer writes what it has accepted, and a slow disk may draw that out.
const CLOSE_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn child(name: &str, folder: PathBuf) -> ChildSpec {
    let name = name.to_owned();
    let start = move |context| start(context, name.clone(), folder.clone());
    ChildSpec::worker("store", start).shutdown(Shutdown::Timeout(CLOSE_WITHIN))
}

async fn start(context: Context, name: String, folder: PathBuf) -> Result<Start, Reason> {
    let opened = tokio::task::spawn_blocking(move || open(&folder)).await;
    let store = opened.map_err(Reason::error)?.map_err(Reason::error)?;
    let (poisoned, poison) = oneshot::channel();
    store.on_poisoned(move |reason| {
        // The child may have ended already, and then its successor finds out for itself.
        drop(poisoned.send(reason.to_owned()));
    });
    let access = StoreAccess::of(&store);
    let durable = access.reader.next_position();
    let registration = context.registry().register(names::store(&name), Arc::new(access));
    // What the predecessor made durable and nobody was told of, followers find now.
    if let Some(bus) = context.registry().get::<Bus>(&names::pubsub(&name)) {
        bus.lost(durable);
    }
    let closing = Closing(Some(store));
    Ok(Start::running(async move {
        let shutdown = context.shutdown();
        let reason = tokio::select! {
            () = shutdown.requested() => Reason::Shutdown,
            reason = poison => Reason::error(format!(
                "poisoned: {}",
                reason.unwrap_or_else(|_| "the committer is gone".into())
            )),
        };
        drop(registration);
        closing.close().await;
        reason
    }))
}

fn open(folder: &Path) -> Result<Store, OpenError> {
    let give_up = Instant::now() + PREDECESSOR_WAIT;
    loop {
        match Store::open(folder, Options::default()) {
            Err(OpenError::Locked { .. }) if Instant::now() < give_up => std::thread::sleep(PREDECESSOR_POLL),
            outcome => return outcome,
        }
    }
}

/// Closes the database away from tokio's threads, also when the child is killed: closing waits for the disk.
struct Closing(Option<Store>);

impl Closing {
    async fn close(mut self) {
        let store = self.0.take();
        // A panic in there was reported by its own thread.
        drop(tokio::task::spawn_blocking(move || drop(store)).await);
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(store) = self.0.take() {
            std::thread::spawn(move || drop(store));
        }
    }
}
