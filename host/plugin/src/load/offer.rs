//! What a component may import and has to export, by role. Pure.

use super::shape::Shape;
use crate::text::printable;

/// What to do with a component that was built against another version of the contract, which is [`CONTRACT`].
pub(super) const BUILD_AGAIN: &str = concat!(
    "build it again against version 0.2 of the contract (the folder `wit` of the source of exesdb ",
    env!("CARGO_PKG_VERSION"),
    ")"
);

/// The version of the contract that this host has, of all packages of `exesdb`.
const CONTRACT: &str = "0.2.0";

/// Our interfaces for persistence components. Those that only have types are imported together with the types.
const OFFERED_TO_PERSISTENCE: &[&str] = &[
    "exesdb:host/logging@0.2.0",
    "exesdb:host/config@0.2.0",
    "exesdb:host/fields@0.2.0",
    "exesdb:storage/views@0.2.0",
    "exesdb:storage/places@0.2.0",
    "exesdb:storage/batches@0.2.0",
    "exesdb:store/types@0.2.0",
    "exesdb:store/decisions@0.2.0",
    "exesdb:store/snapshot-types@0.2.0",
    "exesdb:store/subscription-types@0.2.0",
];

/// Our interfaces for gateways that speak `wasi:http`.
const OFFERED_TO_GATEWAYS: &[&str] = &[
    "exesdb:gateway/store@0.2.0",
    "exesdb:gateway/requests@0.2.0",
    "exesdb:host/logging@0.2.0",
    "exesdb:host/config@0.2.0",
    "exesdb:host/fields@0.2.0",
    "exesdb:storage/places@0.2.0",
    "exesdb:store/types@0.2.0",
    "exesdb:store/snapshot-types@0.2.0",
];

/// Our interfaces for gateways as steps, which ask their store for nothing within a call.
const OFFERED_TO_STEPS: &[&str] = &[
    "exesdb:gateway/requests@0.2.0",
    "exesdb:host/logging@0.2.0",
    "exesdb:host/config@0.2.0",
    "exesdb:host/fields@0.2.0",
    "exesdb:storage/places@0.2.0",
    "exesdb:store/types@0.2.0",
    "exesdb:store/snapshot-types@0.2.0",
];

/// Our interfaces for sinks.
const OFFERED_TO_SINKS: &[&str] = &[
    "exesdb:host/logging@0.2.0",
    "exesdb:host/config@0.2.0",
    "exesdb:host/fields@0.2.0",
    "exesdb:storage/places@0.2.0",
    "exesdb:store/types@0.2.0",
];

/// All stable interfaces of WASI 0.2, for every component: toolchains import many of them whether they are used or not. A
/// component that asks for files, sockets, the environment or outgoing requests gets an error value, but for what a sink was
/// granted.
const WASI: &[&str] = &[
    "wasi:cli/environment@0.2",
    "wasi:cli/exit@0.2",
    "wasi:cli/stderr@0.2",
    "wasi:cli/stdin@0.2",
    "wasi:cli/stdout@0.2",
    "wasi:cli/terminal-input@0.2",
    "wasi:cli/terminal-output@0.2",
    "wasi:cli/terminal-stderr@0.2",
    "wasi:cli/terminal-stdin@0.2",
    "wasi:cli/terminal-stdout@0.2",
    "wasi:clocks/monotonic-clock@0.2",
    "wasi:clocks/wall-clock@0.2",
    "wasi:filesystem/preopens@0.2",
    "wasi:filesystem/types@0.2",
    "wasi:http/outgoing-handler@0.2",
    "wasi:http/types@0.2",
    "wasi:io/error@0.2",
    "wasi:io/poll@0.2",
    "wasi:io/streams@0.2",
    "wasi:random/insecure-seed@0.2",
    "wasi:random/insecure@0.2",
    "wasi:random/random@0.2",
    "wasi:sockets/instance-network@0.2",
    "wasi:sockets/ip-name-lookup@0.2",
    "wasi:sockets/network@0.2",
    "wasi:sockets/tcp-create-socket@0.2",
    "wasi:sockets/tcp@0.2",
    "wasi:sockets/udp-create-socket@0.2",
    "wasi:sockets/udp@0.2",
];

/// What a gateway as steps exports.
const STEPS: &str = "exesdb:gateway/steps@0.2.0";

/// The interface that each kind of component exports, in the version that this host calls. A gateway has one of two.
const KINDS: [(&str, &str); 6] = [
    ("exesdb:store/stream-writes@0.2.0", "streams"),
    ("exesdb:store/snapshots@0.2.0", "snapshots"),
    ("exesdb:store/subscriptions@0.2.0", "subscriptions"),
    ("wasi:http/incoming-handler@0.2", "gateway"),
    (STEPS, "gateway"),
    ("exesdb:store/sink@0.2.0", "sink"),
];

/// Names in a message: a component has dozens of imports, a hostile one any number.
const NAMED_MAX: usize = 40;

/// Bytes of a name in a message: the component chooses its names.
const NAME_BYTES_MAX: usize = 160;

/// Why a component does not fit its role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The component is of another kind.
    #[error("is a {kind} component and cannot be the {role}; {}", written(kind))]
    OtherKind {
        /// Its kind.
        kind: &'static str,
        /// The role that it was loaded for.
        role: &'static str,
    },
    /// The component is made for other hosts.
    #[error("{what}, which is no {role} component: {todo}")]
    Foreign {
        /// The role that it was loaded for.
        role: &'static str,
        /// What it exports.
        what: &'static str,
        /// How to make the right one.
        todo: &'static str,
    },
    /// The component imports or exports interfaces of another version of the contract.
    #[error("was built against another version of the contract: {BUILD_AGAIN}; it {}", others.join(", "))]
    OtherVersion {
        /// Each of them, with whether it is imported or exported.
        others: Vec<String>,
    },
    /// The component does not export its role's interface.
    #[error("does not export {wanted}, which a {role} component must; it exports {exports}")]
    NoExport {
        /// The role that it was loaded for.
        role: &'static str,
        /// The interface that is missing.
        wanted: &'static str,
        /// What it exports.
        exports: String,
    },
    /// The component imports interfaces that its role is not offered.
    #[error("imports what a {role} component is not offered: {}. Offered are {} and all of WASI 0.2", missing.join("; "), offered.join(", "))]
    Imports {
        /// The role that it was loaded for.
        role: &'static str,
        /// What it is offered.
        offered: &'static [&'static str],
        /// Each of them, with what to do about it.
        missing: Vec<String>,
    },
}

/// Where the configuration names a component of this kind.
fn written(kind: &str) -> String {
    match kind {
        "sink" => "write it as `component = ...` under [store.sinks.NAME]".to_owned(),
        kind => format!("write it as `{kind} = ...` under [store.components]"),
    }
}

/// Checks that a component fits its role.
pub(crate) fn check(shape: &Shape, role: &'static str) -> Result<(), Misfit> {
    let others = of_other_versions(shape);
    if !others.is_empty() {
        return Err(Misfit::OtherVersion { others });
    }
    let mut wanted = KINDS.iter().filter(|(_, kind)| *kind == role).map(|(wanted, _)| *wanted);
    let first = wanted.clone().next().unwrap_or(role);
    if !wanted.any(|wanted| shape.exports.iter().any(|export| satisfies(wanted, export))) {
        let none = || Misfit::NoExport { role, wanted: first, exports: exports(shape) };
        return Err(other_kind(shape, role).unwrap_or_else(none));
    }
    let offered = offered(shape, role);
    let missing: Vec<&String> = shape.imports.iter().filter(|import| !is_offered(import, offered)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut named: Vec<String> = missing
        .iter()
        .take(NAMED_MAX)
        .map(|import| format!("{} ({})", printable(import, NAME_BYTES_MAX), hint(import, role, offered)))
        .collect();
    if missing.len() > NAMED_MAX {
        named.push(format!("and {} more", missing.len() - NAMED_MAX));
    }
    Err(Misfit::Imports { role, offered, missing: named })
}

/// Interfaces of ours in another version of the contract. A component may export several versions for several hosts, if one is
/// this host's.
fn of_other_versions(shape: &Shape) -> Vec<String> {
    let is_other = |name: &&String| name.starts_with("exesdb:") && !is_of_contract(name);
    let has_ours = |name: &&String| {
        shape.exports.iter().any(|export| interface(export) == interface(name) && is_of_contract(export))
    };
    let imports = shape.imports.iter().filter(is_other).map(|name| ("imports", name));
    let exports = shape.exports.iter().filter(|name| is_other(name) && !has_ours(name));
    let all = imports.chain(exports.map(|name| ("exports", name)));
    all.take(NAMED_MAX).map(|(verb, name)| format!("{verb} {}", printable(name, NAME_BYTES_MAX))).collect()
}

/// Whether an interface of ours has the version that this host has.
fn is_of_contract(name: &str) -> bool {
    satisfies(&format!("{}@{CONTRACT}", interface(name)), name)
}

/// Imports whose version is later than the offered one: they may have functions that this host does not have.
pub(crate) fn later_than_offered(shape: &Shape, role: &str) -> Vec<String> {
    let later = |import: &String| {
        let offer = offered(shape, role).iter().find(|offer| satisfies(offer, import))?;
        (offer != import).then(|| format!("{} (this host offers {offer})", printable(import, NAME_BYTES_MAX)))
    };
    shape.imports.iter().filter_map(later).take(NAMED_MAX).collect()
}

fn offered(shape: &Shape, role: &str) -> &'static [&'static str] {
    match role {
        "gateway" if shape.exports.iter().any(|export| satisfies(STEPS, export)) => OFFERED_TO_STEPS,
        "gateway" => OFFERED_TO_GATEWAYS,
        "sink" => OFFERED_TO_SINKS,
        _ => OFFERED_TO_PERSISTENCE,
    }
}

fn is_offered(import: &str, offered: &[&str]) -> bool {
    offered.iter().chain(WASI).any(|offer| satisfies(offer, import))
}

fn interface(name: &str) -> &str {
    name.split('@').next().unwrap_or(name)
}

/// The component's exports, for a message.
fn exports(shape: &Shape) -> String {
    let names = shape.exports.iter().take(NAMED_MAX).map(|export| printable(export, NAME_BYTES_MAX));
    let names = names.collect::<Vec<_>>().join(", ");
    if names.is_empty() { "nothing".to_owned() } else { names }
}

/// The misfit of a component that is of another kind, in any version, or made for other hosts.
fn other_kind(shape: &Shape, role: &'static str) -> Option<Misfit> {
    let exports = |wanted: &str| shape.exports.iter().any(|export| interface(export) == interface(wanted));
    if let Some((_, kind)) = KINDS.iter().find(|(exported, kind)| *kind != role && exports(exported)) {
        return Some(Misfit::OtherKind { kind, role });
    }
    let (what, todo) = if exports("wasi:http/handler") {
        ("exports wasi:http/handler of WASI 0.3", "this host calls wasi:http/incoming-handler of WASI 0.2")
    } else if exports("wasi:cli/run") {
        (
            "is a command with a `main` (it exports wasi:cli/run)",
            "build a library that exports the role's interfaces",
        )
    } else {
        return None;
    };
    Some(Misfit::Foreign { role, what, todo })
}

/// Whether an offered interface satisfies an import: the names are equal and the engine regards the versions as compatible.
fn satisfies(offer: &str, import: &str) -> bool {
    let (Some((interface, offered)), Some((wanted_interface, wanted))) =
        (offer.rsplit_once('@'), import.rsplit_once('@'))
    else {
        return false;
    };
    // Below 1.0, versions with the same second number are compatible.
    let track = |version: &str| {
        let mut numbers = version.split('.').map(str::to_owned);
        (numbers.next(), numbers.next())
    };
    interface == wanted_interface && track(offered) == track(wanted)
}

/// What the author of a component can do about an import that is not offered.
fn hint(import: &str, role: &str, offered: &[&str]) -> String {
    let wanted = interface(import);
    let offers = [offered, OFFERED_TO_GATEWAYS, OFFERED_TO_PERSISTENCE, WASI].concat();
    let same = offers.iter().find(|offer| interface(offer) == wanted);
    match same {
        Some(offer) if is_offered(offer, offered) => format!("build it against {offer}"),
        Some(_) if role == "gateway" && offered == OFFERED_TO_STEPS => {
            "a gateway as steps does not have it: it asks its store with the action `call`".into()
        }
        Some(_) if role == "gateway" => {
            "only persistence components have it; a gateway asks exesdb:gateway/store".into()
        }
        Some(_) if role == "sink" => "sinks do not have it: they get all that they need with the call".into(),
        Some(_) => "only gateways have it".into(),
        None if wanted == "wasi:clocks/timezone" => {
            "unstable in WASI 0.2; build without it, and take UTC from wasi:clocks/wall-clock".into()
        }
        None if import.starts_with("wasi:") && import.contains("@0.3") => {
            "WASI 0.3 is not offered; build it for WASI 0.2, as with the target wasm32-wasip2".into()
        }
        None if wanted == "wasi_snapshot_preview1" => "WASI 0.1; build it for WASI 0.2".into(),
        None if wanted.starts_with("wasi:") => "not a part of WASI 0.2's worlds; build without it".into(),
        None => {
            "neither of exesdb nor of WASI; build without it, or compose it with a component that exports it"
                .into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Misfit, check, later_than_offered, satisfies};
    use crate::load::shape::Shape;

    fn shape(imports: &[&str], exports: &[&str]) -> Shape {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Shape { imports: owned(imports), exports: owned(exports) }
    }

    #[test]
    fn an_offer_satisfies_imports_of_compatible_versions() {
        assert!(satisfies("wasi:http/types@0.2", "wasi:http/types@0.2.12"));
        assert!(satisfies("wasi:http/types@0.2", "wasi:http/types@0.2.0"));
        assert!(satisfies("exesdb:store/types@0.2.0", "exesdb:store/types@0.2.7"));
        assert!(!satisfies("exesdb:store/types@0.2.0", "exesdb:store/types@0.3.0"));
        assert!(!satisfies("wasi:http/types@0.2", "wasi:http/types@0.3.0"));
        assert!(!satisfies("wasi:http/types@0.2", "wasi:http/outgoing-handler@0.2.0"));
        assert!(!satisfies("wasi:http/types@0.2", "unversioned"));
    }

    #[test]
    fn every_kind_may_import_what_toolchains_link() {
        let imports = [
            "wasi:cli/environment@0.2.9",
            "wasi:cli/terminal-stdout@0.2.0",
            "wasi:filesystem/preopens@0.2.10",
            "wasi:sockets/tcp@0.2.12",
            "wasi:http/outgoing-handler@0.2.3",
            "wasi:random/insecure-seed@0.2.0",
        ];
        assert_eq!(check(&shape(&imports, &["exesdb:store/stream-writes@0.2.0"]), "streams"), Ok(()));
        assert_eq!(check(&shape(&imports, &["exesdb:store/snapshots@0.2.0"]), "snapshots"), Ok(()));
        assert_eq!(check(&shape(&imports, &["wasi:http/incoming-handler@0.2.0"]), "gateway"), Ok(()));
        assert_eq!(check(&shape(&imports, &["exesdb:gateway/steps@0.2.0"]), "gateway"), Ok(()));
        assert_eq!(check(&shape(&imports, &["exesdb:store/sink@0.2.0"]), "sink"), Ok(()));
    }

    #[test]
    fn a_sink_reads_no_views_and_is_named_in_a_table_of_its_own() {
        let sink = shape(&["exesdb:storage/views@0.2.0"], &["exesdb:store/sink@0.2.0"]);
        assert!(matches!(check(&sink, "sink"), Err(Misfit::Imports { .. })));
        let elsewhere = check(&sink, "snapshots").unwrap_err().to_string();
        assert!(
            elsewhere.contains("is a sink component") && elsewhere.contains("[store.sinks.NAME]"),
            "{elsewhere}"
        );
    }

    #[test]
    fn every_import_that_is_not_offered_is_named_with_a_hint() {
        let imports = [
            "exesdb:storage/views@0.2.0",
            "exesdb:gateway/wishes@0.2.0",
            "wasi:http/types@0.3.0",
            "wasi:keyvalue/store@0.2.0-draft",
            "wasi:clocks/timezone@0.2.12",
            "a:b/c@1.0.0",
            "evil\n\u{1b}[2J",
        ];
        let misfit = check(&shape(&imports, &["wasi:http/incoming-handler@0.2.12"]), "gateway").unwrap_err();
        let Misfit::Imports { missing, .. } = &misfit else { panic!("{misfit}") };
        let expected = [
            "exesdb:storage/views@0.2.0 (only persistence components have it; ",
            "exesdb:gateway/wishes@0.2.0 (neither of exesdb nor of WASI; ",
            "wasi:http/types@0.3.0 (build it against wasi:http/types@0.2)",
            "wasi:keyvalue/store@0.2.0-draft (not a part of WASI 0.2's worlds; build without it)",
            "wasi:clocks/timezone@0.2.12 (unstable in WASI 0.2; ",
            "a:b/c@1.0.0 (neither of exesdb nor of WASI; ",
            "evil\\n\\u{1b}[2J (neither",
        ];
        assert_eq!(missing.len(), expected.len(), "{missing:#?}");
        for (import, expected) in missing.iter().zip(expected) {
            assert!(import.starts_with(expected), "{import}\nexpected {expected}");
        }
        assert!(misfit.to_string().contains("Offered are exesdb:gateway/store@0.2.0"), "{misfit}");
    }

    #[test]
    fn a_gateway_as_steps_asks_its_store_for_nothing_within_a_call() {
        let check = |imports: &[&str], exports: &[&str]| check(&shape(imports, exports), "gateway");
        let (store, http, steps) =
            ("exesdb:gateway/store@0.2.0", "wasi:http/incoming-handler@0.2.0", "exesdb:gateway/steps@0.2.0");
        assert_eq!(check(&[store, "exesdb:host/logging@0.2.0"], &[http]), Ok(()));
        assert_eq!(check(&["exesdb:store/types@0.2.0", "exesdb:host/logging@0.2.0"], &[steps]), Ok(()));
        for exports in [&[steps][..], &[http, steps]] {
            let misfit = check(&[store], exports).unwrap_err().to_string();
            assert!(misfit.contains("exesdb:gateway/store@0.2.0 (a gateway as steps"), "{misfit}");
        }
    }

    #[test]
    fn what_another_version_of_the_contract_has_is_named_first() {
        let (handler, describe) = ("wasi:http/incoming-handler@0.2.0", "exesdb:host/describe@0.1.0");
        // imports, exports, what is named
        let table: [(&[&str], &[&str], &[&str]); 5] = [
            (&["exesdb:store/streams@0.1.0"], &[handler], &["imports exesdb:store/streams@0.1.0"]),
            (&["a:b/c@1.0.0"], &[handler, describe], &["exports exesdb:host/describe@0.1.0"]),
            (&[], &["exesdb:gateway/steps@0.3.0"], &["exports exesdb:gateway/steps@0.3.0"]),
            // Whatever role it had.
            (&[], &["exesdb:store/streams@0.1.0"], &["exports exesdb:store/streams@0.1.0"]),
            (
                &["exesdb:host/logging", "exesdb:store/types@0.2.1"],
                &[handler, describe],
                &["imports exesdb:host/logging", "exports exesdb:host/describe@0.1.0"],
            ),
        ];
        for (imports, exports, named) in table {
            let others = named.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(check(&shape(imports, exports), "gateway"), Err(Misfit::OtherVersion { others }));
        }
        let both = ["exesdb:gateway/steps@0.1.0", "exesdb:gateway/steps@0.2.0"];
        assert_eq!(check(&shape(&[], &both), "gateway"), Ok(()));
        let said = Misfit::OtherVersion { others: vec!["imports x".into()] }.to_string();
        let version = super::CONTRACT.trim_end_matches(".0");
        assert!(said.contains(&format!("build it again against version {version} of")), "{said}");
    }

    #[test]
    fn a_message_names_a_bounded_number_of_imports() {
        let names: Vec<String> = (0..1_000).map(|number| format!("a:b/c{number}@1.0.0")).collect();
        let shape = Shape { imports: names, exports: vec!["exesdb:store/stream-writes@0.2.0".into()] };
        let misfit = check(&shape, "streams").unwrap_err().to_string();
        assert!(misfit.contains("and 960 more") && misfit.len() < 10_000, "{misfit}");
    }

    #[test]
    fn another_kind_is_reported_before_its_imports() {
        let streams = shape(&["exesdb:storage/views@0.2.0"], &["exesdb:store/stream-writes@0.2.0"]);
        assert_eq!(check(&streams, "gateway"), Err(Misfit::OtherKind { kind: "streams", role: "gateway" }));
        let command = shape(&["a:b/c@1.0.0"], &["wasi:cli/run@0.2.6"]);
        assert!(matches!(check(&command, "gateway"), Err(Misfit::Foreign { .. })));
        // A component can be of two kinds.
        let both = shape(&[], &["exesdb:store/stream-writes@0.2.0", "exesdb:store/snapshots@0.2.0"]);
        assert_eq!((check(&both, "streams"), check(&both, "snapshots")), (Ok(()), Ok(())));
    }

    #[test]
    fn a_missing_role_interface_is_reported_with_the_exports() {
        let table = [
            (
                shape(&[], &[]),
                "does not export exesdb:store/stream-writes@0.2.0, which a streams component must; it exports nothing",
            ),
            (shape(&[], &["a:b/c@1.0.0", "a:b/d@1.0.0"]), "it exports a:b/c@1.0.0, a:b/d@1.0.0"),
        ];
        for (shape, expected) in table {
            let misfit = check(&shape, "streams").unwrap_err().to_string();
            assert!(misfit.contains(expected), "{misfit}");
        }
    }

    #[test]
    fn imports_of_later_versions_are_found() {
        let shape = shape(&["exesdb:gateway/store@0.2.1", "exesdb:store/types@0.2.0"], &[]);
        assert_eq!(
            later_than_offered(&shape, "gateway"),
            ["exesdb:gateway/store@0.2.1 (this host offers exesdb:gateway/store@0.2.0)"]
        );
    }
}
