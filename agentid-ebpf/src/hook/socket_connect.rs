//! May this run connect to this peer?
//!
//! `int socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)`, from 6.1 to 7.3.
//! Called by net/socket.c: `__sys_connect_file`, with the kernel's own copy of the address.
//! Cannot see: addresses that travel with a message, and what becomes of the packet. Which unix socket an address leads
//! to is seen by `unix_stream_connect` and `unix_may_send`.

use agentid_common::{
    decide::{lifecycle::may_go_on, net::may_use},
    verdict::Hook,
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    facts::Live,
    kfield::{SockAddr, Socket},
    object::{
        Object,
        peer::{self, Asked},
    },
    settle::{Allowed, hold},
    subject::{self, Subject},
};

#[lsm(hook = "socket_connect")]
pub fn socket_connect(ctx: LsmContext) -> i32 {
    if matches!(subject::current(), Subject::Untagged) {
        return 0;
    }
    let (body, asked) = peer::of_connect(Socket(ctx.arg(0)), SockAddr(ctx.arg(1)), ctx.arg(2));
    let allowed = match asked {
        Ok(Asked::Unix) => Allowed::Counted,
        _ => Allowed::Recorded,
    };
    hold(Hook::SocketConnect, allowed, Object::Peer(body), |tag| match asked? {
        Asked::Peer(peer) => may_use(&Live, tag, &peer),
        Asked::Nobody | Asked::Unix => may_go_on(&Live, tag),
    })
}
