//! May this run take this port of this address of its own?
//!
//! `int socket_bind(struct socket *sock, struct sockaddr *address, int addrlen)`, from 6.1 to 7.3.
//! Called by net/socket.c: `__sys_bind`, which io_uring goes through as well, with the kernel's own copy of the address.
//!
//! Port 0 is free: the kernel chooses one, as it does for a socket that is not bound at all, and `socket_listen` is asked
//! about what it chose. UDP that shares its port (`SO_REUSEADDR`) may be given one that another program shares as well.
//! What is not INET passes.
//! Cannot see: ports that the kernel gives without a bind.

use agentid_common::verdict::Hook;
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::socket_connect::judge;
use crate::{
    kfield::{SockAddr, Socket},
    names,
    object::peer::{self, Asked},
    settle::Allowed,
    subject,
};

#[lsm(hook = "socket_bind")]
pub fn socket_bind(ctx: LsmContext) -> i32 {
    let Some(tag) = subject::run() else { return 0 };
    let mut sight = peer::of_bind(Socket(ctx.arg(0)), SockAddr(ctx.arg(1)), ctx.arg(2));
    // The port of the daemon's resolver stays its own while no daemon is there.
    if sight.asked == Asked::Peer && sight.body.port == names::resolver() {
        sight.asked = Asked::Guarded;
    }
    judge(Hook::SocketBind, Allowed::Recorded, tag, sight)
}
