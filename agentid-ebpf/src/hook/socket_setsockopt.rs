//! May this run set this option of a socket?
//!
//! `int socket_setsockopt(struct socket *sock, int level, int optname)`, from 6.1 to 7.3.
//! Called by net/socket.c: `do_sock_setsockopt` (before 6.7 `__sys_setsockopt`), which io_uring goes through as well.
//!
//! The list is `agentid_common::sockopt`.
//! Cannot see: what an option is set to; options that were set before the socket came to the run; what travels with a
//! message, which `socket_sendmsg` sees.

use agentid_common::{
    decide::lifecycle::may_go_on,
    record::PeerBody,
    sockopt::may_set,
    verdict::{Hook, Reason, Refusal},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    facts::Live,
    object::Object,
    settle::{Allowed, hold},
};

#[lsm(hook = "socket_setsockopt")]
pub fn socket_setsockopt(ctx: LsmContext) -> i32 {
    let (level, option): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    let body = PeerBody { level: level as u16, port: option as u16, ..PeerBody::default() };
    hold(Hook::SocketSetsockopt, Allowed::Counted, Object::Peer(body), |tag| {
        may_go_on(&Live, tag)?;
        if may_set(level, option) { Ok(0) } else { Err(Refusal::denied(Reason::SocketOption)) }
    })
}
