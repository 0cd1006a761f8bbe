//! Messages to the kernel.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use crate::access::last;

/// `struct nlmsghdr`.
const HEADER: u32 = 16;
/// Room for any fixed part that a message begins with.
const BODY: usize = 64;
const REQUEST: u16 = 1;

/// Sends messages of these kinds in one call.
pub fn send(protocol: i32, kinds: &[u16]) -> i32 {
    let messages: Vec<u8> =
        kinds.iter().flat_map(|kind| message(*kind, HEADER + BODY as u32)).collect();
    send_bytes(protocol, &messages)
}

/// A reading message whose head tells this length.
pub fn send_torn(length: u32) -> i32 {
    send_bytes(libc::NETLINK_ROUTE, &message(libc::RTM_GETLINK, length))
}

fn message(kind: u16, length: u32) -> Vec<u8> {
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&REQUEST.to_ne_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[0; BODY]);
    bytes
}

fn send_bytes(protocol: i32, bytes: &[u8]) -> i32 {
    // SAFETY: plain integers.
    let socket =
        unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if socket < 0 {
        return last();
    }
    // SAFETY: the call has just made the descriptor, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: the bytes are of the given length.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if sent < 0 { last() } else { 0 }
}

/// Asks the C library for the addresses of this host; there is at least one.
pub fn interfaces() -> i32 {
    let mut list = std::ptr::null_mut();
    // SAFETY: the call writes a list, which is given back.
    unsafe {
        if libc::getifaddrs(&raw mut list) < 0 {
            return last();
        }
        let empty = list.is_null();
        libc::freeifaddrs(list);
        if empty { libc::ENODEV } else { 0 }
    }
}
