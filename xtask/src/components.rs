//! Builds the guests and encodes them as components.
//!
//! Each guest is built separately: cargo unites the features of packages that are built together, and each feature of the
//! SDK links the description of a world into the guest.

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use wit_component::ComponentEncoder;

use crate::toolchain::{self, Toolchain};
use crate::workspace;

/// A package that becomes a component.
struct Guest {
    package: &'static str,
    /// The name of its file in `target/components`, without `.wasm`.
    component: &'static str,
}

const GUESTS: &[Guest] = &[
    Guest { package: "exesdb-streams", component: "streams" },
    Guest { package: "exesdb-snapshots", component: "snapshots" },
    Guest { package: "exesdb-subscriptions", component: "subscriptions" },
    Guest { package: "exesdb-gateway-http", component: "gateway-http" },
    Guest { package: "exesdb-ndjson-file", component: "ndjson-file" },
    Guest { package: "exesdb-webhook", component: "webhook" },
    Guest { package: "streams-probe", component: "tests/streams-probe" },
    Guest { package: "gateway-probe", component: "tests/gateway-probe" },
    Guest { package: "sink-probe", component: "tests/sink-probe" },
    Guest { package: "snapshots-probe", component: "tests/snapshots-probe" },
    Guest { package: "subscriptions-probe", component: "tests/subscriptions-probe" },
    Guest { package: "steps-probe", component: "tests/steps-probe" },
    Guest { package: "wasi-http-probe", component: "tests/wasi-http-probe" },
    Guest { package: "crossing-probe", component: "tests/crossing-probe" },
    Guest { package: "earlier-contract", component: "tests/earlier-contract" },
    Guest { package: "bare-streams", component: "tests/bare-streams" },
    Guest { package: "misfit", component: "tests/misfit" },
    Guest { package: "other-exports", component: "tests/other-exports" },
    Guest { package: "other-imports", component: "tests/other-imports" },
];

/// Builds the named guests, or all of them. A component's file is written only when its bytes changed, so that crates
/// that embed it are not rebuilt needlessly.
pub(crate) fn build(names: &[String]) -> Result<()> {
    let guests = selected(names)?;
    let toolchain = toolchain::find()?;
    let mut is_any_new = false;
    for guest in guests {
        let began = Instant::now();
        let module = compile(guest, &toolchain)?;
        let component = encode(&module).with_context(|| format!("{} is not a component", guest.package))?;
        let file = workspace::target().join("components").join(format!("{}.wasm", guest.component));
        let changed = write_if_changed(&file, &component)?;
        is_any_new |= changed;
        eprintln!(
            "component {:<20} {:>6} KiB  {:>5.1} s  {}",
            guest.component,
            component.len().div_ceil(1024),
            began.elapsed().as_secs_f32(),
            if changed { "written" } else { "unchanged" },
        );
    }
    if is_any_new {
        drop_compiled()?;
    }
    Ok(())
}

/// Removes the compiled components that the tests share. Each test host gets a copy of all of them, so those of former
/// components would fill the small disks of some tests.
fn drop_compiled() -> Result<()> {
    let folder = workspace::target().join("tmp/compiled");
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn selected(names: &[String]) -> Result<Vec<&'static Guest>> {
    if names.is_empty() {
        return Ok(GUESTS.iter().collect());
    }
    names
        .iter()
        .map(|name| match GUESTS.iter().find(|guest| guest.component == name) {
            Some(guest) => Ok(guest),
            None => {
                let known: Vec<_> = GUESTS.iter().map(|guest| guest.component).collect();
                bail!("there is no component {name:?}; there are {}", known.join(", "))
            }
        })
        .collect()
}

/// Compiles a guest to a core module, and returns its path.
fn compile(guest: &Guest, toolchain: &Toolchain) -> Result<PathBuf> {
    let folder = workspace::target().join("guests");
    let mut command = toolchain.cargo();
    command
        .args(["build", "--quiet", "--lib", "--profile", "guest", "--target", toolchain::TARGET])
        .args(["--package", guest.package])
        .arg("--target-dir")
        .arg(&folder);
    toolchain.finish(&mut command);
    workspace::run(&mut command)?;
    let file = format!("{}.wasm", guest.package.replace('-', "_"));
    Ok(folder.join(toolchain::TARGET).join("guest").join(file))
}

fn encode(module: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    ComponentEncoder::default().validate(true).module(&bytes)?.encode()
}

/// Writes a file unless it already has these bytes, and returns whether it did. A rename makes the write atomic.
fn write_if_changed(file: &Path, bytes: &[u8]) -> Result<bool> {
    match fs::read(file) {
        Ok(there) if there == bytes => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
    let folder = file.parent().expect("a component's file lies in a folder");
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let new = file.with_extension("wasm.new");
    fs::write(&new, bytes).with_context(|| format!("cannot write {}", new.display()))?;
    fs::rename(&new, file).with_context(|| format!("cannot replace {}", file.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::{selected, write_if_changed};

    #[test]
    fn a_file_is_written_only_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/one.wasm");
        assert!(write_if_changed(&file, b"one").unwrap());
        assert!(!write_if_changed(&file, b"one").unwrap());
        assert!(write_if_changed(&file, b"two").unwrap());
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
    }

    #[test]
    fn an_unknown_component_is_refused_with_a_list_of_the_known_ones() {
        let Err(error) = selected(&["steams".to_owned()]) else { panic!("steams was found") };
        let error = error.to_string();
        assert!(error.contains("steams") && error.contains("gateway-http"), "{error}");
        assert_eq!(selected(&["streams".to_owned()]).unwrap()[0].package, "exesdb-streams");
    }
}
