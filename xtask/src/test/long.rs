//! The long tests: tests of the everyday run, with many more rounds.

use std::time::Instant;

use anyhow::{Result, bail};

use super::times::Times;
use super::{Skipped, build_hosts, simulation};
use crate::workspace;

/// A test that can run for as long as one likes.
#[derive(Debug)]
struct Long {
    name: &'static str,
    /// The arguments that select test targets.
    targets: &'static [&'static str],
    /// What the names of its tests contain; empty for every test of the targets.
    tests: &'static str,
    /// The environment variable that says how much is done, and its value here.
    amount: (&'static str, &'static str),
}

const LONG: &[Long] = &[
    Long {
        name: "kills",
        targets: &["--test", "recovery"],
        tests: "crash::a_killed_host_loses",
        amount: ("EXESDB_CRASH_ROUNDS", "2000"),
    },
    Long {
        name: "power",
        targets: &["--test", "recovery"],
        tests: "power::a_loss_of_power_loses",
        amount: ("EXESDB_CUT_ROUNDS", "500"),
    },
    Long {
        name: "power-zeroes",
        targets: &["--test", "recovery"],
        tests: "power::a_loss_of_power_with_zeroes",
        amount: ("EXESDB_CUT_ZEROES_ROUNDS", "60"),
    },
    Long {
        name: "disk-errors",
        targets: &["--test", "recovery"],
        tests: "errors::an_error_of_the_disk",
        amount: ("EXESDB_ERROR_ROUNDS", "100"),
    },
    Long {
        name: "flips",
        targets: &["--test", "recovery"],
        tests: "flips::damage_is_found",
        amount: ("EXESDB_FLIP_ROUNDS", "500"),
    },
    Long {
        name: "imports",
        targets: &["--test", "recovery"],
        tests: "import::an_import_survives",
        amount: ("EXESDB_IMPORT_ROUNDS", "50"),
    },
    Long {
        name: "damage",
        targets: &["--test", "damage"],
        tests: "",
        amount: ("EXESDB_DAMAGE_ROUNDS", "1500"),
    },
    Long {
        name: "model",
        targets: &["--test", "model"],
        tests: "the_store_agrees_with_a_model",
        amount: ("EXESDB_MODEL_CASES", "100"),
    },
    Long {
        name: "log-model",
        targets: &["--test", "model"],
        tests: "the_log_behaves_like_maps",
        amount: ("EXESDB_LOG_MODEL_CASES", "20000"),
    },
    Long {
        name: "log-kills",
        targets: &["--test", "crash"],
        tests: "a_kill_at_a_random_time_loses_nothing_that_was_called_back",
        amount: ("EXESDB_LOG_CRASH_ROUNDS", "1000"),
    },
    Long {
        name: "subscriptions",
        targets: &["--test", "model"],
        tests: "subscriptions_agree_with_a_model",
        amount: ("EXESDB_SUBSCRIPTION_CASES", "60"),
    },
    Long {
        name: "storm",
        targets: &["--test", "supervision"],
        tests: "storm::",
        amount: ("EXESDB_STORM_SECONDS", "60"),
    },
    Long {
        name: "chaos",
        targets: &["--test", "chaos"],
        tests: "nothing_acknowledged_goes_undelivered",
        amount: ("EXESDB_CHAOS_SECONDS", "600"),
    },
    Long {
        name: "failovers",
        targets: &["--test", "cluster"],
        tests: "failover::a_killed_leader_is_succeeded",
        amount: ("EXESDB_FAILOVER_ROUNDS", "200"),
    },
    Long {
        name: "cluster-kills",
        targets: &["--test", "cluster"],
        tests: "kills::nodes_that_are_killed_at_random_times",
        amount: ("EXESDB_CLUSTER_KILLS", "2000"),
    },
    Long {
        name: "nemesis",
        targets: &["--test", "cluster"],
        tests: "nemesis::a_cluster_in_trouble_keeps_every_promise",
        amount: ("EXESDB_NEMESIS_EPISODES", "100"),
    },
    Long {
        name: "partitions",
        targets: &["--test", "cluster"],
        tests: "netns::a_partitioned_cluster_serves",
        amount: ("EXESDB_PARTITION_EPISODES", "100"),
    },
    Long {
        name: "cluster-tree",
        targets: &["--test", "cluster"],
        tests: "tree::a_kill_of_any_child",
        amount: ("EXESDB_CLUSTER_TREE_ROUNDS", "20"),
    },
    Long {
        name: "cluster-emitters",
        targets: &["--test", "cluster"],
        tests: "emitters::nothing_acknowledged_goes_undelivered",
        amount: ("EXESDB_CLUSTER_EMITTER_KILLS", "50"),
    },
    Long {
        name: "otp",
        targets: &["--test", "otp_random"],
        tests: "",
        amount: ("EXESDB_OTP_SCENARIOS", "2000"),
    },
    Long {
        name: "fuzz",
        targets: &["--lib", "--test", "fuzz"],
        tests: "fuzzed_",
        amount: ("EXESDB_FUZZ_SECONDS", "60"),
    },
];

/// Runs the long tests of these names, or all, one after the other. An environment variable that is set already keeps its
/// value.
pub(crate) fn long(names: &[String]) -> Result<()> {
    let (selected, simulates) = select(names)?;
    let mut times = Times::default();
    let mut failed = Vec::new();
    if simulates && simulation::run_long(&mut times).is_err() {
        failed.push(simulation::NAME);
    }
    if !selected.is_empty() {
        build_hosts()?;
    }
    let skipped = Skipped::new()?;
    for Long { name, targets, tests, amount: (variable, default) } in selected {
        let amount = std::env::var(variable).unwrap_or_else(|_| (*default).to_owned());
        let begun = Instant::now();
        let mut command = workspace::cargo();
        // Every package is selected, so that nothing is compiled with other features than in the everyday run.
        command.args(["test", "--workspace", "--release"]).args(*targets);
        command.args(["--", "--nocapture", "--test-threads=1", tests]);
        let result = workspace::run(skipped.collect(&mut command).env(variable, &amount));
        let outcome = if result.is_ok() { "passed" } else { "FAILED" };
        times.add(name, begun.elapsed(), format!("{outcome} with {variable}={amount}"));
        if result.is_err() {
            failed.push(*name);
        }
    }
    times.print();
    skipped.print()?;
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// The tests of these names, or all, and whether the simulation is one of them.
fn select(names: &[String]) -> Result<(Vec<&'static Long>, bool)> {
    if names.is_empty() {
        return Ok((LONG.iter().collect(), true));
    }
    let is_simulation = |name: &&String| *name == simulation::NAME;
    let find = |name: &String| match LONG.iter().find(|long| long.name == name) {
        Some(long) => Ok(long),
        None => {
            let known: Vec<_> = LONG.iter().map(|long| long.name).chain([simulation::NAME]).collect();
            bail!("there is no long test {name:?}; there are {}", known.join(", "))
        }
    };
    let others = names.iter().filter(|name| !is_simulation(name)).map(find).collect::<Result<_>>()?;
    Ok((others, names.iter().any(|name| is_simulation(&name))))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::{LONG, select};

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let found = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
        found.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
    }

    /// Cargo calls a run of no tests a success, so a renamed test would no longer run and seem to pass.
    #[test]
    fn every_long_test_is_in_the_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let files = [sources(&root.join("tests")), sources(&root.join("host"))].concat();
        let texts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        for long in LONG.iter().filter(|long| !long.tests.is_empty()) {
            let (module, test) = long.tests.rsplit_once("::").unwrap_or(("", long.tests));
            let has_module =
                module.is_empty() || files.iter().any(|file| file.ends_with(format!("{module}.rs")));
            let has_test = texts.iter().any(|text| text.contains(&format!("fn {test}")));
            assert!(has_module && has_test, "{}: no test is called {}", long.name, long.tests);
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_a_list_of_the_known_ones() {
        let error = select(&["kill".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("\"kill\"") && error.contains("kills, power"), "{error}");
        let (selected, simulates) = select(&["otp".to_owned()]).unwrap();
        assert_eq!((selected[0].targets, simulates), (&["--test", "otp_random"][..], false));
        let (selected, simulates) = select(&["simulation".to_owned()]).unwrap();
        assert!(selected.is_empty() && simulates);
        let (selected, simulates) = select(&[]).unwrap();
        assert!(selected.len() > 10 && simulates);
    }
}
