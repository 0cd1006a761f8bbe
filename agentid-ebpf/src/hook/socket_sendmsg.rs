//! May this run send this message?
//!
//! `int socket_sendmsg(struct socket *sock, struct msghdr *msg, int size)`, from 6.1 to 7.3.
//! Called by net/socket.c: `__sock_sendmsg` (before 6.7 `sock_sendmsg`) for each message that is sent or written, by
//! io_uring too. The address and what travels with the message are the kernel's own copies.
//!
//! A message that names its peer is judged by that: UDP, ICMP, and TCP that connects by it (Fast Open), which
//! must be the peer that the socket has, if it has one. Any other is judged by the peer that the socket has now, so that a
//! socket that came from elsewhere, and one whose rules have changed, is judged at its next message. Who has come to where the
//! run listened is answered as long as the run may take connections there.
//!
//! Sockets that the kernel has made for itself pass: NFS and its like send on them while a task waits, to where a mount
//! said. No descriptor leads to them. What is not INET passes.
//!
//! Cannot see: of sendmmsg(2) the messages after the first that go to the same address, and what travels with them
//! (net/socket.c: `____sys_sendmsg`), so that a batch whose messages name their peer is denied. Before 6.5 what sendfile(2) and splice(2)
//! write to a connected socket; what becomes of the packet.

use agentid_common::{
    decide::lifecycle::may_go_on,
    tag::Tag,
    verdict::{Answer, Fault, Hook},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    facts::Live,
    kfield::{Message, Sock, Socket},
    object::{
        Object,
        peer::{self, Asked, Sight},
    },
    settle::{Allowed, conclude},
    socket, subject, vouched,
};

#[lsm(hook = "socket_sendmsg")]
pub fn socket_sendmsg(ctx: LsmContext) -> i32 {
    let Some(tag) = subject::run() else { return 0 };
    let socket = Socket(ctx.arg(0));
    if socket.file().is_null() {
        return 0;
    }
    let message = Message(ctx.arg(1));
    let sight = peer::of_message(socket, message, tag);
    let answer = ask(socket.sock(), tag, &sight);
    let object = Object::Peer(sight.body);
    let errno = conclude(Hook::SocketSendmsg, Allowed::Counted, &object, tag, answer);
    if errno == 0 && peer::connects(socket.sock(), message) {
        socket::calls(socket.sock());
    }
    errno
}

/// A run that is over is told so, whatever else it asks for.
#[inline(always)]
fn ask(sock: Sock, tag: &Tag, sight: &Sight) -> Answer {
    if sock.is_null() {
        return Err(Fault::AddressRead.into());
    }
    if sight.asked == Asked::Peer {
        return vouched::recall_or_ask(sock.0.cast(), tag, &sight.peer(), sight.stands);
    }
    may_go_on(&Live, tag)?;
    sight.otherwise()
}
