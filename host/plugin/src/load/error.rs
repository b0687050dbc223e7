//! Why a component does not run, for whoever configured it: the component and what is wrong with it come first, then what to
//! do, and the engine's words last.

use std::path::{Path, PathBuf};

use exesdb_storage::advice;

use super::{COMPONENT_BYTES_MAX, Misfit, NotAComponent};
use crate::crash::{Crash, CrashKind};
use crate::limits::Limits;

/// What the author of a component does that was built against another version of the contract.
pub(super) const BUILD_AGAIN: &str = concat!(
    "build it again against the WIT of exesdb ",
    env!("CARGO_PKG_VERSION"),
    " (the folder `wit` of its source)"
);

/// What is done when an instance is made.
pub(crate) const STARTED: &str = "it is started";

/// What is done when a component is asked for its description.
pub(crate) const ASKED: &str = "it is asked what it is (exesdb:host/describe)";

/// Why a component was not loaded, or no instance of it started.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such file.
    #[error("component {path}: there is no such file{}; check the path in the configuration, which is relative to the configuration file's folder", link_to(target.as_deref()), path = path.display())]
    Missing {
        /// The file as the configuration names it.
        path: PathBuf,
        /// Where it leads, if it is a link.
        target: Option<PathBuf>,
    },
    /// It is a folder, a pipe or a device.
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
        /// The system's words.
        error: std::io::Error,
    },
    /// The component is too large.
    #[error("component {name} has more than {COMPONENT_BYTES_MAX} bytes; build it without debug information")]
    TooLarge {
        /// Where it comes from.
        name: String,
    },
    /// The file is a link to somewhere else.
    #[error(
        "component {path} is a link to {target}, and links out of a component's folder are not followed; name the file itself, or copy it there", path = path.display(), target = target.display()
    )]
    Link {
        /// The file as the configuration names it.
        path: PathBuf,
        /// Where the link leads.
        target: PathBuf,
    },
    /// The bytes are no component.
    #[error("component {name} is not a WebAssembly component: {reason}")]
    NotAComponent {
        /// Where it comes from.
        name: String,
        /// What it is.
        reason: NotAComponent,
    },
    /// The component is of another kind, or needs something that its role is not offered.
    #[error("component {name} {misfit}")]
    Misfit {
        /// Where it comes from.
        name: String,
        /// What is wrong with it.
        misfit: Misfit,
    },
    /// It is a component, and the engine does not take it: it is not valid, needs a proposal of WebAssembly that is off, or
    /// more of the engine than any component may have.
    #[error("component {name} cannot be compiled or is larger than this host runs: {reason}")]
    NotCompiled {
        /// Where it comes from.
        name: String,
        /// The compiler's words.
        reason: String,
    },
    /// A function that it imports or exports is missing or has another type than in the host's contract.
    #[error(
        "the {role} component {name} was built against another version of the contract: {BUILD_AGAIN}; {difference}"
    )]
    OtherContract {
        /// Where it comes from.
        name: String,
        /// The role that it was to have.
        role: &'static str,
        /// What differs; the engine's words.
        difference: String,
    },
    /// An instance reached a limit before it was of use.
    #[error(
        "the {role} component {name} needs more {} than `{key} = {value}` lets it have when {doing}; raise {key} under [{}]{}",
        resource(key),
        section(role, key),
        in_brackets(detail)
    )]
    Limit {
        /// Where it comes from.
        name: String,
        /// The role that it was to have.
        role: &'static str,
        /// What was done with it.
        doing: &'static str,
        /// The limit, by its name in the configuration.
        key: &'static str,
        /// Its value there.
        value: u64,
        /// The engine's words.
        detail: String,
    },
    /// An instance ended before it was of use.
    #[error(
        "the {role} component {name} fails when {doing}: {reason}; mend it, or name another one under [store.components]"
    )]
    Failed {
        /// Where it comes from.
        name: String,
        /// The role that it was to have.
        role: &'static str,
        /// What was done with it.
        doing: &'static str,
        /// What ended it.
        reason: String,
    },
    /// What the component says of itself breaks a rule.
    #[error(
        "the {role} component {name} does not describe itself as exesdb:host/describe says: {reason}; mend it, or name another one under [store.components]"
    )]
    Describe {
        /// Where it comes from.
        name: String,
        /// The role that it was to have.
        role: &'static str,
        /// Which rule.
        reason: String,
    },
}

impl LoadError {
    pub(super) fn of_crash(
        name: String,
        role: &'static str,
        doing: &'static str,
        crash: &Crash,
        limits: &Limits,
    ) -> Self {
        let (key, value) = match crash.kind {
            CrashKind::MemoryLimit => ("memory_mib", (limits.memory_bytes >> 20) as u64),
            CrashKind::Deadline => ("call_cpu_ms", limits.call_cpu_ms),
            CrashKind::Timeout => ("call_wall_ms", limits.call_wall_ms),
            _ => return Self::Failed { name, role, doing, reason: crash.to_string() },
        };
        Self::Limit { name, role, doing, key, value, detail: crash.words().to_owned() }
    }

    /// The limit that has to be raised, by its name in the configuration, if it is one.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Limit { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// What a limit limits.
fn resource(key: &str) -> &'static str {
    match key {
        "memory_mib" => "memory",
        "call_cpu_ms" => "CPU time",
        _ => "time",
    }
}

/// The table of the configuration in which a role's limit can be set.
fn section(role: &str, key: &str) -> String {
    // A gateway's calls have a wall time of their own, and the store's one when it is loaded.
    if role == "gateway" && key == "call_wall_ms" {
        "store.limits".to_owned()
    } else {
        format!("store.limits.{role}")
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
    use crate::crash::{Crash, Said};
    use crate::limits::{Limits, Meter};

    fn limits() -> Limits {
        Limits { memory_bytes: 1 << 20, call_cpu_ms: 0, call_wall_ms: 700, ..Limits::default() }
    }

    fn crash(error: Error, prepare: impl FnOnce(&mut Meter)) -> Crash {
        let mut meter = Meter::new(&limits());
        prepare(&mut meter);
        Crash::of(&error, &meter, Said::default())
    }

    #[test]
    fn a_component_that_does_not_start_is_named_first_then_the_cause_and_what_to_do() {
        let no_memory = crash(Error::msg("17 pages exceed the limit"), |meter| {
            assert!(!meter.memory_growing(0, 2 << 20, None).expect("a decision"));
        });
        let too_long = crash(Trap::Interrupt.into(), |meter| assert!(!meter.tick()));
        let trapped = crash(Trap::UnreachableCodeReached.into(), |_| ());
        // role, what was done, what happened, the sentence, the limit
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
                "the gateway component X needs more time than `call_wall_ms = 700` lets it have when it is asked what it is (exesdb:host/describe); raise call_wall_ms under [store.limits]",
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
        for (role, doing, crash, sentence, limit) in table {
            let error = LoadError::of_crash("X".to_owned(), role, doing, &crash, &limits());
            assert_eq!((error.to_string().as_str(), error.limit()), (sentence, limit));
        }
    }
}
