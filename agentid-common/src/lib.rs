//! What the kernel programs and the daemon agree on: the layout of every map value and record, and the decision
//! itself.
//!
//! The decision (module [`decide`]) is generic over [`facts::Facts`], so that the kernel, `agentid why` and the
//! property tests run the same code. Every type that crosses the boundary is `repr(C)` or `repr(u32)`, holds integers
//! and byte arrays only, and has its layout asserted in `layout.rs`.

#![no_std]
#![deny(unsafe_code)]

pub mod anonymous;
pub mod capability;
pub mod counter;
pub mod decide;
pub mod device;
pub mod facts;
pub mod fcntl;
pub mod file;
pub mod glob;
pub mod instance;
pub mod ioctl;
pub mod layout;
pub mod map;
pub mod name;
pub mod net;
pub mod netlink;
pub mod params;
pub mod record;
pub mod socket;
pub mod sockopt;
pub mod tag;
pub mod verdict;

#[cfg(feature = "user")]
mod user;

/// Version of every layout in this crate. A daemon adopts pinned maps of this version only.
pub const ABI_VERSION: u32 = 12;
