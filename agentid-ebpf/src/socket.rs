//! Who has made a socket? The only file that knows how a socket is tagged.

use core::ffi::c_void;

use agentid_common::{
    tag::{KEEPER_SLOT, Tag},
    verdict::Fault,
};

use crate::{kfield::Sock, maps::SOCKETS, subject::Subject};

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
    unsafe { *own = Tag { counted: 0, ..maker } };
    Ok(())
}

/// The mark of what the daemon makes.
#[inline(always)]
pub fn keepers() -> Tag {
    Tag { slot: KEEPER_SLOT, ..Tag::default() }
}
