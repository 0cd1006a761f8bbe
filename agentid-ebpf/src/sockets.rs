//! Which sockets have runs made that are still there?
//!
//! `iter/bpf_sk_storage_map` over the map of their tags (net/core/bpf_sk_storage.c): the daemon opens the iterator and reads
//! one line for each socket of a run, wherever its descriptor is now, and also when it has none any more and only waits that
//! the other end has heard of its end.

use core::ffi::c_void;

use agentid_common::{
    map::CANARY_SLOT,
    net::Address,
    record::SocketLine,
    socket::{AF_INET, AF_INET6},
    tag::{CALLS, KEEPER_SLOT, Tag},
};
use aya_ebpf::{
    bindings::seq_file,
    helpers::generated::{bpf_get_socket_cookie, bpf_seq_write},
};

use crate::{kfield::Sock, tasks::Meta};

/// net/core/bpf_sk_storage.c: `struct bpf_iter__bpf_sk_storage_map`.
#[repr(C)]
pub struct SocketContext {
    meta: *mut Meta,
    map: *const c_void,
    sock: *const u8,
    tag: *const Tag,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
pub extern "C" fn list_sockets(context: *mut SocketContext) -> i32 {
    // SAFETY: the verifier checks the context's layout and the types of its pointers.
    unsafe {
        let (sock, tag) = (Sock((*context).sock), (*context).tag);
        if sock.is_null() || tag.is_null() {
            return 0;
        }
        let is_its = (*tag).slot != KEEPER_SLOT && (*tag).slot != CANARY_SLOT;
        if is_its && (*tag).mark & CALLS == 0 {
            write((*(*context).meta).seq, sock, &*tag);
        }
    }
    0
}

#[inline(always)]
fn write(seq: *mut seq_file, sock: Sock, tag: &Tag) {
    let mut line = SocketLine {
        generation: tag.generation,
        // SAFETY: the verifier knows it as a socket.
        cookie: unsafe { bpf_get_socket_cookie(sock.0.cast_mut().cast()) },
        slot: tag.slot,
        mark: tag.mark,
        family: sock.family(),
        kind: sock.kind(),
        protocol: sock.protocol(),
        state: sock.state().into(),
        device: sock.device(),
        orphan: sock.socket().is_null().into(),
        ..SocketLine::default()
    };
    if line.family == AF_INET || line.family == AF_INET6 {
        line.own_port = sock.own_port();
        line.peer_port = u16::from_be_bytes(sock.peer_port());
    }
    if line.family == AF_INET {
        line.own = Address::v4(sock.own_v4());
        line.peer = Address::v4(sock.peer_v4());
    } else if line.family == AF_INET6 {
        // What cannot be read stays zeros, which is no connection's address.
        sock.own_v6(&mut line.own.0);
        sock.peer_v6(&mut line.peer.0);
    }
    let line: *const SocketLine = &line;
    // SAFETY: the helper copies the line. When the buffer is full the kernel calls again with a larger one.
    unsafe { bpf_seq_write(seq, line.cast::<c_void>().cast_mut(), size_of::<SocketLine>() as u32) };
}
