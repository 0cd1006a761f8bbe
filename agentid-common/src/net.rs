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
//!
//! The same tables hold what a run may do at its own end, under other verbs: for "listen on 127.0.0.1 port 8000" (3)
//!
//! ```text
//!   127.0.0.1:8000  listen: allow, rule 3; connect: no rule
//!   0.0.0.0:8000    no class: the address that stands for all local ones is granted by itself or by a block around it
//!   [::]:8000       is asked for twice, as `::` and as 0.0.0.0, because Linux takes IPv4 there too
//! ```
//!
//! A host name is a class as well. When a run has asked the daemon for a name that its policy grants, each address of the
//! answer is pinned: for this run, for a time, it is in the class of the name as well as in its own.
//!
//! Rules are about addresses. Through which interface a packet leaves (a zone such as `fe80::1%eth0`) is not asked.
//! Port 0 is a port like any other here, and only "every port" covers it; ICMP, which has none, is asked for with it.

/// What is done: with a peer, or at the run's own end.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Begin a conversation with a peer, and go on with it.
    Connect = 1,
    /// Send a message that carries the peer's address.
    Send = 2,
    /// Take a port, and wait there for what comes.
    Listen = 3,
    /// Take a connection that has come.
    Accept = 4,
}

impl Verb {
    pub const ALL: [Self; 4] = [Self::Connect, Self::Send, Self::Listen, Self::Accept];

    /// The word in policies, records and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Listen => "listen",
            Self::Accept => "accept",
        }
    }

    /// The member with this number, if there is one.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Connect),
            2 => Some(Self::Send),
            3 => Some(Self::Listen),
            4 => Some(Self::Accept),
            _ => None,
        }
    }

    /// Whether it is about the run's own end, and not about a peer.
    #[inline(always)]
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Listen | Self::Accept)
    }
}

/// Number of TCP in the IP header (IANA protocol numbers).
pub const TCP: u8 = 6;
/// Number of UDP in the IP header.
pub const UDP: u8 = 17;
/// Number of ICMP in the IP header. Rules mean ICMPv6 by it too.
pub const ICMP: u8 = 1;
/// Number of ICMPv6 in the IP header.
pub const ICMPV6: u8 = 58;

/// An address in the 16 bytes of IPv6, IPv4 as `::ffff:a.b.c.d`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub [u8; 16]);

/// Length of the prefix under which IPv4 lies.
pub const V4_PREFIX: u8 = 96;

impl Address {
    /// 0.0.0.0: at a run's own end, every IPv4 address of the host.
    pub const ANY_V4: Self = Self::v4([0; 4]);
    /// `::`: at a run's own end, every address of the host.
    pub const ANY_V6: Self = Self::v6([0; 16]);

    #[inline(always)]
    pub const fn v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// Whether this stands for every address, of IPv4 or of all.
    #[inline(always)]
    pub fn is_any(&self) -> bool {
        *self == Self::ANY_V4 || *self == Self::ANY_V6
    }

    /// What stands for every address of the same kind as this one.
    #[inline(always)]
    pub fn any(&self) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = self.0;
        let is_v4 =
            [a, b, c, d, e, f, g, h, i, j, k, l] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        if is_v4 { Self::ANY_V4 } else { Self::ANY_V6 }
    }

    /// 127.0.0.1
    pub const LOOPBACK_V4: Self = Self::v4([127, 0, 0, 1]);
    /// `::1`
    pub const LOOPBACK_V6: Self = Self::v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

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

impl Peer {
    /// Whether this is where programs ask for names, before the daemon is asked in its place.
    #[inline(always)]
    pub const fn asks_for_names(&self) -> bool {
        !self.verb.is_local()
            && self.port == DNS_PORT
            && (self.protocol == UDP || self.protocol == TCP)
    }

    /// Whether this is the daemon's resolver, at its port of the loopback addresses.
    #[inline(always)]
    pub fn is_resolver(&self, port: u16) -> bool {
        port != 0
            && self.port == port
            && (self.protocol == UDP || self.protocol == TCP)
            && (self.address == Address::LOOPBACK_V4 || self.address == Address::LOOPBACK_V6)
    }

    /// Whether Linux takes IPv4 here as well as IPv6. It does not where the socket says so (`IPV6_V6ONLY`), but a socket
    /// may take that back until it has its port, so that it is not asked.
    #[inline(always)]
    pub fn takes_ipv4_too(&self) -> bool {
        self.verb.is_local() && self.address == Address::ANY_V6
    }
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
    /// Its number, with [`crate::verdict::TRIPWIRE`] beside it where the rule is one.
    pub rule: u16,
    /// 1 when the rule denies, 0 when it allows.
    pub deny: u16,
}

/// The port at which names are asked for (RFC 1035 section 4.2).
pub const DNS_PORT: u16 = 53;

/// Most names of a run that can stand for one address at a time; of more, those that end first give way.
pub const PINS_EACH: u32 = 4;

/// A name has been asked for, and this address was the answer: until then the peer is in the name's class.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    /// In nanoseconds of `CLOCK_BOOTTIME`; 0 where there is none.
    pub until: u64,
    /// Hash of the pattern by which the policy names it, for the daemon.
    pub pattern: u64,
    /// Class of that pattern, as addresses have one.
    pub class: u32,
    pub reserved: u32,
}

/// All names of a run that stand for one address. The key's scope is that of the run's parameters, which is the run's own,
/// and another one with each version of its policy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// Under which it stands, for those who read it while it is taken away.
    pub key: PeerKey,
    pub list: [Pin; PINS_EACH as usize],
}

/// Who has sent the daemon's resolver something from a port of this host.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    pub generation: u64,
    pub slot: u32,
    /// When, in seconds of `CLOCK_BOOTTIME`.
    pub at: u32,
    /// From which address; the port says where this stands.
    pub address: Address,
}

impl Asker {
    /// Where it stands in its table.
    #[inline(always)]
    pub const fn index(protocol: u8, port: u16) -> u32 {
        let half = if protocol == TCP { ASKERS / 2 } else { 0 };
        half + port as u32
    }
}

/// Every port, of UDP and then of TCP.
pub const ASKERS: u32 = 2 << 16;
