//! Whom a socket is to talk to.

use agentid_common::{
    net::{Address, Peer, TCP, UDP, Verb},
    record::PeerBody,
    verdict::{Fault, Reason, Refusal},
};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

use crate::kfield::{SockAddr, Socket};

/// include/linux/socket.h
const AF_UNSPEC: u16 = 0;
pub const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
pub const AF_NETLINK: u16 = 16;
/// include/linux/net.h
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;

/// include/uapi/linux/in.h: `struct sockaddr_in`, as far as it is read.
#[repr(C)]
#[derive(Clone, Copy)]
struct SockAddrIn {
    family: u16,
    port: [u8; 2],
    address: [u8; 4],
}

/// include/uapi/linux/in6.h: `struct sockaddr_in6`, as far as it is read.
#[repr(C)]
#[derive(Clone, Copy)]
struct SockAddrIn6 {
    family: u16,
    port: [u8; 2],
    flow: u32,
    address: [u8; 16],
}

/// What a connect asks for.
pub enum Asked {
    Peer(Peer),
    /// `AF_UNSPEC`: the socket forgets its peer.
    Nobody,
    /// A unix socket, which is judged where the kernel has found it (`hook::unix`).
    Unix,
}

/// The peer of a connect, and how a record shows it.
#[inline(always)]
pub fn of_connect(
    socket: Socket,
    address: SockAddr,
    length: i32,
) -> (PeerBody, Result<Asked, Refusal>) {
    let mut body = PeerBody { verb: Verb::Connect as u8, ..PeerBody::default() };
    let asked = read(socket, address, length, &mut body);
    (body, asked)
}

#[inline(always)]
fn read(
    socket: Socket,
    address: SockAddr,
    length: i32,
    body: &mut PeerBody,
) -> Result<Asked, Refusal> {
    if length < 2 {
        return Err(Fault::AddressRead.into());
    }
    body.family = address.family();
    let sock = socket.sock();
    if sock.is_null() {
        return Err(Fault::AddressRead.into());
    }
    // Not TCP in another guise: MPTCP is 262, which is 6 to whoever looks at eight bits of it.
    let (kind, protocol) = (sock.kind(), sock.protocol());
    body.protocol = u8::try_from(protocol).unwrap_or(u8::MAX);
    match body.family {
        AF_UNSPEC => return Ok(Asked::Nobody),
        AF_UNIX if sock.family() == AF_UNIX => return Ok(Asked::Unix),
        AF_INET if length as usize >= size_of::<SockAddrIn>() => {
            let found = copy::<SockAddrIn>(address)?;
            body.address = Address::v4(found.address);
            body.port = u16::from_be_bytes(found.port);
        }
        AF_INET6 if length as usize >= size_of::<SockAddrIn6>() => {
            let found = copy::<SockAddrIn6>(address)?;
            body.address = Address::v6(found.address);
            body.port = u16::from_be_bytes(found.port);
        }
        AF_INET | AF_INET6 => return Err(Fault::AddressRead.into()),
        _ => return Err(Refusal::denied(Reason::AddressFamily)),
    }
    match (kind, body.protocol) {
        (SOCK_STREAM, TCP) | (SOCK_DGRAM, UDP) => Ok(Asked::Peer(Peer {
            address: body.address,
            port: body.port,
            protocol: body.protocol,
            verb: Verb::Connect,
        })),
        _ => Err(Refusal::denied(Reason::AddressFamily)),
    }
}

#[inline(always)]
fn copy<T: Copy>(address: SockAddr) -> Result<T, Refusal> {
    let mut value = core::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: the helper checks what it reads; `T` is integers only.
    unsafe {
        if bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address.0.cast())
            != 0
        {
            return Err(Fault::AddressRead.into());
        }
        Ok(value.assume_init())
    }
}
