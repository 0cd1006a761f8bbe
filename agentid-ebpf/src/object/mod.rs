//! What is touched: hook arguments to the objects that decisions and records speak of.

pub mod peer;
pub mod place;

use agentid_common::{file::Rights, record::PeerBody};

use crate::kfield::File;

/// A file and what is asked of it.
pub struct Asked {
    pub file: File,
    pub want: Rights,
}

/// The object of a record.
pub enum Object {
    None,
    File(Asked),
    Peer(PeerBody),
}
