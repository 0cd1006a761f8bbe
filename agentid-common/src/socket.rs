//! Which sockets a run may make. What is not in the list is refused as on a kernel that does not have it, so that
//! programs fall back: Go listens by MPTCP where it can, and by TCP where it cannot.
//!
//! Making one grants nothing: each use of it is judged.
//!
//! | Family | Type | Protocol | Judged by |
//! |---|---|---|---|
//! | `INET`, `INET6` | `STREAM` | TCP | rules for `tcp` |
//! | `INET`, `INET6` | `DGRAM` | UDP | rules for `udp` |
//! | `INET` | `DGRAM` | ICMP | rules for `icmp` |
//! | `INET6` | `DGRAM` | ICMPv6 | rules for `icmp` |
//! | `UNIX` | any | any | |
//! | `NETLINK` | any | `ROUTE` | |
//!
//! Refused with them are the ways by which such a socket would get round the rules: MPTCP and SCTP talk to addresses that
//! no hook is asked about, raw and packet sockets write addresses of their own, SMC hides TCP, and families such as
//! VSOCK, ALG, KEY, XDP, TIPC and Bluetooth lead to peers that no rule can name.

use crate::{
    net::{ICMP, ICMPV6, TCP, UDP},
    verdict::{Refusal, Unsupported},
};

/// include/linux/socket.h
pub const AF_UNSPEC: u16 = 0;
pub const AF_UNIX: u16 = 1;
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
pub const AF_NETLINK: u16 = 16;
const AF_PACKET: u16 = 17;

/// include/linux/net.h
pub const SOCK_STREAM: u16 = 1;
pub const SOCK_DGRAM: u16 = 2;
const SOCK_RAW: u16 = 3;

/// include/uapi/linux/netlink.h
const NETLINK_ROUTE: u16 = 0;

/// What a socket is to rules.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
    /// Both ICMPs.
    Icmp,
    /// Within the host: unix, netlink.
    Local,
    /// No run can make one.
    Other,
}

impl Transport {
    /// The IP protocol by which rules name it; 0 when they do not.
    #[inline(always)]
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Tcp => TCP,
            Self::Udp => UDP,
            Self::Icmp => ICMP,
            Self::Local | Self::Other => 0,
        }
    }
}

/// May a run make this socket? `kind` is without flags, which socket(2) takes off before the hook is asked.
#[inline(always)]
pub fn may_create(family: i32, kind: i32, protocol: i32) -> Result<(), Refusal> {
    let number = |value: i32| u16::try_from(value).unwrap_or(u16::MAX);
    let (family, kind, protocol) = (number(family), number(kind), number(protocol));
    let unsupported = match (family, kind) {
        (AF_UNIX, _) => return Ok(()),
        (AF_NETLINK, _) if protocol == NETLINK_ROUTE => return Ok(()),
        (AF_INET | AF_INET6, SOCK_STREAM | SOCK_DGRAM) => {
            // With 0 the kernel takes the usual one.
            if protocol == 0 || transport(family, kind, protocol) != Transport::Other {
                return Ok(());
            }
            Unsupported::Protocol
        }
        (AF_INET | AF_INET6, SOCK_RAW) | (AF_PACKET, _) => Unsupported::Privilege,
        (AF_INET | AF_INET6 | AF_NETLINK, _) => Unsupported::Protocol,
        _ => Unsupported::Family,
    };
    Err(Refusal::Unsupported(unsupported))
}

/// What a socket that is there is to rules. A run can have others from elsewhere than socket(2), and may not use them.
#[inline(always)]
pub fn transport(family: u16, kind: u16, protocol: u16) -> Transport {
    const TCP_SOCKET: u16 = TCP as u16;
    const UDP_SOCKET: u16 = UDP as u16;
    const ICMP_SOCKET: u16 = ICMP as u16;
    const ICMPV6_SOCKET: u16 = ICMPV6 as u16;
    match (family, kind, protocol) {
        // Not TCP in another guise: MPTCP is 262, which is 6 to whoever looks at eight bits of it.
        (AF_INET | AF_INET6, SOCK_STREAM, TCP_SOCKET) => Transport::Tcp,
        (AF_INET | AF_INET6, SOCK_DGRAM, UDP_SOCKET) => Transport::Udp,
        (AF_INET, SOCK_DGRAM, ICMP_SOCKET) | (AF_INET6, SOCK_DGRAM, ICMPV6_SOCKET) => {
            Transport::Icmp
        }
        (AF_UNIX | AF_NETLINK, _, _) => Transport::Local,
        _ => Transport::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(family: u16, kind: u16, protocol: i32) -> Unsupported {
        match may_create(i32::from(family), i32::from(kind), protocol) {
            Err(Refusal::Unsupported(what)) => what,
            other => panic!("family {family}, type {kind}, protocol {protocol}: {other:?}"),
        }
    }

    #[test]
    fn makes_what_rules_can_hold() {
        for (family, kind, protocol) in [
            (AF_INET, SOCK_STREAM, 0),
            (AF_INET, SOCK_STREAM, 6),
            (AF_INET6, SOCK_STREAM, 6),
            (AF_INET, SOCK_DGRAM, 0),
            (AF_INET6, SOCK_DGRAM, 17),
            (AF_INET, SOCK_DGRAM, 1),
            (AF_INET6, SOCK_DGRAM, 58),
            (AF_UNIX, SOCK_STREAM, 0),
            (AF_UNIX, 5, 0),
            (AF_NETLINK, SOCK_RAW, 0),
            (AF_NETLINK, SOCK_DGRAM, 0),
        ] {
            let made = may_create(i32::from(family), i32::from(kind), protocol);
            assert_eq!(made, Ok(()), "family {family}, type {kind}, protocol {protocol}");
        }
    }

    #[test]
    fn refuses_protocols_so_that_programs_fall_back() {
        // MPTCP, SCTP, SMC, DCCP, UDP-Lite, and one ICMP under the other's family.
        for protocol in [262, 132, 256, 33, 136] {
            for (family, kind) in [(AF_INET, SOCK_STREAM), (AF_INET6, SOCK_DGRAM)] {
                assert_eq!(refused(family, kind, protocol), Unsupported::Protocol, "{protocol}");
            }
        }
        assert_eq!(refused(AF_INET, SOCK_DGRAM, 58), Unsupported::Protocol);
        assert_eq!(refused(AF_INET6, SOCK_DGRAM, 1), Unsupported::Protocol);
        assert_eq!(refused(AF_INET, SOCK_STREAM, 17), Unsupported::Protocol);
        assert_eq!(refused(AF_INET, SOCK_STREAM, -1), Unsupported::Protocol);
        // SEQPACKET and DCCP's type.
        assert_eq!(refused(AF_INET, 5, 0), Unsupported::Protocol);
        assert_eq!(refused(AF_INET6, 6, 0), Unsupported::Protocol);
        // Firewalls, audit, uevents, IPsec, the connector, the crypto interface.
        for protocol in [12, 9, 15, 6, 11, 21, 4] {
            assert_eq!(refused(AF_NETLINK, SOCK_RAW, protocol), Unsupported::Protocol);
        }
    }

    #[test]
    fn refuses_raw_sockets_as_the_kernel_does() {
        for protocol in [0, 1, 6, 255] {
            assert_eq!(refused(AF_INET, SOCK_RAW, protocol), Unsupported::Privilege);
            assert_eq!(refused(AF_INET6, SOCK_RAW, protocol), Unsupported::Privilege);
        }
        for kind in [SOCK_RAW, SOCK_DGRAM, 10] {
            assert_eq!(refused(AF_PACKET, kind, 0x0300), Unsupported::Privilege);
        }
    }

    #[test]
    fn refuses_each_other_family() {
        let known = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET];
        for family in (0..=64).chain([u16::MAX]).filter(|family| !known.contains(family)) {
            for kind in 0..12 {
                assert_eq!(refused(family, kind, 0), Unsupported::Family, "{family}");
            }
        }
        assert_eq!(may_create(-1, 1, 0), Err(Refusal::Unsupported(Unsupported::Family)));
    }

    #[test]
    fn a_socket_from_elsewhere_is_what_its_numbers_say() {
        assert_eq!(transport(AF_INET, SOCK_STREAM, 6), Transport::Tcp);
        assert_eq!(transport(AF_INET6, SOCK_DGRAM, 58), Transport::Icmp);
        assert_eq!(transport(AF_UNIX, SOCK_STREAM, 0), Transport::Local);
        for (family, kind, protocol) in [
            (AF_INET, SOCK_STREAM, 262),
            (AF_INET, SOCK_RAW, 6),
            (AF_PACKET, SOCK_RAW, 0),
            (43, 1, 6),
        ] {
            let found = transport(family, kind, protocol);
            assert_eq!(found, Transport::Other, "{family} {kind} {protocol}");
        }
    }
}
