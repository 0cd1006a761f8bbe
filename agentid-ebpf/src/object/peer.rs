//! Whom a socket is to talk to, and where it is itself.

use agentid_common::{
    net::{Address, Peer, TCP, Verb},
    record::PeerBody,
    socket::{AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC, Transport, transport},
    tag::Tag,
    verdict::{Answer, Fault, Reason, Refusal},
};

use super::ancillary;
use crate::{
    kfield::{Message, Sock, SockAddr, Socket, read_into},
    names,
    socket::{self, Came},
};

/// include/net/tcp_states.h
const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;
/// include/linux/socket.h
const MSG_DONTROUTE: u32 = 4;
const MSG_BATCH: u32 = 0x4_0000;
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// include/uapi/linux/in.h: `struct sockaddr_in`, as far as it is read.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct SockAddrIn {
    family: u16,
    port: [u8; 2],
    address: [u8; 4],
}

/// include/uapi/linux/in6.h: `struct sockaddr_in6`, as far as it is read.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct SockAddrIn6 {
    family: u16,
    port: [u8; 2],
    flow: u32,
    address: [u8; 16],
}

/// What a call asks for. Plain numbers: of a value that may be missing the compiler leaves registers unset, which the
/// verifier does not accept.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The peer, or the run's own address, that the body shows.
    Peer,
    /// Nothing that rules speak of: to forget a peer, to send to none, to be bound to no port, or another kind of socket.
    Nobody,
    /// A name: the daemon is asked, and gives no answer that the rules do not grant.
    Name,
    /// A unix socket, which is judged where the kernel has found it (`hook::unix`).
    Unix,
    /// An address family that no rule can name, or an address that is too short for its family.
    Family,
    /// A socket of a kind that no run can make.
    Kind,
    /// Something by which the message would get elsewhere.
    Denied,
    /// What is the daemon's.
    Guarded,
    /// What cannot be read.
    Unread,
    /// The kernel refused the loop.
    Unlooped,
}

/// What is asked, and how a record shows it.
pub struct Sight {
    pub body: PeerBody,
    pub verb: Verb,
    pub asked: Asked,
    /// The socket is connected to that peer already.
    pub stands: bool,
}

impl Sight {
    #[inline(always)]
    fn new(verb: Verb) -> Self {
        Self { body: PeerBody::default(), verb, asked: Asked::Unread, stands: false }
    }

    #[inline(always)]
    fn asking(mut self, asked: Asked) -> Self {
        self.body.verb = self.verb as u8;
        self.asked = asked;
        self
    }

    /// Leaves it to the daemon which names the run may know.
    #[inline(always)]
    pub fn with_names(mut self, sock: Sock, tag: &Tag) -> Self {
        if self.asked == Asked::Peer && names::are_asked(sock, tag, &self.peer()) {
            self.asked = Asked::Name;
        }
        self
    }

    /// What rules are asked about.
    #[inline(always)]
    pub fn peer(&self) -> Peer {
        let PeerBody { address, port, protocol, .. } = self.body;
        Peer { address, port, protocol, verb: self.verb }
    }

    /// Answers for a call that asks for no peer.
    #[inline(always)]
    pub fn otherwise(&self) -> Answer {
        match self.asked {
            Asked::Peer | Asked::Nobody | Asked::Name | Asked::Unix => Ok(0),
            Asked::Family => Err(Refusal::denied(Reason::AddressFamily)),
            Asked::Kind => Err(Refusal::denied(Reason::Protocol)),
            Asked::Denied => Err(Refusal::denied(Reason::SocketOption)),
            Asked::Guarded => Err(Refusal::denied(Reason::Guarded)),
            Asked::Unread => Err(Refusal::Fault(Fault::AddressRead)),
            Asked::Unlooped => Err(Refusal::Fault(Fault::Loop)),
        }
    }
}

/// The peer of a connect.
#[inline(always)]
pub fn of_connect(socket: Socket, address: SockAddr, length: i32) -> Sight {
    let mut sight = Sight::new(Verb::Connect);
    let asked = read_connect(socket, address, length, &mut sight.body);
    sight.asking(asked)
}

#[inline(always)]
fn read_connect(socket: Socket, address: SockAddr, length: i32, body: &mut PeerBody) -> Asked {
    let sock = socket.sock();
    if sock.is_null() {
        return Asked::Unread;
    }
    if length < 2 {
        return Asked::Family;
    }
    body.family = address.family();
    body.protocol = u8::try_from(sock.protocol()).unwrap_or(u8::MAX);
    if body.family == AF_UNSPEC {
        return Asked::Nobody;
    }
    if body.family == AF_UNIX && sock.family() == AF_UNIX {
        return Asked::Unix;
    }
    if body.family != AF_INET && body.family != AF_INET6 {
        return Asked::Family;
    }
    match kind(sock) {
        Transport::Local => Asked::Family,
        Transport::Other => Asked::Kind,
        protocol => read(address.0 as u64, length, protocol, body),
    }
}

/// The address and the port that a bind asks for.
#[inline(always)]
pub fn of_bind(socket: Socket, address: SockAddr, length: i32) -> Sight {
    let mut sight = Sight::new(Verb::Listen);
    let asked = read_bind(socket, address, length, &mut sight.body);
    // A port of the kernel's choice is free.
    let free = asked == Asked::Peer && sight.body.port == 0;
    sight.asking(if free { Asked::Nobody } else { asked })
}

#[inline(always)]
fn read_bind(socket: Socket, address: SockAddr, length: i32, body: &mut PeerBody) -> Asked {
    let sock = socket.sock();
    if sock.is_null() {
        return Asked::Unread;
    }
    let protocol = kind(sock);
    match protocol {
        // To ICMP, the number by which its own echoes come back, which is no port.
        Transport::Local | Transport::Icmp => return Asked::Nobody,
        Transport::Other => return Asked::Kind,
        Transport::Tcp | Transport::Udp => {}
    }
    if length < 2 {
        return Asked::Family;
    }
    body.family = as_the_socket_reads(sock, address.family());
    read(address.0 as u64, length, protocol, body)
}

/// The address and the port that a socket has.
#[inline(always)]
pub fn of_own(socket: Socket, verb: Verb) -> Sight {
    let mut sight = Sight::new(verb);
    let asked = read_own(socket, &mut sight.body);
    sight.asking(asked)
}

#[inline(always)]
fn read_own(socket: Socket, body: &mut PeerBody) -> Asked {
    let sock = socket.sock();
    if sock.is_null() {
        return Asked::Unread;
    }
    let protocol = kind(sock);
    match protocol {
        Transport::Local => return Asked::Nobody,
        Transport::Other => return Asked::Kind,
        Transport::Tcp | Transport::Udp | Transport::Icmp => {}
    }
    body.protocol = protocol.protocol();
    body.family = sock.family();
    body.port = sock.own_port();
    if body.family == AF_INET {
        body.address = Address::v4(sock.own_v4());
    } else if !sock.own_v6(&mut body.address.0) {
        return Asked::Unread;
    }
    Asked::Peer
}

/// Whether a socket can begin to listen, or listens already.
#[inline(always)]
pub fn may_listen(socket: Socket) -> bool {
    let sock = socket.sock();
    if sock.is_null() || kind(sock) != Transport::Tcp {
        return false;
    }
    let state = sock.state();
    state == TCP_CLOSE || state == TCP_LISTEN
}

/// The peer of a message: the one that it names, or the one that the socket has. Who has come to where the run listened is
/// answered as long as the run may take connections there.
#[inline(always)]
pub fn of_message(socket: Socket, message: Message, tag: &Tag) -> Sight {
    let mut sight = Sight::new(Verb::Connect);
    let sock = socket.sock();
    if sock.is_null() {
        return sight.asking(Asked::Unread);
    }
    let protocol = kind(sock);
    match protocol {
        Transport::Local => return sight.asking(Asked::Nobody),
        Transport::Other => return sight.asking(Asked::Kind),
        Transport::Tcp | Transport::Udp | Transport::Icmp => {}
    }
    let (flags, name) = (message.flags(), message.name());
    // TCP looks at an address only when it is to connect by the message.
    let named = name != 0 && (protocol != Transport::Tcp || connects(sock, message));
    if named && protocol != Transport::Tcp {
        sight.verb = Verb::Send;
    }
    sight.stands = !named && protocol == Transport::Tcp;
    let came = if named { Came::Not } else { socket::came(sock, tag) };
    if came != Came::Not {
        sight.verb = Verb::Accept;
    }
    let asked = if flags & MSG_DONTROUTE != 0 && protocol != Transport::Tcp {
        // Another way there, as by the socket option, which is denied; TCP does not look at it.
        Asked::Denied
    } else if came != Came::Not {
        read_accepted(sock, came, &mut sight.body)
    } else if !named {
        read_current(sock, protocol, &mut sight.body)
    } else if flags & MSG_BATCH != 0 {
        // More come with this one, of which the kernel does not ask when they name the same address, whatever travels with
        // them: what their packets look like does not tell that they were sent by a device of the run's choice.
        Asked::Denied
    } else {
        match read_named(sock, message, protocol, &mut sight.body) {
            Asked::Peer if protocol == Transport::Tcp && goes_elsewhere(sock, &sight.body) => {
                Asked::Denied
            }
            asked => asked,
        }
    };
    let sight = sight.asking(asked).with_names(sock, tag);
    let asked = ancillary::with_what_travels(message, sight.asked);
    sight.asking(asked)
}

/// The place where a socket was accepted, as it was asked for at the accept.
#[inline(always)]
fn read_accepted(sock: Sock, came: Came, body: &mut PeerBody) -> Asked {
    body.protocol = TCP;
    body.family = sock.family();
    body.port = sock.own_port();
    if body.family == AF_INET {
        body.address = Address::v4(sock.own_v4());
    } else if !sock.own_v6(&mut body.address.0) {
        return Asked::Unread;
    }
    if came == Came::Anywhere {
        body.address = body.address.any();
    }
    Asked::Peer
}

/// Whether a socket of TCP is connected by this message, should it have no peer.
#[inline(always)]
pub fn connects(sock: Sock, message: Message) -> bool {
    message.name() != 0
        && message.flags() & MSG_FASTOPEN != 0
        && !sock.is_null()
        && kind(sock) == Transport::Tcp
}

/// Whether a socket has another peer than this one. Where another call has connected, the kernel sends to that one, whatever
/// the address (net/ipv4/af_inet.c: `__inet_stream_connect`); which it is to be is known only when the message has the
/// socket's lock, and another thread may have the peer taken away before.
#[inline(always)]
fn goes_elsewhere(sock: Sock, named: &PeerBody) -> bool {
    let state = sock.state();
    if state == TCP_CLOSE || state == TCP_LISTEN {
        return false;
    }
    let mut peer = Address::ANY_V6;
    if sock.family() == AF_INET {
        peer = Address::v4(sock.peer_v4());
    } else if !sock.peer_v6(&mut peer.0) {
        return true;
    }
    sock.family() != named.family
        || u16::from_be_bytes(sock.peer_port()) != named.port
        || peer != named.address
}

#[inline(always)]
fn read_named(sock: Sock, message: Message, protocol: Transport, body: &mut PeerBody) -> Asked {
    let (name, length) = (message.name(), message.name_length());
    let mut family = 0_u16;
    if length < 2 {
        return Asked::Family;
    }
    if !read_into(&mut family, name) {
        return Asked::Unread;
    }
    body.family = as_the_socket_reads(sock, family);
    read(name, length, protocol, body)
}

/// The peer that a socket has now.
#[inline(always)]
fn read_current(sock: Sock, protocol: Transport, body: &mut PeerBody) -> Asked {
    body.protocol = protocol.protocol();
    body.family = sock.family();
    let state = sock.state();
    if state == TCP_CLOSE || state == TCP_LISTEN {
        // It has none, and the kernel will say so.
        return Asked::Nobody;
    }
    if protocol != Transport::Icmp {
        body.port = u16::from_be_bytes(sock.peer_port());
    }
    if body.family == AF_INET {
        body.address = Address::v4(sock.peer_v4());
    } else if !sock.peer_v6(&mut body.address.0) {
        return Asked::Unread;
    }
    Asked::Peer
}

/// The family as which the socket reads an address. IPv4 takes none for its own; IPv6 does not, and might be turned into
/// IPv4 before it looks.
#[inline(always)]
fn as_the_socket_reads(sock: Sock, family: u16) -> u16 {
    if family == AF_UNSPEC && sock.family() == AF_INET { AF_INET } else { family }
}

#[inline(always)]
fn kind(sock: Sock) -> Transport {
    transport(sock.family(), sock.kind(), sock.protocol())
}

/// Reads an address of the body's family.
#[inline(always)]
fn read(at: u64, length: i32, protocol: Transport, body: &mut PeerBody) -> Asked {
    body.protocol = protocol.protocol();
    let port;
    if body.family == AF_INET {
        let mut found = SockAddrIn::default();
        if (length as usize) < size_of::<SockAddrIn>() {
            return Asked::Family;
        }
        if !read_into(&mut found, at) {
            return Asked::Unread;
        }
        body.address = Address::v4(found.address);
        port = found.port;
    } else if body.family == AF_INET6 {
        let mut found = SockAddrIn6::default();
        if (length as usize) < size_of::<SockAddrIn6>() {
            return Asked::Family;
        }
        if !read_into(&mut found, at) {
            return Asked::Unread;
        }
        body.address = Address::v6(found.address);
        port = found.port;
    } else {
        return Asked::Family;
    }
    if protocol != Transport::Icmp {
        body.port = u16::from_be_bytes(port);
    }
    Asked::Peer
}
