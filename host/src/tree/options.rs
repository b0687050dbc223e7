//! The options of the databases: the storage's defaults. With the feature `faults`, the environment makes a database kill
//! the process at a point of a commit (`EXESDB_FAIL_POINT=after-write:17`: when it is reached for the 17th time), or break
//! a promise (`EXESDB_FAULT=acknowledge-before-sync`): the tests of recovery use it.

/// The options of every store.
#[cfg(not(feature = "faults"))]
pub(super) fn options() -> exesdb_storage::Options {
    exesdb_storage::Options { is_json: exesdb_plugin::is_json, ..exesdb_storage::Options::default() }
}

#[cfg(feature = "faults")]
pub(super) use faulty::options;

#[cfg(feature = "faults")]
mod faulty {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use exesdb_plugin::Fault as PluginFault;
    use exesdb_storage::{FailPoint, FailPoints, Fault, Options};
    use rustix::process::{Signal, getpid, kill_process};

    /// Names of fail points, as in the environment.
    const POINTS: [(&str, FailPoint); 10] = [
        ("before-write", FailPoint::BeforeWrite),
        ("after-write", FailPoint::AfterWrite),
        ("before-sync", FailPoint::BeforeSync),
        ("after-sync", FailPoint::AfterSync),
        ("before-publish", FailPoint::BeforePublish),
        ("after-publish", FailPoint::AfterPublish),
        ("before-reply", FailPoint::BeforeReply),
        ("after-reply", FailPoint::AfterReply),
        ("before-zeroes", FailPoint::BeforeZeroes),
        ("after-zeroes", FailPoint::AfterZeroes),
    ];

    /// Names of broken promises, as in the environment.
    const FAULTS: [(&str, Fault); 5] = [
        ("acknowledge-before-sync", Fault::AcknowledgeBeforeSync),
        ("publish-before-durable", Fault::PublishBeforeDurable),
        ("check-before-queue", Fault::CheckBeforeQueue),
        ("drop-one-on-replay", Fault::DropOneOnReplay),
        ("zero-last-record", Fault::ZeroLastRecord),
    ];

    /// The same of durable subscriptions.
    const PLUGIN_FAULTS: [(&str, PluginFault); 3] = [
        ("checkpoint-before-ack", PluginFault::CheckpointBeforeAck),
        ("lose-redelivery", PluginFault::LoseRedelivery),
        ("skip-at-switch", PluginFault::SkipAtSwitch),
    ];

    /// The options of every store, as the environment says.
    pub(in super::super) fn options() -> Options {
        let named = |variable: &str| std::env::var(variable).ok();
        Options {
            fail_points: named("EXESDB_FAIL_POINT").map(|text| fail_points(&text)),
            fault: named("EXESDB_FAULT").and_then(|text| fault(&text)),
            is_json: exesdb_plugin::is_json,
            ..Options::default()
        }
    }

    /// The fault of the storage with this name. One of durable subscriptions is injected at once.
    fn fault(text: &str) -> Option<Fault> {
        if let Some((_, fault)) = PLUGIN_FAULTS.into_iter().find(|(name, _)| *name == text) {
            exesdb_plugin::inject(fault);
            return None;
        }
        let found = FAULTS.into_iter().find(|(name, _)| *name == text);
        Some(found.unwrap_or_else(|| panic!("EXESDB_FAULT={text}: there is no such fault")).1)
    }

    /// Kills the process at the point and count that the text says.
    fn fail_points(text: &str) -> FailPoints {
        let parsed = text.split_once(':').and_then(|(name, passing)| {
            let (_, point) = POINTS.into_iter().find(|(known, _)| *known == name)?;
            Some((point, passing.parse::<u64>().ok()?))
        });
        let (wanted, passing) =
            parsed.unwrap_or_else(|| panic!("EXESDB_FAIL_POINT={text}: expected a fail point and a number"));
        let passed = AtomicU64::new(0);
        Arc::new(move |point| {
            if point == wanted && passed.fetch_add(1, Ordering::Relaxed) + 1 == passing {
                tracing::warn!(?point, passing, "killing this process, as EXESDB_FAIL_POINT says");
                kill_process(getpid(), Signal::KILL)?;
            }
            Ok(())
        })
    }
}
