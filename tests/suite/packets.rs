//! After the end of a run nothing more passes on its sockets, and those at the other end hear of it.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    ops::Range,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use agentid_common::instance::{Instance, State};
use agentid_tests::{
    harness::{
        Daemon, Run,
        run::Terms,
        scene::USERS,
        settle::settle,
        table::Table,
        taken::{has_all_arrived, has_more_to_send, socket_of},
        wait,
    },
    step::{Protocol, Step},
};
use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket::{Backlog, SockaddrIn, SockaddrIn6, bind, listen};

/// Long enough for a launch and a connection.
const TTL: &str = "10s";

/// Loopback addresses.
fn places(port: u16) -> [SocketAddr; 2] {
    [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
}

/// A listener at a port that `fixture` grants, at the first or the second of the loopback addresses.
fn listener(family: usize) -> Result<TcpListener> {
    (20_000..30_000)
        .find_map(|port| TcpListener::bind(places(port)[family]).ok())
        .context("no port is free")
}

/// A receiver of datagrams at a port that `fixture` grants.
fn receiver(family: usize) -> Result<UdpSocket> {
    bound(20_000..30_000, family)
}

fn bound(mut ports: Range<u16>, family: usize) -> Result<UdpSocket> {
    let found = ports.find_map(|port| UdpSocket::bind(places(port)[family]).ok());
    let found = found.context("no port is free")?;
    found.set_nonblocking(true)?;
    Ok(found)
}

/// Waits for a datagram; where it is from.
fn comes(to: &UdpSocket) -> Result<SocketAddr> {
    wait::until("a datagram comes", wait::SOON, || match to.recv_from(&mut [0; 8]) {
        Ok((_, from)) => Ok(Some(from)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    })
}

/// That nothing has come up to now: a datagram of its own is the first.
fn nothing_came(to: &UdpSocket) -> Result<()> {
    settle()?;
    let own = to.local_addr()?;
    to.send_to(b"mark", own)?;
    let from = comes(to)?;
    ensure!(from == own, "a datagram has come from {from}");
    Ok(())
}

/// A run's connection to us.
fn called(run: &mut Run, listener: &TcpListener) -> Result<TcpStream> {
    let step = Step::Call { to: listener.local_addr()?, protocol: Protocol::Tcp };
    ensure!(run.errno(&step)? == 0, "{step:?} failed");
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(wait::SOON))?;
    Ok(stream)
}

/// Our connection to a run.
fn calling(run: &mut Run, family: usize) -> Result<TcpStream> {
    for port in 20_000..30_000 {
        let at = places(port)[family];
        match run.errno(&Step::Answer(at))? {
            0 => {}
            libc::EADDRINUSE => continue,
            errno => bail!("listening at {at} failed with {errno}"),
        }
        let stream = TcpStream::connect(at)?;
        ensure!(run.errno(&Step::PickUp)? == 0, "nobody was there");
        stream.set_read_timeout(Some(wait::SOON))?;
        return Ok(stream);
    }
    bail!("no port is free")
}

/// What every packet of a socket can be made to carry, by the family: a level, an option and its value.
type Options = [(libc::c_int, libc::c_int, &'static [u8]); 2];

/// What means nothing.
const EMPTY: Options = [
    (libc::IPPROTO_IP, libc::IP_OPTIONS, &[1, 1, 1, 0]),
    (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &[0, 0, 1, 4, 0, 0, 0, 0]),
];
/// A loose source route by 127.0.0.1, and a routing header (type 4) with ::1 as its one segment.
const ROUTES: Options = [
    (libc::IPPROTO_IP, libc::IP_OPTIONS, &[131, 7, 4, 127, 0, 0, 1, 0]),
    (
        libc::IPPROTO_IPV6,
        libc::IPV6_RTHDR,
        &[0, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    ),
];

/// Has every packet of a socket carry this, or nothing any more.
fn set_options(
    socket: &impl AsRawFd,
    (level, name, bytes): (libc::c_int, libc::c_int, &[u8]),
    some: bool,
) -> Result<()> {
    let length = if some { bytes.len() as libc::socklen_t } else { 0 };
    let (socket, bytes) = (socket.as_raw_fd(), bytes.as_ptr().cast());
    // SAFETY: the bytes are of the given length.
    let failed = unsafe { libc::setsockopt(socket, level, name, bytes, length) };
    ensure!(failed == 0, "setsockopt: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Bytes that have arrived and were not read.
fn arrived(stream: &TcpStream) -> Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the call writes one integer.
    let failed = unsafe { libc::ioctl(stream.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    ensure!(failed == 0, "FIONREAD: {}", std::io::Error::last_os_error());
    Ok(usize::try_from(count)?)
}

/// Reads until the other end has ended; how much there was.
fn read_to_the_end(stream: &mut TcpStream) -> Result<usize> {
    let (mut total, mut room) = (0, [0; 65_536]);
    loop {
        match stream.read(&mut room) {
            Ok(0) => return Ok(total),
            Ok(length) => total += length,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(total),
            Err(error) => return Err(error).context("no end is heard"),
        }
    }
}

/// Ends a run in the kernel alone, so that no daemon helps.
struct Ended {
    table: Table,
    slot: u32,
    before: Instance,
}

impl Ended {
    fn of(run: &Run) -> Result<Self> {
        let table = Table::open()?;
        let (slot, before) = table.find(run.id())?;
        table.set(slot, Instance { state: State::REVOKED, ..before })?;
        Ok(Self { table, slot, before })
    }

    fn undo(self) -> Result<()> {
        self.table.set(self.slot, self.before)
    }
}

/// What has come to a socket, for whoever may take it: 0, or `EAGAIN`.
fn waiting(socket: &OwnedFd) -> i32 {
    let (mut byte, flags) = (0_u8, libc::MSG_DONTWAIT | libc::MSG_PEEK);
    // SAFETY: there is room for one byte.
    let heard = unsafe { libc::recv(socket.as_raw_fd(), (&raw mut byte).cast(), 1, flags) };
    if heard < 0 { std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) } else { 0 }
}

/// Has a run send until all that was sent has arrived, and more waits for room. Gives the socket.
fn flood(run: &mut Run) -> Result<OwnedFd> {
    let socket = socket_of(run)?;
    wait::until("the peer has no room", wait::SOON, || {
        ensure!(run.errno(&Step::Flood)? == 0, "the flood was denied");
        Ok((has_all_arrived(&socket)? && has_more_to_send(&socket)?).then_some(()))
    })?;
    Ok(socket)
}

/// Ends a run in the kernel alone, while nothing that it has sent is on its way, and more waits for room.
fn ended_in_flood(run: &mut Run) -> Result<Ended> {
    wait::until("the run ends with nothing on its way", wait::SOON, || {
        let socket = flood(run)?;
        let ended = Ended::of(run)?;
        if has_all_arrived(&socket)? {
            return Ok(Some(ended));
        }
        // A timer has sent something in between.
        ended.undo()?;
        Ok(None)
    })
}

/// P4: what lies in the queue of a connection when the run ends stays there, although the peer has room again and asks
/// for more.
#[test]
fn no_byte_leaves_after_the_end() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        for family in [0, 1] {
            for accepted in [false, true] {
                let what = format!("uid {uid}, family {family}, accepted {accepted}");
                let mut run = Run::of(&daemon, uid)?;
                let listener = listener(family)?;
                let mut stream = if accepted {
                    calling(&mut run, family)?
                } else {
                    called(&mut run, &listener)?
                };
                let ended = ended_in_flood(&mut run).with_context(|| what.clone())?;
                let here = arrived(&stream)?;
                ensure!(here > 0, "{what}: nothing was sent");
                let mut room = vec![0; here];
                stream.read_exact(&mut room)?;
                // The window is open, and the kernel tries.
                let denied = run.totals(&daemon)?.denied;
                wait::until("a packet was dropped", wait::SOON, || {
                    Ok((run.totals(&daemon)?.denied > denied).then_some(()))
                })?;
                assert_eq!(arrived(&stream)?, 0, "{what}");
                ended.undo()?;
                // It was there all the time.
                stream.read_exact(&mut [0]).with_context(|| what.clone())?;
            }
        }
    }
    Ok(())
}

/// P4: what is sent to a run that is over does not get to it.
#[test]
fn no_byte_comes_in_after_the_end() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        for family in [0, 1] {
            let mut run = Run::of(&daemon, uid)?;
            let mut stream = called(&mut run, &listener(family)?)?;
            let socket = socket_of(&run)?;
            let denied = run.totals(&daemon)?.denied;
            let ended = Ended::of(&run)?;
            stream.write_all(b"x")?;
            wait::until("a packet was dropped", wait::SOON, || {
                Ok((run.totals(&daemon)?.denied > denied).then_some(()))
            })?;
            // Looked at from outside, where a receive is not asked about, so that this is the packet's own doing.
            assert_eq!(waiting(&socket), libc::EAGAIN, "uid {uid}, family {family}");
            assert_eq!(run.errno(&Step::Hear)?, libc::EPERM, "uid {uid}, family {family}");
            ended.undo()?;
            wait::until("it comes when it is sent again", wait::SOON, || {
                Ok((run.errno(&Step::Hear)? == 0).then_some(()))
            })?;
        }
    }
    Ok(())
}

/// P2: no packet of a run is sent on from where its socket was judged for, also when somebody else has set the socket up
/// for that; and nobody but runs is held to that.
#[test]
fn no_packet_takes_a_detour() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        for family in [0, 1] {
            let what = format!("uid {uid}, family {family}");
            let mut run = Run::of(&daemon, uid)?;
            let peer = receiver(family)?;
            let call = Step::Call { to: peer.local_addr()?, protocol: Protocol::Udp };
            assert_eq!(run.errno(&call)?, 0, "{what}");
            let socket = socket_of(&run)?;
            set_options(&socket, EMPTY[family], true)?;
            assert_eq!(run.errno(&Step::Say)?, libc::EPERM, "{what}");
            nothing_came(&peer).with_context(|| what.clone())?;
            set_options(&socket, EMPTY[family], false)?;
            assert_eq!(run.errno(&Step::Say)?, 0, "{what}");
            comes(&peer).with_context(|| what.clone())?;
        }
    }
    for family in [0, 1] {
        let (own, peer) = (receiver(family)?, receiver(family)?);
        set_options(&own, EMPTY[family], true)?;
        own.send_to(b"x", peer.local_addr()?)?;
        comes(&peer)?;
    }
    Ok(())
}

/// P2: nor is a segment of TCP, whose peer no packet is asked about.
#[test]
fn no_segment_takes_a_detour() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        for family in [0, 1] {
            for options in [EMPTY, ROUTES] {
                let what = format!("uid {uid}: {:?}", options[family]);
                let mut run = Run::of(&daemon, uid)?;
                let mut stream = called(&mut run, &listener(family)?)?;
                let socket = socket_of(&run)?;
                set_options(&socket, options[family], true).with_context(|| what.clone())?;
                let denied = run.totals(&daemon)?.denied;
                assert_eq!(run.errno(&Step::Say)?, 0, "{what}");
                assert!(run.totals(&daemon)?.denied > denied, "{what}: no packet was denied");
                settle()?;
                assert_eq!(arrived(&stream)?, 0, "{what}");
                set_options(&socket, options[family], false)?;
                // It is sent again.
                stream.read_exact(&mut [0]).with_context(|| what.clone())?;
            }
        }
    }
    Ok(())
}

/// P2: a datagram goes where the rules let the run send it, whoever has set the socket up and sends on it: what a hook has
/// seen of a socket may be something else by the time the kernel looks.
#[test]
fn no_datagram_goes_where_no_rule_lets_it() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        for family in [0, 1] {
            let what = format!("uid {uid}, family {family}");
            let mut run = Run::of(&daemon, uid)?;
            let (peer, stranger) = (receiver(family)?, bound(30_000..40_000, family)?);
            let call = Step::Call { to: peer.local_addr()?, protocol: Protocol::Udp };
            assert_eq!(run.errno(&call)?, 0, "{what}");
            let socket = UdpSocket::from(socket_of(&run)?);
            let denied = run.totals(&daemon)?.denied;
            socket.connect(stranger.local_addr()?)?;
            let refused = socket.send(b"x").map_err(|error| error.raw_os_error());
            assert_eq!(refused, Err(Some(libc::EPERM)), "{what}");
            nothing_came(&stranger).with_context(|| what.clone())?;
            assert_eq!(run.totals(&daemon)?.denied, denied + 1, "{what}");
            socket.connect(peer.local_addr()?)?;
            socket.send(b"x").with_context(|| what.clone())?;
            comes(&peer).with_context(|| what.clone())?;
        }
    }
    Ok(())
}

/// P2: nobody gets to a listener of a run where it may not listen, however the socket has come there.
#[test]
fn no_connection_comes_where_the_run_may_not_listen() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        for family in [0, 1] {
            for granted in [true, false] {
                let what = format!("uid {uid}, family {family}, granted {granted}");
                let mut run = Run::of(&daemon, uid)?;
                drop(called(&mut run, &listener(family)?)?);
                let socket = socket_of(&run)?;
                let at = listen_with(&socket, family, granted)?;
                let denied = run.totals(&daemon)?.denied;
                let patience = if granted { wait::SOON } else { Duration::from_millis(500) };
                let came = TcpStream::connect_timeout(&at, patience);
                let came = came.map(drop).map_err(|error| error.kind());
                assert_eq!(came, if granted { Ok(()) } else { Err(ErrorKind::TimedOut) }, "{what}");
                wait::until("its packets were dropped, or not", wait::SOON, || {
                    Ok(((run.totals(&daemon)?.denied > denied) != granted).then_some(()))
                })
                .with_context(|| what.clone())?;
            }
        }
    }
    Ok(())
}

/// Has a socket of TCP forget its peer, and listen at a port that `fixture` grants, or at one that it does not.
fn listen_with(socket: &OwnedFd, family: usize, granted: bool) -> Result<SocketAddr> {
    let nobody =
        libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let length = size_of_val(&nobody) as libc::socklen_t;
    // SAFETY: the address is of the given length.
    let failed = unsafe { libc::connect(socket.as_raw_fd(), &raw const nobody, length) };
    ensure!(failed == 0, "connect: {}", std::io::Error::last_os_error());
    let mut ports = if granted { 20_000..30_000 } else { 30_000..40_000 };
    let at = ports.find_map(|port| {
        let at = places(port)[family];
        let bound = match at {
            SocketAddr::V4(at) => bind(socket.as_raw_fd(), &SockaddrIn::from(at)),
            SocketAddr::V6(at) => bind(socket.as_raw_fd(), &SockaddrIn6::from(at)),
        };
        bound.ok().map(|()| at)
    });
    let at = at.context("no port is free")?;
    listen(socket, Backlog::new(1)?)?;
    Ok(at)
}

/// P4: datagrams too, both ways.
#[test]
fn no_datagram_passes_after_the_end() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        for family in [0, 1] {
            let what = format!("uid {uid}, family {family}");
            let mut run = Run::of(&daemon, uid)?;
            let peer = receiver(family)?;
            let call = Step::Call { to: peer.local_addr()?, protocol: Protocol::Udp };
            assert_eq!(run.errno(&call)?, 0, "{what}");
            assert_eq!(run.errno(&Step::Say)?, 0, "{what}");
            let from = comes(&peer).with_context(|| what.clone())?;
            let socket = socket_of(&run)?;
            let ended = Ended::of(&run)?;
            assert_eq!(run.errno(&Step::Say)?, libc::EPERM, "{what}");
            nothing_came(&peer).with_context(|| what.clone())?;
            let denied = run.totals(&daemon)?.denied;
            peer.send_to(b"x", from)?;
            wait::until("a packet was dropped", wait::SOON, || {
                Ok((run.totals(&daemon)?.denied > denied).then_some(()))
            })?;
            assert_eq!(waiting(&socket), libc::EAGAIN, "{what}");
            assert_eq!(run.errno(&Step::Hear)?, libc::EPERM, "{what}");
            ended.undo()?;
            peer.send_to(b"x", from)?;
            wait::until("it comes when the run goes on", wait::SOON, || {
                Ok((run.errno(&Step::Hear)? == 0).then_some(()))
            })?;
        }
    }
    Ok(())
}

/// P4: the peer hears of the end, with a full queue and with an empty one, on connections that the run has made and on
/// those that it has accepted; and gets nothing that was not there when the revocation was answered.
#[test]
fn the_other_end_hears_of_the_end() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        for policy in ["fixture", "killed"] {
            for family in [0, 1] {
                for (accepted, full) in [(false, false), (false, true), (true, false), (true, true)]
                {
                    let what = format!("uid {uid}, {policy}, {family}, {accepted}, {full}");
                    let terms = Terms { policy, uid, ..Terms::default() };
                    let mut run = Run::launch(&daemon, &terms)?;
                    let listener = listener(family)?;
                    let mut stream = if accepted {
                        calling(&mut run, family)?
                    } else {
                        called(&mut run, &listener)?
                    };
                    if full {
                        flood(&mut run).with_context(|| what.clone())?;
                    }
                    let said = daemon.revoke(run.id())?;
                    let told = said.hung_up_after_ms.with_context(|| what.clone())?;
                    assert!(
                        said.connections > 0 && told >= said.denied_after_ms,
                        "{what}: {said:?}"
                    );
                    // What a timer has sent before the end may be on its way.
                    settle()?;
                    let here = arrived(&stream)?;
                    let total = read_to_the_end(&mut stream).with_context(|| what.clone())?;
                    assert_eq!(total, here, "{what}");
                }
            }
        }
    }
    Ok(())
}

/// P4, P5: the same when its time is over.
#[test]
fn the_other_end_hears_when_the_time_is_over() -> Result<()> {
    let daemon = Daemon::shared()?;
    let mut streams = Vec::new();
    for uid in USERS {
        for policy in ["fixture", "killed"] {
            let terms = Terms { policy, uid, ttl: Some(TTL), ..Terms::default() };
            let mut run = Run::launch(&daemon, &terms)?;
            let listener = listener(0)?;
            let stream = called(&mut run, &listener)?;
            streams.push((format!("uid {uid}, {policy}"), stream, run));
        }
    }
    for (what, mut stream, run) in streams {
        assert_eq!(read_to_the_end(&mut stream).with_context(|| what.clone())?, 0, "{what}");
        let end = wait::until("the end is noted", wait::SOON, || Ok(run.view(&daemon)?.end))?;
        assert_eq!(end.ending, "expired", "{what}");
    }
    Ok(())
}

/// P4: connections of another run and of the person go on.
#[test]
fn leaves_the_connections_of_others_alone() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        for family in [0, 1] {
            let listener = listener(family)?;
            let (mut run, mut sibling) = (Run::of(&daemon, uid)?, Run::of(&daemon, uid)?);
            let mut stream = called(&mut run, &listener)?;
            let mut siblings = called(&mut sibling, &listener)?;
            let mut own = TcpStream::connect(listener.local_addr()?)?;
            let (mut there, _) = listener.accept()?;
            daemon.revoke(run.id())?;
            assert_eq!(read_to_the_end(&mut stream)?, 0);
            assert_eq!(sibling.errno(&Step::Say)?, 0);
            siblings.read_exact(&mut [0])?;
            siblings.write_all(b"x")?;
            wait::until("the sibling hears", wait::SOON, || {
                Ok((sibling.errno(&Step::Hear)? == 0).then_some(()))
            })?;
            own.write_all(b"x")?;
            there.read_exact(&mut [0])?;
        }
    }
    Ok(())
}

/// P4: a run ends with the one above it, and so do its packets.
#[test]
fn nothing_passes_after_the_end_of_a_run_above() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let parent = Run::of(&daemon, uid)?;
        let terms = Terms { uid, parent: Some(parent.id()), ..Terms::default() };
        let mut run = Run::launch(&daemon, &terms)?;
        let peer = receiver(0)?;
        let call = Step::Call { to: peer.local_addr()?, protocol: Protocol::Udp };
        assert_eq!(run.errno(&call)?, 0);
        let ended = Ended::of(&parent)?;
        assert_eq!(run.errno(&Step::Say)?, libc::EPERM, "uid {uid}");
        ended.undo()?;
        assert_eq!(run.errno(&Step::Say)?, 0, "uid {uid}");
    }
    Ok(())
}
