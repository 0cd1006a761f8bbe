//! May this run connect to this peer?
//!
//! `int socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)`, from 6.1 to 7.3.
//! Called by net/socket.c: `__sys_connect_file`, with the kernel's own copy of the address.
//! A socket of datagrams of the run's own that takes a peer says nothing to it, and programs do so only to learn their own address
//! (getaddrinfo(3) for each address of a name, ping(8)): where rules do not grant the peer it passes, and nothing is told.
//! What such a socket sends is judged, by `socket_sendmsg` and `skb_egress`.
//!
//! Cannot see: addresses that travel with a message, which `socket_sendmsg` sees, and what becomes of the packet. Which
//! unix socket an address leads to is seen by `unix_stream_connect` and `unix_may_send`.

use agentid_common::{
    decide::{lifecycle::may_go_on, net::only_takes_a_peer},
    tag::Tag,
    verdict::{Answer, Hook},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    apart,
    facts::Live,
    kfield::{SockAddr, Socket},
    object::{
        Object,
        peer::{self, Asked, Sight},
    },
    settle::{Allowed, conclude},
    socket, subject,
};

#[lsm(hook = "socket_connect")]
pub fn socket_connect(ctx: LsmContext) -> i32 {
    let Some(tag) = subject::run() else { return 0 };
    let socket = Socket(ctx.arg(0));
    let sight = peer::of_connect(socket, SockAddr(ctx.arg(1)), ctx.arg(2));
    let sight = sight.with_names(socket.sock(), tag);
    let calls = sight.asked == Asked::Peer || sight.asked == Asked::Name;
    let answer = ask(tag, &sight);
    // On a socket of somebody else's the packets are not judged as this run's.
    let only_takes = sight.asked == Asked::Peer
        && only_takes_a_peer(sight.body.protocol, answer)
        && socket::is_own(socket.sock(), tag);
    let (allowed, answer) = if only_takes {
        (Allowed::Counted, Ok(0))
    } else if sight.asked == Asked::Unix {
        (Allowed::Counted, answer)
    } else {
        (Allowed::Recorded, answer)
    };
    let errno = conclude(Hook::SocketConnect, allowed, &Object::Peer(sight.body), tag, answer);
    if calls && errno == 0 {
        socket::calls(socket.sock());
    }
    errno
}

/// Holds a run to its rules for what a hook has seen.
#[inline(always)]
pub fn judge(hook: Hook, allowed: Allowed, tag: &Tag, sight: Sight) -> i32 {
    let answer = ask(tag, &sight);
    conclude(hook, allowed, &Object::Peer(sight.body), tag, answer)
}

/// A run that is over is told so, whatever else it asks for.
#[inline(always)]
fn ask(tag: &Tag, sight: &Sight) -> Answer {
    if sight.asked == Asked::Peer {
        return apart::may_use(tag, &sight.peer(), false);
    }
    may_go_on(&Live, tag)?;
    sight.otherwise()
}
