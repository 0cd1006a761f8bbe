//! May this run still take what comes to a socket?
//!
//! `int socket_recvmsg(struct socket *sock, struct msghdr *msg, int size, int flags)`, from 6.1 to 7.3: net/socket.c,
//! `sock_recvmsg`, which recv, recvfrom, recvmsg, the first message of recvmmsg, read and io_uring go through.
//! `int socket_getsockopt(struct socket *sock, int level, int optname)`, from 6.1 to 7.3: net/socket.c,
//! `do_sock_getsockopt` (before 6.7 `__sys_getsockopt`), which io_uring goes through as well. TCP gives data by an option
//! too (`TCP_ZEROCOPY_RECEIVE`).
//!
//! Attached as `file_permission` is, with which they have everything else in common: nothing but the run's life is asked.
//! Cannot see: a call that waits already when the run ends; of recvmmsg(2) the messages after the first.

use agentid_common::{
    decide::lifecycle::may_go_on,
    file::Rights,
    verdict::{Answer, Hook},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    facts::Live,
    kfield::Socket,
    object::{Asked, Object},
    settle::{Allowed, conclude},
    subject,
};

#[lsm(hook = "socket_recvmsg")]
pub fn socket_recvmsg(ctx: LsmContext) -> i32 {
    hold_receipt(Hook::SocketRecvmsg, Socket(ctx.arg(0)))
}

#[lsm(hook = "socket_getsockopt")]
pub fn socket_getsockopt(ctx: LsmContext) -> i32 {
    hold_receipt(Hook::SocketGetsockopt, Socket(ctx.arg(0)))
}

#[inline(always)]
fn hold_receipt(hook: Hook, socket: Socket) -> i32 {
    let Some(tag) = subject::run() else { return 0 };
    let answer: Answer = may_go_on(&Live, tag);
    if answer.is_ok() {
        return 0;
    }
    let file = socket.file();
    // The kernel's own, to which no descriptor leads.
    if file.is_null() {
        return 0;
    }
    let object = Object::Spelled(Asked { file, want: Rights::READ });
    conclude(hook, Allowed::Counted, &object, tag, answer)
}
