//! May this run take a connection that has come to this socket?
//!
//! `int socket_accept(struct socket *sock, struct socket *newsock)`, from 6.1 to 7.3.
//! Called by net/socket.c: `do_accept`, which io_uring goes through as well, before it waits for one.
//!
//! What is judged is where the socket listens. Who has connected is not known yet.
//! Cannot see: an accept that waits already when the run ends.

use agentid_common::{net::Verb, verdict::Hook};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::socket_connect::judge;
use crate::{kfield::Socket, object::peer, settle::Allowed, subject};

#[lsm(hook = "socket_accept")]
pub fn socket_accept(ctx: LsmContext) -> i32 {
    let Some(tag) = subject::run() else { return 0 };
    let sight = peer::of_own(Socket(ctx.arg(0)), Verb::Accept);
    judge(Hook::SocketAccept, Allowed::Counted, tag, sight)
}
