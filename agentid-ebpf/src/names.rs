//! Where does a run's question for a name go? To the daemon, whichever server it was meant for, and from there comes the
//! answer.
//!
//! `cgroup/connect4`, `sendmsg4`, `recvmsg4`, `getpeername4` and the same for IPv6, on the root of the hierarchy, attached
//! while a run's policy grants names: net/ipv4/udp.c, `udp_pre_connect`, `udp_sendmsg` and `udp_recvmsg`; net/ipv4/tcp_ipv4.c,
//! `tcp_v4_pre_connect`; net/ipv4/af_inet.c, `inet_getname`; and the same in net/ipv6. They come after the hooks of LSM,
//! which let a question for names pass, and before a packet is made, which is judged by where it really goes.
//!
//! The socket's tag alone tells whose question it is, as in `packet`. Nobody else's sockets are touched. Where the daemon is
//! away, nobody listens at that port, and the question fails at once.
//! Cannot see: sockets of another network namespace than the daemon's, which lack the mark and whose questions are denied.

use agentid_common::{
    map::SLOTS,
    net::{Address, Asker, DNS_PORT, Peer, TCP, UDP},
    tag::{ASKED as ASKED_NAMES, ASKS, Tag},
};
use aya_ebpf::{
    bindings::bpf_sock_addr, helpers::generated::bpf_ktime_get_boot_ns, macros::cgroup_sock_addr,
    programs::sock_addr::SockAddrContext,
};

use crate::{
    count,
    kfield::Sock,
    maps::{ASKED, ASKERS, Asked, INSTANCES, RESOLVER},
    socket,
};

/// These programs refuse nothing; the kernel accepts no other answer of those that look at what comes in.
const GO_ON: i32 = 1;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

macro_rules! programs {
    ($($name:ident: $kind:ident = $what:ident, $family:ident;)*) => {$(
        #[cgroup_sock_addr($kind)]
        pub fn $name(ctx: SockAddrContext) -> i32 {
            $what(ctx.sock_addr, Family::$family)
        }
    )*};
}

programs! {
    names_connect4: connect4 = to_resolver, V4;
    names_connect6: connect6 = to_resolver, V6;
    names_sendmsg4: sendmsg4 = to_resolver, V4;
    names_sendmsg6: sendmsg6 = to_resolver, V6;
    names_recvmsg4: recvmsg4 = from_resolver, V4;
    names_recvmsg6: recvmsg6 = from_resolver, V6;
    names_peer4: getpeername4 = from_resolver, V4;
    names_peer6: getpeername6 = from_resolver, V6;
}

/// Port of the daemon's resolver; 0 when it has none.
#[inline(always)]
pub fn resolver() -> u16 {
    RESOLVER.get(0).map_or(0, |resolver| resolver.port as u16)
}

/// Whether this is a run's question for a name, or one that has been sent on its way already.
#[inline(always)]
pub fn are_asked(sock: Sock, tag: &Tag, peer: &Peer) -> bool {
    // Almost nothing is; where it goes tells that without a look at the socket.
    if sock.is_null() || !(peer.asks_for_names() || peer.is_resolver(resolver())) {
        return false;
    }
    let Some(own) = socket::tag(sock.0.cast()) else {
        return false;
    };
    // SAFETY: a value of socket storage lives as long as its socket.
    let (marked, is_own) = unsafe { ((*own).mark & ASKS != 0, (*own).is_of_the_run_of(tag)) };
    let asked = marked && is_own && is_granted_names(tag);
    let gets_there = asked || marked && is_own && peer.is_resolver(resolver());
    if gets_there && peer.protocol == TCP {
        // Whatever becomes of the socket meanwhile, its packets get there, and are known there, or get nowhere (`packet`).
        socket::set(own, ASKED_NAMES);
    }
    asked
}

/// Whether this run may send something to the resolver.
#[inline(always)]
pub fn may_ask(tag: &Tag) -> bool {
    tag.mark & ASKS != 0 && is_granted_names(tag)
}

/// Packets that a run may send to the resolver in a [`SPAN`]: more than it needs for the questions that the daemon answers it
/// in that time, and no more than the daemon takes in from many runs. A question over TCP is several.
const DATAGRAMS: u64 = 512;
const SEGMENTS: u64 = 4096;
/// In nanoseconds.
const SPAN: u64 = 8_000_000_000;

/// By slot and protocol whose packets are counted, in which span, and in the lower half how many they are. It is these
/// programs' own, and begins anew with them.
static mut SENT: [u64; 2 * SLOTS as usize] = [0; 2 * SLOTS as usize];

/// Whether a run that sends the resolver one more packet leaves it some time for others. When a span begins on two processors
/// at once, a few are not counted.
#[inline(always)]
pub fn leaves_room(tag: &Tag, protocol: u8) -> bool {
    const HALF: u64 = 1 << 32;
    let (half, most) = if protocol == TCP { (1, SEGMENTS) } else { (0, DATAGRAMS) };
    let index = (tag.slot as usize & (SLOTS as usize - 1)) * 2 + half;
    // SAFETY: the index is within the array, of which nothing but these words is read or written, each at once.
    unsafe {
        let sent = (&raw mut SENT).cast::<u64>().add(index);
        let span = bpf_ktime_get_boot_ns() / SPAN;
        // As much of both as tells them from those of just before.
        let [.., first, last] = tag.invocation.0;
        let now = (u64::from(first) << 56) | (u64::from(last) << 48) | (span << 48 >> 16);
        if sent.read_volatile() & !(HALF - 1) != now {
            sent.write_volatile(now);
        }
        count::add(sent, 1) & (HALF - 1) < most
    }
}

/// Remembers who sends something to the resolver, for the daemon.
#[inline(always)]
pub fn note(tag: &Tag, protocol: u8, port: u16, address: Address) {
    if let Some(place) = ASKERS.get_ptr_mut(Asker::index(protocol, port)) {
        // SAFETY: takes nothing and cannot fail.
        let at = (unsafe { bpf_ktime_get_boot_ns() } / 1_000_000_000) as u32;
        let asker = Asker { generation: tag.generation, slot: tag.slot, at, address };
        // SAFETY: an array's value never moves or goes away. The daemon compares all of it with what it knows.
        unsafe { *place = asker };
    }
}

#[inline(always)]
fn is_granted_names(tag: &Tag) -> bool {
    INSTANCES
        .get(tag.slot)
        .is_some_and(|instance| instance.generation == tag.generation && instance.names != 0)
}

/// Turns a question for a name to the daemon.
#[inline(always)]
fn to_resolver(context: *mut bpf_sock_addr, family: Family) -> i32 {
    // SAFETY: the verifier checks the context's layout.
    let (port, protocol, sock) = unsafe {
        (
            (&raw const (*context).user_port).read_volatile(),
            (&raw const (*context).protocol).read_volatile(),
            (*context).__bindgen_anon_1.sk,
        )
    };
    if port != wire(DNS_PORT) || (protocol != u32::from(UDP) && protocol != u32::from(TCP)) {
        return GO_ON;
    }
    let Some(tag) = socket::tag(sock.cast_const().cast()) else {
        return GO_ON;
    };
    // SAFETY: a value of socket storage lives as long as its socket.
    let tag = unsafe { &*tag };
    let resolver = resolver();
    if tag.mark & ASKS == 0 || resolver == 0 || !is_granted_names(tag) {
        return GO_ON;
    }
    let address = address(context, family);
    // Without memory for it the answer comes from where it really comes from.
    if let Some(asked) = ASKED.get_or_create(sock.cast_const().cast()) {
        // SAFETY: as above.
        unsafe { *asked = Asked { address, port, reserved: 0 } };
    }
    let to = if family == Family::V6 && !is_v4(&address) {
        Address::LOOPBACK_V6
    } else {
        Address::LOOPBACK_V4
    };
    set(context, family, to, wire(resolver));
    GO_ON
}

/// Shows the daemon's answer as that of the server that was asked.
#[inline(always)]
fn from_resolver(context: *mut bpf_sock_addr, family: Family) -> i32 {
    let resolver = resolver();
    // SAFETY: the verifier checks the context's layout.
    let (port, sock) = unsafe {
        ((&raw const (*context).user_port).read_volatile(), (*context).__bindgen_anon_1.sk)
    };
    if resolver == 0 || port != wire(resolver) {
        return GO_ON;
    }
    let Some(asked) = ASKED.get(sock.cast_const().cast()) else {
        return GO_ON;
    };
    let from = address(context, family);
    if from == Address::LOOPBACK_V4 || from == Address::LOOPBACK_V6 {
        // SAFETY: a value of socket storage lives as long as its socket.
        let Asked { address, port, .. } = unsafe { *asked };
        set(context, family, address, port);
    }
    GO_ON
}

/// A port as the context holds it: two bytes in network order, in a number of four.
#[inline(always)]
const fn wire(port: u16) -> u32 {
    port.to_be() as u32
}

#[inline(always)]
fn is_v4(address: &Address) -> bool {
    let [first, second, third, _] = words(address);
    first == 0 && second == 0 && third == u32::from_be(0xffff)
}

/// The address that the context holds.
#[inline(always)]
fn address(context: *const bpf_sock_addr, family: Family) -> Address {
    // SAFETY: the verifier checks the context's layout; each word is read by itself.
    unsafe {
        if family == Family::V4 {
            return Address::v4((&raw const (*context).user_ip4).read_volatile().to_ne_bytes());
        }
        let mut bytes = [0; 16];
        let words = [
            (&raw const (*context).user_ip6[0]).read_volatile(),
            (&raw const (*context).user_ip6[1]).read_volatile(),
            (&raw const (*context).user_ip6[2]).read_volatile(),
            (&raw const (*context).user_ip6[3]).read_volatile(),
        ];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        Address::v6(bytes)
    }
}

/// Gives the context another address and port.
#[inline(always)]
fn set(context: *mut bpf_sock_addr, family: Family, to: Address, port: u32) {
    let [first, second, third, last] = words(&to);
    // SAFETY: as above.
    unsafe {
        if family == Family::V4 {
            (&raw mut (*context).user_ip4).write_volatile(last);
        } else {
            (&raw mut (*context).user_ip6[0]).write_volatile(first);
            (&raw mut (*context).user_ip6[1]).write_volatile(second);
            (&raw mut (*context).user_ip6[2]).write_volatile(third);
            (&raw mut (*context).user_ip6[3]).write_volatile(last);
        }
        (&raw mut (*context).user_port).write_volatile(port);
    }
}

#[inline(always)]
fn words(address: &Address) -> [u32; 4] {
    let b = &address.0;
    [
        u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
        u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
        u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
    ]
}
