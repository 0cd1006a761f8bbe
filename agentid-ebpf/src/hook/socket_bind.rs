//! May this run take this port of this address of its own, or this abstract name?
//!
//! `int socket_bind(struct socket *sock, struct sockaddr *address, int addrlen)`, from 6.1 to 7.3.
//! Called by net/socket.c: `__sys_bind`, which io_uring goes through as well, with the kernel's own copy of the address.
//!
//! Port 0 is free: the kernel chooses one, as it does for a socket that is not bound at all, and `socket_listen` is asked
//! about what it chose. UDP that shares its port (`SO_REUSEADDR`) may be given one that another program shares as well.
//! A unix socket that is to have an abstract name needs the right to take it: others can talk to the run by it. One that is
//! to have a path makes a file, which is judged as such. A name of the kernel's choice, or none, is free.
//! What is neither INET nor UNIX passes.
//! Cannot see: ports that the kernel gives without a bind.

use agentid_common::{
    decide::unix::may_be_called, file::Rights, socket::AF_UNIX, tag::Tag, verdict::Hook,
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::socket_connect::judge;
use crate::{
    facts::Live,
    kfield::{SockAddr, Socket},
    names,
    object::{
        Calling,
        called::{Called, Name},
        peer::{self, Asked},
    },
    settle::{Allowed, conclude},
    subject,
};

#[lsm(hook = "socket_bind")]
pub fn socket_bind(ctx: LsmContext) -> i32 {
    let Some(tag) = subject::run() else { return 0 };
    let (socket, address, length) = (Socket(ctx.arg(0)), SockAddr(ctx.arg(1)), ctx.arg(2));
    let name = abstract_name(socket, address, length);
    if name.is_none() {
        port(tag, socket, address, length)
    } else {
        take(tag, name.address, name.length)
    }
}

/// Not inlined, as what follows: what one needs of the stack is not needed by the other.
#[inline(never)]
fn take(tag: &Tag, address: u64, length: u32) -> i32 {
    let name = Name { address, length };
    let calling = Calling { name, want: Rights::CREATE };
    let answer = may_be_called(&Live, tag, &Called::by(name));
    conclude(Hook::SocketBind, Allowed::Recorded, &calling.into(), tag, answer)
}

#[inline(never)]
fn port(tag: &Tag, socket: Socket, address: SockAddr, length: i32) -> i32 {
    let mut sight = peer::of_bind(socket, address, length);
    // The port of the daemon's resolver stays its own while no daemon is there.
    if sight.asked == Asked::Peer && sight.body.port == names::resolver() {
        sight.asked = Asked::Guarded;
    }
    // To be bound to nothing that rules speak of is not worth a record.
    let allowed = if sight.asked == Asked::Nobody { Allowed::Counted } else { Allowed::Recorded };
    judge(Hook::SocketBind, allowed, tag, sight)
}

/// The abstract name that a unix socket is to have; none where the socket is of another family.
#[inline(always)]
fn abstract_name(socket: Socket, address: SockAddr, length: i32) -> Name {
    let sock = socket.sock();
    if sock.is_null() || sock.family() != AF_UNIX {
        return Name::NONE;
    }
    Name::of_bind(address, length)
}
