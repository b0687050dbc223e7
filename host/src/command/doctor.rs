//! `exesdb doctor`: verifies a store, explains what is wrong, and repairs what can be repaired.
//!
//! The storage comes first: opening checks the durable mark, the journals and the head; then every block of every keyspace is
//! read, and each record of the log with the chain. The components come second, and compare what they wrote. They run as in a host, but without a gateway.

mod explain;

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail, ensure};
use clap::Args;
use exesdb_plugin::contract::types::Error;
use exesdb_plugin::{Clock, VerifyStep};
use exesdb_storage::{OpenError, Options, Snapshot, Store};
use futures_util::future::BoxFuture;
use serde_json::json;

use super::progress;
use crate::control::Keeper;
use crate::data_directory::{absence, has_store};
use crate::maintenance;
use crate::offline::{self, OfflineHost, OfflineOptions, OfflineStore, Opening};
use crate::output::{Output, printable};
use crate::tree::Persistence;

/// Records of the log that are checked in one step.
const LOG_STEP: usize = 10_000;

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb doctor --data /var/lib/exesdb
  exesdb doctor --config exesdb.toml --store orders
  exesdb doctor --repair

Everything is read, and each problem is printed with its place. With --repair, problems are repaired where other data
allows it, and nothing that was acknowledged is given up for that.

Exit codes: 0 nothing is wrong, or everything was repaired; 1 something is wrong.")]
pub struct DoctorOptions {
    /// Repair what can be repaired without losing anything acknowledged.
    #[arg(long)]
    pub repair: bool,

    /// Print each finding and the summary as one JSON object per line.
    #[arg(long)]
    pub json: bool,

    /// The store.
    #[command(flatten)]
    pub offline: OfflineOptions,
}

/// Examines the store.
pub fn run(options: &DoctorOptions) -> anyhow::Result<()> {
    let store = options.offline.store()?;
    let folder = store.folder();
    ensure!(has_store(&folder)?, absence(&folder));
    let data = store.prepare()?;
    let mut doctor = Doctor {
        folder: data.join(&store.config.name),
        store: store.config.name.clone(),
        repair: options.repair,
        json: options.json,
        output: Output::stdout(),
        tally: Tally::default(),
        log_is_sound: true,
    };
    let readable = doctor.storage()?;
    if readable {
        offline::run(doctor.components(&store, &data))?;
    } else {
        doctor.print("The components' data was not examined: what they would read is damaged.")?;
    }
    doctor.conclude()
}

/// Number of entries examined, and of problems found.
#[derive(Debug, Default)]
struct Tally {
    entries: u64,
    found: u64,
    repaired: u64,
    /// The problems that no repair can put right.
    beyond_repair: u64,
    /// Components that cannot verify their data.
    not_examined: u64,
}

struct Doctor {
    folder: PathBuf,
    store: String,
    repair: bool,
    json: bool,
    output: Output,
    tally: Tally,
    log_is_sound: bool,
}

/// A problem.
struct Finding<'a> {
    /// `storage`, or the name of a component.
    layer: &'a str,
    place: &'a str,
    problem: &'a str,
    repaired: bool,
}

impl Doctor {
    /// Opens the store and reads all of it. Returns whether all of it could be read.
    fn storage(&mut self) -> anyhow::Result<bool> {
        let store = match Store::open(&self.folder, Options::default()) {
            Ok(store) => store,
            Err(error) => self.repair_opening(&error)?,
        };
        let snapshot = store.snapshot();
        let head = snapshot.head();
        self.print(&format!(
            "{}: opens; mark, journals and head agree: {} batches, positions below {}",
            self.folder.display(),
            head.sequence,
            head.next_position
        ))?;
        let bar = progress::bytes();
        let report = snapshot.verify(&mut |progress| {
            bar.set_position(progress.bytes);
            bar.set_message(format!("{}.{}", progress.owner, progress.keyspace));
        });
        bar.finish_and_clear();
        let report = report?;
        let keepers = match Keeper::all(&snapshot) {
            Ok(keepers) => keepers,
            // The list of keepers itself may be damaged, which is a finding already.
            Err(_) if !report.is_sound() => Vec::new(),
            Err(error) => return Err(anyhow::Error::msg(error)),
        };
        for keeper in &keepers {
            self.print(&keeper.sentence())?;
        }
        for keyspace in &report.keyspaces {
            self.print(&format!(
                "{}.{}: {} entries, {} bytes read",
                keyspace.owner, keyspace.keyspace, keyspace.entries, keyspace.bytes
            ))?;
        }
        for finding in &report.findings {
            let key = finding.key.as_deref().unwrap_or_default().escape_ascii();
            let place = format!("{}.{} at key \"{key}\"", finding.owner, finding.keyspace);
            self.report(&Finding {
                layer: "storage",
                place: &place,
                problem: &finding.what,
                repaired: false,
            })?;
        }
        let listed = report.findings.len() as u64;
        self.tally.found += report.findings_total.saturating_sub(listed);
        self.tally.entries += report.entries();
        self.tally.beyond_repair += report.findings_total;
        if report.is_sound() {
            self.log(&snapshot)?;
        } else {
            let is_builtin = |keeper: &Keeper| keeper.role == "streams" && keeper.component.name == "streams";
            let has_positions = keepers.iter().any(is_builtin);
            for line in explain::salvage(&report.findings, &self.store, has_positions) {
                self.print(&line)?;
            }
        }
        Ok(report.is_sound())
    }

    /// Checks that the log's records follow from one another.
    fn log(&mut self, snapshot: &Snapshot) -> anyhow::Result<()> {
        let bar = progress::count("records");
        let (mut from, mut examined) = (None, 0_u64);
        loop {
            let step = snapshot.verify_log(from.as_ref(), LOG_STEP)?;
            examined += step.examined;
            bar.set_position(examined);
            for finding in &step.findings {
                let place = finding.place.to_string();
                let problem = &finding.what;
                self.report(&Finding { layer: "storage", place: &place, problem, repaired: false })?;
            }
            self.tally.found += step.found.saturating_sub(step.findings.len() as u64);
            self.tally.beyond_repair += step.found;
            self.log_is_sound &= step.found == 0;
            match step.next {
                None => break,
                next => from = next,
            }
        }
        bar.finish_and_clear();
        self.print(&format!("the log: {examined} records follow from one another"))
    }

    /// Explains why the store does not open. If only its durable mark is missing and a repair is requested, opens it with a new
    /// mark.
    fn repair_opening(&mut self, error: &OpenError) -> anyhow::Result<Store> {
        let problem = error.to_string();
        let mut reopened = None;
        if self.repair && explain::may_lack_only_its_mark(error) {
            let options = Options { rebuild_mark: true, ..Options::default() };
            reopened = Store::open(&self.folder, options).ok();
        }
        let repaired = reopened.is_some();
        self.report(&Finding { layer: "storage", place: "opening", problem: &problem, repaired })?;
        if let Some(store) = reopened {
            self.print("The durable mark was made anew from what is there. What was acknowledged and is not there cannot be told any more: compare the end of the store with what its writers know.")?;
            return Ok(store);
        }
        for line in explain::explain(error, &self.folder, self.repair) {
            self.print(&line)?;
        }
        self.output.flush()?;
        bail!("the store does not open, so its content was not examined");
    }

    /// Lets the components compare what they wrote.
    async fn components(&mut self, store: &OfflineStore, data: &Path) -> anyhow::Result<()> {
        let opening =
            Opening { config: store.config.clone(), folder: self.folder.clone(), clock: Clock::System };
        let host = match OfflineHost::start(data, vec![opening]).await {
            Ok(host) => host,
            Err(error) => {
                self.print("The components' data was not examined: they do not start on it.")?;
                self.output.flush()?;
                return Err(error);
            }
        };
        let examined = match host.stores() {
            [persistence] => self.roles(persistence).await,
            _ => Err(anyhow!("one store was started, and others run")),
        };
        host.stop().await;
        examined
    }

    async fn roles(&mut self, persistence: &Persistence) -> anyhow::Result<()> {
        // What the log determines is not repaired from a log that is damaged.
        let repair = self.repair && self.log_is_sound;
        let streams = persistence.writers();
        self.component("streams", &|from| Box::pin(streams.verify(from, repair))).await?;
        let snapshots = persistence.snapshot_workers();
        self.component("snapshots", &|from| Box::pin(snapshots.verify(from, repair))).await?;
        let subscriptions = persistence.subscription_workers();
        self.component("subscriptions", &|from| Box::pin(subscriptions.verify(from, repair))).await
    }

    async fn component<'a>(
        &mut self,
        component: &str,
        step: &dyn Fn(Option<Vec<u8>>) -> BoxFuture<'a, Result<VerifyStep, Error>>,
    ) -> anyhow::Result<()> {
        let bar = progress::count("entries");
        let (mut from, mut examined) = (None, 0_u64);
        loop {
            let done = match step(from.clone()).await {
                Ok(done) => done,
                Err(error) if maintenance::is_unsupported(&error) => {
                    bar.finish_and_clear();
                    return self.not_examined(component, &maintenance::explain(&error));
                }
                Err(error) => {
                    let why = maintenance::explain(&error);
                    bail!("the component {component} could not verify its data: {why}");
                }
            };
            examined = examined.saturating_add(done.examined);
            bar.set_position(examined);
            for finding in &done.findings {
                let (place, problem) = (&finding.place, &finding.problem);
                self.report(&Finding { layer: component, place, problem, repaired: finding.is_repaired })?;
            }
            self.tally.found += done.found.saturating_sub(done.findings.len() as u64);
            match done.next {
                None => break,
                next if next == from => bail!(
                    "the component {component} stands still: a step of its verifying ended where it began; report this \
                     to the component's author"
                ),
                next => from = next,
            }
        }
        bar.finish_and_clear();
        self.tally.entries += examined;
        self.print(&format!("{component}: {examined} entries compared"))
    }

    /// Says that a component cannot be asked to verify its data.
    fn not_examined(&mut self, component: &str, why: &str) -> anyhow::Result<()> {
        self.tally.not_examined += 1;
        if self.json {
            return self.output.line(json!({ "layer": component, "not_examined": why }));
        }
        self.output.line(format!("{component}: not examined: {}", printable(why)))
    }

    fn report(&mut self, finding: &Finding<'_>) -> anyhow::Result<()> {
        let Finding { layer, place, problem, repaired } = finding;
        self.tally.found += 1;
        self.tally.repaired += u64::from(*repaired);
        if self.json {
            let line = json!({ "layer": layer, "place": place, "problem": problem, "repaired": repaired });
            return self.output.line(line);
        }
        let done = if *repaired { "REPAIRED" } else { "FOUND" };
        self.output.line(format!("{done}  {layer}: {}: {}", printable(place), printable(problem)))
    }

    /// Prints a line for people; with `--json`, nothing.
    fn print(&mut self, text: &str) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        self.output.line(text)
    }

    fn conclude(mut self) -> anyhow::Result<()> {
        let Tally { entries, found, repaired, beyond_repair, not_examined } = self.tally;
        let left = found - repaired;
        if self.json {
            let sum = json!({
                "examined": entries,
                "found": found,
                "repaired": repaired,
                "components_not_examined": not_examined,
            });
            self.output.line(sum)?;
        } else if found == 0 && not_examined > 0 {
            self.output.line("Nothing is wrong in what was examined.")?;
        } else if found == 0 {
            self.output.line("Nothing is wrong.")?;
        } else {
            self.output.line(format!("{found} found, {repaired} repaired, {left} left"))?;
        }
        self.output.flush()?;
        let what = if left == 1 { "1 thing is wrong".to_owned() } else { format!("{left} things are wrong") };
        match (left, self.repair || left == beyond_repair) {
            (0, _) => Ok(()),
            (_, false) => {
                bail!("{what}; copy the folder, then `exesdb doctor --repair` repairs what can be")
            }
            (_, true) => bail!(
                "{what} and cannot be repaired from other data; restore a backup, or export what can be read"
            ),
        }
    }
}
