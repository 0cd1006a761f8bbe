//! The name of a host, and the server that knows it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use agentid_tests::harness::{Upstream, upstream};
use anyhow::{Context as _, Result};
use hickory_proto::rr::Name;

/// Where everyone asks. What a run sends there goes to the daemon, which has the same server.
pub const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 53);

/// Good for a minute.
pub const KEPT: &str = "kept.example";
/// Good for no time at all, so that each question for it goes to the server.
pub const FRESH: &str = "fresh.example";
/// For documentation (RFC 5737); nobody connects to it.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

/// A name as it is asked for.
pub fn name(text: &str) -> Result<Name> {
    Name::from_ascii(format!("{text}.")).context("failed to write a name")
}

/// The server, until it is dropped.
pub fn serve() -> Result<Upstream> {
    let record = |name, seconds| upstream::address(name, seconds, IpAddr::V4(ADDRESS));
    let records = vec![record(KEPT, 60), record(FRESH, 0)];
    Upstream::at(SERVER.into(), records).context("failed to start a server of names")
}

/// A rule that grants both.
pub fn write_rule(text: &mut String) -> Result<()> {
    write!(
        text,
        "[[net]]\nto = [\"{KEPT}:443\", \"{FRESH}:443\"]\nresolves_to = [\"{ADDRESS}\"]\nallow = [\"connect\"]\n"
    )?;
    Ok(())
}
