//! Chooses the toolchain that compiles the guests.
//!
//! rustup installs the target's standard library with the toolchain, because `rust-toolchain.toml` names it. Where rustup
//! cannot fetch it, Debian's packages are an alternative: a second Rust with the standard library's source, from which cargo
//! builds the library for the target.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// The target of the guests.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// The source that `-Zbuild-std` needs, relative to the sysroot.
const STD_SOURCE: &str = "lib/rustlib/src/rust/library/std/Cargo.toml";

/// Environment variables that cargo, rustup or people set for native builds, and that would disturb another toolchain or
/// target.
const DISTURBING: [&str; 15] = [
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_TARGET_DIR",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "LD_LIBRARY_PATH",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUST_RECURSION_COUNT",
];

/// A toolchain that can build guests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The active toolchain, with the target's standard library.
    Active,
    /// Debian's toolchain, which builds the standard library from source.
    Debian {
        /// The linker for WebAssembly. Debian's packages have none.
        linker: PathBuf,
    },
}

impl Toolchain {
    /// The toolchain's cargo, at the root of the workspace, without disturbing environment variables.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = match self {
            Self::Active => workspace::cargo(),
            Self::Debian { .. } => Command::new(DEBIAN_CARGO),
        };
        command.current_dir(workspace::root());
        for variable in DISTURBING {
            command.env_remove(variable);
        }
        if let Self::Debian { linker } = self {
            for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
                command.env_remove(variable);
            }
            command
                .env("RUSTC", DEBIAN_RUSTC)
                // `build-std` is unstable, but the packages' source belongs to their compiler.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        command
    }

    /// Adds the arguments that `cargo build` needs with this toolchain.
    pub(crate) fn finish(&self, command: &mut Command) {
        if let Self::Debian { .. } = self {
            command.arg("-Zbuild-std=std,panic_abort");
        }
    }
}

/// What the machine has.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// The active toolchain has the target's standard library.
    active: bool,
    /// Debian's packages are installed.
    debian: bool,
    /// `rustup` can be run.
    rustup: bool,
    /// Packages can be installed: there is apt-get, and we are root.
    apt: bool,
}

/// The next step towards a toolchain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    UseActive,
    UseDebian,
    AddTarget,
    InstallDebian,
    GiveUp,
}

/// Uses what is installed before it fetches anything: without a network, every attempt of rustup takes long to fail.
/// `tried` is the last step, which did not help.
fn next_step(found: Found, tried: Option<Step>) -> Step {
    match (found, tried) {
        (Found { active: true, .. }, _) => Step::UseActive,
        (Found { debian: true, .. }, _) => Step::UseDebian,
        (Found { rustup: true, .. }, None) => Step::AddTarget,
        (Found { apt: true, .. }, None | Some(Step::AddTarget)) => Step::InstallDebian,
        _ => Step::GiveUp,
    }
}

/// Finds a toolchain. Installs missing parts where possible.
pub(crate) fn find() -> Result<Toolchain> {
    match std::env::var("EXESDB_GUEST_TOOLCHAIN").as_deref() {
        Err(_) | Ok("") => {}
        Ok("rustup") => return Ok(Toolchain::Active),
        Ok("debian") => return debian(),
        Ok(other) => bail!("EXESDB_GUEST_TOOLCHAIN is {other:?}; it can be `rustup` or `debian`"),
    }
    let mut tried = None;
    loop {
        let step = next_step(look()?, tried);
        match step {
            Step::UseActive => return Ok(Toolchain::Active),
            Step::UseDebian => return debian(),
            Step::AddTarget => add_target(),
            Step::InstallDebian => install_debian()?,
            Step::GiveUp => bail!(
                "nothing here compiles for {TARGET}: run `rustup target add {TARGET}`, or as root \
                 `apt-get install {}`",
                DEBIAN_PACKAGES.join(" ")
            ),
        }
        tried = Some(step);
    }
}

fn look() -> Result<Found> {
    Ok(Found {
        active: active_sysroot()?.join("lib/rustlib").join(TARGET).join("lib").is_dir(),
        debian: debian_is_installed(),
        rustup: answers(Command::new("rustup").arg("--version")),
        apt: answers(Command::new("apt-get").arg("--version")) && is_root(),
    })
}

fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// The sysroot of the active toolchain.
fn active_sysroot() -> Result<PathBuf> {
    sysroot(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

fn sysroot(rustc: OsString) -> Result<PathBuf> {
    let output = Command::new(&rustc)
        .args(["--print", "sysroot"])
        .current_dir(workspace::root())
        .output()
        .with_context(|| format!("cannot start {}", rustc.display()))?;
    if !output.status.success() {
        bail!("{} --print sysroot failed: {}", rustc.display(), String::from_utf8_lossy(&output.stderr));
    }
    let path = String::from_utf8(output.stdout).context("the sysroot's path is not UTF-8")?;
    Ok(PathBuf::from(path.trim_end()))
}

fn debian_is_installed() -> bool {
    Path::new(DEBIAN_CARGO).exists() && Path::new("/usr").join(STD_SOURCE).exists()
}

fn add_target() {
    eprintln!("xtask: adding the target {TARGET} with rustup");
    // A failure is not final: Debian's packages come next, and the last step reports what is missing.
    let _outcome =
        Command::new("rustup").args(["target", "add", TARGET]).current_dir(workspace::root()).status();
}

fn install_debian() -> Result<()> {
    eprintln!("xtask: installing {}", DEBIAN_PACKAGES.join(" "));
    workspace::run(Command::new("apt-get").arg("update"))?;
    workspace::run(
        Command::new("apt-get")
            .args(["install", "--yes", "--no-install-recommends"])
            .args(DEBIAN_PACKAGES)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn debian() -> Result<Toolchain> {
    if !debian_is_installed() {
        bail!("Debian's packages {} are not all installed", DEBIAN_PACKAGES.join(", "));
    }
    Ok(Toolchain::Debian { linker: linker()? })
}

/// The linker of the active toolchain, or one in the `PATH`.
fn linker() -> Result<PathBuf> {
    let hosts = active_sysroot()?.join("lib/rustlib");
    let bundled = std::fs::read_dir(&hosts)
        .with_context(|| format!("cannot read {}", hosts.display()))?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin/rust-lld")))
        .find(|file| file.is_file());
    if let Some(file) = bundled {
        return Ok(file);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|folder| [folder.join("rust-lld"), folder.join("wasm-ld")])
        .find(|file| file.is_file())
        .context("there is no linker for WebAssembly: run `apt-get install lld`")
}

#[cfg(test)]
mod tests {
    use super::{Found, Step, next_step};

    #[test]
    fn installed_toolchains_are_used_before_anything_is_fetched() {
        let nothing = Found { active: false, debian: false, rustup: false, apt: false };
        let able = Found { rustup: true, apt: true, ..nothing };
        let table = [
            (Found { active: true, ..able }, None, Step::UseActive),
            (Found { active: true, debian: true, ..able }, None, Step::UseActive),
            (Found { debian: true, ..able }, None, Step::UseDebian),
            (able, None, Step::AddTarget),
            (Found { active: true, ..able }, Some(Step::AddTarget), Step::UseActive),
            (able, Some(Step::AddTarget), Step::InstallDebian),
            (Found { debian: true, ..able }, Some(Step::InstallDebian), Step::UseDebian),
            (able, Some(Step::InstallDebian), Step::GiveUp),
            (Found { apt: false, ..able }, Some(Step::AddTarget), Step::GiveUp),
            (Found { rustup: false, ..able }, None, Step::InstallDebian),
            (nothing, None, Step::GiveUp),
        ];
        for (found, tried, step) in table {
            assert_eq!(next_step(found, tried), step, "{found:?} after {tried:?}");
        }
    }
}
