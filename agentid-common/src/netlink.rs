//! What a run may say to the kernel over a netlink socket.
//!
//! Reading links, addresses, routes, neighbours and routing rules: what a C library, `getifaddrs` and `ip` need to know
//! about the network. Everything else would change it, or looks further than a run needs.

/// include/uapi/linux/netlink.h
pub const ROUTE: u16 = 0;

/// Length of the head of a message, `struct nlmsghdr`.
pub const HEADER: u32 = 16;

/// Most messages that may come in one call.
pub const MAX_MESSAGES: u32 = 32;

/// The head of a message, as far as it is read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the message, its head included.
    pub length: u32,
    pub kind: u16,
    pub flags: u16,
}

impl Header {
    /// Where the next message begins, counted from this one; `None` when this one is longer than what is left of the
    /// call, or shorter than its head.
    #[inline(always)]
    pub const fn step(&self, left: u32) -> Option<u32> {
        if self.length < HEADER || self.length > left {
            return None;
        }
        // Messages begin at multiples of four bytes; after the last one nothing need follow.
        let aligned = (self.length & !3).wrapping_add(if self.length & 3 == 0 { 0 } else { 4 });
        Some(if aligned > left { left } else { aligned })
    }
}

/// Kinds of messages of routing netlink (include/uapi/linux/rtnetlink.h).
mod kind {
    pub const GETLINK: u16 = 18;
    pub const GETADDR: u16 = 22;
    pub const GETROUTE: u16 = 26;
    pub const GETNEIGH: u16 = 30;
    pub const GETRULE: u16 = 34;
    pub const GETNEIGHTBL: u16 = 66;
    pub const GETNETCONF: u16 = 82;
    pub const GETNSID: u16 = 90;
    pub const GETSTATS: u16 = 94;
}

/// Whether a message of this kind only reads what a run may know.
#[inline(always)]
pub const fn is_free(protocol: u16, kind: u16) -> bool {
    protocol == ROUTE
        && matches!(
            kind,
            kind::GETLINK
                | kind::GETADDR
                | kind::GETROUTE
                | kind::GETNEIGH
                | kind::GETRULE
                | kind::GETNEIGHTBL
                | kind::GETNETCONF
                | kind::GETNSID
                | kind::GETSTATS
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u32) -> Header {
        Header { length, kind: kind::GETLINK, flags: 0 }
    }

    #[test]
    fn frees_what_reads_and_nothing_else() {
        for kind in 0..200 {
            // The kernel's own rule: each object has four kinds, and the third reads.
            if is_free(ROUTE, kind) {
                assert_eq!(kind % 4, 2, "{kind}");
            }
        }
        assert!(is_free(ROUTE, 18) && !is_free(ROUTE, 16) && !is_free(ROUTE, 20));
        assert!(!is_free(4, 18) && !is_free(16, 18));
    }

    #[test]
    fn steps_over_whole_messages_only() {
        assert_eq!(header(20).step(64), Some(20));
        assert_eq!(header(17).step(64), Some(20));
        assert_eq!(header(17).step(17), Some(17));
        assert_eq!(header(16).step(16), Some(16));
        assert_eq!(header(15).step(64), None);
        assert_eq!(header(65).step(64), None);
        assert_eq!(header(u32::MAX).step(64), None);
    }
}
