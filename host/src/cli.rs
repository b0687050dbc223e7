//! The command line: its subcommands and exit codes.

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::command;
use crate::command::cluster::status::NotRedundant;
use crate::command::incomplete::Incomplete;
use crate::logging::parse_filter;
use crate::serve;

const EXAMPLES: &str = "\
Examples:
  exesdb serve                                    one store `main` on 127.0.0.1:2113, data in ./exesdb-data
  exesdb append orders-1 --type placed --data '{\"total\":12}'
  exesdb read orders-1                            its events
  exesdb follow                                   every event of the store, and then live
  exesdb tree --watch                             the supervision tree
  exesdb kill main/system/gateway-system          see what is restarted
  exesdb cluster local 3 --dir ./demo             three nodes on this machine

Commands that read or write events use the gateway (--url). `tree`, `kill`, `restart`, `events`, `backup`, `scavenge` and
`compact` use the host's control socket in its data directory (--data). `restore` works on a data directory
whose host does not serve the store, and `doctor` on one whose host is stopped. `cluster --help` says it of those of a cluster.

Exit codes: 0 done, 1 failed (`doctor`: something is wrong), 2 invalid command line, 3 incomplete (`import`: something was
refused; `follow`: the stream was deleted for good). `cluster status` has its own.";

/// Exit code of a command that failed. Clap uses 2 for an invalid command line.
const FAILURE: u8 = 1;
/// Exit code of a command that did a part of its work and cannot do the rest.
const INCOMPLETE: u8 = 3;

/// The exit code of the process after this error of its command.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<NotRedundant>() {
        Some(error) => error.exit_code(),
        None if error.is::<Incomplete>() => INCOMPLETE,
        None => FAILURE,
    }
}

/// Width of help texts. They contain files and commands whose lines must not be broken, and which are shorter.
const HELP_COLUMNS: usize = 120;

/// An event store whose parts are WebAssembly components under Erlang-style supervision.
#[derive(Debug, Parser)]
#[command(name = "exesdb", version, after_help = EXAMPLES, term_width = HELP_COLUMNS)]
pub struct Cli {
    /// What to log to stderr: a level, or `target=level` pairs (`serve` defaults to info, the others to warn).
    #[arg(long, global = true, env = "EXESDB_LOG", value_name = "FILTER", value_parser = parse_filter)]
    pub log: Option<String>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands, each in its own file.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the stores and their gateway until Ctrl-C, SIGTERM or SIGHUP.
    Serve(command::serve::ServeOptions),
    /// Append events to a stream.
    Append(command::append::AppendOptions),
    /// Append to several streams at once, under conditions: all or none.
    Transact(command::transact::TransactOptions),
    /// Delete a stream.
    Delete(command::delete::DeleteOptions),
    /// Set how long the events of a stream are kept.
    Retention(command::retention::RetentionOptions),
    /// Read events of a stream, or of the whole store.
    Read(command::read::ReadOptions),
    /// Read events and then wait for new ones, until Ctrl-C.
    Follow(command::follow::FollowOptions),
    /// List streams.
    Streams(command::streams::StreamsOptions),
    /// Record, read, list, delete and prune snapshots of streams.
    Snapshot(command::snapshot::SnapshotOptions),
    /// Create, list, describe, change and remove durable subscriptions, and what is parked.
    Subscription(command::subscription::SubscriptionOptions),
    /// Take and acknowledge the events of a durable subscription.
    Consume(command::consume::ConsumeOptions),
    /// Print what a topic says from now on: events of the store, or what happens in it.
    Listen(command::listen::ListenOptions),
    /// Write a store, or a part of it, to a file that `import` takes.
    Export(command::export::ExportOptions),
    /// Import an export, or events from a CSV or NDJSON file. Running it again adds nothing twice.
    Import(command::import::ImportOptions),
    /// Copy a running store into a file.
    Backup(command::backup::BackupOptions),
    /// Create a store from a backup, all of it or up to a position. A running host must not serve this store.
    Restore(command::restore::RestoreOptions),
    /// Remove what retention and deletion hide from a running store, and free its space.
    Scavenge(command::scavenge::ScavengeOptions),
    /// Rewrite the files of a running store without what was overwritten and deleted.
    Compact(command::scavenge::CompactOptions),
    /// Verify a whole store, explain what is wrong, and repair what can be repaired. Its host must be stopped.
    Doctor(command::doctor::DoctorOptions),
    /// Show the supervision tree.
    Tree(command::tree::TreeOptions),
    /// Kill a child of the supervision tree, to see what is restarted.
    Kill(command::kill::KillOptions),
    /// Start a child that is parked or ended, such as a store that gave up.
    Restart(command::restart::RestartOptions),
    /// Show what happens in the supervision tree: starts, exits, restarts.
    Events(command::events::EventsOptions),
    /// Make a cluster, add nodes, show their state, and move what they lead.
    Cluster(command::cluster::ClusterOptions),
    /// Print a completion script for a shell.
    Completions(command::completions::CompletionsOptions),
}

impl Cli {
    /// Runs the subcommand.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Serve(options) => serve::run(options.config()?),
            Command::Append(options) => wait_for(command::append::run(options)),
            Command::Transact(options) => wait_for(command::transact::run(options)),
            Command::Delete(options) => wait_for(command::delete::run(options)),
            Command::Retention(options) => wait_for(command::retention::run(options)),
            Command::Read(options) => wait_for(command::read::run(options)),
            Command::Follow(options) => wait_for(command::follow::run(options)),
            Command::Streams(options) => wait_for(command::streams::run(options)),
            Command::Snapshot(options) => wait_for(command::snapshot::run(options)),
            Command::Subscription(options) => wait_for(command::subscription::run(options)),
            Command::Consume(options) => wait_for(command::consume::run(options)),
            Command::Listen(options) => wait_for(command::listen::run(options)),
            Command::Export(options) => wait_for(command::export::run(options)),
            Command::Import(options) => wait_for(command::import::run(options)),
            Command::Backup(options) => wait_for(command::backup::run(options)),
            Command::Restore(options) => command::restore::run(&options),
            Command::Scavenge(options) => wait_for(command::scavenge::scavenge(options)),
            Command::Compact(options) => wait_for(command::scavenge::compact(options)),
            Command::Doctor(options) => command::doctor::run(&options),
            Command::Tree(options) => wait_for(command::tree::run(options)),
            Command::Kill(options) => wait_for(command::kill::run(options)),
            Command::Restart(options) => wait_for(command::restart::run(options)),
            Command::Events(options) => wait_for(command::events::run(options)),
            Command::Cluster(options) => wait_for(command::cluster::run(options)),
            Command::Completions(options) => command::completions::run(&options, &mut Cli::command()),
        }
    }
}

/// Runs a command that talks to a host. It mostly waits, so one thread is enough.
fn wait_for(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

#[cfg(test)]
mod tests {
    use super::{Cli, Command};
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn clap_accepts_the_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_and_arguments_have_descriptions() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn only_filters_are_under_the_heading_of_filters() {
        for name in ["read", "follow"] {
            let cli = Cli::command();
            let command = cli.find_subcommand(name).unwrap();
            let headed = |heading: Option<&str>| -> Vec<String> {
                let arguments =
                    command.get_arguments().filter(|argument| argument.get_help_heading() == heading);
                arguments.map(|argument| argument.get_id().to_string()).collect()
            };
            let filters = headed(Some("Filters of the whole store"));
            assert_eq!(
                filters,
                [
                    "types",
                    "tags",
                    "query",
                    "stream_prefixes",
                    "stream_pattern",
                    "type_pattern",
                    "correlation_id",
                    "causation_id"
                ],
                "{name}"
            );
            assert!(headed(None).iter().any(|id| id == "json"), "{name}");
            assert!(headed(None).iter().any(|id| id == "store"), "{name}");
        }
    }

    #[test]
    fn invalid_command_lines_are_usage_errors() {
        let cases = [
            "exesdb",
            "exesdb serve --listen nowhere",
            "exesdb append s",
            "exesdb append s --type t --data {",
            "exesdb append s --type t --expected-version -2",
            "exesdb read s --direction up",
            "exesdb read s --from -1",
            "exesdb read s --tag t",
            "exesdb read --tag t --query [{}]",
            "exesdb read --query {",
            "exesdb follow s --stream-prefix p",
            "exesdb transact",
            "exesdb delete",
            "exesdb retention s",
            "exesdb retention s --max-age 5",
            "exesdb retention s --max-count 0",
            "exesdb retention s --max-age 0s",
            "exesdb events --kind exti",
            "exesdb serve --listen localhost",
            "exesdb serve --listen 70000",
            "exesdb retention s --show --max-count 1",
            "exesdb retention s --unlimited --max-age 1d",
            "exesdb snapshot prune s",
            "exesdb snapshot prune s --keep 0",
            "exesdb follow --from start",
            "exesdb read --url https://a",
            "exesdb import f --type-by a",
            "exesdb import f --stream-by a --type-by b --batch 0",
            "exesdb import f --stream-by a --type-by b --keep-times",
            "exesdb import f --source f",
            "exesdb backup",
            "exesdb restore",
            "exesdb restore f --up-to -1",
            "exesdb export f --to x",
            "exesdb import f --time-by t",
            "exesdb kill",
            "exesdb kill host/a --reason angry",
            "exesdb snapshot put s",
            "exesdb subscription create",
            "exesdb subscription create s --stream a --type t",
            "exesdb subscription create s --pattern []",
            "exesdb subscription create s --payload {",
            "exesdb subscription create s --from start",
            "exesdb subscription create s --strategy best",
            "exesdb consume",
            "exesdb listen",
            "exesdb listen $all --count -1",
            "exesdb consume s --window 0",
            "exesdb completions nosuchshell",
            "exesdb cluster",
            "exesdb cluster local",
            "exesdb cluster local 3",
            "exesdb cluster local 2 --dir d",
            "exesdb cluster local 7 --dir d",
            "exesdb cluster local 3 --dir d --port 70000",
            "exesdb cluster init",
            "exesdb cluster join --config f",
            "exesdb cluster join exesdb1-AAAA --config f",
            "exesdb cluster join not-a-token --config f",
            "exesdb cluster status --url https://a",
            "exesdb cluster transfer-leader",
            "exesdb tree --log a=b=c",
        ];
        for line in cases {
            let error = Cli::try_parse_from(line.split(' ')).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}: {error}");
        }
    }

    #[test]
    fn flags_of_serve_precede_the_file_and_the_file_precedes_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("exesdb.toml");
        std::fs::write(&file, "data = \"d\"\nlisten = \"127.0.0.1:1\"\n").unwrap();
        let config = |arguments: &[&str]| {
            let line = ["exesdb", "serve"].iter().chain(arguments);
            let Command::Serve(options) = Cli::try_parse_from(line).unwrap().command else { panic!() };
            let config = options.config().unwrap();
            (config.data, config.listen.port())
        };
        let file = file.to_str().unwrap();
        assert_eq!(config(&[]), ("./exesdb-data".into(), 2113));
        assert_eq!(config(&["--config", file]), (folder.path().join("d"), 1));
        assert_eq!(config(&["--config", file, "--data", "e"]), ("e".into(), 1));
        assert_eq!(config(&["--config", file, "--listen", "127.0.0.1:2"]), (folder.path().join("d"), 2));
    }
}
