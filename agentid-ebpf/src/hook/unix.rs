//! May this run talk to this unix socket?
//!
//! `int unix_stream_connect(struct sock *sock, struct sock *other, struct sock *newsk)`: net/unix/af_unix.c, for sockets of
//! streams and of sequences of packets, whose data is not asked about again.
//! `int unix_may_send(struct socket *sock, struct socket *other)`: net/unix/af_unix.c, when a datagram socket connects and
//! for each datagram.
//! `int socket_socketpair(struct socket *socka, struct socket *sockb)`: net/socket.c.
//! All alike from 6.1 to 7.3. The other socket is locked in the first two, so that what it is bound to does not change.
//! Cannot see: conversations on sockets that were connected by somebody else.
//!
//! A peer with a path is judged at the file that it is bound to, by whatever name it was found: `connect` on one name of
//! a socket is not got by another. An abstract name proves little, for whoever is first has it: what a rule grants by it is
//! never a socket that another run has made.

use agentid_common::{
    decide::{
        lifecycle::may_go_on,
        unix::{Peer, may_talk},
    },
    file::Rights,
    net::Verb,
    record::PeerBody,
    socket::AF_UNIX,
    tag::Tag,
    verdict::{Answer, Fault, Hook},
};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    facts::Live,
    kfield::{Dentry, Sock, Socket},
    object::{
        Calling, Named, Object,
        called::{Called, Name},
        place::Place,
    },
    settle::{Allowed, conclude, hold},
    socket,
    subject::{self, Subject},
};

#[lsm(hook = "unix_stream_connect")]
pub fn unix_stream_connect(ctx: LsmContext) -> i32 {
    let other = Sock(ctx.arg(1));
    let refused = talk(Hook::UnixStreamConnect, Whom::Listener, other);
    if refused == 0 { pass_on(other, Sock(ctx.arg(2))) } else { refused }
}

#[lsm(hook = "unix_may_send")]
pub fn unix_may_send(ctx: LsmContext) -> i32 {
    talk(Hook::UnixMaySend, Whom::Receiver, Socket(ctx.arg(1)).sock())
}

#[lsm(hook = "socket_socketpair")]
pub fn socket_socketpair(_: LsmContext) -> i32 {
    hold(Hook::SocketSocketpair, Allowed::Counted, Object::None, |tag| may_go_on(&Live, tag))
}

/// Which kind of conversation is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whom {
    Listener,
    Receiver,
}

#[inline(always)]
fn talk(hook: Hook, whom: Whom, other: Sock) -> i32 {
    let Some(tag) = subject::run() else {
        return 0;
    };
    let file = if other.is_null() { Dentry(core::ptr::null()) } else { file_of(other) };
    let name = if other.is_null() || !file.is_null() { Name::NONE } else { Name::of(other) };
    let answer = judge(tag, whom, other, file, name);
    let object = if !file.is_null() {
        Object::Name(Named { dentry: file, want: Rights::CONNECT })
    } else if !name.is_none() {
        Object::Abstract(Calling { name, want: Rights::CONNECT })
    } else {
        Object::Peer(PeerBody { verb: Verb::Connect as u8, family: AF_UNIX, ..PeerBody::default() })
    };
    conclude(hook, Allowed::Counted, &object, tag, answer)
}

#[inline(always)]
fn judge(tag: &Tag, whom: Whom, other: Sock, file: Dentry, name: Name) -> Answer {
    if other.is_null() {
        return Err(Fault::AddressRead.into());
    }
    let peer = match socket::maker(other) {
        // SAFETY: a value of socket storage lives as long as its socket.
        Subject::Agent(maker) if tag.is_of_the_run_of(unsafe { &*maker }) => Peer::Own,
        Subject::Keeper if whom == Whom::Listener => Peer::Control,
        Subject::Untagged if file.is_null() && !name.is_none() => Peer::Called(Called::by(name)),
        _ if file.is_null() => Peer::Nowhere,
        _ => Peer::At(Place::of_name(file)),
    };
    may_talk(&Live, tag, &peer)
}

/// The file that a unix socket is bound to, or null.
#[inline(always)]
fn file_of(sock: Sock) -> Dentry {
    let sock = sock.as_unix();
    if sock.is_null() { Dentry(core::ptr::null()) } else { sock.dentry() }
}

/// The daemon answers nobody of whom it cannot be told whether he is a run.
#[inline(always)]
fn introduce(tag: &Tag, accepted: Sock) -> i32 {
    match socket::called_by(accepted, tag) {
        Ok(()) => 0,
        Err(fault) => {
            let (hook, allowed) = (Hook::UnixStreamConnect, Allowed::Counted);
            conclude(hook, allowed, &Object::None, tag, Err(fault.into()))
        }
    }
}

/// The socket that will be accepted is of who listens. It is not told to the other end when that fails, which then takes
/// the socket for somebody else's. The daemon's tells it which run calls: a process can be gone before it is looked at.
#[inline(always)]
fn pass_on(listener: Sock, accepted: Sock) -> i32 {
    if listener.is_null() || accepted.is_null() {
        return 0;
    }
    match socket::maker(listener) {
        Subject::Agent(maker) => {
            // SAFETY: a value of socket storage lives as long as its socket.
            socket::mark(accepted, unsafe { *maker }).unwrap_or(());
            0
        }
        Subject::Keeper => subject::run().map_or(0, |tag| introduce(tag, accepted)),
        Subject::Untagged => 0,
    }
}
