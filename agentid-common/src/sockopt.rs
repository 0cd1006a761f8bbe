//! Which options of sockets a run may set, and what may travel with a message. What is not in the lists is denied.
//!
//! An option is harmless when it says how much, how long or how urgently, or what the run is told about what comes, and
//! the packet goes on to the address that the rules were asked about. What is left out, and why:
//!
//! | Option | What it would do |
//! |---|---|
//! | `IPV6_RTHDR`, `IPV6_2292RTHDR`, `IP_OPTIONS` | the packet goes to another address first, or at last |
//! | `IPV6_HOPOPTS`, `IPV6_DSTOPTS`, `IPV6_RTHDRDSTS`, `IPV6_2292*`, router alert | headers that others act upon |
//! | `IPV6_FLOWLABEL_MGR`, `IPV6_FLOWINFO_SEND` | a label brings such headers along |
//! | `IPV6_NEXTHOP`, `SO_DONTROUTE`, `SO_BINDTODEVICE`, `SO_MARK`, `*_UNICAST_IF`, a lasting `IPV6_PKTINFO` | another way there |
//! | `IP_LOCAL_PORT_RANGE` | the run, and not the kernel, chooses the port of a socket that is bound to none |
//! | `*_TRANSPARENT`, `*_FREEBIND` | an address that is not the host's |
//! | `*_HDRINCL`, `TCP_REPAIR*`, `TCP_MD5SIG`, `TCP_AO_*`, `IP*_XFRM_POLICY` | packets or connections that are made up |
//! | `TCP_ULP` | another protocol on the socket; which one the hook is not told, so kernel TLS is denied too |
//! | `IPV6_ADDRFORM` | turns an IPv6 socket into an IPv4 one while an address is being judged |
//! | `SO_ATTACH_*`, `SO_DETACH_*`, `SO_LOCK_FILTER` | programs in the kernel, and in the way of others that share the port |
//! | memberships in groups | the kernel sends to the group, whose address no rule was asked about |
//! | `SO_TXTIME`, `SO_BUSY_POLL`, `SO_*BUFFORCE`, `SO_DEVMEM_*` | queues and memory of the host |
//! | `UDP_ENCAP` | another protocol within UDP |
//! | levels of MPTCP, SMC, XDP, TLS, firewalls | sockets and tables that a run has none of |

/// Levels: include/linux/socket.h and include/uapi/linux/in.h
mod level {
    pub const IP: i32 = 0;
    pub const SOCKET: i32 = 1;
    pub const TCP: i32 = 6;
    pub const UDP: i32 = 17;
    pub const IPV6: i32 = 41;
    pub const NETLINK: i32 = 270;
}

/// Whether a run may set this option.
#[inline(always)]
pub const fn may_set(level: i32, option: i32) -> bool {
    match level {
        // REUSEADDR, BROADCAST, SNDBUF, RCVBUF, KEEPALIVE, OOBINLINE; PRIORITY, LINGER, BSDCOMPAT, REUSEPORT, PASSCRED;
        // RCVLOWAT, SNDLOWAT, RCVTIMEO, SNDTIMEO; TIMESTAMP; PASSSEC, TIMESTAMPNS; TIMESTAMPING; RXQ_OVFL; PEEK_OFF;
        // SELECT_ERR_QUEUE; MAX_PACING_RATE; CNX_ADVICE; ZEROCOPY; the five times in 64 bits; PASSPIDFD; PASSRIGHTS.
        level::SOCKET => matches!(
            option,
            2 | 6..=10 | 12..=16 | 18..=21 | 29 | 34 | 35 | 37 | 40 | 42 | 45 | 47 | 53 | 60
                | 63..=67 | 76 | 83
        ),
        // NODELAY, MAXSEG, CORK, KEEPIDLE, KEEPINTVL, KEEPCNT, SYNCNT, LINGER2, DEFER_ACCEPT, WINDOW_CLAMP; QUICKACK;
        // USER_TIMEOUT; FASTOPEN, which a listener sets; NOTSENT_LOWAT; FASTOPEN_CONNECT, after which connect(2) is asked
        // about as ever; INQ.
        level::TCP => matches!(option, 1..=10 | 12 | 18 | 23 | 25 | 30 | 36),
        // CORK: the first part's address is everyone's. SEGMENT, GRO.
        level::UDP => matches!(option, 1 | 103 | 104),
        // TOS, TTL; RECVOPTS, RETOPTS, which tell what came; PKTINFO, which tells where; MTU_DISCOVER, RECVERR, RECVTTL,
        // RECVTOS; BIND_ADDRESS_NO_PORT; MULTICAST_IF, MULTICAST_TTL, MULTICAST_LOOP; MULTICAST_ALL.
        level::IP => matches!(option, 1 | 2 | 6..=8 | 10..=13 | 24 | 32..=34 | 49),
        // UNICAST_HOPS, MULTICAST_IF, MULTICAST_HOPS, MULTICAST_LOOP; MTU_DISCOVER, MTU, RECVERR, V6ONLY; MULTICAST_ALL;
        // RECVPKTINFO; RECVHOPLIMIT; RECVPATHMTU; DONTFRAG; RECVTCLASS, TCLASS; AUTOFLOWLABEL; ADDR_PREFERENCES.
        level::IPV6 => matches!(
            option,
            16..=19 | 23..=26 | 29 | 49 | 51 | 60 | 62 | 66 | 67 | 70 | 72
        ),
        // Membership in groups that tell of changes, PKTINFO, BROADCAST_ERROR, NO_ENOBUFS; CAP_ACK, EXT_ACK,
        // GET_STRICT_CHK.
        level::NETLINK => matches!(option, 1..=5 | 10..=12),
        _ => false,
    }
}

/// Whether this may travel with a message of a run.
#[inline(always)]
pub const fn may_carry(level: i32, kind: i32) -> bool {
    match level {
        // RIGHTS and CREDENTIALS, which mean nothing beyond unix sockets; TIMESTAMPING, in both widths.
        level::SOCKET => matches!(kind, 1 | 2 | 37 | 65),
        // SEGMENT
        level::UDP => kind == 103,
        // TOS, TTL, PKTINFO
        level::IP => matches!(kind, 1 | 2 | 8),
        // 2292PKTINFO, 2292HOPLIMIT, PKTINFO, HOPLIMIT, DONTFRAG, TCLASS
        level::IPV6 => matches!(kind, 2 | 8 | 50 | 52 | 62 | 67),
        _ => false,
    }
}

/// Where in a piece that may travel, from the head of what it says, the kernel finds the number of a device to send by, and
/// [`NOWHERE`] if it finds none.
#[inline(always)]
pub const fn device_at(level: i32, kind: i32) -> u64 {
    match (level, kind) {
        // PKTINFO: `struct in_pktinfo`
        (level::IP, 8) => 0,
        // 2292PKTINFO, PKTINFO: `struct in6_pktinfo`
        (level::IPV6, 2 | 50) => 16,
        _ => NOWHERE,
    }
}

/// See [`device_at`].
pub const NOWHERE: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    /// What gets a packet elsewhere, or something else into it, by its name.
    const DENIED: &[(&str, i32, i32)] = &[
        ("SO_DEBUG", 1, 1),
        ("SO_DONTROUTE", 1, 5),
        ("SO_NO_CHECK", 1, 11),
        ("SO_BINDTODEVICE", 1, 25),
        ("SO_ATTACH_FILTER", 1, 26),
        ("SO_DETACH_FILTER", 1, 27),
        ("SO_SNDBUFFORCE", 1, 32),
        ("SO_RCVBUFFORCE", 1, 33),
        ("SO_MARK", 1, 36),
        ("SO_LOCK_FILTER", 1, 44),
        ("SO_BUSY_POLL", 1, 46),
        ("SO_ATTACH_BPF", 1, 50),
        ("SO_ATTACH_REUSEPORT_CBPF", 1, 51),
        ("SO_ATTACH_REUSEPORT_EBPF", 1, 52),
        ("SO_TXTIME", 1, 61),
        ("SO_BINDTOIFINDEX", 1, 62),
        ("SO_DETACH_REUSEPORT_BPF", 1, 68),
        ("SO_RCVMARK", 1, 75),
        ("SO_DEVMEM_DONTNEED", 1, 80),
        ("IP_HDRINCL", 0, 3),
        ("IP_OPTIONS", 0, 4),
        ("IP_ROUTER_ALERT", 0, 5),
        ("IP_FREEBIND", 0, 15),
        ("IP_IPSEC_POLICY", 0, 16),
        ("IP_XFRM_POLICY", 0, 17),
        ("IP_TRANSPARENT", 0, 19),
        ("IP_ADD_MEMBERSHIP", 0, 35),
        ("IP_ADD_SOURCE_MEMBERSHIP", 0, 39),
        ("MCAST_JOIN_GROUP", 0, 42),
        ("IP_UNICAST_IF", 0, 50),
        ("IP_LOCAL_PORT_RANGE", 0, 51),
        ("IPT_SO_SET_REPLACE", 0, 64),
        ("MRT_INIT", 0, 200),
        ("IPV6_ADDRFORM", 41, 1),
        ("IPV6_2292PKTINFO", 41, 2),
        ("IPV6_2292HOPOPTS", 41, 3),
        ("IPV6_2292DSTOPTS", 41, 4),
        ("IPV6_2292RTHDR", 41, 5),
        ("IPV6_2292PKTOPTIONS", 41, 6),
        ("IPV6_CHECKSUM", 41, 7),
        ("IPV6_NEXTHOP", 41, 9),
        ("IPV6_ADD_MEMBERSHIP", 41, 20),
        ("IPV6_ROUTER_ALERT", 41, 22),
        ("IPV6_JOIN_ANYCAST", 41, 27),
        ("IPV6_FLOWLABEL_MGR", 41, 32),
        ("IPV6_FLOWINFO_SEND", 41, 33),
        ("IPV6_IPSEC_POLICY", 41, 34),
        ("IPV6_XFRM_POLICY", 41, 35),
        ("IPV6_HDRINCL", 41, 36),
        ("IPV6_PKTINFO", 41, 50),
        ("IPV6_HOPOPTS", 41, 54),
        ("IPV6_RTHDRDSTOPTS", 41, 55),
        ("IPV6_RTHDR", 41, 57),
        ("IPV6_DSTOPTS", 41, 59),
        ("IPV6_TRANSPARENT", 41, 75),
        ("IPV6_UNICAST_IF", 41, 76),
        ("IPV6_FREEBIND", 41, 78),
        ("TCP_MD5SIG", 6, 14),
        ("TCP_REPAIR", 6, 19),
        ("TCP_REPAIR_QUEUE", 6, 20),
        ("TCP_QUEUE_SEQ", 6, 21),
        ("TCP_REPAIR_OPTIONS", 6, 22),
        ("TCP_REPAIR_WINDOW", 6, 29),
        ("TCP_ULP", 6, 31),
        ("TCP_FASTOPEN_KEY", 6, 33),
        ("TCP_AO_ADD_KEY", 6, 38),
        ("UDP_ENCAP", 17, 100),
        ("UDP_NO_CHECK6_TX", 17, 101),
        ("NETLINK_LISTEN_ALL_NSID", 270, 8),
        ("SCTP_SOCKOPT_CONNECTX", 132, 110),
        ("TLS_TX", 282, 1),
        ("XDP_UMEM_REG", 283, 4),
        ("MPTCP_INFO", 284, 1),
        ("SMC_LIMIT_HS", 286, 1),
        ("PACKET_FANOUT", 263, 18),
        ("ICMPV6_FILTER", 58, 1),
        ("UDPLITE_SEND_CSCOV", 136, 10),
    ];

    #[test]
    fn what_leads_elsewhere_is_denied() {
        for &(name, level, option) in DENIED {
            assert!(!may_set(level, option), "{name}");
        }
        for level in [-1, 2, 58, 132, 136, 255, 263, 273, 282, 283, 284, 286, i32::MAX] {
            assert!((-1..512).all(|option| !may_set(level, option)), "level {level}");
        }
    }

    /// What curl, git, ssh, Python, Node, Go, Java and the C libraries set.
    #[test]
    fn programs_set_what_they_usually_set() {
        let usual: &[(&str, i32, i32)] = &[
            ("SO_REUSEADDR", 1, 2),
            ("SO_BROADCAST", 1, 6),
            ("SO_SNDBUF", 1, 7),
            ("SO_RCVBUF", 1, 8),
            ("SO_KEEPALIVE", 1, 9),
            ("SO_LINGER", 1, 13),
            ("SO_REUSEPORT", 1, 15),
            ("SO_RCVTIMEO", 1, 20),
            ("SO_SNDTIMEO", 1, 21),
            ("SO_TIMESTAMP", 1, 29),
            ("SO_RCVTIMEO_NEW", 1, 66),
            ("TCP_NODELAY", 6, 1),
            ("TCP_CORK", 6, 3),
            ("TCP_KEEPIDLE", 6, 4),
            ("TCP_KEEPINTVL", 6, 5),
            ("TCP_KEEPCNT", 6, 6),
            ("TCP_DEFER_ACCEPT", 6, 9),
            ("TCP_QUICKACK", 6, 12),
            ("TCP_USER_TIMEOUT", 6, 18),
            ("TCP_FASTOPEN", 6, 23),
            ("TCP_NOTSENT_LOWAT", 6, 25),
            ("TCP_FASTOPEN_CONNECT", 6, 30),
            ("UDP_SEGMENT", 17, 103),
            ("UDP_GRO", 17, 104),
            ("IP_TOS", 0, 1),
            ("IP_TTL", 0, 2),
            ("IP_MTU_DISCOVER", 0, 10),
            ("IP_RECVERR", 0, 11),
            ("IP_RECVTOS", 0, 13),
            ("IP_BIND_ADDRESS_NO_PORT", 0, 24),
            ("IP_MULTICAST_TTL", 0, 33),
            ("IP_MULTICAST_ALL", 0, 49),
            ("IPV6_V6ONLY", 41, 26),
            ("IPV6_MTU_DISCOVER", 41, 23),
            ("IPV6_RECVERR", 41, 25),
            ("IPV6_MULTICAST_HOPS", 41, 18),
            ("IPV6_MULTICAST_ALL", 41, 29),
            ("IPV6_RECVPKTINFO", 41, 49),
            ("IPV6_TCLASS", 41, 67),
            ("NETLINK_EXT_ACK", 270, 11),
            ("NETLINK_GET_STRICT_CHK", 270, 12),
        ];
        for &(name, level, option) in usual {
            assert!(may_set(level, option), "{name}");
        }
    }

    #[test]
    fn messages_carry_no_headers() {
        for (level, kind) in
            [(1, 37), (17, 103), (0, 1), (0, 2), (0, 8), (41, 50), (41, 52), (41, 67)]
        {
            assert!(may_carry(level, kind), "{level} {kind}");
        }
        // SO_MARK, SCM_TXTIME, PRIORITY, DMABUF; IP_RETOPTS, IP_PROTOCOL; FLOWINFO, the 2292 forms, NEXTHOP and headers;
        // TLS records.
        for (level, kind) in [
            (1, 36),
            (1, 61),
            (1, 12),
            (1, 79),
            (0, 7),
            (0, 4),
            (0, 52),
            (41, 11),
            (41, 3),
            (41, 4),
            (41, 5),
            (41, 9),
            (41, 54),
            (41, 55),
            (41, 57),
            (41, 59),
            (282, 1),
            (132, 1),
            (-1, 1),
        ] {
            assert!(!may_carry(level, kind), "{level} {kind}");
        }
    }
}
