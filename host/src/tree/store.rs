//! `store`: opens the database, which owns the committer thread, and registers it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use exesdb_plugin::{StoreAccess, names};
use exesdb_pubsub::Bus;
use exesdb_storage::{OpenError, Options, Store};
use exesdb_supervisor::{ChildSpec, Context, Reason, Shutdown, Start};
use tokio::sync::oneshot;

use super::compactor::Compactor;
use crate::config::StoreConfig;

/// How long a starting store waits for its predecessor to release the database. A killed committer first finishes what
/// it is writing, which takes long on a slow disk.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(10);

/// Pause between two attempts to open the database.
const PREDECESSOR_POLL: Duration = Duration::from_millis(5);

/// Pause between two attempts to write to a disk that failed.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Time to close: the committer writes what it has accepted, which takes long on a slow disk.
const CLOSE_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn child(config: &StoreConfig, folder: PathBuf) -> ChildSpec {
    let name = config.name.clone();
    let options = options(config);
    let start = move |context| start(context, name.clone(), folder.clone(), options.clone());
    ChildSpec::worker("store", start).shutdown(Shutdown::Timeout(CLOSE_WITHIN))
}

/// The options of a store's database or replica.
pub(super) fn options(config: &StoreConfig) -> Options {
    Options {
        reserve_bytes: u64::from(config.disk_reserve_mib) << 20,
        open_tables: config.open_tables,
        ..super::options::options()
    }
}

async fn start(context: Context, name: String, folder: PathBuf, options: Options) -> Result<Start, Reason> {
    let opened = {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || open(&folder, &options)).await
    };
    let store = opened.map_err(Reason::error)?.map_err(Reason::error)?;
    let (poisoned, poison) = oneshot::channel();
    store.on_poisoned(move |reason| {
        // If the child has ended already, its successor finds out for itself.
        drop(poisoned.send(reason.to_owned()));
    });
    let access = StoreAccess::of(&store);
    let durable = access.reader().next_position();
    let registration = context.registry().register(names::store(&name), Arc::new(access));
    // The predecessor may have ended between a commit and its publication: wake all followers to read what is durable.
    if let Some(bus) = context.registry().get::<Bus>(&names::pubsub(&name)) {
        bus.resync(durable);
    }
    let store = Arc::new(store);
    let compactor = Arc::new(Compactor::of(&store));
    let compactor = context.registry().register(Compactor::name(&name), compactor);
    let closing = Closing(Some(store));
    Ok(Start::running(async move {
        let shutdown = context.shutdown();
        let reason = tokio::select! {
            () = shutdown.requested() => Reason::Shutdown,
            reason = failed(poison, folder) => reason,
        };
        drop((registration, compactor));
        closing.close().await;
        reason
    }))
}

/// Completes when the store was poisoned and can be opened again. Until then the store serves reads from its last durable
/// state: ending at once would end those too, and a disk that takes no writes would use up the restarts of the store.
async fn failed(poison: oneshot::Receiver<String>, folder: PathBuf) -> Reason {
    let reason = poison.await.unwrap_or_else(|_| "the committer is gone".into());
    tracing::error!(reason, "the store reads on, and is opened again when its disk takes writes");
    loop {
        let folder = folder.clone();
        if let Ok(Ok(())) = tokio::task::spawn_blocking(move || Store::probe(&folder)).await {
            return Reason::error(format!("poisoned: {reason}"));
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

fn open(folder: &Path, options: &Options) -> Result<Store, OpenError> {
    let give_up = Instant::now() + PREDECESSOR_WAIT;
    loop {
        match Store::open(folder, options.clone()) {
            Err(OpenError::Locked { .. }) if Instant::now() < give_up => std::thread::sleep(PREDECESSOR_POLL),
            outcome => return outcome,
        }
    }
}

/// Closes the database on a blocking thread, because closing waits for the disk; also when the child is killed. A
/// compaction in progress holds the database, which is then closed after it.
struct Closing(Option<Arc<Store>>);

impl Closing {
    async fn close(mut self) {
        let store = self.0.take();
        // A panic was reported by its own thread.
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
