//! May this run connect to this peer?
//!
//! `int socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)`, from 6.1 to 7.3.
//! Called by net/socket.c: `__sys_connect_file`, with the kernel's own copy of the address.
//! Cannot see: addresses that travel with a message, and what becomes of the packet.

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
    hold(Hook::SocketConnect, Allowed::Recorded, Object::Peer(body), |tag| match asked? {
        Asked::Peer(peer) => may_use(&Live, tag, &peer),
        Asked::Nobody => may_go_on(&Live, tag),
    })
}
