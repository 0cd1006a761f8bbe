//! Another network namespace, joined to this one by a pair of virtual Ethernet devices (the module `veth`).

use std::{
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::unix::process::CommandExt as _,
    process::{Child, Command},
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns, unshare},
};

const BUSYBOX: &str = "/bin/busybox";
/// Our end, and the other one as the kernel calls it.
const DEVICES: [&str; 2] = ["near", "veth0"];

/// An address and the length of the block in which it has its neighbours.
type Address = (IpAddr, u8);

/// Ours on the way there.
pub const OWN: [Address; 2] = [(v4(10, 90, 0, 1), 24), (v6(0xfd90, 0, 0, 1), 64)];
/// At the other end: two of each family, those of the clouds' metadata, and one of the link alone.
pub const ADDRESSES: [Address; 7] = [
    (v4(10, 90, 0, 2), 24),
    (v4(10, 90, 0, 3), 24),
    (v4(169, 254, 169, 254), 32),
    (v6(0xfd90, 0, 0, 2), 64),
    (v6(0xfd90, 0, 0, 3), 64),
    (v6(0xfd00, 0xec2, 0, 0x254), 128),
    (v6(0xfe80, 0, 0x90, 2), 64),
];

const fn v4(a: u8, b: u8, c: u8, d: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

/// The first two and the last two groups.
const fn v6(a: u16, b: u16, c: u16, d: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, c, d))
}

/// Gone with its guard.
pub struct Far {
    holder: Child,
}

impl Far {
    pub fn join() -> Result<Self> {
        let mut holder = Command::new(BUSYBOX);
        holder.args(["sleep", "100000"]);
        // SAFETY: between fork and exec nothing but a system call is made.
        unsafe {
            holder.pre_exec(|| unshare(CloneFlags::CLONE_NEWNET).map_err(Into::into));
        }
        let far = Self { holder: holder.spawn().context("no process holds the namespace")? };
        let [near, other] = DEVICES;
        ip(&["link", "add", near, "type", "veth"])?;
        ip(&["link", "set", other, "netns", &far.holder.id().to_string()])?;
        up(near, &OWN)?;
        far.inside(|| {
            ip(&["link", "set", "lo", "up"])?;
            up(other, &ADDRESSES)
        })?;
        for (alone, _) in ADDRESSES.iter().filter(|(_, length)| [32, 128].contains(length)) {
            ip(&["route", "add", &alone.to_string(), "dev", near])?;
        }
        ip(&["route", "add", "224.0.0.0/4", "dev", near])?;
        Ok(far)
    }

    /// Does something there: sockets that are made there stay there.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = format!("/proc/{}/ns/net", self.holder.id());
        let enter = || {
            let namespace = File::open(&path).with_context(|| path.clone())?;
            setns(namespace, CloneFlags::CLONE_NEWNET).context("failed to enter a namespace")?;
            act()
        };
        thread::scope(|scope| {
            scope.spawn(enter).join().map_err(|_| anyhow!("a thread has died"))?
        })
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // The other end goes with it.
        let gone = ip(&["link", "delete", DEVICES[0]]);
        let ended = self.holder.kill().and_then(|()| self.holder.wait().map(drop));
        if let Err(error) = gone.and_then(|()| Ok(ended?)) {
            eprintln!("the other namespace stays: {error:#}");
        }
    }
}

/// The address as a program that talks to it from here gives it: one that each link has, with the device.
pub fn seen_from_here(address: IpAddr, port: u16) -> Result<SocketAddr> {
    Ok(match address {
        IpAddr::V6(address) if address.is_unicast_link_local() || address.is_multicast() => {
            let device = if_nametoindex(DEVICES[0]).context("there is no device")?;
            SocketAddrV6::new(address, port, 0, device).into()
        }
        address => (address, port).into(),
    })
}

/// Gives a device its addresses, to be of use at once, and switches it on.
fn up(device: &str, addresses: &[Address]) -> Result<()> {
    let detection = format!("/proc/sys/net/ipv6/conf/{device}/accept_dad");
    fs::write(&detection, "0").with_context(|| detection.clone())?;
    for (address, length) in addresses {
        ip(&["address", "add", &format!("{address}/{length}"), "dev", device])?;
    }
    ip(&["link", "set", device, "up"])
}

fn ip(arguments: &[&str]) -> Result<()> {
    let done = Command::new(BUSYBOX).arg("ip").args(arguments).output().context("busybox ip")?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(done.status.success(), "ip {}: {said}", arguments.join(" "));
    Ok(())
}
