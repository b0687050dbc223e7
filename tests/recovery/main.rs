//! What is left of a host that was killed, stopped, cut off from power or given a bad disk under load.

mod crash;
mod errors;
mod faults;
mod flips;
mod import;
mod power;
mod stop;
mod witness;

/// How often something is done: as an environment variable says, or else as here.
fn rounds(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(rounds) => rounds.parse().unwrap_or_else(|error| panic!("{variable} is a number: {error}")),
        Err(_) => otherwise,
    }
}

/// Under which binary a check runs: the one under test, or the one with faults built in and this environment, which
/// chooses among them.
type Faults<'a> = Option<&'a [(&'a str, &'a str)]>;
