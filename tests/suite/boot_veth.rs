//! Peers behind a device, and not on loopback.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
};

use agentid_tests::{
    harness::{
        Daemon, Run, Scene,
        calls::Socket,
        far::{self, Far},
        run::Terms,
        scene::USERS,
        wait,
        wire::Wire,
    },
    step::Protocol,
};
use anyhow::{Context as _, Result, ensure};
use libc::{IPPROTO_TCP, IPPROTO_UDP};

use super::{
    elsewhere::ends,
    net_oracle::{self, Passes, at_own, to_peer},
};

const SOCKET: Socket = Socket(0);

/// The last grants what a wide block leaves out.
const RULES: &str = r#"
    [[net]]
    to = ["10.90.0.0/24:20000-20999", "[fd90::]/64:20000-20999"]
    proto = ["tcp", "udp"]
    allow = ["connect"]
    [[net]]
    to = ["10.90.0.3:20500-20999", "[fd90::3]:20500-20999"]
    proto = ["tcp", "udp"]
    deny = "all"
    [[net]]
    to = ["0.0.0.0/0:22000", "[::]/0:22000"]
    proto = ["tcp", "udp"]
    allow = ["connect"]
    [[net]]
    on = ["10.90.0.1:25000-25999", "[fd90::1]:25000-25999"]
    proto = ["tcp", "udp"]
    allow = ["listen"]
    [[net]]
    to = ["169.254.169.254:23000", "[fd00:ec2::254]:23000", "[fe80::90:2]:23000"]
    proto = ["tcp", "udp"]
    allow = ["connect"]
"#;
/// Within the block, where it is denied to one, in no rule, in the wide block, by name.
const PORTS: [u16; 5] = [20_003, 20_503, 21_003, 22_000, 23_000];
/// Whether `RULES` grant each address each port.
const GRANTED: [[bool; 5]; 7] = [
    [true, true, false, true, false],
    [true, false, false, true, false],
    NAMED,
    [true, true, false, true, false],
    [true, false, false, true, false],
    NAMED,
    NAMED,
];
const NAMED: [bool; 5] = [false, false, false, false, true];
/// All on the link that listen for it.
const GROUPS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)),
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)),
];

fn daemon() -> Result<Daemon> {
    let files = Scene::POLICY.split("[[net]]").next().unwrap_or_default();
    let policy = files.replace("\"fixture\"", "\"far\"") + RULES;
    Daemon::start_in(Scene::with(&[("far", &policy)])?)
}

fn launch(daemon: &Daemon, uid: u32) -> Result<Run> {
    Run::launch(daemon, &Terms { policy: "far", uid, ..Terms::default() })
}

/// P2: over a device the kernel does what the daemon says of every peer, by every call; what is allowed gets there, and of
/// what is denied no packet leaves.
#[test]
fn the_kernel_does_what_the_daemon_says_about_peers_behind_a_device() -> Result<()> {
    let daemon = daemon()?;
    let far = Far::join()?;
    let _listening = far.inside(|| {
        let both = |port| -> Result<(TcpListener, UdpSocket)> {
            let any = (Ipv6Addr::UNSPECIFIED, port);
            Ok((TcpListener::bind(any)?, UdpSocket::bind(any)?))
        };
        PORTS.map(both).into_iter().collect::<Result<Vec<_>>>()
    })?;
    let all = far::ADDRESSES.iter().map(|(address, _)| *address).chain(GROUPS);
    let peers = all.flat_map(|address| PORTS.map(|port| far::seen_from_here(address, port)));
    let peers = peers.collect::<Result<Vec<SocketAddr>>>()?;
    let mut tries: Vec<_> = peers.into_iter().flat_map(to_peer).collect();
    for (own, _) in far::OWN {
        tries.extend([25_003, 21_003].into_iter().flat_map(|port| at_own((own, port).into())));
    }
    let wire = Wire::tap()?;
    let said = net_oracle::ask(&daemon, "far", &tries, Passes::Whole)?;

    let of_peers = |allowed: bool| -> BTreeSet<(i32, SocketAddr)> {
        let these =
            said.iter().filter(|((call, ..), passes)| *call != "listen" && **passes == allowed);
        let protocol = |name: &str| if name == "tcp" { IPPROTO_TCP } else { IPPROTO_UDP };
        these.map(|((_, to, name), _)| (protocol(name), plain(*to))).collect()
    };
    let (allowed, denied) = (of_peers(true), of_peers(false));
    let mut granted = BTreeSet::new();
    for ((address, _), ports) in far::ADDRESSES.into_iter().zip(GRANTED) {
        for (port, _) in PORTS.into_iter().zip(ports).filter(|(_, granted)| *granted) {
            granted.extend([IPPROTO_TCP, IPPROTO_UDP].map(|it| (it, (address, port).into())));
        }
    }
    assert_eq!(allowed, granted);
    let passed = wire.passed()?;
    let left: BTreeSet<_> =
        passed.iter().map(|packet| (i32::from(packet.protocol), packet.to)).collect();
    let stray: Vec<_> = left.intersection(&denied).collect();
    ensure!(stray.is_empty(), "packets have left that are denied: {stray:?}");
    let missing: Vec<_> = allowed.difference(&left).collect();
    ensure!(missing.is_empty(), "no packet has left that is allowed: {missing:?}");
    Ok(())
}

/// Without the device.
fn plain(to: SocketAddr) -> SocketAddr {
    SocketAddr::new(to.ip(), to.port())
}

/// P4: at the end of a run whoever is behind a device hears of it at once, whether it was called or has called, and gets
/// nothing more.
#[test]
fn who_is_behind_a_device_hears_of_the_end() -> Result<()> {
    let daemon = daemon()?;
    let far = Far::join()?;
    for uid in USERS {
        for (number, (own, _)) in far::OWN.into_iter().enumerate() {
            let what = format!("uid {uid}: {own}");
            let there = far::ADDRESSES[number * 3].0;
            let listener = far.inside(|| Ok(TcpListener::bind((there, 20_003))?))?;
            let mut run = launch(&daemon, uid)?;
            let at: SocketAddr = (own, 25_003).into();
            let listening = vec![SOCKET.like(at, Protocol::Tcp), SOCKET.bind(at), SOCKET.listen()];
            ensure!(run.last_call(listening)? == 0, "{what}: no listener");
            let call = || Ok(TcpStream::connect_timeout(&at, wait::SOON)?);
            let caller = far.inside(call).with_context(|| format!("{what}: nobody answers"))?;
            let to: SocketAddr = (there, 20_003).into();
            let calls = Socket(1);
            let called = vec![calls.like(to, Protocol::Tcp), calls.connect(to)];
            ensure!(run.last_call(called)? == 0, "{what}: no call");
            let (called, _) = listener.accept()?;
            daemon.revoke(run.id())?;
            ends(caller).with_context(|| format!("{what}: who has called"))?;
            ends(called).with_context(|| format!("{what}: who was called"))?;
            let later = far.inside(|| Ok(TcpStream::connect_timeout(&at, wait::SOON)))?;
            let refused = later.map(drop).map_err(|error| error.kind());
            assert_eq!(refused, Err(ErrorKind::ConnectionRefused), "{what}");
        }
    }
    Ok(())
}
