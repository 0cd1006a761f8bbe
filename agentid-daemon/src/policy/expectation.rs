//! What the author expects the rules to say, so that a policy shows that it does what is meant.

use std::{collections::BTreeMap, net::Ipv6Addr, path::PathBuf};

use agentid_common::{file::Rights, net::Verb};

/// Cases that are all to be allowed, or all to be denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Where it stands, from 1.
    pub line: usize,
    pub column: usize,
    /// Folders for the parameters; none where they do not matter.
    pub params: BTreeMap<String, PathBuf>,
    pub allowed: bool,
    pub cases: Vec<Case>,
    pub because: Option<String>,
}

/// Something that a run may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Case {
    /// Each right is asked for by itself.
    File { path: PathBuf, rights: Rights },
    /// IPv4 as `::ffff:a.b.c.d`; ICMP has port 0.
    Peer { address: Ipv6Addr, port: u16, protocol: u8, verb: Verb },
    /// In lower case.
    Name { name: String, port: u16, protocol: u8, verb: Verb },
    /// By its name, and by its number.
    Capability(String, u32),
    /// An abstract name of a unix socket: `CONNECT` is to connect to it, `CREATE` to take it.
    Abstract { name: String, right: Rights },
}

impl Case {
    /// How many questions it is.
    pub fn number(&self) -> usize {
        match self {
            Self::File { rights, .. } => rights.0.count_ones() as usize,
            Self::Peer { .. }
            | Self::Name { .. }
            | Self::Capability(..)
            | Self::Abstract { .. } => 1,
        }
    }
}
