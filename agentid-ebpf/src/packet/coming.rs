//! What a packet that comes is judged for.

use agentid_common::{
    decide::packet::{Ends, Way},
    net::{Address, Peer, TCP, UDP, Verb},
    socket::AF_INET,
    tag::{ASKED, Tag},
};
use aya_ebpf::bindings::{__sk_buff, bpf_sock};

use super::{is_of_the_resolver, load, state};
use crate::{
    names,
    socket::{self, Came},
    vouched::{self, Circumstances},
};

/// Where a packet comes to, if that is a listener, and of a datagram where it comes from too. Of a connection, what it was
/// judged for.
#[inline(never)]
pub fn coming(
    buffer: *const __sk_buff,
    sock: *const bpf_sock,
    tag: &Tag,
    ends: &mut Ends,
    heard: &mut Circumstances,
) -> Way {
    // SAFETY: the verifier checks the layout; each field is read by itself.
    let (state, protocol) = unsafe {
        ((&raw const (*sock).state).read_volatile(), (&raw const (*sock).protocol).read_volatile())
    };
    if state == state::LISTEN {
        place(sock, &mut ends.peer);
        ends.peer.verb = Verb::Accept;
        ends.peer.protocol = TCP;
        return Way::Judged;
    }
    if protocol == u32::from(TCP) {
        return hearing(buffer, sock, tag, &mut ends.peer, heard);
    }
    if protocol != u32::from(UDP) {
        return Way::Free;
    }
    place(sock, &mut ends.own);
    ends.own.protocol = UDP;
    if !source(buffer, &mut ends.peer) {
        // Then only where it comes to can let it pass.
        ends.peer = ends.own;
        return Way::Judged;
    }
    if is_of_the_resolver(buffer, &ends.peer) && names::may_ask(tag) {
        return Way::Resolver;
    }
    if vouched::is_granted(sock.cast(), tag, &ends.peer) {
        return Way::Vouched;
    }
    Way::Arrived
}

/// What a message of the run on this connection would be asked about (`peer::of_message`).
#[inline(always)]
fn hearing(
    buffer: *const __sk_buff,
    sock: *const bpf_sock,
    tag: &Tag,
    peer: &mut Peer,
    heard: &mut Circumstances,
) -> Way {
    let came = socket::came_by(tag.mark);
    if came == Came::Not {
        other_end(sock, peer);
        peer.verb = Verb::Connect;
    } else {
        place(sock, peer);
        peer.verb = Verb::Accept;
        if came == Came::Anywhere {
            peer.address = peer.address.any();
        }
    }
    peer.protocol = TCP;
    if tag.mark & ASKED != 0 && is_of_the_resolver(buffer, peer) && names::may_ask(tag) {
        return Way::Resolver;
    }
    if vouched::may_go_on(sock.cast(), tag, peer) {
        return Way::Vouched;
    }
    *heard = Circumstances::of(tag);
    Way::Heard
}

/// Where a socket is.
#[inline(never)]
fn place(sock: *const bpf_sock, own: &mut Peer) {
    // SAFETY: the verifier checks the layout; each field is read by itself.
    unsafe {
        own.port = (&raw const (*sock).src_port).read_volatile() as u16;
        let v4 = (&raw const (*sock).src_ip4).read_volatile();
        let v6 = [
            (&raw const (*sock).src_ip6[0]).read_volatile(),
            (&raw const (*sock).src_ip6[1]).read_volatile(),
            (&raw const (*sock).src_ip6[2]).read_volatile(),
            (&raw const (*sock).src_ip6[3]).read_volatile(),
        ];
        own.address = address((&raw const (*sock).family).read_volatile(), v4, v6);
    }
}

/// The peer that a socket has.
#[inline(never)]
fn other_end(sock: *const bpf_sock, peer: &mut Peer) {
    // SAFETY: as above.
    unsafe {
        peer.port = u16::from_be((&raw const (*sock).dst_port).read_volatile());
        let v4 = (&raw const (*sock).dst_ip4).read_volatile();
        let v6 = [
            (&raw const (*sock).dst_ip6[0]).read_volatile(),
            (&raw const (*sock).dst_ip6[1]).read_volatile(),
            (&raw const (*sock).dst_ip6[2]).read_volatile(),
            (&raw const (*sock).dst_ip6[3]).read_volatile(),
        ];
        peer.address = address((&raw const (*sock).family).read_volatile(), v4, v6);
    }
}

/// An address of the kernel's words. Those of both families are read, and by functions of their own: the verifier knows a
/// field of a socket by its distance alone, and what ways have in common would work that out.
#[inline(always)]
fn address(family: u32, v4: u32, v6: [u32; 4]) -> Address {
    if family == u32::from(AF_INET) {
        return Address::v4(v4.to_ne_bytes());
    }
    let mut bytes = [0; 16];
    for (place, word) in bytes.chunks_exact_mut(4).zip(v6) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    Address::v6(bytes)
}

/// Whom a datagram comes from, by its own headers; false when they cannot be read, or others stand before that of UDP.
#[inline(always)]
fn source(buffer: *const __sk_buff, from: &mut Peer) -> bool {
    let mut head = [0_u8; 20];
    if !load(buffer, 0, &mut head) {
        return false;
    }
    let header = match head[0] >> 4 {
        4 if head[9] == UDP => {
            from.address = Address::v4([head[12], head[13], head[14], head[15]]);
            u32::from(head[0] & 0xf) * 4
        }
        6 if head[6] == UDP && load(buffer, 8, &mut from.address.0) => 40,
        _ => return false,
    };
    let mut port = [0; 2];
    if !load(buffer, header, &mut port) {
        return false;
    }
    from.protocol = UDP;
    from.port = u16::from_be_bytes(port);
    true
}
