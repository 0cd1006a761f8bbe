//! What is touched: hook arguments to the objects that decisions and records speak of.

mod ancillary;
pub mod called;
pub mod known;
pub mod owner;
pub mod peer;
pub mod place;
pub mod rights;
pub mod spelling;
mod walk;

use agentid_common::{file::Rights, record::PeerBody};

use crate::kfield::{Dentry, File};

/// A file and what is asked of it.
pub struct Asked {
    pub file: File,
    pub want: Rights,
}

/// A name in a folder, and what is asked of it.
pub struct Named {
    pub dentry: Dentry,
    pub want: Rights,
}

/// An abstract name of a unix socket, and what is asked of it.
pub struct Calling {
    pub name: called::Name,
    pub want: Rights,
}

/// The object of a record.
///
/// Which one it is fills a word of the stack, that nothing else shares: of a smaller one the verifier would not know the
/// value any more, and would try each object's way with every other one's memory.
#[repr(u64)]
pub enum Object {
    None,
    File(Asked),
    /// A file at a hook that may not ask for its path: it is spelled as names are.
    Spelled(Asked),
    Name(Named),
    Abstract(Calling),
    Peer(PeerBody),
}

impl From<Asked> for Object {
    #[inline(always)]
    fn from(asked: Asked) -> Self {
        Self::File(asked)
    }
}

impl From<Named> for Object {
    #[inline(always)]
    fn from(named: Named) -> Self {
        Self::Name(named)
    }
}

impl From<Calling> for Object {
    #[inline(always)]
    fn from(calling: Calling) -> Self {
        Self::Abstract(calling)
    }
}
