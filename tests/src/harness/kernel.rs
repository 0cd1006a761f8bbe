//! The running kernel.

use std::fs;

use anyhow::{Context as _, Result};

/// The first two numbers of its release.
pub fn release() -> Result<(u32, u32)> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']).map(str::parse);
    let both = numbers.next().zip(numbers.next()).context("a release without two numbers")?;
    Ok((both.0?, both.1?))
}

/// Lets everyone send echo requests, as systemd does on a host.
pub fn open_echoes_to_everyone() -> Result<()> {
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")
        .context("failed to open ICMP to everyone")
}

/// Keeps the kernel from taking a port that the scenes' policies name where a socket asks for any: what a rule grants to
/// such a port would be granted to that socket by chance. What is reserved already stays so.
pub fn reserve_ports_of_policies() -> Result<()> {
    const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
    let before = fs::read_to_string(RESERVED).context("failed to see which ports are reserved")?;
    let both = [before.trim(), "20000-41999"].join(",");
    fs::write(RESERVED, both.trim_start_matches(','))
        .context("failed to reserve the ports of the policies")
}
