//! Assembles the contract for authors of gateways: our packages, with the world that refers to WASI, and WASI's packages. Those
//! are not in the repository, but in the crate `wasip2`, in the version that the SDK is built with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wit_parser::Resolve;

use crate::workspace;

/// The world of gateways that speak `wasi:http`.
const WORLD: &str = "exesdb:gateway/gateway-http-plugin";

/// The file that marks an assembled folder.
const ROOT_FILE: &str = "http.wit";

/// Writes a complete WIT folder: the package `exesdb:gateway` at its root, the others in `deps`. An earlier assembled folder
/// is replaced.
pub(crate) fn assemble(folder: &Path) -> Result<()> {
    let deps = folder.join("deps");
    if folder.exists() {
        let is_ours = folder.join(ROOT_FILE).is_file() || fs::read_dir(folder)?.next().is_none();
        if !is_ours {
            bail!("{} has something else in it; name a folder that is not there yet", folder.display());
        }
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let ours = workspace::root().join("wit");
    copy_wit(&ours.join("gateway"), folder, "")?;
    copy_wit(&ours.join("gateway/wasi"), folder, "")?;
    for package in ["host", "storage", "store"] {
        copy_wit(&ours.join(package), &deps.join(format!("exesdb-{package}")), "")?;
    }
    copy_wit(&wasi()?, &deps, "wasi-")?;
    check(folder)?;
    eprintln!("xtask: wrote {} with the world {WORLD}", folder.display());
    Ok(())
}

/// Parses the folder, and encodes its world as the tools of other languages do.
fn check(folder: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(folder)?;
    resolve.select_world(&[package], Some(WORLD)).with_context(|| format!("there is no world {WORLD}"))?;
    wit_component::encode(&resolve, package).context("the contract cannot be encoded")?;
    Ok(())
}

/// Copies the `.wit` files of a folder, with a prefix before their names.
fn copy_wit(from: &Path, to: &Path, prefix: &str) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    let mut copied = 0_usize;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let file = entry?.path();
        if file.extension().is_none_or(|extension| extension != "wit") {
            continue;
        }
        let name = file.file_name().expect("an entry of a folder has a name").to_string_lossy();
        // Not fs::copy: it copies permissions, and the registry's files may be read-only.
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        fs::write(to.join(format!("{prefix}{name}")), text)?;
        copied += 1;
    }
    if copied == 0 {
        bail!("{} has no .wit files", from.display());
    }
    Ok(())
}

/// The folder of WASI's packages in the crate `wasip2`.
fn wasi() -> Result<PathBuf> {
    let metadata = workspace::metadata()?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "wasip2" && package["version"].as_str().is_some_and(is_sdks))
        .and_then(|package| package["manifest_path"].as_str())
        .context("the workspace does not depend on wasip2 1.x, whose WIT the gateway's world needs")?;
    let folder = Path::new(manifest).parent().expect("a manifest lies in a folder");
    Ok(folder.join("wit/deps"))
}

/// The version that the SDK depends on; other dependencies may bring other versions.
fn is_sdks(version: &str) -> bool {
    version.starts_with("1.")
}

#[cfg(test)]
mod tests {
    use super::{assemble, check};

    #[test]
    fn the_contract_parses_with_its_dependencies_and_has_its_world() {
        let folder = tempfile::tempdir().unwrap();
        let wit = folder.path().join("wit");
        assemble(&wit).unwrap();
        // Assembling again replaces what is there.
        std::fs::write(wit.join("left-over.wit"), "not WIT").unwrap();
        check(&wit).unwrap_err();
        assemble(&wit).unwrap();
    }

    #[test]
    fn a_folder_that_was_not_assembled_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
        let error = assemble(folder.path()).unwrap_err().to_string();
        assert!(error.contains("has something else in it"), "{error}");
        assert!(folder.path().join("thesis.txt").is_file());
    }

    #[test]
    fn a_missing_dependency_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let wit = folder.path().join("wit");
        assemble(&wit).unwrap();
        std::fs::remove_file(wit.join("deps/wasi-http.wit")).unwrap();
        let error = format!("{:#}", check(&wit).unwrap_err());
        assert!(error.contains("wasi:http"), "{error}");
    }
}
