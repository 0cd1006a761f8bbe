//! Plain old data, for the side that copies these types in and out of maps.

#![allow(unsafe_code, reason = "aya asks for the promise that `layout.rs` has checked")]

macro_rules! pod {
    ($($type:ty,)*) => {$(
        // SAFETY: `repr(C)` of integers and byte arrays; `layout.rs` asserts that it has no padding.
        unsafe impl aya::Pod for $type {}
    )*};
}

pod! {
    crate::tag::Tag,
    crate::instance::Instance,
    crate::instance::Activity,
    crate::file::AnchorKey,
    crate::file::EntryKey,
    crate::file::Entry,
    crate::file::EdgeKey,
    crate::file::Glob,
    crate::file::Node,
    crate::file::Identity,
    crate::map::Host,
    crate::map::Adoption,
    crate::map::Resolver,
    crate::net::PeerKey,
    crate::net::PortKey,
    crate::net::PortRule,
    crate::net::Pins,
    crate::net::Asker,
}
