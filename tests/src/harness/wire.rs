//! What really leaves: every packet on the loopback device, as a capture sees it.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

/// Bytes that are kept for us: more than a test sends between two looks.
const ROOM: usize = 32 << 20;
/// include/uapi/linux/if_ether.h
const ETH_P_ALL: u16 = 3;
/// Bytes of a packet that are looked at.
const HEAD: usize = 128;

/// A packet with its protocol, as the last header before its payload names it, and where it goes. ICMP has no port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub protocol: u8,
    pub to: SocketAddr,
}

/// A tap on the loopback device of this network namespace.
pub struct Wire(OwnedFd);

impl Wire {
    pub fn tap() -> Result<Self> {
        let protocol = libc::c_int::from(ETH_P_ALL.to_be());
        let flags = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: takes plain integers; the descriptor is nobody else's.
        let wire = unsafe {
            let made = libc::socket(libc::AF_PACKET, flags, protocol);
            ensure!(made >= 0, "no packet socket: {}", io::Error::last_os_error());
            Self(OwnedFd::from_raw_fd(made))
        };
        setsockopt(&wire.0, sockopt::RcvBufForce, &ROOM).context("no room for packets")?;
        Ok(wire)
    }

    /// Those that have passed since this was asked.
    pub fn passed(&self) -> Result<Vec<Packet>> {
        let mut packets = Vec::new();
        loop {
            let mut head = [0_u8; HEAD];
            // SAFETY: the buffer has the length that is told.
            let length =
                unsafe { libc::recv(self.0.as_raw_fd(), head.as_mut_ptr().cast(), head.len(), 0) };
            let Ok(length) = usize::try_from(length) else {
                let error = io::Error::last_os_error();
                ensure!(error.kind() == io::ErrorKind::WouldBlock, "no packets: {error}");
                let lost = self.lost()?;
                ensure!(
                    lost == 0,
                    "{lost} packets found no room, and nobody knows where they went"
                );
                return Ok(packets);
            };
            packets.extend(parsed(&head[..length.min(HEAD)]));
        }
    }
}

impl Wire {
    /// How many found no room since this was asked (packet(7), `PACKET_STATISTICS`).
    fn lost(&self) -> Result<u32> {
        /// include/uapi/linux/if_packet.h
        const PACKET_STATISTICS: libc::c_int = 6;
        // `struct tpacket_stats`: packets, and those that were dropped.
        let mut counts = [0_u32; 2];
        let mut length = size_of_val(&counts) as libc::socklen_t;
        // SAFETY: the kernel writes no more than the length that is told.
        let done = unsafe {
            let (socket, counts) = (self.0.as_raw_fd(), counts.as_mut_ptr().cast());
            libc::getsockopt(socket, libc::SOL_PACKET, PACKET_STATISTICS, counts, &raw mut length)
        };
        ensure!(done == 0, "no count of lost packets: {}", io::Error::last_os_error());
        Ok(counts[1])
    }
}

fn parsed(bytes: &[u8]) -> Option<Packet> {
    let (protocol, address, payload) = match bytes.first()? >> 4 {
        4 => {
            let to: [u8; 4] = bytes.get(16..20)?.try_into().ok()?;
            (*bytes.get(9)?, Ipv4Addr::from(to).into(), usize::from(bytes[0] & 0xf) * 4)
        }
        6 => {
            let to: [u8; 16] = bytes.get(24..40)?.try_into().ok()?;
            let (mut next, mut at) = (*bytes.get(6)?, 40);
            // Headers that stand before the payload's own (RFC 8200 section 4).
            while [0, 43, 44, 60].contains(&next) {
                let length = if next == 44 { 8 } else { usize::from(*bytes.get(at + 1)?) * 8 + 8 };
                (next, at) = (*bytes.get(at)?, at + length);
            }
            (next, Ipv6Addr::from(to).into(), at)
        }
        _ => return None,
    };
    let port = match i32::from(protocol) {
        libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6 => 0,
        _ => u16::from_be_bytes(bytes.get(payload + 2..payload + 4)?.try_into().ok()?),
    };
    Some(Packet { protocol, to: SocketAddr::new(address, port) })
}

/// The packets to this port.
pub fn to_port(packets: &[Packet], port: u16) -> Vec<Packet> {
    packets.iter().filter(|packet| packet.to.port() == port).copied().collect()
}

/// Waits until the wire has carried what is looked for; gives all that has passed meanwhile.
pub fn until(
    wire: &Wire,
    what: &str,
    mut enough: impl FnMut(&[Packet]) -> bool,
) -> Result<Vec<Packet>> {
    let mut all = Vec::new();
    super::wait::until(what, super::wait::SOON, || {
        all.extend(wire.passed()?);
        Ok(enough(&all).then_some(()))
    })
    .with_context(|| format!("{} packets have passed", all.len()))?;
    Ok(all)
}
