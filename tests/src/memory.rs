//! The memory of a host.

use crate::Host;

/// Bytes that a host has allocated and that are in memory, without its program and without files. None where the system does not
/// say.
pub fn allocated_bytes(host: &Host) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
