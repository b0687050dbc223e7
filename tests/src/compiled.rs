//! Compiled components, which hosts under test share.

use std::path::{Path, PathBuf};

use crate::root;

/// The folder of compiled components in a data directory.
const COMPILED: &str = ".compiled/modules";

/// A cache of compiled components that all tests share: compiling takes ten times as long as the rest of a start.
pub fn shared_compiled() -> PathBuf {
    root().join("target/tmp/compiled")
}

/// Copies compiled components from a cache folder into a data directory.
pub fn take_compiled(kept: &Path, data: &Path) {
    copy_compiled(kept, &data.join(COMPILED)).expect("files can be copied");
}

/// Copies compiled components from a data directory into a cache folder.
pub fn keep_compiled(data: &Path, kept: &Path) {
    copy_compiled(&data.join(COMPILED), kept).expect("files can be copied");
}

/// Copies the compiled components that `to` lacks; each version of the engine has a folder. Links would not do: a host
/// follows no link out of its data directory.
fn copy_compiled(from: &Path, to: &Path) -> std::io::Result<()> {
    let Ok(versions) = std::fs::read_dir(from) else { return Ok(()) };
    for version in versions {
        let version = version?;
        let folder = to.join(version.file_name());
        std::fs::create_dir_all(&folder)?;
        for file in std::fs::read_dir(version.path())? {
            let file = file?;
            let (name, copy) = (file.file_name(), folder.join(file.file_name()));
            // Names with a dot are the engine's usage statistics, which change all the time and are not needed.
            if name.to_string_lossy().contains('.') || copy.exists() {
                continue;
            }
            // Tests run in parallel, so a file gets its name only when it is complete.
            let unfinished = folder.join(format!("{}.{}", name.to_string_lossy(), std::process::id()));
            std::fs::copy(file.path(), &unfinished)?;
            std::fs::rename(unfinished, copy)?;
        }
    }
    Ok(())
}
