//! May this run listen where this socket is?
//!
//! `int socket_listen(struct socket *sock, int backlog)`, from 6.1 to 7.3.
//! Called by net/socket.c: `__sys_listen`, which io_uring goes through as well.
//!
//! The address and the port are those that the socket has now: what was bound to, or what the kernel chose. A socket
//! without any gets a port of every address only after this hook, and is judged as port 0 of the address that stands for
//! all. Should another thread give the socket another address meanwhile, each packet that comes finds it (`packet.rs`).
//! Cannot see: sockets that listen already when they come to the run.

use agentid_common::{net::Verb, verdict::Hook};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::socket_connect::judge;
use crate::{kfield::Socket, object::peer, settle::Allowed, socket, subject};

#[lsm(hook = "socket_listen")]
pub fn socket_listen(ctx: LsmContext) -> i32 {
    let Some(tag) = subject::run() else { return 0 };
    let socket = Socket(ctx.arg(0));
    let sight = peer::of_own(socket, Verb::Listen);
    let anywhere = sight.body.address.is_any();
    let errno = judge(Hook::SocketListen, Allowed::Recorded, tag, sight);
    // Only what can listen: the mark would have another's messages pass without a question.
    if errno == 0 && peer::may_listen(socket) {
        socket::listens(socket.sock(), tag, anywhere);
    }
    errno
}
