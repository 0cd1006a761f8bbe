//! May this run make this kind of socket?
//!
//! `int socket_create(int family, int type, int protocol, int kern)`, from 6.1 to 7.3.
//! Called by net/socket.c: `__sock_create`, for socket(2) and socketpair(2) and for io_uring, without the flags of the
//! type, and before the kernel looks for a module of that family.
//!
//! The list is `agentid_common::socket`, with the errno that each refusal has. Sockets that the kernel makes for itself
//! (`kern`) pass: those of a new network namespace, of a mount, of a crash's report. No descriptor leads to them.
//! Cannot see: sockets that are inherited or come from elsewhere, which each use of them finds.

use agentid_common::{
    decide::lifecycle::may_go_on, record::PeerBody, socket::may_create, verdict::Hook,
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    facts::Live,
    object::Object,
    settle::{Allowed, hold},
};

#[lsm(hook = "socket_create")]
pub fn socket_create(ctx: LsmContext) -> i32 {
    let (family, kind, protocol, kern): (i32, i32, i32, i32) =
        (ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3));
    if kern != 0 {
        return 0;
    }
    let body = PeerBody {
        family: family as u16,
        protocol: u8::try_from(protocol).unwrap_or(u8::MAX),
        ..PeerBody::default()
    };
    hold(Hook::SocketCreate, Allowed::Counted, Object::Peer(body), |tag| {
        may_go_on(&Live, tag)?;
        may_create(family, kind, protocol)?;
        Ok(0)
    })
}
