//! The name of a host, and the server that knows it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use agentid_tests::harness::{Upstream, upstream};
use anyhow::{Context as _, Result};
use hickory_proto::rr::Name;

/// Where everyone asks. What a run sends there goes to the daemon, which has the same server.
pub const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 53);

const NAME: &str = "granted.example";
/// For documentation (RFC 5737); nobody connects to it.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

/// The name that is asked for.
pub fn granted() -> Result<Name> {
    Name::from_ascii(format!("{NAME}.")).context("failed to write a name")
}

/// The server, until it is dropped.
pub fn serve() -> Result<Upstream> {
    let record = upstream::address(NAME, 60, IpAddr::V4(ADDRESS));
    Upstream::at(SERVER.into(), vec![record]).context("failed to start a server of names")
}

/// A rule that grants it.
pub fn write_rule(text: &mut String) -> Result<()> {
    write!(
        text,
        "[[net]]\nto = [\"{NAME}:443\"]\nresolves_to = [\"{ADDRESS}\"]\nallow = [\"connect\"]\n"
    )?;
    Ok(())
}
