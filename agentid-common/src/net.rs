//! Network rules as the kernel sees them.
//!
//! A peer is judged in two steps, both longest-prefix lookups. The address, under the policy's scope, gives a
//! **class**: all addresses that the same set of rules covers. The port, under that class, gives the verdict. The
//! compiler has settled every overlap: the longest prefix that matches carries what all rules together say, deny
//! before allow, so the kernel never compares two rules.
//!
//! Examples, for the rules "allow 10.1.0.0/16 port 5432" (1) and "deny 10.1.9.0/24, any port" (2):
//!
//! ```text
//!   10.1.0.7:5432   class of /16, port 5432: allow, rule 1
//!   10.1.9.7:5432   class of /24, any port:  deny, rule 2
//!   10.1.0.7:22     class of /16, no port:   no rule, hence denied
//!   ::ffff:10.1.0.7 port 5432 is 10.1.0.7 port 5432
//! ```

/// What is done with a peer.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    Connect = 1,
}

/// Number of TCP in the IP header (IANA protocol numbers).
pub const TCP: u8 = 6;
/// Number of UDP in the IP header.
pub const UDP: u8 = 17;

/// An address in the 16 bytes of IPv6, IPv4 as `::ffff:a.b.c.d`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub [u8; 16]);

/// Length of the prefix under which IPv4 lies.
pub const V4_PREFIX: u8 = 96;

impl Address {
    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// An IPv6 address; a mapped one is the IPv4 address already in this form.
    #[inline(always)]
    pub const fn v6(octets: [u8; 16]) -> Self {
        Self(octets)
    }
}

/// One end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: Address,
    pub port: u16,
    pub protocol: u8,
    pub verb: Verb,
}

/// Data of the key in the trie of addresses, after the prefix length. Bits are compared from the first byte on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey {
    pub scope: u64,
    pub address: Address,
}

/// Bits of [`PeerKey`] before the address.
pub const PEER_SCOPE_BITS: u32 = 64;

/// Data of the key in the trie of ports, after the prefix length.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortKey {
    pub class: u32,
    pub verb: u8,
    pub protocol: u8,
    /// Network byte order, so that a prefix is a range.
    pub port: [u8; 2],
}

/// Bits of [`PortKey`] before the port.
pub const PORT_CLASS_BITS: u32 = 48;

/// What the rules say of a class and a port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortRule {
    pub rule: u16,
    /// 1 when the rule denies, 0 when it allows.
    pub deny: u16,
}
