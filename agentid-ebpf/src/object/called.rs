//! Abstract names of unix sockets: unix(7).
//!
//! Such a name is all that follows a first byte that is zero, whatever is in it. Rules see it as one name below the type of
//! the filesystem that sockets are in.

use core::cell::Cell;

use agentid_common::{
    decide::{
        file::Search,
        lifecycle::{Alive, Scopes},
    },
    facts::{Facts, Location},
    verdict::{Answer, Fault},
};

use super::walk;
use crate::{
    facts,
    kfield::{Sock, SockAddr, read_into},
    maps::Work,
};

/// The family of an address, and its first byte, which is zero.
const BEFORE: u32 = 3;

/// Where the kernel's copy of an abstract name lies. It may be empty.
#[derive(Clone, Copy)]
pub struct Name {
    /// 0 where there is none.
    pub address: u64,
    pub length: u32,
}

impl Name {
    pub const NONE: Self = Self { address: 0, length: 0 };

    #[inline(always)]
    pub fn is_none(&self) -> bool {
        self.address == 0
    }

    /// The one that a socket has.
    #[inline(always)]
    pub fn of(sock: Sock) -> Self {
        let sock = sock.as_unix();
        if sock.is_null() {
            return Self::NONE;
        }
        let (length, address) = sock.own_address();
        Self::within(address, length)
    }

    /// The one that a bind asks for. None where the kernel is to choose one, or a file is meant.
    #[inline(always)]
    pub fn of_bind(address: SockAddr, length: i32) -> Self {
        Self::within(address.0 as u64, length.cast_unsigned())
    }

    /// One whose first byte cannot be read is taken for abstract, and found out when it is looked up.
    #[inline(always)]
    fn within(address: u64, length: u32) -> Self {
        let mut first = 0_u8;
        let first_at = address.wrapping_add(u64::from(BEFORE) - 1);
        if length < BEFORE || read_into(&mut first, first_at) && first != 0 {
            return Self::NONE;
        }
        Self {
            address: address.wrapping_add(u64::from(BEFORE)),
            length: length.wrapping_sub(BEFORE),
        }
    }
}

/// A name to be looked up.
pub struct Called {
    name: Name,
    work: Cell<*mut Work>,
}

impl Called {
    #[inline(always)]
    pub fn by(name: Name) -> Self {
        Self { name, work: Cell::new(core::ptr::null_mut()) }
    }
}

impl Location for Called {
    type Room = &'static mut Alive;

    #[inline(always)]
    fn room(&self) -> Result<&'static mut Alive, Fault> {
        let work = facts::work()?;
        self.work.set(work);
        // SAFETY: `work` is this task's own, and nothing else of it is in use that is written here.
        Ok(unsafe { &mut (*work).alive })
    }

    #[inline(always)]
    fn search<F: Facts>(
        &self,
        _: &F,
        scopes: &Scopes,
        found: impl FnOnce(&Search) -> Answer,
    ) -> Answer {
        // SAFETY: `work` is this task's own, and no other hook of the task can run before this one ends.
        let work = unsafe { self.work.get().as_mut() }.ok_or(Fault::WorkStorage)?;
        work.search = Search::new(*scopes);
        // Nothing is said of the empty name.
        if self.name.length != 0 {
            walk::called(work, self.name.address, self.name.length)?;
        }
        found(&work.search)
    }
}
