//! Calls on sockets, as tests write them.

use std::net::SocketAddr;

use crate::step::{Act, By, Call, Carry, Protocol, SockAddr};

/// What the calls of one socket are made with.
pub struct Socket(pub usize);

impl Socket {
    fn call(&self, what: Act) -> Call {
        Call { on: self.0, what }
    }

    pub fn make(&self, family: i32, kind: i32, protocol: i32) -> Call {
        self.call(Act::Make { family, kind, protocol, by: By::Call })
    }

    pub fn make_by(&self, family: i32, kind: i32, protocol: i32, by: By) -> Call {
        self.call(Act::Make { family, kind, protocol, by })
    }

    /// A socket for echo requests to peers like this one.
    pub fn for_echoes(&self, to: SocketAddr) -> Call {
        match to {
            SocketAddr::V4(_) => self.make(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
            SocketAddr::V6(_) => self.make(libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6),
        }
    }

    /// To this peer, or to the one that the socket has.
    pub fn echo(&self, to: Option<SocketAddr>) -> Call {
        self.call(Act::Echo { to: to.map(SockAddr::from) })
    }

    /// A socket for peers or addresses like this one.
    pub fn like(&self, at: SocketAddr, protocol: Protocol) -> Call {
        let family = if at.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let kind = match protocol {
            Protocol::Tcp => libc::SOCK_STREAM,
            Protocol::Udp => libc::SOCK_DGRAM,
        };
        self.make(family, kind, 0)
    }

    pub fn adopt(&self) -> Call {
        self.call(Act::Adopt)
    }

    pub fn connect(&self, to: impl Into<SockAddr>) -> Call {
        self.connect_by(to, By::Call)
    }

    pub fn connect_by(&self, to: impl Into<SockAddr>, by: By) -> Call {
        self.call(Act::Connect { to: to.into(), by })
    }

    /// `AF_UNSPEC`
    pub fn disconnect(&self, like: SocketAddr) -> Call {
        self.connect(SockAddr { at: like, family: Some(libc::AF_UNSPEC as u16) })
    }

    pub fn bind(&self, to: impl Into<SockAddr>) -> Call {
        self.call(Act::Bind(to.into()))
    }

    pub fn listen(&self) -> Call {
        self.call(Act::Listen)
    }

    pub fn accept(&self) -> Call {
        self.call(Act::Accept)
    }

    pub fn port(&self) -> Call {
        self.call(Act::Port)
    }

    /// To the peer that the socket has.
    pub fn send(&self) -> Call {
        self.call(Act::Send { to: None, flags: 0, carry: Vec::new(), by: By::Call })
    }

    pub fn send_to(&self, to: impl Into<SockAddr>) -> Call {
        self.send_to_by(to, By::Call)
    }

    pub fn send_to_by(&self, to: impl Into<SockAddr>, by: By) -> Call {
        self.call(Act::Send { to: Some(to.into()), flags: 0, carry: Vec::new(), by })
    }

    pub fn open_fast(&self, to: impl Into<SockAddr>, by: By) -> Call {
        let (to, flags) = (Some(to.into()), libc::MSG_FASTOPEN);
        self.call(Act::Send { to, flags, carry: Vec::new(), by })
    }

    pub fn send_with(&self, to: Option<SocketAddr>, carry: Vec<Carry>) -> Call {
        let to = to.map(SockAddr::from);
        self.call(Act::Send { to, flags: 0, carry, by: By::Call })
    }

    pub fn send_two(&self, to: Option<SocketAddr>, carry: Vec<Carry>) -> Call {
        self.call(Act::SendTwo { to: to.map(SockAddr::from), carry })
    }

    pub fn set(&self, level: i32, option: i32, value: &[u8]) -> Call {
        self.call(Act::Set { level, option, value: value.to_vec() })
    }
}
