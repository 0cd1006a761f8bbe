//! May this packet of a run's socket pass?
//!
//! `cgroup_skb/ingress` and `cgroup_skb/egress` on the root of the hierarchy: net/core/filter.c, `sk_filter_trim_cap`, and
//! net/ipv4/ip_output.c and net/ipv6/ip6_output.c, `*_finish_output`; kernel/bpf/cgroup.c, `__cgroup_bpf_run_filter_skb`.
//! Cannot see: packets of sockets that no run has made, raw and packet sockets that write their own headers.
//!
//! What a socket's hooks have seen another thread may change before the kernel looks again: without the socket's lock UDP
//! and ICMP take the peer from it (net/ipv6/udp.c, `udpv6_sendmsg`), and a listener waits for the lock after its hook. So
//! the destination of a datagram is judged by its own header, and the place of a listener at each segment that comes to it.
//! What a socket of datagrams is sent no call of the run says anything of, so that each is judged as it comes: by where the
//! socket is, and by the source that it has in its header.
//! TCP keeps the peer that it was judged for, under its lock, and what leaves is not asked about again: a host may have its
//! own reasons to send its packets elsewhere by now (DNAT of a service's address). What comes is, by the question that a
//! message of the run on the same socket is asked, so that a new version of the rules ends both. A connection that was let pass as a question for a name
//! is the exception: it gets to the daemon's resolver (`names`), or is judged as a datagram is. Nor does a run send the
//! resolver more than leaves room for the questions of others: a queue that is full knows nobody. Options of IPv4, and headers
//! that IPv6 has before its payload, would send packets elsewhere on behalf of the run.
//!
//! The current task is whoever the CPU happens to run, so the socket alone tells the run. Nothing is recorded here: a
//! connection that ends would fill the ring. Denials are counted.

mod coming;

use agentid_common::{
    decide::{
        lifecycle::standing,
        packet::{Ends, Packet, Way, may_pass},
    },
    map::CANARY_SLOT,
    net::{Address, ICMP, ICMPV6, Peer, TCP, UDP},
    tag::{ASKED, Tag},
    verdict::{Hook, Verdict, settle},
};
use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::{bpf_sk_fullsock, bpf_skb_load_bytes},
    macros::cgroup_skb,
    programs::SkBuffContext,
};

use crate::{
    count,
    facts::Live,
    names, socket,
    vouched::{self, Circumstances},
};

use self::coming::coming;

/// The number of the loopback device in every network namespace (net/core/dev.c: `LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

const DROP: i32 = 0;
const PASS: i32 = 1;

/// include/net/tcp_states.h
mod state {
    pub const FIN_WAIT1: u32 = 4;
    pub const FIN_WAIT2: u32 = 5;
    pub const TIME_WAIT: u32 = 6;
    pub const CLOSE: u32 = 7;
    pub const LAST_ACK: u32 = 9;
    pub const LISTEN: u32 = 10;
    pub const CLOSING: u32 = 11;
}

/// include/uapi/linux/tcp.h: bits of the 14th byte of the header.
mod flag {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 1 << 1;
    pub const RST: u8 = 1 << 2;
}

#[cgroup_skb]
pub fn skb_ingress(ctx: SkBuffContext) -> i32 {
    check::<true>(ctx.skb.skb)
}

#[cgroup_skb]
pub fn skb_egress(ctx: SkBuffContext) -> i32 {
    check::<false>(ctx.skb.skb)
}

#[inline(always)]
fn check<const COMES: bool>(buffer: *mut __sk_buff) -> i32 {
    // SAFETY: the verifier checks the context's layout.
    let sock = unsafe { (*buffer).__bindgen_anon_2.sk };
    if sock.is_null() {
        return PASS;
    }
    // What is no whole socket (a request, a connection that lingers) has no storage.
    let Some(tag) = socket::tag(sock.cast_const().cast()) else {
        return PASS;
    };
    // SAFETY: the verifier checks that it is a socket.
    let sock = unsafe { bpf_sk_fullsock(sock) };
    if sock.is_null() {
        return PASS;
    }
    // SAFETY: a value of socket storage lives as long as its socket.
    judge::<COMES>(buffer, sock, unsafe { &*tag })
}

#[inline(always)]
fn judge<const COMES: bool>(buffer: *const __sk_buff, sock: *const bpf_sock, tag: &Tag) -> i32 {
    let hook = if COMES { Hook::SkbIngress } else { Hook::SkbEgress };
    let mut asks = Asks { port: 0, protocol: 0, from: Address::ANY_V6 };
    let (mut ends, mut heard) = (Ends::default(), Circumstances::default());
    let way = |ends: &mut Ends| {
        if COMES {
            return coming(buffer, sock, tag, ends, &mut heard);
        }
        match going(buffer, tag, &mut ends.peer, &mut asks) {
            Way::Judged if vouched::is_granted(sock.cast(), tag, &ends.peer) => Way::Vouched,
            way => way,
        }
    };
    let answer = may_pass(&Live, tag, &mut ends, way, || read(buffer, sock));
    if let Ok(rule) = answer {
        // Without a rule it passes because of what it is, and not of whom it comes from.
        if COMES && heard.are_known() && rule != 0 {
            vouched::goes_on(sock.cast(), tag, &ends.peer, &heard, rule);
        }
        if !COMES && asks.port != 0 {
            names::note(tag, asks.protocol, asks.port, asks.from);
        }
        return PASS;
    }
    let standing = standing(&Live, tag);
    let settled = settle(answer, standing.mode);
    if settled.verdict == Verdict::Audit {
        return PASS;
    }
    if tag.slot != CANARY_SLOT {
        if standing.owned {
            count::activity(tag.slot, settled.verdict);
            // What comes in is not the run's doing.
            if settled.trips() && !COMES {
                count::trip(tag.slot);
            }
        }
        count::verdict(hook, &settled);
    }
    DROP
}

/// From where a packet comes that goes to the daemon's resolver; port 0 for any other.
struct Asks {
    port: u16,
    protocol: u8,
    from: Address,
}

/// Where a packet goes, by its own header. Its stack is not there any more when the rules are asked, as is that of `coming`.
#[inline(never)]
fn going(buffer: *const __sk_buff, tag: &Tag, peer: &mut Peer, asks: &mut Asks) -> Way {
    let mut head = [0_u8; 20];
    if !load(buffer, 0, &mut head) {
        return Way::Unread;
    }
    match head[0] >> 4 {
        4 if head[0] & 0xf == 5 => {
            peer.protocol = head[9];
            peer.address = Address::v4([head[16], head[17], head[18], head[19]]);
            let fragment = u16::from_be_bytes([head[6], head[7]]) & 0x1fff;
            if fragment != 0 {
                return Way::Unread;
            }
            let from = Address::v4([head[12], head[13], head[14], head[15]]);
            going_to(buffer, 20, tag, from, peer, asks)
        }
        6 => {
            peer.protocol = head[6];
            let mut from = [0; 16];
            if !load(buffer, 8, &mut from) || !load(buffer, 24, &mut peer.address.0) {
                return Way::Unread;
            }
            going_to(buffer, 40, tag, Address::v6(from), peer, asks)
        }
        _ => Way::Detour,
    }
}

/// The rest of it, by the header of the protocol.
#[inline(always)]
fn going_to(
    buffer: *const __sk_buff,
    header: u32,
    tag: &Tag,
    from: Address,
    peer: &mut Peer,
    asks: &mut Asks,
) -> Way {
    match peer.protocol {
        // Whom it was judged for, unless that was a server of names: then it is turned to the resolver (`names`), or else is
        // judged here.
        TCP if tag.mark & ASKED == 0 => Way::Free,
        TCP | UDP => {
            let mut ports = [0_u8; 4];
            if !load(buffer, header, &mut ports) {
                return Way::Unread;
            }
            peer.port = u16::from_be_bytes([ports[2], ports[3]]);
            if is_of_the_resolver(buffer, peer) {
                // Also for whoever may not ask and gets there by a rule: else it would be taken for the last one with that port.
                let port = u16::from_be_bytes([ports[0], ports[1]]);
                *asks = Asks { port, protocol: peer.protocol, from };
                if !names::leaves_room(tag, peer.protocol) {
                    return Way::Crowds;
                }
                if names::may_ask(tag) {
                    return Way::Resolver;
                }
            }
            Way::Judged
        }
        ICMP | ICMPV6 => {
            peer.protocol = ICMP;
            Way::Judged
        }
        _ => Way::Detour,
    }
}

/// Whether the daemon's resolver is at the other end, which is of this host.
#[inline(always)]
fn is_of_the_resolver(buffer: *const __sk_buff, peer: &Peer) -> bool {
    // SAFETY: the verifier checks the layout.
    let device = unsafe { (*buffer).ifindex };
    device == LOOPBACK && peer.is_resolver(names::resolver())
}

/// What a packet carries. What cannot be read is one that carries something.
#[inline(always)]
fn read(buffer: *const __sk_buff, sock: *const bpf_sock) -> Packet {
    let Some(header) = length_of_ip(buffer) else {
        return Packet::default();
    };
    let mut tcp = [0_u8; 20];
    if !load(buffer, header, &mut tcp) {
        return Packet::default();
    }
    // SAFETY: the verifier checks the layouts of both.
    let (whole, state) = unsafe { ((*buffer).len, (*sock).state) };
    let length = u32::from(tcp[12] >> 4) * 4;
    let flags = tcp[13];
    Packet {
        empty: whole == header + length && flags & flag::SYN == 0,
        ends: flags & (flag::FIN | flag::RST) != 0,
        closing: matches!(
            state,
            state::FIN_WAIT1
                | state::FIN_WAIT2
                | state::TIME_WAIT
                | state::CLOSE
                | state::LAST_ACK
                | state::CLOSING
        ),
    }
}

/// Where TCP begins; `None` when it is not TCP, or lies behind what is not looked through.
#[inline(always)]
fn length_of_ip(buffer: *const __sk_buff) -> Option<u32> {
    let mut head = [0_u8; 20];
    if !load(buffer, 0, &mut head) {
        return None;
    }
    match head[0] >> 4 {
        // A later fragment has no header of TCP.
        4 if head[9] == TCP && u16::from_be_bytes([head[6], head[7]]) & 0x1fff == 0 => {
            Some(u32::from(head[0] & 0xf) * 4)
        }
        6 if head[6] == TCP => Some(40),
        _ => None,
    }
}

/// Copies bytes of a packet, counted from the header of IP.
#[inline(always)]
fn load<const N: usize>(buffer: *const __sk_buff, offset: u32, into: &mut [u8; N]) -> bool {
    // SAFETY: the helper writes as many bytes as there are, or none.
    unsafe {
        bpf_skb_load_bytes(buffer.cast(), offset, into.as_mut_ptr().cast(), into.len() as u32) == 0
    }
}
