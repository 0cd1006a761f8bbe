//! Who has made a socket? The only file that knows how a socket is tagged.

use core::{
    ffi::c_void,
    intrinsics::{AtomicOrdering, atomic_and, atomic_or},
};

use agentid_common::{
    tag::{ANYWHERE, ASKS, CALLED, CALLS, KEEPER_SLOT, LISTENS, Tag},
    verdict::Fault,
};

use crate::{
    kfield::Sock,
    maps::{RESOLVER, SOCKETS},
    subject::Subject,
};

/// Who has made a socket, or listened where it was accepted.
#[inline(always)]
pub fn maker(sock: Sock) -> Subject {
    match tag(sock.0.cast()) {
        None => Subject::Untagged,
        Some(tag) => {
            // SAFETY: a value of socket storage lives as long as its socket.
            if unsafe { (*tag).slot } == KEEPER_SLOT {
                Subject::Keeper
            } else {
                Subject::Agent(tag)
            }
        }
    }
}

/// The tag of a socket that the kernel or the context of a program knows as one.
#[inline(always)]
pub fn tag(sock: *const c_void) -> Option<*mut Tag> {
    SOCKETS.get(sock)
}

/// Marks a socket as made by a run, or by the daemon.
#[inline(always)]
pub fn mark(sock: Sock, maker: Tag) -> Result<(), Fault> {
    let own = SOCKETS.get_or_create(sock.0.cast()).ok_or(Fault::SocketStorage)?;
    // SAFETY: a value of socket storage lives as long as its socket.
    unsafe { *own = Tag { mark: 0, ..maker } };
    Ok(())
}

/// Tells the daemon which run is at the other end of a socket that it is about to accept.
#[inline(always)]
pub fn called_by(sock: Sock, caller: &Tag) -> Result<(), Fault> {
    mark(sock, *caller)?;
    let own = tag(sock.0.cast()).ok_or(Fault::SocketStorage)?;
    set(own, CALLS);
    Ok(())
}

/// Marks a socket that a run has just made where the daemon's resolver can be reached from it.
#[inline(always)]
pub fn may_ask(sock: Sock) {
    if is_beside_the_daemon(sock)
        && let Some(own) = tag(sock.0.cast())
    {
        set(own, ASKS);
    }
}

/// Whether the socket is of the network namespace in which the daemon's resolver is.
#[inline(always)]
fn is_beside_the_daemon(sock: Sock) -> bool {
    if sock.is_null() {
        return false;
    }
    let namespace = sock.namespace();
    !namespace.is_null()
        && RESOLVER
            .get(0)
            .is_some_and(|resolver| resolver.port != 0 && resolver.namespace == namespace.cookie())
}

/// Sets a bit of a socket's mark. Two threads may set one each.
#[inline(always)]
pub fn set(own: *mut Tag, bit: u32) {
    // SAFETY: a value of socket storage lives as long as its socket.
    unsafe { atomic_or::<u32, u32, { AtomicOrdering::SeqCst }>(&raw mut (*own).mark, bit) };
}

/// Takes a bit of a socket's mark away.
#[inline(always)]
fn unset(own: *mut Tag, bit: u32) {
    // SAFETY: as above.
    unsafe { atomic_and::<u32, u32, { AtomicOrdering::SeqCst }>(&raw mut (*own).mark, !bit) };
}

/// Says that those at the other end come to this socket of a run, and to what is accepted from it: at its own address, or at
/// every one.
#[inline(always)]
pub fn listens(sock: Sock, tag: &Tag, anywhere: bool) {
    if !sock.is_null()
        && let Some(own) = self::tag(sock.0.cast())
    {
        // SAFETY: a value of socket storage lives as long as its socket.
        unsafe {
            // The peers of what another run has made are judged.
            if (*own).is_of_the_run_of(tag) {
                set(own, LISTENS);
                if anywhere {
                    set(own, ANYWHERE);
                } else {
                    unset(own, ANYWHERE);
                }
            }
        }
    }
}

/// Says that this socket goes to its peer, whichever run has made it.
#[inline(always)]
pub fn calls(sock: Sock) {
    if !sock.is_null()
        && let Some(own) = tag(sock.0.cast())
    {
        set(own, CALLED);
    }
}

/// Whether a run has made this socket, so that its packets are judged.
#[inline(always)]
pub fn is_own(sock: Sock, tag: &Tag) -> bool {
    if sock.is_null() {
        return false;
    }
    // SAFETY: a value of socket storage lives as long as its socket.
    self::tag(sock.0.cast()).is_some_and(|own| unsafe { (*own).is_of_the_run_of(tag) })
}

/// Where a run has accepted a socket.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// Nowhere: it goes to its peer, or is another's.
    Not,
    /// Where it listened at the address that the socket has.
    Here,
    /// Where it listened at every address.
    Anywhere,
}

/// Whether a run has accepted this socket where it listened.
#[inline(always)]
pub fn came(sock: Sock, tag: &Tag) -> Came {
    let Some(own) = self::tag(sock.0.cast()) else {
        return Came::Not;
    };
    // SAFETY: a value of socket storage lives as long as its socket.
    let (mark, is_own) = unsafe { ((*own).mark, (*own).is_of_the_run_of(tag)) };
    if is_own { came_by(mark) } else { Came::Not }
}

/// The same, by what its mark says.
#[inline(always)]
pub const fn came_by(mark: u32) -> Came {
    if mark & (LISTENS | CALLED) != LISTENS {
        Came::Not
    } else if mark & ANYWHERE == 0 {
        Came::Here
    } else {
        Came::Anywhere
    }
}

/// The mark of what the daemon makes.
#[inline(always)]
pub fn keepers() -> Tag {
    Tag { slot: KEEPER_SLOT, ..Tag::default() }
}
