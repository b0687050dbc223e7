//! The build script. `cargo xtask` without arguments lists its commands.
#![allow(clippy::print_stderr)] // a build script reports to its user

mod components;
mod host;
mod test;
mod toolchain;
mod wit;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  components [NAME..]  build the WebAssembly components (all, or those named) into target/components
  build [ARGS..]       components, then the host in release; ARGS go to cargo
  serve [ARGS..]       components, then build and run `exesdb serve ARGS`
  bench [ARGS..]       components, then build the host and run `exesdb-bench ARGS` on it
  test [ARGS..]        components, then every test; ARGS go to the test runner
  test --long [NAME..] components, then the long tests: all, or those named
  wit [FOLDER]         assemble the contract with its dependencies in target/wit, or that folder, for authors of gateways

EXESDB_GUEST_TOOLCHAIN=rustup|debian insists on one of the two toolchains that can build components.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let Some((command, rest)) = arguments.split_first() else {
        bail!("no command given\n\n{USAGE}");
    };
    match command.as_str() {
        "components" => components::build(rest),
        "build" => {
            components::build(&[])?;
            host::build(rest)?;
            Ok(())
        }
        "serve" => {
            components::build(&[])?;
            host::serve(rest)
        }
        "bench" => {
            components::build(&[])?;
            host::bench(rest)
        }
        "test" => {
            components::build(&[])?;
            match rest {
                [long, names @ ..] if long == "--long" => test::long(names),
                arguments => test::all(arguments),
            }
        }
        "wit" => match rest {
            [] => wit::assemble(&workspace::target().join("wit")),
            [folder] => wit::assemble(&std::env::current_dir()?.join(folder)),
            [_, more, ..] => bail!("`wit` takes one folder; {more:?} is one more\n\n{USAGE}"),
        },
        "help" | "-h" | "--help" => {
            eprint!("{USAGE}");
            Ok(())
        }
        unknown => bail!("there is no command {unknown:?}\n\n{USAGE}"),
    }
}
