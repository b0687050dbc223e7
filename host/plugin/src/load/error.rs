//! Why a component does not run. Each message names the component and the cause first, then what to do, and the engine's own
//! message last.

use std::path::{Path, PathBuf};

use exesdb_storage::advice;

use super::offer::{BUILD_AGAIN, Misfit};
use super::shape::NotAComponent;
use crate::crash::{Crash, CrashKind};
use crate::limits::{COMPONENT_BYTES_MAX, Limits};

/// The step in which an instance is made, as error messages name it.
pub(crate) const STARTED: &str = "it is started";

/// The step in which a component is asked for its description, as error messages name it.
pub(super) const ASKED: &str = "it is asked what it is (exesdb:host/describe)";

/// Why a component was not loaded, or no instance of it started.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file does not exist.
    #[error("component {path}: there is no such file{}; check the path in the configuration, which is relative to the configuration file's folder", link_to(target.as_deref()), path = path.display())]
    Missing {
        /// The file as the configuration names it.
        path: PathBuf,
        /// The link's target, if it is a link.
        target: Option<PathBuf>,
    },
    /// The path is a folder, a pipe or a device.
    #[error("component {path} is not a file; name the component's .wasm file itself", path = path.display())]
    NotAFile {
        /// The file as the configuration names it.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("component {path} cannot be read: {error}{}", advice(error), path = path.display())]
    File {
        /// The file as the configuration names it.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The component is too large.
    #[error("component {name} has more than {COMPONENT_BYTES_MAX} bytes; build it without debug information")]
    TooLarge {
        /// Where it comes from.
        name: String,
    },
    /// The file is a link that leads out of its folder.
    #[error(
        "component {path} is a link to {target}, and links out of a component's folder are not followed; name the file itself, or copy it there", path = path.display(), target = target.display()
    )]
    Link {
        /// The file as the configuration names it.
        path: PathBuf,
        /// The link's target.
        target: PathBuf,
    },
    /// The file is not a component.
    #[error("component {name} is not a WebAssembly component: {reason}")]
    NotAComponent {
        /// Where it comes from.
        name: String,
        /// What it is instead.
        reason: NotAComponent,
    },
    /// The component does not fit its role.
    #[error("component {name} {misfit}")]
    Misfit {
        /// Where it comes from.
        name: String,
        /// Why not.
        misfit: Misfit,
    },
    /// The engine rejects the component: it is invalid, needs a WebAssembly proposal that is off, or exceeds the engine's
    /// limits.
    #[error("component {name} cannot be compiled or is larger than this host runs: {reason}")]
    NotCompiled {
        /// Where it comes from.
        name: String,
        /// The compiler's message.
        reason: String,
    },
    /// An imported or exported function is missing, or its type differs from the host's contract.
    #[error(
        "the {role} component {name} was built against another version of the contract: {BUILD_AGAIN}; {difference}"
    )]
    OtherContract {
        /// Where it comes from.
        name: String,
        /// The role that it was loaded for.
        role: &'static str,
        /// What differs: the engine's message.
        difference: String,
    },
    /// An instance reached a limit while it was started or asked for its description.
    #[error(
        "the {role} component {name} needs more {} than `{key} = {value}` lets it have when {step}; raise {key} under [store.limits.{role}]{}",
        resource(key),
        in_brackets(detail)
    )]
    Limit {
        /// Where it comes from.
        name: String,
        /// The role that it was loaded for.
        role: &'static str,
        /// The step that failed.
        step: &'static str,
        /// The limit, by its name in the configuration.
        key: &'static str,
        /// Its value there.
        value: u64,
        /// The engine's message.
        detail: String,
    },
    /// An instance ended while it was started or asked for its description.
    #[error(
        "the {role} component {name} fails when {step}: {reason}; mend it, or name another one under {}",
        table(role)
    )]
    Failed {
        /// Where it comes from.
        name: String,
        /// The role that it was loaded for.
        role: &'static str,
        /// The step that failed.
        step: &'static str,
        /// What ended it.
        reason: String,
    },
    /// The component's description breaks a rule of the interface.
    #[error(
        "the {role} component {name} does not describe itself as exesdb:host/describe says: {reason}; mend it, or name another one under {}",
        table(role)
    )]
    Describe {
        /// Where it comes from.
        name: String,
        /// The role that it was loaded for.
        role: &'static str,
        /// The rule.
        reason: String,
    },
}

impl LoadError {
    pub(super) fn of_crash(
        name: String,
        role: &'static str,
        step: &'static str,
        crash: &Crash,
        limits: &Limits,
    ) -> Self {
        let (key, value) = match crash.kind {
            CrashKind::MemoryLimit => ("memory_mib", (limits.memory_bytes >> 20) as u64),
            CrashKind::Deadline => ("call_cpu_ms", limits.call_cpu_ms),
            CrashKind::Timeout => ("call_wall_ms", limits.call_wall_ms),
            _ => return Self::Failed { name, role, step, reason: crash.to_string() },
        };
        Self::Limit { name, role, step, key, value, detail: crash.detail().to_owned() }
    }

    /// The configuration key of the limit that has to be raised, if a limit was reached.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Limit { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// The table of the configuration that names components of this role.
fn table(role: &str) -> &'static str {
    if role == "sink" { "[store.sinks]" } else { "[store.components]" }
}

/// What a limit restricts.
fn resource(key: &str) -> &'static str {
    match key {
        "memory_mib" => "memory",
        "call_cpu_ms" => "CPU time",
        _ => "time",
    }
}

fn in_brackets(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

fn link_to(target: Option<&Path>) -> String {
    target.map_or_else(String::new, |target| format!(" (it is a link to {})", target.display()))
}

#[cfg(test)]
mod tests {
    use wasmtime::{Error, ResourceLimiter, Trap};

    use super::{ASKED, LoadError, STARTED};
    use crate::crash::{CallLog, Crash};
    use crate::limits::Limits;
    use crate::meter::Meter;

    fn limits() -> Limits {
        Limits { memory_bytes: 1 << 20, call_cpu_ms: 0, call_wall_ms: 700, ..Limits::default() }
    }

    fn crash(error: Error, prepare: impl FnOnce(&mut Meter)) -> Crash {
        let mut meter = Meter::new(&limits());
        prepare(&mut meter);
        Crash::of(&error, &meter, CallLog::default())
    }

    #[test]
    fn a_failed_start_names_the_component_the_cause_and_the_remedy() {
        let no_memory = crash(Error::msg("17 pages exceed the limit"), |meter| {
            assert!(!meter.memory_growing(0, 2 << 20, None).expect("a decision"));
        });
        let too_long = crash(Trap::Interrupt.into(), |meter| assert!(!meter.tick()));
        let trapped = crash(Trap::UnreachableCodeReached.into(), |_| ());
        // role, step, crash, message, limit
        let table = [
            (
                "streams",
                STARTED,
                no_memory,
                "the streams component X needs more memory than `memory_mib = 1` lets it have when it is started; raise memory_mib under [store.limits.streams] (17 pages exceed the limit)",
                Some("memory_mib"),
            ),
            (
                "gateway",
                STARTED,
                too_long,
                "the gateway component X needs more CPU time than `call_cpu_ms = 0` lets it have when it is started; raise call_cpu_ms under [store.limits.gateway]",
                Some("call_cpu_ms"),
            ),
            (
                "gateway",
                ASKED,
                Crash::timeout(700),
                "the gateway component X needs more time than `call_wall_ms = 700` lets it have when it is asked what it is (exesdb:host/describe); raise call_wall_ms under [store.limits.gateway]",
                Some("call_wall_ms"),
            ),
            (
                "snapshots",
                STARTED,
                trapped,
                "the snapshots component X fails when it is started: trap: wasm trap: wasm `unreachable` instruction executed; mend it, or name another one under [store.components]",
                None,
            ),
        ];
        for (role, step, crash, message, limit) in table {
            let error = LoadError::of_crash("X".to_owned(), role, step, &crash, &limits());
            assert_eq!((error.to_string().as_str(), error.limit()), (message, limit));
        }
    }
}
