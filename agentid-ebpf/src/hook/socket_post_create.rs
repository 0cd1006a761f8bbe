//! May this run make a socket? The new one carries the tag before anyone can use it, or is not made.
//!
//! `int socket_post_create(struct socket *sock, int family, int type, int protocol, int kern)`, from 6.1 to 7.3.
//! Called by net/socket.c: `__sock_create`, for socket(2), socketpair(2) and io_uring, and with `kern` for the kernel's own.
//! Cannot see: sockets that are accepted. Those of TCP get a copy of the listener's tag from the kernel (`BPF_F_CLONE`),
//! those of unix sockets from `unix_stream_connect`.
//!
//! The daemon's own unix sockets are marked as well: where one listens is the control socket.

use agentid_common::{
    decide::lifecycle::may_go_on,
    socket::{AF_INET, AF_INET6, AF_UNIX},
    tag::Tag,
    verdict::{Fault, Hook},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    facts::Live,
    kfield::Socket,
    object::Object,
    settle::{Allowed, conclude},
    socket,
    subject::{self, Subject},
};

#[lsm(hook = "socket_post_create")]
pub fn socket_post_create(ctx: LsmContext) -> i32 {
    match subject::current() {
        Subject::Untagged => 0,
        Subject::Keeper => {
            if ctx.arg::<u32>(1) == u32::from(AF_UNIX) {
                // Without the mark no run gets to the control socket, and nobody else is hurt.
                mark(Socket(ctx.arg(0)), socket::keepers()).unwrap_or(());
            }
            0
        }
        Subject::Agent(_) if ctx.arg::<u32>(4) != 0 => 0,
        Subject::Agent(tag) => {
            // SAFETY: a value of task storage lives as long as its task.
            let tag = unsafe { &*tag };
            let new = Socket(ctx.arg(0));
            let answer = may_go_on(&Live, tag)
                .and_then(|rule| mark(new, *tag).map(|()| rule).map_err(Into::into));
            let family = ctx.arg::<u32>(1) as u16;
            if answer.is_ok() && (family == AF_INET || family == AF_INET6) {
                socket::may_ask(new.sock());
            }
            conclude(Hook::SocketPostCreate, Allowed::Counted, &Object::None, tag, answer)
        }
    }
}

#[inline(always)]
fn mark(new: Socket, maker: Tag) -> Result<(), Fault> {
    let sock = new.sock();
    if sock.is_null() { Err(Fault::SocketStorage) } else { socket::mark(sock, maker) }
}
